"""Webhook deliveries: `dispatcher` sends, `attempt_policy` classifies, `payload_cache` keeps bodies, `replay` makes missed events due again."""
