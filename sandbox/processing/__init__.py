"""Sessions on their way to their final status: `batch` and `online`; the long work runs in `pool`."""
