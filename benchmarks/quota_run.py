"""`python -m benchmarks.quota_run`: sends a backlog of one tenant under production's request limits.

It shows that dispatch uses KSeF's quota almost fully and never exceeds it. The quota counts sessions, not invoices, so each
session has a few real invoices in place of 10,000. The stages, the database, the sandbox and its limits are real; only the time
is virtual: a clock shared with the sandbox jumps to the time at which the next job is due. A job starts up to two seconds late,
as the queue is polled every two seconds.
"""

import asyncio
import json
import logging
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final
from uuid import UUID

import httpx
import structlog
import typer
from procrastinate.jobs import Job
from rich.console import Console
from rich.table import Table

from app.checking.service import CheckService
from app.cli.demo.processes import free_port
from app.clock import utc_now
from app.forms.fa3.form import FA3
from app.ksef.limits import RateLimit
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.installation import prepare_installation
from app.store.jobs import Priority, Task
from app.store.store import Store, open_store
from benchmarks.measure import MeasurementFailed
from benchmarks.measure_cargo import fresh_invoices
from benchmarks.measure_packing import add_tenant, add_upload
from benchmarks.measure_sandbox import ledger, running_sandbox
from workers.context import RetryLater, WorkerContext
from workers.intake.uploads import read_upload
from workers.priorities import PRIORITIES
from workers.runtime import worker_context
from workers.sealing import seal_lane
from workers.sessions.advance import advance_session
from workers.sessions.packing import pack_session
from workers.tasks import StageRetryStrategy

GOAL_SHARE: Final = 0.95
GOAL_REQUESTS: Final = 6.0
_QUEUE_POLL_SECONDS: Final = 2.0
_ASKING: Final = ("sessionMisc", "sessionInvoiceList", "sessionList", "invoiceStatus")
"""Groups of the requests for the status of a session or its invoices."""


class SharedClock:
    """A clock shared with the sandbox, which can jump ahead."""

    def __init__(self, origin: str) -> None:
        """Create the clock. `origin` is the sandbox's address without a path."""
        self._control = httpx.Client(base_url=f"{origin}/_sandbox", trust_env=False, timeout=30)
        self._ahead = timedelta(0)

    def __call__(self) -> datetime:
        """Return the current time."""
        return utc_now() + self._ahead

    def wait_until(self, moment: datetime) -> None:
        """Jump to a time, here and at the sandbox."""
        seconds = (moment - self()).total_seconds()
        if seconds > 0:
            self._control.post("/clock", json={"advance_seconds": seconds}).raise_for_status()
            self._ahead += timedelta(seconds=seconds)

    def close(self) -> None:
        """Close the connection."""
        self._control.close()


@dataclass(frozen=True, slots=True)
class QuotaRun:
    """Result of one backlog."""

    sessions: int
    completed: int
    invoices_carried: int
    hour_limit: int
    first_to_last_open_seconds: float
    least_seconds: float
    """The shortest time in which the limits allow this number of sessions to be opened."""
    sessions_an_hour: float | None
    """The rate over the whole hours of the limit that the backlog fills; None when it fills no hour."""
    virtual_hours: float
    """Until the last verdict."""
    too_many: int
    """Answers 429."""
    turned_back: int
    """Jobs that found the quota used up or had to wait, and ran again later; they sent no request."""
    requests: dict[str, int]
    """Requests that KSeF's limits count, by group, logins included."""

    @property
    def share_of_hour(self) -> float | None:
        """Sessions an hour, as a share of the limit."""
        return self.sessions_an_hour / self.hour_limit if self.sessions_an_hour is not None else None

    @property
    def asking_a_session(self) -> float:
        """Requests for states and lists for each session."""
        return sum(self.requests.get(group, 0) for group in _ASKING) / self.sessions

    @property
    def met(self) -> bool:
        """Whether all goals are met: all sessions sent, no 429, the hour's limit used, few status requests."""
        used = self.share_of_hour is None or self.share_of_hour >= GOAL_SHARE
        return self.completed == self.sessions and not self.too_many and used and self.asking_a_session <= GOAL_REQUESTS


def least_seconds(count: int, limit: RateLimit) -> list[float]:
    """Return the earliest times, in seconds after the first, at which sliding windows admit `count` requests."""
    moments: list[float] = []
    windows = ((limit.per_second, 1.0), (limit.per_minute, 60.0), (limit.per_hour, 3600.0))
    for number in range(count):
        held = [moments[number - most] + span for most, span in windows if most is not None and number >= most]
        moments.append(max(held, default=0.0))
    return moments


async def pack_backlog(
    context: WorkerContext, sessions: int, *, invoices_each: int, counted_as: int | None = None
) -> list[UUID]:
    """Process an upload into `sessions` packed sessions. The context's `session_max_invoices` must be `invoices_each`.

    `counted_as` is the number of invoices that a session represents, which sets the times of its status polls.
    """
    store = context.store
    tenant = await add_tenant(store)
    upload = await add_upload(store, tenant, fresh_invoices(sessions * invoices_each))
    await read_upload(context, upload.id)
    lane = await store.tenants.ensure_lane(tenant, form_code=FA3.code, offline_mode=False)
    # A job seals a few sessions and leaves the rest to the next one.
    while any(one["queued"] for one in await store.chunks.queued_by_lane()):
        await seal_lane(context, lane)
    packed = [session_id for session_id, _ in await store.sessions.unfinished_for_job()]
    if len(packed) != sessions:
        raise MeasurementFailed(f"{len(packed)} sessions were sealed, not {sessions}")
    for session_id in packed:
        await pack_session(context, session_id)
    if counted_as is not None:
        await store.database.execute("UPDATE sessions SET invoices = %(n)s", {"n": counted_as})
    return packed


@dataclass(slots=True)
class _Due:
    """A session's next job."""

    at: datetime
    session_id: UUID
    priority: int = Priority.OPEN
    attempts: int = 0


async def dispatch_backlog(context: WorkerContext, clock: SharedClock, packed: Sequence[UUID], *, seed: int = 1) -> int:
    """Run sessions through dispatch and tracking as a worker's queue does; return how often a job was postponed.

    Jobs run one after the other, so they take longer than the parallel jobs of a real worker, never shorter.
    """
    chance, patience, turned_back = random.Random(seed), StageRetryStrategy(context.names), 0
    waiting = [_Due(clock(), session_id) for session_id in packed]
    while waiting:
        now = clock()
        due = [job for job in waiting if job.at <= now]
        job = min(due, key=lambda one: (-one.priority, one.at)) if due else min(waiting, key=lambda one: one.at)
        clock.wait_until(job.at)
        try:
            await advance_session(context, job.session_id)
        except RetryLater as reason:
            turned_back += 1
            pause, priority = _postponement(patience, reason, job)
            job.at, job.attempts = clock() + pause, job.attempts + 1
            job.priority = job.priority if priority is None else priority
        except Exception as error:
            raise MeasurementFailed(f"a session could not be brought on: {error!r}") from error
        else:
            session = await context.store.sessions.get_for_job(job.session_id)
            if session.state.is_final:
                waiting.remove(job)
                continue
            job.at, job.attempts = await _next_poll(context.store, job.session_id), 0
            job.priority = PRIORITIES.get(session.state, Priority.OPEN)
        job.at += timedelta(seconds=_QUEUE_POLL_SECONDS * chance.random())
    return turned_back


def _postponement(patience: StageRetryStrategy, reason: RetryLater, job: _Due) -> tuple[timedelta, int | None]:
    asked = Job(
        id=1, queue="dispatch", lock=None, queueing_lock=None, task_name="t", task_kwargs={}, attempts=job.attempts
    )
    decision = patience.get_retry_decision(exception=reason, job=asked)
    if decision.retry_at is None:
        raise MeasurementFailed("a job was not to be tried again")
    return decision.retry_at - utc_now(), decision.priority


async def _next_poll(store: Store, session_id: UUID) -> datetime:
    row = await store.database.fetch_one(
        "SELECT scheduled_at FROM procrastinate_jobs WHERE task_name = %(task)s AND args->>'session_id' = %(session)s "
        "ORDER BY id DESC LIMIT 1",
        {"task": Task.TRACK_SESSION.value, "session": str(session_id)},
    )
    if row is None:
        raise MeasurementFailed(f"there is no job for session {session_id}")
    at: datetime = row["scheduled_at"]
    return at


def read_result(origin: str, sessions: int, limit: RateLimit, *, turned_back: int) -> QuotaRun:
    """Read the result of a backlog of one tenant with this limit for opening from the sandbox's ledger."""
    known = ledger(origin)
    opened = sorted(datetime.fromisoformat(_trimmed(one["opened_at"])) for one in known["sessions"])
    ended = max(datetime.fromisoformat(_trimmed(one["updated_at"])) for one in known["sessions"])
    hour = limit.per_hour or 0
    whole = (len(opened) - 1) // hour * hour if hour else 0
    rate = whole / ((opened[whole] - opened[0]).total_seconds() / 3600) if whole else None
    return QuotaRun(
        sessions=sessions,
        completed=sum(one["status"] == 200 for one in known["sessions"]),
        invoices_carried=known["accepted"],
        hour_limit=hour,
        first_to_last_open_seconds=(opened[-1] - opened[0]).total_seconds(),
        least_seconds=least_seconds(len(opened), limit)[-1],
        sessions_an_hour=rate,
        virtual_hours=(ended - opened[0]).total_seconds() / 3600,
        too_many=sum(statuses.get("429", 0) for statuses in known["requests"].values()),
        turned_back=turned_back,
        requests={group: sum(statuses.values()) for group, statuses in known["requests"].items()},
    )


def _trimmed(moment: str) -> str:
    """Cut KSeF's seven digits of a second to the six that Python reads."""
    return moment[:26] + "+00:00"


def main(
    invoices: Annotated[int, typer.Option(min=1, help="Invoices of the backlog.")] = 1_000_000,
    per_session: Annotated[int, typer.Option(min=1, max=10_000, help="Invoices that a session represents.")] = 10_000,
    carried: Annotated[int, typer.Option(min=1, max=1_000, help="Invoices that a session really has.")] = 20,
    processing_seconds: Annotated[
        float, typer.Option(min=0, help="How long the sandbox processes a session after its close.")
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON.")] = False,
) -> None:
    """Send a backlog under production's limits on a virtual clock. Exit code 1: a goal was missed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    console = Console(stderr=True)
    sessions = -(-invoices // per_session)
    console.print(f"{sessions} sessions, each with {carried} invoices in place of {per_session:,} ...", highlight=False)
    try:
        run = _measure(sessions, carried, per_session, processing_seconds)
    except MeasurementFailed as error:
        console.print(f"failed: {error}", highlight=False)
        raise typer.Exit(1) from error
    summary = asdict(run) | {
        "stands_for_invoices": invoices,
        "processing_seconds": processing_seconds,
        "share_of_hour": run.share_of_hour,
        "asking_a_session": run.asking_a_session,
        "met": run.met,
    }
    if as_json:
        print(json.dumps(summary, indent=2))
    else:
        _show(run, invoices, per_session, carried, processing_seconds)
    if not run.met:
        raise typer.Exit(1)


def _measure(sessions: int, carried: int, per_session: int, processing_seconds: float) -> QuotaRun:
    options = ("--limits", "production", "--processing-delay", str(processing_seconds))
    with (
        TemporaryDirectory(prefix="ksefd-bench-", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder) / "var") as server,
        running_sandbox(free_port(), *options) as origin,
    ):
        settings = Settings(
            data_dir=Path(folder) / "var",
            database_url=server.url,
            linger_seconds=0,
            session_max_invoices=carried,
            ksef_url=f"{origin}/v2",
        )
        prepare_installation(settings)
        return asyncio.run(_send(settings, origin, sessions, carried, per_session))


async def _send(settings: Settings, origin: str, sessions: int, carried: int, per_session: int) -> QuotaRun:
    clock = SharedClock(origin)
    try:
        with CheckService(1, load_schema_files) as pool:
            async with open_store(settings) as store, worker_context(settings, store, pool, clock) as context:
                packed = await pack_backlog(context, sessions, invoices_each=carried, counted_as=per_session)
                turned_back = await dispatch_backlog(context, clock, packed)
                tenant_id = (await store.sessions.get_for_job(packed[0])).tenant_id
                limit = (await store.limits.of(tenant_id)).rates.limit_of("batchSession")
                return read_result(origin, sessions, limit, turned_back=turned_back)
    finally:
        clock.close()


def _show(run: QuotaRun, invoices: int, per_session: int, carried: int, processing_seconds: float) -> None:
    def share(value: float | None) -> str:
        return "the backlog fills no whole hour" if value is None else f"{value:.1%}"

    rows: list[tuple[str, Any]] = [
        ("sessions opened, completed", f"{run.sessions}, {run.completed}"),
        ("virtual hours until the last verdict", f"{run.virtual_hours:.2f}"),
        ("limit of sessions an hour", run.hour_limit),
        ("sessions an hour", "-" if run.sessions_an_hour is None else f"{run.sessions_an_hour:.1f}"),
        (f"share of the limit (goal {GOAL_SHARE:.0%})", share(run.share_of_hour)),
        ("first to last opening", f"{run.first_to_last_open_seconds:,.0f} s"),
        ("the least that the limits allow", f"{run.least_seconds:,.0f} s"),
        ("answers 429 (goal 0)", run.too_many),
        ("jobs that waited for quota or for their turn", run.turned_back),
        (f"state and list requests a session (goal {GOAL_REQUESTS:g})", f"{run.asking_a_session:.2f}"),
        *((f"requests a session, {group}", f"{count / run.sessions:.2f}") for group, count in run.requests.items()),
    ]
    table = Table(
        "What", "Found", title_justify="left", title=f"A backlog of {invoices:,} invoices under production's limits"
    )
    for what, found in rows:
        table.add_row(what, str(found))
    console = Console()
    console.print(table)
    console.print(
        f"The quota counts sessions, not invoices: each session carried {carried} real invoices in place of {per_session:,}. "
        f"The hours are virtual; KSeF's work on a session is taken to last {processing_seconds:g} s after its close.",
        highlight=False,
    )


if __name__ == "__main__":
    typer.run(main)
