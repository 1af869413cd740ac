"""Login to KSeF: `auth` keeps a tenant logged in, `login` makes one login, `tokens` has the types of its tokens.

`xades` signs the login request, `certificates` loads and makes the certificates that sign it, and
`credential_files/` reads the files that people have.
"""
