"""Logging in to KSeF: `auth` keeps a tenant logged in, `login` is one login, `tokens` holds its tokens.

`xades` signs the login document, `certificates` reads and makes the certificates that sign it.
"""
