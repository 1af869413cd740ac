"""The OpenAPI description of the API, made from the routes and completed.

`document` assembles it, `operations` completes each operation, `events` describes the webhooks, `examples` has requests and answers.
"""
