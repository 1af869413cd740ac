"""`ksefd webhook`: webhooks, their deliveries, and a receiver to test with."""

# Imports are inside the commands, so that `ksefd --help` does not load the HTTP client.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.commands.events import TIME, JsonLines, split_types
from app.cli.commands.invoices import ApiKeyFile, AsJson, Url

app = typer.Typer(
    no_args_is_help=True,
    help="Webhooks: their addresses, their deliveries, and a receiver to test with. Reads KSEFD_URL and KSEFD_API_KEY.",
)


class Signing(StrEnum):
    """The signature of deliveries."""

    HMAC = "hmac"
    ED25519 = "ed25519"


class Ordering(StrEnum):
    """The order of a webhook's deliveries."""

    NONE = "none"
    SESSION = "session"


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="The webhook's id (`whk_...`).")]
Delivery = Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id (`dlv_...`).")]
Events = Annotated[
    list[str] | None,
    typer.Option("--events", metavar="TYPE", help="Only these types of events; repeated or separated by commas."),
]
Description = Annotated[str | None, typer.Option(help="Your own words, shown in lists.")]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="'NAME: VALUE'", help="A header of your own to send along; can be repeated."),
]
OrderingOption = Annotated[
    Ordering | None, typer.Option(help="'session' sends the events of one session one after the other.")
]
MaxConcurrency = Annotated[
    int | None, typer.Option(min=1, help="The most requests that are open at this webhook at the same time.")
]


@app.command("add")
def add(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to send events; https on the internet.")],
    events: Events = None,
    description: Description = None,
    signing: Annotated[
        Signing | None,
        typer.Option(
            help="'hmac' (the default) signs with a secret that you share, 'ed25519' with a key that we keep."
        ),
    ] = None,
    header: Headers = None,
    ordering: OrderingOption = None,
    max_concurrency: MaxConcurrency = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Register a webhook and print it with its public key, or with its secret, which cannot be shown again."""
    from app.cli.actions import webhooks

    fields = webhooks.WebhookFields(
        url=address,
        events=split_types(events),
        description=description,
        signing=signing.value if signing else None,
        headers=header or None,
        ordering=ordering.value if ordering else None,
        max_concurrency=max_concurrency,
    )
    webhooks.add(fields, webhooks.Access(url, api_key_file, as_json))


@app.command("list")
def list_(url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """List the tenant's webhooks."""
    from app.cli.actions import webhooks

    webhooks.list_(webhooks.Access(url, api_key_file, as_json))


@app.command("show")
def show(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Show one webhook. Secrets are never shown again."""
    from app.cli.actions import webhooks

    webhooks.show(webhook, webhooks.Access(url, api_key_file, as_json))


@app.command("update")
def update(
    webhook: Webhook,
    address: Annotated[str | None, typer.Option(help="Where to send events from now on.")] = None,
    events: Events = None,
    all_events: Annotated[
        bool, typer.Option("--all-events", help="Send all types of events, including those added later.")
    ] = False,
    description: Description = None,
    header: Headers = None,
    without_header: Annotated[
        list[str] | None, typer.Option("--without-header", metavar="NAME", help="Remove this header.")
    ] = None,
    ordering: OrderingOption = None,
    max_concurrency: MaxConcurrency = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook. Fields without an option stay unchanged."""
    from app.cli.actions import webhooks

    fields = webhooks.WebhookFields(
        url=address,
        events=split_types(events),
        description=description,
        headers=header or None,
        ordering=ordering.value if ordering else None,
        max_concurrency=max_concurrency,
    )
    access = webhooks.Access(url, api_key_file, as_json)
    webhooks.update(webhook, fields, all_events=all_events, without=without_header or (), access=access)


@app.command("enable")
def enable(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Enable a disabled webhook. `ksefd webhook replay` sends the events that it missed."""
    from app.cli.actions import webhooks

    webhooks.switch(webhook, disabled=False, access=webhooks.Access(url, api_key_file, as_json))


@app.command("disable")
def disable(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Disable a webhook: no event is sent to it until it is enabled again."""
    from app.cli.actions import webhooks

    webhooks.switch(webhook, disabled=True, access=webhooks.Access(url, api_key_file, as_json))


@app.command("remove")
def remove(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Delete a webhook with its keys. Its pending deliveries are not sent."""
    from app.cli.actions import webhooks

    webhooks.remove(webhook, webhooks.Access(url, api_key_file, as_json))


@app.command("rotate")
def rotate(
    webhook: Webhook,
    signing: Annotated[Signing | None, typer.Option(help="Change the kind of signature.")] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Rotate a webhook's key and print the new one; for 24 hours deliveries are signed with both."""
    from app.cli.actions import webhooks

    webhooks.rotate(webhook, signing.value if signing else None, webhooks.Access(url, api_key_file, as_json))


@app.command("test")
def send_test(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Send a test event to a webhook and show its receiver's answer. Exits 1 when the receiver does not accept it."""
    from app.cli.actions import deliveries
    from app.cli.actions.webhooks import Access

    deliveries.send_test(webhook, Access(url, api_key_file, as_json))


@app.command("deliveries")
def list_deliveries(
    webhook: Webhook,
    state: Annotated[DeliveryState | None, typer.Option(help="Only deliveries in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List a webhook's deliveries, sent and pending, with the newest events first."""
    from app.cli.actions import deliveries
    from app.cli.actions.webhooks import Access

    access = Access(url, api_key_file, as_json)
    deliveries.list_(webhook, state=state.value if state else None, limit=limit, access=access)


@app.command("delivery")
def delivery(delivery: Delivery, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Show one delivery with every attempt."""
    from app.cli.actions import deliveries
    from app.cli.actions.webhooks import Access

    deliveries.show(delivery, Access(url, api_key_file, as_json))


@app.command("retry")
def retry(delivery: Delivery, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Try a delivery again now, in whichever state it is."""
    from app.cli.actions import deliveries
    from app.cli.actions.webhooks import Access

    deliveries.retry(delivery, Access(url, api_key_file, as_json))


@app.command("replay")
def replay(
    webhook: Webhook,
    since: Annotated[str, typer.Option(metavar="TIME|EVENT", help=f"Start: {TIME}; or after an event (`evt_...`).")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End; now without it.")] = None,
    events: Events = None,
    everything: Annotated[bool, typer.Option("--all", help="Also events that were delivered already.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="End when all its events are scheduled; exit 1 if it was stopped.")
    ] = False,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send the events that a webhook missed since a time, in order."""
    from app.cli.actions import deliveries
    from app.cli.actions.webhooks import Access

    access = Access(url, api_key_file, as_json)
    deliveries.replay(
        webhook, since=since, until=until, types=split_types(events), everything=everything, wait=wait, access=access
    )


@app.command("listen")
def listen(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Receive deliveries on this port and verify them; 0 takes a free one."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to receive on.")] = "127.0.0.1",
    forward: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Post each event to this address, signed, such as http://127.0.0.1:9000."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Secret (`whsec_...`) or public key (`whpk_...`) to verify with, or secret to forward with."),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File that holds it instead.", exists=True, dir_okay=False)
    ] = None,
    answer: Annotated[
        int, typer.Option(min=200, max=599, help="Status of the answer to genuine deliveries, to test retries.")
    ] = 204,
    events: Events = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"Begin at a time instead of now: {TIME}.")] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: JsonLines = False,
) -> None:
    """Show events as they come, until Ctrl-C.

    With --port it is a receiver on this machine: it verifies deliveries and answers 401 to forged ones. Without --port it
    pulls the events with your API key, so the service need not reach this machine; with --forward it also posts each event
    to a receiver of yours, signed with a secret that it prints.
    """
    from app.cli.exit_codes import UsageProblem

    if secret is not None and secret_file is not None:
        raise UsageProblem("--secret and --secret-file exclude each other")
    if secret_file is not None:
        secret = _read(secret_file)
    if port is not None:
        from app.cli.actions.webhook_receiver import listen as receive

        if forward is not None or events or since is not None:
            raise UsageProblem("--forward, --events and --since cannot be used with --port, which receives deliveries")
        receive(host, port, secret, status=answer, as_json=as_json)
        return
    from app.cli.actions.webhook_forward import listen as pull

    if secret is not None and forward is None:
        raise UsageProblem("--secret: give --port or --forward too; pulled events are not signed")
    pull(
        forward=forward,
        secret=secret,
        since=since,
        types=split_types(events),
        as_json=as_json,
        url=url,
        api_key_file=api_key_file,
    )


def _read(path: Path) -> str:
    from app.cli.exit_codes import UsageProblem

    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"cannot read {path}") from error
