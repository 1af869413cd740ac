"""Parts of HTTP that all endpoints share.

`protocol` limits request heads, `middleware` adds request ids and access logs, `content_coding` inflates bodies, `negotiation` reads
`Accept`, `errors` and `problems` make problem details (RFC 9457), and `paging`, `streaming` and `sse` write lists and streams.
"""
