"""HTTP client of the service, for the commands.

`service_client` sends requests, `upload_sources` makes bodies of files and folders, `resumable_upload` sends large bodies in pieces, and
`progress` waits until every invoice of some uploads has its last state.
"""
