"""`ksefd webhook ...`: a tenant's webhooks, through the API. `deliveries` has the commands on deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.client.service_client import ServiceClient, connect
from app.cli.exit_codes import UsageProblem
from app.cli.formats import moment
from app.cli.output import print_json, print_warning, stdout_console
from app.cli.tables import print_fields, print_table


@dataclass(frozen=True, slots=True)
class Access:
    """The service's address, the API key file and the form of the output, from the command line."""

    url: str | None
    api_key_file: Path | None
    as_json: bool

    def open(self) -> ServiceClient:
        """Connect."""
        return connect(self.url, self.api_key_file)


@dataclass(frozen=True, slots=True)
class WebhookFields:
    """The fields of a webhook to set. None leaves a field unchanged, or to the service's default for a new webhook."""

    url: str | None = None
    events: Sequence[str] | None = None
    description: str | None = None
    signing: str | None = None
    headers: Sequence[str] | None = None
    ordering: str | None = None
    max_concurrency: int | None = None

    def body(self) -> dict[str, Any]:
        """Return the fields to set, under the API's names."""
        plain = {
            "url": self.url,
            "events": list(self.events) if self.events is not None else None,
            "description": self.description,
            "signing": self.signing,
            "headers": header_fields(self.headers) if self.headers is not None else None,
            "ordering": self.ordering,
            "max_concurrency": self.max_concurrency,
        }
        return {name: value for name, value in plain.items() if value is not None}


def header_fields(given: Sequence[str]) -> dict[str, str]:
    """Read headers written as `Name: value`. Raises UsageProblem, whose message has no header value."""
    found: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise UsageProblem("--header: write it as 'Name: value'")
        found[name.strip()] = value.strip()
    return found


def add(fields_to_set: WebhookFields, access: Access) -> None:
    """Register a webhook and print it with its secret."""
    with access.open() as service:
        made = service.post("/v1/webhooks", fields_to_set.body())
    _show(made, access)


def list_(access: Access) -> None:
    """Print all webhooks of the tenant."""
    with access.open() as service:
        items = service.get("/v1/webhooks")["items"]
    if access.as_json:
        print_json({"webhooks": items})
        return
    rows: list[tuple[object, ...]] = [
        (one["id"], one["url"], _events(one), _state(one), one.get("signing"), one.get("description")) for one in items
    ]
    print_table(stdout_console(), ("Webhook", "Address", "Events", "State", "Signing", "Description"), rows)


def show(webhook: str, access: Access) -> None:
    """Print one webhook."""
    with access.open() as service:
        found = service.get(resource_path(webhook))
    _show(found, access)


def update(
    webhook: str, fields_to_set: WebhookFields, *, all_events: bool, without: Sequence[str], access: Access
) -> None:
    """Change the given fields and print the webhook. New headers are added to those that it has, by name."""
    body = fields_to_set.body()
    if all_events:
        if fields_to_set.events:
            raise UsageProblem("--events and --all-events exclude each other")
        body["events"] = None
    with access.open() as service:
        if fields_to_set.headers is not None or without:
            # The service shows masked values, and a masked value in a request keeps the old one.
            known = service.get(resource_path(webhook)).get("headers") or {}
            body["headers"] = changed_headers(known, body.get("headers", {}), without)
        if not body:
            raise UsageProblem("there is nothing to change; see --help")
        changed = service.patch(resource_path(webhook), body)
    _show(changed, access)


def changed_headers(known: Mapping[str, str], new: Mapping[str, str], without: Sequence[str]) -> dict[str, str]:
    """Replace headers of the same name (compared without case) by new ones. Raises UsageProblem."""
    names = {name.lower() for name in known}
    missing = [name for name in without if name.lower() not in names]
    if missing:
        raise UsageProblem(f"--without-header: the webhook has no header {missing[0][:64]}")
    gone = {name.lower() for name in (*new, *without)}
    return {name: value for name, value in known.items() if name.lower() not in gone} | dict(new)


def switch(webhook: str, *, disabled: bool, access: Access) -> None:
    """Disable or enable a webhook and print it."""
    with access.open() as service:
        changed = service.patch(resource_path(webhook), {"disabled": disabled})
    _show(changed, access)
    if not disabled and not access.as_json:
        print_warning(f"events that it missed are not sent by themselves: ksefd webhook replay {webhook} --since TIME")


def remove(webhook: str, access: Access) -> None:
    """Delete a webhook."""
    with access.open() as service:
        service.delete(resource_path(webhook))
    if access.as_json:
        print_json({"removed": webhook})
    else:
        stdout_console().print(f"{webhook} is removed; its pending deliveries are not sent", markup=False)


def rotate(webhook: str, signing: str | None, access: Access) -> None:
    """Rotate a webhook's key, to another kind if wanted, and print the new one; the old one also signs for a day."""
    with access.open() as service:
        made = service.post(resource_path(webhook, "rotate-secret"), {"signing": signing} if signing else None)
    if access.as_json:
        print_json(made)
        return
    print_fields(stdout_console(), _key_fields(made))


def resource_path(public_id: str, action: str | None = None, *, kind: str = "webhooks") -> str:
    """Return the API's path of a webhook or a delivery. Raises UsageProblem for another kind of id."""
    prefix = {"webhooks": "whk_", "deliveries": "dlv_", "replays": "rpl_"}[kind]
    if not (public_id.startswith(prefix) and public_id.isascii() and public_id.replace("_", "").isalnum()):
        raise UsageProblem(f"{public_id[:64]!r} is not the id of a {kind[:-1].replace('ie', 'y')} ({prefix}...)")
    return f"/v1/{kind}/{public_id}" + (f"/{action}" if action else "")


def _show(webhook: dict[str, Any], access: Access) -> None:
    if access.as_json:
        print_json(webhook)
        return
    known: dict[str, Any] = {
        "Webhook": webhook["id"],
        "Address": webhook["url"],
        "Events": _events(webhook),
        "Description": webhook.get("description"),
        "State": _state(webhook),
        "Signing": webhook.get("signing"),
        "Ordering": webhook.get("ordering"),
        "At the same time": webhook.get("max_concurrency"),
    }
    headers = webhook.get("headers")
    if headers:
        known["Headers"] = ", ".join(f"{name}: {value}" for name, value in headers.items())
    known |= {"Added": moment(webhook.get("created_at"))} | _key_fields(webhook)
    print_fields(stdout_console(), known)


def _key_fields(shape: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if shape.get("secret"):
        known["Secret, shown this once"] = shape["secret"]
    keys = shape.get("public_keys") or ([{"key": shape["public_key"]}] if shape.get("public_key") else [])
    for number, key in enumerate(keys, start=1):
        ends = f" until {moment(key['expires_at'])}" if key.get("expires_at") else ""
        known["Public key" if len(keys) == 1 else f"Public key {number}"] = f"{key['key']}{ends}"
    return known


def _events(webhook: Mapping[str, Any]) -> str:
    return ", ".join(webhook["events"]) if webhook.get("events") else "all"


def _state(webhook: Mapping[str, Any]) -> str:
    if webhook.get("disabled_at"):
        return f"disabled ({webhook.get('disabled_reason')}) since {moment(webhook['disabled_at'])}"
    return f"failing since {moment(webhook['failing_since'])}" if webhook.get("failing_since") else "enabled"
