"""Client of the KSeF API 2.x: login, batch sessions, part upload, statuses, receipts and limits.

The workers call `client`. `login/` keeps a tenant logged in; `batch`, `sessions`, `limits`, `permissions` and `keys` have one
function for each call; `storage` sends to pre-signed links, without a token. `transport` sends every request to the API and
`error_classification` classifies every answer as one of `errors`; `models` and `answers` read bodies. `latarnia` reads the
ministry's status service. `upo/` reads receipts and makes no request.

The docstring of each call gives the meaning of a missing answer. The client repeats a call only once, after a 401. All other
repetitions are the worker's decision, because only the worker has stored the steps before the call.
"""
