"""Readers of upload bodies: ZIP, tar, tar.gz, NDJSON, multipart or a single XML document.

Pure and synchronous: a seekable binary file comes in, raw entries come out one by one, memory is flat. Run
`reader.read_entries` in a thread; send its entries to pool processes and call `entry.decode_entry` there, so
that inflating, base64 and JSON cost no time in the reading process.
"""
