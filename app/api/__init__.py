"""The HTTP API, version 1, as an ASGI application.

`application` assembles it and opens the store; `serve` runs it.

    routes/       the endpoints, one module for each noun
    http/         limits on request heads, request ids, problem details, paging, streaming
    intake/       request bodies made durable; invoices checked while the request waits
    responses/    models of answers
    description/  the OpenAPI description, made from the routes

A request passes `http/protocol`, `http/middleware` and `dependencies` (`authentication` reads its key) before its endpoint runs.
`event_watcher` wakes requests that wait for events, `database_gauges` fills gauges of `/metrics`, and `openapi`
writes the contract. `state` is what all requests share. The store defers a job by its name, so no module here imports the stages.
"""
