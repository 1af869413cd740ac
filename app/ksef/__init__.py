"""The client of the KSeF API 2.x: logging in, batch sessions, part upload, statuses, receipts and limits.

`client` is what the workers call. `login/` keeps a tenant logged in; `batch`, `sessions`, `limits`, `permissions` and `keys` are one call
each; `storage` sends to pre-signed links, which never see a token. `transport` sends every request to the API and
`error_classification` classifies every answer as one of `errors`; `models` and `answers` read bodies. `latarnia` asks the ministry's status service.
`upo/` reads receipts and makes no request.

Each call says what a missing answer means. The client repeats nothing by itself, except once after a 401: only the worker has
written down what happened before a call, so it decides whether to repeat it.
"""
