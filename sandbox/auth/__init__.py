"""Logging in to the stand-in.

`login` issues challenges and takes the two answers to them; `login_document` reads a signed AuthTokenRequest, `signature` (with
`signature_algorithms` and `signature_transforms`) verifies it, `sessions` issues access and refresh tokens as `jwt` makes them, and
`certificate_issuing` makes KSeF certificates.
"""
