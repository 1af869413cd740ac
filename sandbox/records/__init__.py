"""The records that the sandbox remembers, by area. `sandbox.state` holds them; `--state` keeps them in a file."""
