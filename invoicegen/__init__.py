"""Generated FA(3) invoices for the demo, tests and measurements.

`invoices` generates valid ones, `bad_invoices` ones with a known fault, `archives` writes them, `generate` is the command.
"""
