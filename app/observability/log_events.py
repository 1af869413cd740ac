"""Names of all log events of the API, the workers and `ksefd serve`.

A log line is one of these names with fields beside it. `app.observability.logs.get_logger` accepts no other name (mypy checks it), and a
test finds the names that no module logs.
"""

from typing import Literal, TypeAlias

ProcessEvent: TypeAlias = Literal[
    "api_started",
    "worker_started",
    "worker_stopped",
    "worker_pool_failed",
    "process_hung",
    "process_restarted",
    "process_not_stopping",
    "process_stopped",
    "embedded_database_restarted",
    "running_jobs_requeued",
    "audit_seal_broken",
    "installation_awaited",
]
"""Start, stop and restart of the processes of a service."""

RequestEvent: TypeAlias = Literal[
    "request_served",
    "request_failed",
    "request_put_off",
    "request_crashed",
    "answer_broken_off",
    "event_stream_cut",
    "events_not_watched",
    "segment_not_kept",
    "singles_not_committed",
    "waiting_not_counted",
    "slow_upload_ended",
    "keys_not_checked",
    "connections_limited",
    "readiness_not_checked",
]
"""Requests to the API."""

JobEvent: TypeAlias = Literal[
    "job_retried",
    "job_missing",
    "job_end_not_announced",
    "job_taken_over",
    "jobs_not_fetched",
    "jobs_not_listened_to",
    "heartbeat_not_written",
    "stalled_job_requeued",
    "unfinished_uploads_expired",
    "upload_bytes_expired",
    "events_expired",
    "orphaned_blobs_removed",
    "unfinished_blobs_ended",
    "unfinished_blobs_not_ended",
]
"""Jobs and maintenance."""

IntakeEvent: TypeAlias = Literal[
    "upload_read",
    "upload_body_missing",
    "resumable_body_hashed",
    "pool_process_killed",
    "documents_isolated",
]
"""Reading and checking of uploads and single posts."""

SessionEvent: TypeAlias = Literal[
    "session_sealed",
    "session_packed",
    "session_opened",
    "session_closed",
    "session_ended",
    "session_dropped",
    "session_not_released",
    "sessions_released",
    "sessions_not_released",
    "session_unsealed",
    "session_needs_attention",
    "session_limit_lowered",
    "late_invoices_held",
    "invoices_missed_their_day",
    "invoicing_mode_unexpected",
    "verdicts_missing",
    "receipt_not_verified",
    "ksef_number_invalid",
    "stored_parts_damaged",
]
"""Sessions from sealing to their verdicts."""

DuplicateEvent: TypeAlias = Literal[
    "duplicates_settled",
    "duplicates_not_compared",
    "duplicates_not_searched",
    "receipt_link_failed",
    "invoices_unresolved",
    "invoice_resolved",
    "tenant_reconciled",
]
"""Invoices that KSeF called duplicates, and their originals."""

KsefEvent: TypeAlias = Literal[
    "ksef_unavailable",
    "ksef_failure_not_recorded",
    "ksef_answer_not_recorded",
    "ksef_probed",
    "ksef_rate_limited",
    "ksef_front_layer_blocked",
    "quota_not_recorded",
    "limits_not_read",
    "permissions_read",
    "permissions_not_allowed",
    "permissions_not_read",
    "latarnia_not_read",
]
"""Availability, request limits and permissions at KSeF."""

WebhookEvent: TypeAlias = Literal[
    "delivery_crashed",
    "attempts_not_recorded",
    "webhook_disabled",
    "webhook_keys_unreadable",
    "replay_ended",
]
"""Webhook deliveries."""

LogEvent: TypeAlias = (
    ProcessEvent | RequestEvent | JobEvent | IntakeEvent | SessionEvent | DuplicateEvent | KsefEvent | WebhookEvent
)
