"""The HTTP API, version 1, as an ASGI application.

`application` puts it together and opens the store; `serve` runs it.

    routes/       the endpoints, a module a noun
    http/         bounds on request heads, request ids, problem documents, paging, streaming: HTTP itself
    intake/       request bodies made durable; documents checked while the request waits
    responses/    the shapes of answers

A request passes `http/protocol`, `http/middleware` and `dependencies` (`authentication` reads its key) before its endpoint runs.
`event_watcher` wakes requests that wait for events, `database_gauges` fills gauges of `/metrics`, and `openapi`
writes the contract. `state` is what all requests share. The store defers a job by its name, so no module here imports the stages.
"""
