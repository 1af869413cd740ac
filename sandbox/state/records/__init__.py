"""Records of the sandbox's state, by area. `sandbox.state.memory` contains them; `--state` saves them in a file."""
