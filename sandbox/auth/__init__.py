"""Authentication of callers.

`login_document` reads a signed AuthTokenRequest and `signature` (with `signature_algorithms` and `signature_transforms`) verifies it; `jwt`
makes and reads access and refresh tokens; `certificate_issuing` makes KSeF certificates.
"""
