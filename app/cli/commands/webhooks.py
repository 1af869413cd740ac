"""`ksefd webhook` and `ksefd events`: being told, and looking up what was told."""

# Imports stand inside the commands: `ksefd --help` must not load the HTTP client.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app.cli.commands.invoices import ApiKeyFile, AsJson, Url

app = typer.Typer(
    no_args_is_help=True,
    help="Webhooks: where events are sent, what became of each delivery, and a receiver to try with. "
    "Reads KSEFD_URL and KSEFD_API_KEY.",
)


class Signing(StrEnum):
    """How deliveries are signed."""

    HMAC = "hmac"
    ED25519 = "ed25519"


class Ordering(StrEnum):
    """In which order a webhook is told."""

    NONE = "none"
    SESSION = "session"


class DeliveryState(StrEnum):
    """What became of a delivery."""

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
    int | None, typer.Option(min=1, help="Requests under way at this webhook at the same time, at most.")
]
_TIME = "2026-02-01T06:00 (Polish time unless it has an offset), or 90m, 2h, 7d ago"


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
    """Register a webhook and print it with its secret, which is shown this once, or its public key."""
    from app.cli.actions import webhooks

    wishes = webhooks.Wishes(
        url=address,
        events=_split(events),
        description=description,
        signing=signing.value if signing else None,
        headers=header or None,
        ordering=ordering.value if ordering else None,
        max_concurrency=max_concurrency,
    )
    webhooks.add(wishes, webhooks.Access(url, api_key_file, as_json))


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
    all_events: Annotated[bool, typer.Option("--all-events", help="Send every type, those of the future too.")] = False,
    description: Description = None,
    header: Headers = None,
    without_header: Annotated[
        list[str] | None, typer.Option("--without-header", metavar="NAME", help="Send this header no more.")
    ] = None,
    ordering: OrderingOption = None,
    max_concurrency: MaxConcurrency = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Change a webhook; what is not named stays."""
    from app.cli.actions import webhooks

    wishes = webhooks.Wishes(
        url=address,
        events=_split(events),
        description=description,
        headers=header or None,
        ordering=ordering.value if ordering else None,
        max_concurrency=max_concurrency,
    )
    access = webhooks.Access(url, api_key_file, as_json)
    webhooks.update(webhook, wishes, all_events=all_events, without=without_header or (), access=access)


@app.command("enable")
def enable(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Send to a webhook again that was disabled. What it missed comes with `ksefd webhook replay`."""
    from app.cli.actions import webhooks

    webhooks.switch(webhook, disabled=False, access=webhooks.Access(url, api_key_file, as_json))


@app.command("disable")
def disable(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Send nothing to a webhook until it is enabled again."""
    from app.cli.actions import webhooks

    webhooks.switch(webhook, disabled=True, access=webhooks.Access(url, api_key_file, as_json))


@app.command("remove")
def remove(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Delete a webhook with its keys; what it is still owed is not sent any more."""
    from app.cli.actions import webhooks

    webhooks.remove(webhook, webhooks.Access(url, api_key_file, as_json))


@app.command("rotate")
def rotate(
    webhook: Webhook,
    signing: Annotated[Signing | None, typer.Option(help="Change how deliveries are signed.")] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Give a webhook a new key and print it; the old one goes on signing beside it for 24 hours."""
    from app.cli.actions import webhooks

    webhooks.rotate(webhook, signing.value if signing else None, webhooks.Access(url, api_key_file, as_json))


@app.command("test")
def send_test(webhook: Webhook, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Have a test event sent to a webhook and show what its receiver answers. Exits 1 when it does not take it."""
    from app.cli.actions import webhooks

    webhooks.send_test(webhook, webhooks.Access(url, api_key_file, as_json))


@app.command("deliveries")
def deliveries(
    webhook: Webhook,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List what a webhook was sent, or is owed, those of the newest events first."""
    from app.cli.actions import webhooks

    access = webhooks.Access(url, api_key_file, as_json)
    webhooks.deliveries(webhook, state=state.value if state else None, limit=limit, access=access)


@app.command("delivery")
def delivery(delivery: Delivery, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Show one delivery with every attempt."""
    from app.cli.actions import webhooks

    webhooks.delivery(delivery, webhooks.Access(url, api_key_file, as_json))


@app.command("retry")
def retry(delivery: Delivery, url: Url = None, api_key_file: ApiKeyFile = None, as_json: AsJson = False) -> None:
    """Try a delivery again now, whatever became of it before."""
    from app.cli.actions import webhooks

    webhooks.retry(delivery, webhooks.Access(url, api_key_file, as_json))


@app.command("replay")
def replay(
    webhook: Webhook,
    since: Annotated[
        str, typer.Option(metavar="TIME|EVENT", help=f"From when: {_TIME}; or after an event (`evt_...`).")
    ],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Up to when; the present without it.")] = None,
    events: Events = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was delivered already.")] = False,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Have everything sent that a webhook missed since a time, in order."""
    from app.cli.actions import webhooks

    access = webhooks.Access(url, api_key_file, as_json)
    webhooks.replay(webhook, since=since, until=until, types=_split(events), everything=everything, access=access)


@app.command("listen")
def listen(
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Receive deliveries on this port and verify them; 0 takes a free one."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to receive on.")] = "127.0.0.1",
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Post each event to this address, signed, such as http://127.0.0.1:9000/hook."
        ),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="Secret (`whsec_...`) or public key (`whpk_...`) to verify with, or secret to forward with."),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="File that holds it instead.", exists=True, dir_okay=False)
    ] = None,
    answer: Annotated[
        int, typer.Option(min=200, max=599, help="Status to answer what is genuine with, to try retries.")
    ] = 204,
    events: Events = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help=f"Begin at a time instead of now: {_TIME}.")] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON an event.")] = False,
) -> None:
    """Show events as they come, until Ctrl-C.

    With --port it is a receiver on this machine: it verifies what is delivered there and answers 401 to what is forged.
    Without, it pulls the events with your API key, so nothing need reach this machine, and with --forward posts each to
    a receiver of yours, signed with a secret that it prints.
    """
    from app.cli.exit_codes import UsageProblem

    if secret is not None and secret_file is not None:
        raise UsageProblem("--secret and --secret-file exclude each other")
    if secret_file is not None:
        secret = _read(secret_file)
    if port is not None:
        from app.cli.actions.webhook_receiver import listen as receive

        if forward is not None or events or since is not None:
            raise UsageProblem("--port receives what is sent to it; --forward, --events and --since belong to pulling")
        receive(host, port, secret, status=answer, as_json=as_json)
        return
    from app.cli.actions.webhook_forward import listen as pull

    if secret is not None and forward is None:
        raise UsageProblem("--secret: give --port to receive, or --forward; what is pulled needs no verifying")
    pull(
        forward=forward,
        secret=secret,
        since=since,
        types=_split(events),
        as_json=as_json,
        url=url,
        api_key_file=api_key_file,
    )


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"From when: {_TIME}. A day without it; with --follow now.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="EVENT", help="Go on after this event (`evt_...`).")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--types", metavar="TYPE", help="Only these; repeated or separated by commas.")
    ] = None,
    url: Url = None,
    api_key_file: ApiKeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON an event.")] = False,
) -> None:
    """Print events, oldest first: what webhooks are told, and what was missed. Reads KSEFD_URL and KSEFD_API_KEY."""
    from app.cli.actions.event_pull import show_events

    show_events(
        follow=follow,
        since=since,
        cursor=after,
        types=_split(types),
        as_json=as_json,
        url=url,
        api_key_file=api_key_file,
    )


def _split(given: list[str] | None) -> list[str] | None:
    names = [name.strip() for item in given or () for name in item.split(",") if name.strip()]
    return names or None


def _read(path: Path) -> str:
    from app.cli.exit_codes import UsageProblem

    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageProblem(f"cannot read {path}") from error
