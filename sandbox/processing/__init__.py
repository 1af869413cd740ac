"""Sessions on their way to their final status: `batch` and `online`, within the limits of `context_limits`."""
