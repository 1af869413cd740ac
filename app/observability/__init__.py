"""Metrics (`metrics`, `metrics_folder` for several processes) and logs (`logs`, event names in `log_events`)."""
