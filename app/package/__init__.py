"""One session's package: ready entries spliced into a ZIP or tar.gz, cut into parts, encrypted and hashed.

Pure and synchronous: bytes come in, bytes go out, sinks are handed in. Call it from a thread.

`entries` makes and checks compressed entries, `zip_writer` and `targz_writer` make the package stream,
`parts` seals it, `limits` holds what KSeF takes.
"""
