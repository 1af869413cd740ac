"""The endpoints of KSeF's API, one module for each group of paths.

`login` and `auth_sessions` log callers in, `batch` and `online` open and close sessions, `storage` receives parts and serves
receipts by signed links, `results` (with `session_scripts`) and `receipts` report on sessions, `certificates`,
`certificates_enrollment` and `ksef_tokens` manage credentials, `reference_data` has keys and limits, `testdata` and
`testdata_limits` are KSeF's own test endpoints, `openapi` describes all of them, and `paging` reads page sizes.
"""
