"""Webhook deliveries.

`dispatcher` sends them, `attempt_policy` classifies their results, `payload_cache` keeps payloads, and `replay` makes missed events due
again.
"""
