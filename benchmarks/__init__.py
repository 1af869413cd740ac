"""Measurements: invoices to measure with, yardsticks, and what is measured beside them."""
