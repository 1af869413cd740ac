"""Storage of events, webhook endpoints and deliveries.

`outbox` writes events and `feed` reads them, `endpoints` are webhooks, `delivery_queue`, `deliveries` and `replays` their deliveries.
"""
