"""What docs/webhooks.md promises is what the code does; its examples are run as they stand."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from app.api.routes.deliveries import AttemptInfo
from app.store.events.endpoints import DEFAULT_CONCURRENCY, MAX_CONCURRENCY
from app.store.events.outbox import EventType
from app.webhooks.addresses import AddressRules, checked_url
from app.webhooks.backoff import DISABLE_AFTER, JITTER, MAX_ATTEMPTS, MAX_RETRY_AFTER, SCHEDULE
from app.webhooks.delivery import DEADLINE_SECONDS, MAX_ANSWER_BYTES, Outcome
from app.webhooks.network import CONNECT_SECONDS
from app.webhooks.pace import FAILURES_BEFORE_A_PAUSE, LONGEST_PAUSE
from app.webhooks.signing import ROTATION_OVERLAP, SigningSecret, signed_headers

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
SECRET = SigningSecret(bytes(range(32)))
BODY = '{"id":"evt_1","data":{"nazwa":"Zażółć\\n"}}'.encode()


def _section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _rows(section: str) -> list[list[str]]:
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not row[0].strip().startswith("-")]


def _code(language: str, section: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found.group(1)


def _words(wait: timedelta) -> str:
    for unit, seconds in (("hours", 3600), ("minutes", 60), ("seconds", 1)):
        if wait.total_seconds() % seconds == 0:
            return f"{int(wait.total_seconds() // seconds)} {unit}"
    raise AssertionError(wait)


def test_the_table_of_waits_is_the_schedule() -> None:
    rows = [row for row in _rows(_section("Retries")) if row[0].isdigit()]
    expected = [[str(number), _words(wait)] for number, wait in enumerate(SCHEDULE, 1)]
    assert rows == [*expected, [str(MAX_ATTEMPTS), "never: the delivery is `failed`"]]


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    assert f"{JITTER:.0%}".replace("%", " %") in _section("Retries")
    assert f"for {DISABLE_AFTER.days} days" in _section("Retries")
    assert f"at most {DEFAULT_CONCURRENCY} attempts" in _section("Retries")
    assert f"up to {MAX_CONCURRENCY}" in _section("Retries")
    assert f"{FAILURES_BEFORE_A_PAUSE} failures in a row" in _section("Retries")
    assert f"up to {LONGEST_PAUSE.seconds} seconds" in _section("Retries")
    assert f"up to {_words(MAX_RETRY_AFTER)}" in _section("Answer")
    assert f"has {DEADLINE_SECONDS:.0f} seconds, of which {CONNECT_SECONDS:.0f}" in _section("Answer")
    assert f"first {MAX_ANSWER_BYTES // 1024} KB" in _section("Answer")
    assert f"For {_words(ROTATION_OVERLAP)} both sign" in _section("Change the secret")


def test_every_event_and_outcome_is_explained() -> None:
    named = {row[0].strip("`") for row in _rows(_section("What arrives"))}
    assert {event_type.value for event_type in EventType} <= named
    outcomes = {row[0].strip("`") for row in _rows(_section("Retries"))}
    described = AttemptInfo.model_fields["outcome"].description or ""
    for outcome in Outcome:
        assert outcome.value in outcomes
        assert f"`{outcome.value}`" in described


def test_the_address_of_the_example_could_be_registered() -> None:
    found = re.search(r'"url": "([^"]+)"', _section("Register"))
    assert found is not None
    checked_url(found.group(1), AddressRules())


def test_the_python_example_tells_genuine_from_forged() -> None:
    namespace: dict[str, Any] = {}
    exec(_code("python", _section("Verify")), namespace)
    headers = signed_headers([SECRET], message_id="evt_1", body=BODY, now=datetime.now(UTC))
    assert namespace["receive"](SECRET.text, headers, BODY)["id"] == "evt_1"
    with pytest.raises(WebhookVerificationError):
        namespace["receive"](SECRET.text, headers, BODY + b" ")


@pytest.mark.skipif(shutil.which("openssl") is None or shutil.which("od") is None, reason="needs openssl and od")
@pytest.mark.parametrize(
    ("tampered", "other_key", "verdict"),
    [(False, False, "genuine"), (True, False, "forged"), (False, True, "forged")],
)
def test_the_shell_example_tells_genuine_from_forged(
    tmp_path: Path, tampered: bool, other_key: bool, verdict: str
) -> None:
    # During a rotation: the secret of this receiver is the second one.
    headers = signed_headers([SigningSecret(b"n" * 32), SECRET], message_id="evt_1", body=BODY, now=datetime.now(UTC))
    body = tmp_path / "body.json"
    body.write_bytes(BODY.replace(b"evt_1", b"evt_2") if tampered else BODY)
    run = subprocess.run(
        ["sh", "-c", _code("sh", _section("Verify"))],
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "ID": headers["webhook-id"],
            "TIMESTAMP": headers["webhook-timestamp"],
            "SIGNATURE": headers["webhook-signature"],
            "SECRET": SigningSecret(b"x" * 32).text if other_key else SECRET.text,
            "BODY": str(body),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert run.stdout.strip() == verdict, run.stderr
    assert run.returncode == (0 if verdict == "genuine" else 1)
