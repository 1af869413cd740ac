"""`ksefd audit`: prints recorded acts, or checks their chain."""

import json
from collections.abc import Mapping
from typing import Any, Final

import anyio
import typer
from rich.text import Text

from app.cli.actions.accounts import in_store
from app.cli.exit_codes import REFUSED, UsageProblem
from app.cli.formats import count, moment, printable
from app.cli.output import print_error, print_json, stdout_console
from app.cli.timestamps import parse_time
from app.clock import utc_now
from app.domain.ids import public_id
from app.domain.timestamps import iso_utc
from app.settings import load_settings
from app.store.audit.store import AuditFilter, CheckedChain
from app.store.store import Store

_PAUSE_SECONDS: Final = 1.0


def show_audit(*, tenant: str | None, since: str | None, follow: bool, as_json: bool) -> None:
    """Print acts, one line each, up to the newest one or, with `follow`, until Ctrl-C. Raises NotFound for an unknown NIP."""
    start = parse_time(since, option="--since", now=utc_now()) if since is not None else None

    async def work(store: Store) -> None:
        tenant_id = (await store.tenants.by_nip(tenant)).id if tenant is not None else None
        number = await store.audit.newest_number() if follow and start is None else 0
        wanted = AuditFilter(tenant_id=tenant_id, since=start)
        while True:
            rows = await store.audit.after(wanted, number=number)
            for row in rows:
                _print(act_shape(row), as_json=as_json)
                number = row["number"]
            if not rows:
                if not follow:
                    return
                await anyio.sleep(_PAUSE_SECONDS)

    in_store(load_settings(), work)


def verify_audit(*, tenant: str | None, since: str | None, follow: bool, as_json: bool) -> None:
    """Check the whole chain and print its length and newest hash, or the first row that does not fit, with exit code 1."""
    if tenant is not None or since is not None or follow:
        raise UsageProblem("--verify checks the whole chain: leave out --tenant, --since and --follow")
    checked = in_store(load_settings(), lambda store: store.audit.check())
    if as_json:
        print_json(_verdict(checked))
    elif checked.fault is None:
        stdout_console().print(f"{count(checked.rows)} rows fit. The newest hash is {checked.newest_hash.hex()}.")
    else:
        print_error(f"the audit does not fit: {checked.fault.reason}; the {count(checked.rows)} rows before it fit")
    if checked.fault is not None:
        raise typer.Exit(REFUSED)


def act_shape(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give the JSON shape of a row."""
    return {
        "number": row["number"],
        "at": iso_utc(row["at"]),
        "actor": {"kind": row["actor_kind"], "name": row["actor"]},
        "act": row["act"],
        "tenant": public_id("ten", row["tenant_public_id"]) if row["tenant_public_id"] is not None else None,
        "nip": row["nip"],
        "object": row["object"],
        "request_id": row["request_id"],
        "outcome": row["outcome"],
        "details": json.loads(row["details"]),
        "hash": bytes(row["hash"]).hex(),
    }


def _verdict(checked: CheckedChain) -> dict[str, Any]:
    fault = checked.fault
    return {
        "valid": fault is None,
        "rows": checked.rows,
        "newest_hash": checked.newest_hash.hex(),
        "first_fault": {"number": fault.number, "reason": fault.reason} if fault is not None else None,
    }


def _print(act: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(act)
        return
    line = Text()
    line.append(f"{act['number']:>6}  ", style="dim")
    line.append(f"{moment(act['at'])}  ")
    line.append(f"{act['act']}  ", style="bold")
    details = [f"{name}={value}" for name, value in act["details"].items() if value is not None]
    outcome = act["outcome"] if act["outcome"] != "done" else None
    words = [_actor(act["actor"]), act["nip"], act["object"], outcome, *details]
    line.append(printable("  ".join(word for word in words if word)))
    stdout_console().print(line, soft_wrap=True)


def _actor(actor: Mapping[str, str]) -> str:
    return {"key": f"key {actor['name']!r}", "worker": "a worker"}.get(actor["kind"], actor["name"])
