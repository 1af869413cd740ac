"""The records that the sandbox remembers, by area. `sandbox.state.memory` holds them; `--state` keeps them in a file."""
