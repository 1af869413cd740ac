"""The audit: who did what, in a chain of rows that are never changed.

`record` adds an act in the transaction of the act itself. The rows get their numbers and hashes at the end of that transaction.
"""
