"""KSeF's request limits (`quota_gate`), availability (`health_monitor`, `outage_policy`) and permissions (`permissions`)."""
