"""Events (`outbox`, `feed`), webhook endpoints (`endpoints`), and their deliveries (`delivery_queue`, `deliveries`, `replays`)."""
