"""The endpoints of KSeF's API, one module for each group of paths.

`batch` and `online` open and close sessions, `storage` takes parts and serves receipts by signed link, `results` and `receipts` report
on sessions, `certificates`, `certificates_enrollment` and `ksef_tokens` manage logins, `reference_data` has keys and limits, `testdata` and
`testdata_limits` are KSeF's own test endpoints, `openapi` is the document of all of them, and `paging` reads page sizes.
"""
