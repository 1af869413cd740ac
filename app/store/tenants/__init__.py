"""Storage of tenants.

`tenants` has their API keys and credentials, `limits` and `permissions` what KSeF reported of each; `check_context` reads all three.
"""
