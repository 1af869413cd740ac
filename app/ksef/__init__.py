"""The client of the KSeF API 2.x: logging in, batch sessions, part upload, statuses, receipts and limits.

From the outside in: `client` is what the workers call; `auth` keeps a tenant logged in; `batch`, `sessions`,
`limits`, `permissions` and `keys` are one call each; `storage` talks to the pre-signed links, which never see a token;
`transport` is the only place that sends a request to the API and `errors` the only one that judges an answer.
`latarnia` asks the ministry's status service, a second opinion.
`upo`, `xades` and `certificates` work on bytes and talk to nobody.

What no answer means is said at every call. The client repeats nothing by itself, except once after a 401:
whether a call may be made again is for the worker that knows what was written down before it.
"""
