"""Batch sessions, by the stage that works on them."""
