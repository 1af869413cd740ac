"""Clients generated from schemas/openapi.json, used against a real service: `make clients`. Needs node and fetches packages.

`__main__` runs everything; `using_python` and `typescript/client.ts` are what a user of such a client writes.
"""
