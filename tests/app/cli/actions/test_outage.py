"""`ksefd outage`: an operator's order, shown, bounded and taken back."""

from datetime import UTC, datetime, timedelta

import pytest

from app.cli.exit_codes import OK, USAGE
from tests.app.cli.conftest import Ksefd


def test_without_an_order_ksefs_own_answers_decide(on_database: Ksefd) -> None:
    ran = on_database("outage", "show", "--json")
    assert ran.code == OK
    assert ran.json == {
        "state": "available",
        "since": None,
        "reason": None,
        "ordered": False,
        "latarnia": None,
        "ksef_url": "https://api-test.ksef.mf.gov.pl/v2",
        "until": None,
    }
    assert "KSeF's own answers" in on_database("outage", "show").out


def test_an_order_is_kept_for_all_and_taken_back(on_database: Ksefd) -> None:
    end = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    ran = on_database("outage", "set", "away", "--until", end.isoformat(), "--reason", "announced work", "--json")
    assert (ran.code, ran.json["state"], ran.json["ordered"]) == (OK, "away", True)
    shown = on_database("outage", "show", "--json").json
    assert (shown["state"], shown["reason"], datetime.fromisoformat(shown["until"])) == ("away", "announced work", end)
    out = on_database("outage", "show").out
    assert "announced work" in out
    assert "an operator's order" in out
    assert on_database("outage", "clear", "--json").json["state"] == "available"
    assert on_database("outage", "show", "--json").json["ordered"] is False


def test_a_time_without_an_offset_is_polish(on_database: Ksefd) -> None:
    ran = on_database("outage", "set", "available", "--until", "2100-07-01T06:00", "--json")
    assert ran.json["until"] == "2100-07-01T04:00:00+00:00"


@pytest.mark.parametrize(("until", "why"), [("tomorrow", "not a time"), ("2020-01-01T00:00", "this time has passed")])
def test_an_unreadable_or_past_time_is_refused(ksefd: Ksefd, until: str, why: str) -> None:
    ran = ksefd("outage", "set", "away", "--until", until)
    assert ran.code == USAGE
    assert why in ran.err
