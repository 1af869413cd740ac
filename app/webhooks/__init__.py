"""Webhook requests: target addresses (`addresses`), signatures (`signing`), the request itself (`delivery`), pauses (`backoff`).

`event_schemas` are the contracts of the events. Nothing here imports the database; `workers.delivery` joins both.
"""
