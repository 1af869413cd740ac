"""Bodies and documents that nobody means well with, each with the verdict that it must get and what that may cost."""
