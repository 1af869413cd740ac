"""The endpoints of KSeF's API, one module for each group of paths.

`login` and `auth_sessions` log callers in, `batch` and `online` open and close sessions, `storage` takes parts and serves receipts by
signed link, `results` (with `session_scripts`) and `receipts` report on sessions, `certificates`, `certificates_enrollment` and
`ksef_tokens` manage credentials, `reference_data` has keys and limits, `testdata` and `testdata_limits` are KSeF's own test endpoints,
`openapi` is the document of all of them, and `paging` reads page sizes.
"""
