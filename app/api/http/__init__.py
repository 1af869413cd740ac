"""HTTP itself: what requests and answers have in common, whatever they are about.

`protocol` bounds request heads, `middleware` adds request ids and access logs, `content_coding` inflates bodies, `negotiation` reads
`Accept`, `errors` and `problems` make problem documents, and `paging`, `streaming` and `sse` write lists and streams.
"""
