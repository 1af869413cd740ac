"""Metrics (`metrics`, `metrics_folder` for several processes) and structured logs (`logs`)."""
