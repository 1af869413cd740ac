"""Hostile bodies and documents, each with the verdict that it must get and the cost that it may have."""
