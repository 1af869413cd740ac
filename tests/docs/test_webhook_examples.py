"""The examples of docs/webhooks.md are run as they stand, against deliveries signed as workers sign them."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.api.event_watcher import MAX_WAITING_OF_A_TENANT, POLL_SECONDS
from app.api.http.sse import HEARTBEAT_SECONDS, STUCK_SECONDS
from app.api.routes.events import MAX_WAIT_SECONDS, EventPage
from app.cli.actions.webhook_receiver import ReceivedDelivery, Receiver
from app.cli.actions.webhook_verify import Verifier
from app.webhooks.signing import SigningSecret, signed_headers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")
SECRET = SigningSecret(bytes(range(32)))
OTHER = SigningSecret(b"n" * 32)
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC_KEY = "whpk_" + base64.b64encode(PRIVATE.public_key().public_bytes_raw()).decode()
BODY = '{"id":"evt_1","data":{"nazwa":"Zażółć\\n"}}'.encode()

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None or shutil.which("od") is None, reason="needs openssl and od"
)


def _example(language: str, words: str) -> str:
    """Give the example in a language that has these words."""
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if words in code]
    return str(found)


def _delivery(*, age: timedelta = timedelta(0)) -> dict[str, str]:
    """The headers of a delivery in the middle of a rotation, and of a change of kind: three signatures, two of them ours."""
    now = datetime.now(UTC) - age
    headers = signed_headers([OTHER, SECRET], message_id="evt_1", body=BODY, now=now)
    signature = PRIVATE.sign(f"evt_1.{headers['webhook-timestamp']}.".encode() + BODY)
    headers["webhook-signature"] += " v1a," + base64.b64encode(signature).decode()
    return headers


STRANGER = "whsec_" + base64.b64encode(b"x" * 32).decode()
STRANGE_PUBLIC_KEY = (
    "whpk_" + base64.b64encode(Ed25519PrivateKey.from_private_bytes(b"x" * 32).public_key().public_bytes_raw()).decode()
)
OLD, AHEAD = timedelta(minutes=6), timedelta(minutes=-6)

# Key, age of the delivery, the body as it arrives, and whether it is to be believed.
CASES = [
    (SECRET.text, timedelta(0), BODY, True),
    (PUBLIC_KEY, timedelta(0), BODY, True),
    (SECRET.text, timedelta(0), BODY + b" ", False),
    (PUBLIC_KEY, timedelta(0), BODY.replace(b"evt_1", b"evt_2"), False),
    (STRANGER, timedelta(0), BODY, False),
    (STRANGE_PUBLIC_KEY, timedelta(0), BODY, False),
    (SECRET.text, OLD, BODY, False),
    (PUBLIC_KEY, OLD, BODY, False),
    (SECRET.text, AHEAD, BODY, False),
    (PUBLIC_KEY, AHEAD, BODY, False),
]


def test_python_with_a_public_key() -> None:
    namespace: dict[str, Any] = {}
    exec(_example("python", "Ed25519PublicKey"), namespace)
    for key, age, body, genuine in CASES:
        if key.startswith("whpk_"):
            assert namespace["is_genuine"](key, _delivery(age=age), body) is genuine
    damaged = _delivery() | {"webhook-signature": "v1a,? v1a, v1a,AAAA v2,x"}
    assert namespace["is_genuine"](PUBLIC_KEY, damaged, BODY) is False


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("javac") is None or shutil.which("java") is None, reason="needs a JDK")
def test_java_compiled_and_run(tmp_path: Path) -> None:
    (tmp_path / "WebhookVerifier.java").write_text(_example("java", "WebhookVerifier"), encoding="utf-8")
    (tmp_path / "Main.java").write_text(
        """
        import java.nio.file.*;
        public final class Main {
            public static void main(String[] arguments) throws Exception {
                for (String line : Files.readAllLines(Path.of(arguments[0]))) {
                    String[] f = line.split("\\t", -1);
                    byte[] body = java.util.Base64.getDecoder().decode(f[4]);
                    System.out.println(WebhookVerifier.isGenuine(f[0], f[1], f[2], f[3], body));
                }
            }
        }
        """,
        encoding="utf-8",
    )
    lines = []
    for key, age, body, _ in CASES:
        headers = _delivery(age=age)
        fields = [key, *(headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))]
        lines.append("\t".join([*fields, base64.b64encode(body).decode()]))
    damaged = ["evt_1", _delivery()["webhook-timestamp"], "v1,? v1 v1a,AAAA  ,", base64.b64encode(BODY).decode()]
    lines += ["\t".join([key, *damaged]) for key in (SECRET.text, PUBLIC_KEY)]
    (tmp_path / "cases.tsv").write_text("\n".join(lines), encoding="utf-8")
    quick = ["-J-XX:TieredStopAtLevel=1", "-J-Xshare:auto"]
    compiled = subprocess.run(
        ["javac", *quick, "-Xlint:all", "-Werror", "-d", ".", "WebhookVerifier.java", "Main.java"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert compiled.returncode == 0, compiled.stderr
    run = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", ".", "Main", "cases.tsv"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    expected = [genuine for _, _, _, genuine in CASES] + [False, False]
    assert run.stdout.split() == [str(genuine).lower() for genuine in expected]


@needs_openssl
def test_shell_with_a_secret_and_with_a_public_key(tmp_path: Path) -> None:
    for number, (key, age, body, genuine) in enumerate(CASES):
        headers = _delivery(age=age)
        file = tmp_path / f"body-{number}"
        file.write_bytes(body)
        has_secret = key.startswith("whsec_")
        run = subprocess.run(
            ["sh", "-c", _example("sh", 'case " $SIGNATURE "' if has_secret else "pkeyutl")],
            env={
                "PATH": os.environ["PATH"],
                "ID": headers["webhook-id"],
                "TIMESTAMP": headers["webhook-timestamp"],
                "SIGNATURE": headers["webhook-signature"],
                "SECRET" if has_secret else "PUBLIC_KEY": key,
                "BODY": str(file),
            },
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        fits = body == BODY and key in {SECRET.text, PUBLIC_KEY}
        words = "genuine" if genuine else "old" if fits else "forged"
        assert (run.stdout.strip(), run.returncode) == (words, 0 if genuine else 1), run.stderr


@needs_openssl
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_delivery_made_with_curl_is_genuine() -> None:
    heard: list[ReceivedDelivery] = []
    with Receiver(("127.0.0.1", 0), Verifier(SECRET.text), heard.append) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            run = subprocess.run(
                ["sh", "-c", _example("sh", "$RECEIVER")],
                env={
                    "PATH": os.environ["PATH"],
                    "SECRET": SECRET.text,
                    "RECEIVER": f"http://127.0.0.1:{receiver.server_port}/",
                    "no_proxy": "*",
                },
                capture_output=True, text=True, timeout=20, check=False,
            )  # fmt: skip
        finally:
            receiver.shutdown()
            thread.join(10)
    assert run.stdout.strip() == "204", run.stderr
    assert [one.verdict.genuine for one in heard] == [True]


def test_the_loop_that_waits_goes_on_from_the_cursor_of_each_page(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, list[str]]] = []
    pages = [
        {"items": [{"id": "evt_2"}], "next": "evt_2", "cursor": "evt_2"},
        {"items": [], "next": None, "cursor": "evt_5"},
        {"items": [{"id": "evt_6"}, {"id": "evt_7"}], "next": None, "cursor": "evt_7"},
    ]

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "Bearer k"
            asked.append(parse_qs(urlsplit(self.path).query))
            body = json.dumps(pages[len(asked) - 1]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    namespace: dict[str, Any] = {}
    exec(_example("python", "def follow"), namespace)
    with HTTPServer(("127.0.0.1", 0), Service) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            monkeypatch.setenv("KSEFD_URL", f"http://127.0.0.1:{service.server_port}")
            monkeypatch.setenv("KSEFD_API_KEY", "k")
            monkeypatch.setenv("no_proxy", "*")
            events = namespace["follow"]("evt_1")
            assert [event["id"] for event in islice(events, 3)] == ["evt_2", "evt_6", "evt_7"]
            events.close()
        finally:
            service.shutdown()
            thread.join(10)
    assert asked == [{"cursor": [cursor], "wait": ["50"]} for cursor in ("evt_1", "evt_2", "evt_5")]


def test_the_numbers_of_pulling_are_those_of_the_code() -> None:
    pull = PAGE.split("\n## Pull\n")[1]
    assert f"up to {MAX_WAIT_SECONDS} seconds" in pull
    assert f"may have {MAX_WAITING_OF_A_TENANT} requests" in pull
    assert f"comment every {HEARTBEAT_SECONDS:.0f} seconds" in pull
    assert f"reads nothing for {STUCK_SECONDS:.0f} seconds" in pull
    assert POLL_SECONDS == 0.5
    assert "at most half a second" in pull
    assert set(EventPage.model_fields) == {"items", "next", "cursor"}
    fields = {row.split("`")[1] for row in pull.splitlines() if row.startswith("| `")}
    assert fields == set(EventPage.model_fields)


@pytest.mark.slow
def test_every_option_that_the_page_names_is_one(tmp_path: Path) -> None:
    named = set(re.findall(r"ksefd (webhook \w+|events)", PAGE))
    assert {"webhook add", "webhook test", "webhook listen", "webhook replay", "events"} <= named
    for command in named:
        options = set(re.findall(rf"ksefd {command}[^`\n]*", PAGE))
        words = {word for use in options for word in re.findall(r"--[a-z-]+", use)}
        shown = subprocess.run(
            [sys.executable, "-m", "app.cli.main", *command.split(), "--help"],
            env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        assert words <= set(re.findall(r"--[a-z-]+", shown.stdout)), command
