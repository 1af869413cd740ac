"""Webhook requests, without the database.

`addresses` checks target addresses, `network` connects to them, `headers` checks a tenant's own headers, `signing` signs, `delivery` sends
one request and classifies the answer, `backoff` and `pace` compute pauses, and `event_schemas` describes the events. `workers.delivery`
joins them with the store.
"""
