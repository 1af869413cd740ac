"""The HTTP API, version 1, as an ASGI application.

`application` puts it together and opens the store; `serve` runs it. A request meets, in this order: `protocol` (bounds on
heads), `middleware` (request id, access log, unexpected errors), `dependencies` (whose key is it), an endpoint in one of
`uploads`, `invoices`, `sessions`, `account`, `health`, `webhooks`, `events`, and on its way out `problems`.

`receiving` makes a request body durable, `singles` makes many small ones durable together, `checking` checks a document in
a process of its own, `event_waiting` wakes requests that wait for events. Nothing here imports `workers`: a job is deferred by the store, by its name.
"""
