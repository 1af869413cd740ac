"""Processing of sessions up to their final status: `batch` and `online`, within the limits of `context_limits`."""
