"""The OpenAPI description of the API, made from the routes and completed.

`document` assembles it, `operations` completes each operation, `headers` and `examples` add to them, `events` describes the webhooks.
"""
