"""One session's package: ready entries spliced into a ZIP or tar.gz, cut into parts, encrypted and hashed.

Pure and synchronous: it takes and returns bytes and writes to sinks that the caller passes. Call it from a thread.

`entries` makes and checks compressed entries, `zip_writer` and `targz_writer` make the package stream,
`parts` seals it, `limits` holds KSeF's limits.
"""
