"""schemathesis against the product's own API, on a real service with the sandbox: `make api-fuzz`.

`__main__` runs it; `hooks` teaches schemathesis the bodies of this API; `schemathesis.toml` has what it must not expect, with reasons.
"""
