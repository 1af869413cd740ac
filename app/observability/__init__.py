"""Metrics (`metrics`, `metrics_folder` for several processes) and structured logs (`logs`, with the event names in `log_events`)."""
