"""Measurement from KSeF's "processed" to the last webhook of a full session, with a receiver that verifies every delivery."""

import time
from datetime import datetime

from app.cli.demo.processes import free_port
from app.cli.demo.receiver import Receiver, listening
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import TarBody, fresh_invoices
from benchmarks.measure_sandbox import ledger, running_sandbox
from benchmarks.measure_service import running_service, send, wait_for

_GOAL_SECONDS = 10
_SLOWEST_A_SECOND = 50
_LAST_EVENTS = ("session.completed", "upo.available", "upload.completed")


def measure_webhooks(scale: Scale, say: Say) -> list[Figure]:
    """Measure until the receiver has accepted every KSeF number and every event of the session."""
    count = scale.session_invoices
    say(f"webhooks: making {count:,} invoices")
    receiver = Receiver()
    with running_sandbox(free_port()) as sandbox_url, listening(receiver) as hook:
        settings = {
            "KSEFD_KSEF_URL": f"{sandbox_url}/v2",
            "KSEFD_SESSION_MAX_INVOICES": str(count),
            "KSEFD_WEBHOOK_ALLOW_HTTP": "true",
            "KSEFD_WEBHOOK_ALLOW_PRIVATE": "true",
        }
        # The service is not warmed up, because the uploads for that would cause events of their own.
        with running_service(settings, warm=False) as service, service.client() as http:
            receiver.expect(http.post("/v1/webhooks", json={"url": hook}).raise_for_status().json()["secret"])
            say(f"webhooks: a session of {count:,} invoices")
            body = TarBody(fresh_invoices(count, seed=31))
            send(http, body, body.content_type)
            wait_for(
                lambda: len(receiver.invoices) >= count and all(receiver.types[one] for one in _LAST_EVENTS),
                "the last webhook",
                seconds=90 + count / _SLOWEST_A_SECOND,
                pause=0.1,
            )
            last = time.time() - (time.monotonic() - (receiver.last_at or 0.0))
            sessions = ledger(sandbox_url)["sessions"]
    if len(sessions) != 1 or sessions[0]["accepted"] != count:
        raise MeasurementFailed(f"KSeF saw other sessions than one of {count}: {sessions}")
    closed, processed = (_moment(sessions[0][name]) for name in ("closed_at", "updated_at"))
    events = sum(receiver.types.values())
    return [
        Figure(
            "webhooks",
            f'KSeF\'s "processed" to the last webhook, session of {count:,}',
            last - processed,
            "s",
            Yardstick("the sandbox's own processing", processed - closed, "s"),
            Goal(_GOAL_SECONDS, full_size=count >= 10_000),
            note=f"{events} events, {receiver.repeated} repeated",
            detail={"events": dict(receiver.types), "repeated": receiver.repeated},
        )
    ]


def _moment(text: str) -> float:
    # KSeF writes seven digits after the point, one more than Python reads.
    return datetime.fromisoformat(text[:26] + text[27:]).timestamp()
