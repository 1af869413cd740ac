"""Webhooks from the command line against the whole service: real commands, real deliveries, real answers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

from tests.support.ports import reserved_port
from tests.support.service_process import ApiClient, ServiceHandle

ROOT = Path(__file__).resolve().parents[2]
NIP = "9512120039"


def _environment(client: ApiClient, service: ServiceHandle) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KSEFD_")}
    return kept | {"KSEFD_URL": service.base_url, "KSEFD_API_KEY": client.api_key, "PYTHONUNBUFFERED": "1"}


class Commands:
    """Runs `ksefd ...` as its tenant would."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def run(self, *arguments: str, code: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.main", *arguments, "--json"],
            cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{done.returncode}: {done.stderr}{done.stdout}"
        return (
            [json.loads(line) for line in done.stdout.splitlines()]
            if arguments[0] == "events"
            else json.loads(done.stdout)
        )

    @contextmanager
    def listening(self, *arguments: str) -> Iterator["Queue[dict[str, Any]]"]:
        """Run `ksefd webhook listen` and give what it prints."""
        heard: Queue[dict[str, Any]] = Queue()
        with subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "webhook", "listen", *arguments, "--json"],
            cwd=ROOT, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            stdout = process.stdout
            assert "Ctrl-C" in process.stderr.readline()

            def read() -> None:
                for line in stdout:
                    heard.put(json.loads(line))

            reader = Thread(target=read)
            reader.start()
            try:
                yield heard
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == 130
            finally:
                process.kill()
                reader.join(10)


def test_a_webhook_is_added_tried_rotated_replayed_and_removed_by_commands(calm_service: ServiceHandle) -> None:
    client = calm_service.add_tenant(NIP)
    ksefd = Commands(_environment(client, calm_service))
    with reserved_port() as port, reserved_port() as other_port:
        address = f"http://127.0.0.1:{port}/hook"
        made = ksefd.run("webhook", "add", address, "--header", "X-Mine: hidden", "--ordering", "session")
        webhook = made["id"]
        assert made["headers"] == {"X-Mine": "***"}
        with ksefd.listening("--port", str(port), "--secret", made["secret"]) as heard:
            tried = ksefd.run("webhook", "test", webhook)
            first = heard.get(timeout=20)
            assert (first["genuine"], first["answered"], first["event"]["type"]) == (True, 204, "webhook.test")
            assert tried["state"] == "succeeded"
            assert tried["event"] == first["event"]["id"]
        stranger = "whsec_" + "A" * 43 + "="
        with ksefd.listening("--port", str(port), "--secret", stranger) as heard:
            refused = ksefd.run("webhook", "test", webhook, code=1)
            assert heard.get(timeout=20)["genuine"] is False
            assert refused["attempts"][0]["status"] == 401
        turned = ksefd.run("webhook", "rotate", webhook, "--signing", "ed25519")
        with ksefd.listening("--port", str(port), "--secret", turned["public_key"]) as heard:
            assert ksefd.run("webhook", "retry", refused["id"])["id"] == refused["id"]
            again = heard.get(timeout=20)
            assert (again["genuine"], again["event"]["id"]) == (True, refused["event"])
            # Nobody knows a form by this name, so the upload is complete as soon as it is read.
            client.upload(b'{"name": "a.xml", "xml": "<a/>"}\n', content_type="application/x-ndjson")
            completed = heard.get(timeout=60)["event"]
            assert completed["type"] == "upload.completed"
            begun = ksefd.run("webhook", "replay", webhook, "--since", "1h", "--all")
            assert begun["events"] == 1, "test events are not replayed"
            replayed = heard.get(timeout=60)
            assert (replayed["event"], replayed["repeated"]) == (completed, True)
        told = [event["id"] for event in ksefd.run("events", "--since", "1h")]
        assert told == [first["event"]["id"], refused["event"], completed["id"]]
        assert [one["event"] for one in ksefd.run("webhook", "deliveries", webhook)["deliveries"]] == told[::-1]

        # A receiver that the service cannot reach gets the same events by pulling.
        secret = "whsec_" + "B" * 43 + "="
        with (
            ksefd.listening("--port", str(other_port), "--secret", secret) as forwarded,
            ksefd.listening(
                "--forward", f"http://127.0.0.1:{other_port}/", "--secret", secret, "--since", "1h"
            ) as pulled,
        ):
            assert [pulled.get(timeout=20)["forwarded"]["status"] for _ in told] == [204, 204, 204]
            assert [forwarded.get(timeout=20)["event"]["id"] for _ in told] == told
            third = ksefd.run("webhook", "test", webhook, code=1)
            one = forwarded.get(timeout=20)
            assert (one["event"]["id"], one["genuine"], one["repeated"]) == (third["event"], True, False)

        changed = ksefd.run("webhook", "update", webhook, "--header", "X-More: 1", "--events", "upo.available")
        assert changed["headers"] == {"X-Mine": "***", "X-More": "***"}
        assert ksefd.run("webhook", "disable", webhook)["disabled_reason"] == "asked"
        assert ksefd.run("webhook", "enable", webhook)["disabled_at"] is None
        assert [one["id"] for one in ksefd.run("webhook", "list")["webhooks"]] == [webhook]
        ksefd.run("webhook", "remove", webhook)
        assert ksefd.run("webhook", "list")["webhooks"] == []
