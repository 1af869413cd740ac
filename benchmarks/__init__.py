"""Measurements of the service, the yardsticks that they are compared with, and the invoices for them."""
