"""Models of every operation's answer. Each answer is checked against its model before it is sent.

Members, forms and bounds are those of KSeF API 2.9; an additional member is a fault like a missing one. The sandbox's own
OpenAPI description (`sandbox.endpoints.openapi`) is generated from the same models.
"""
