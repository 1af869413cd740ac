"""`ksefd audit`: what commands leave there, and the check of the chain."""

import getpass
import json
import socket
from typing import Any

import psycopg
import pytest

from app.cli.exit_codes import DENIED, INTERRUPTED, OK, REFUSED, USAGE
from app.settings import Settings
from app.store.store import open_store
from tests.app.cli.conftest import Ksefd

NIP, OTHER = "5265877635", "5213814999"


def acts(on_database: Ksefd, *options: str) -> list[dict[str, Any]]:
    ran = on_database("audit", "--json", *options)
    assert ran.code == OK
    return [json.loads(line) for line in ran.out.splitlines()]


@pytest.fixture
def used(on_database: Ksefd) -> Ksefd:
    """A database on which an operator has done one of everything."""
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    on_database("tenant", "add", OTHER, "--name", "Inna", "--self-signed")
    key = on_database("key", "create", NIP, "--label", "erp", "--json").json["key"]
    on_database("key", "revoke", NIP, key)
    on_database("tenant", "late", NIP, "hold")
    on_database("tenant", "disable", OTHER)
    on_database("tenant", "enable", OTHER)
    on_database("outage", "set", "away", "--until", "2099-01-01T00:00", "--reason", "works")
    on_database("outage", "clear")
    return on_database


def test_each_act_of_an_operator_is_there_with_who_did_it(used: Ksefd) -> None:
    found = acts(used)
    assert [(act["act"], act["nip"]) for act in found] == [
        ("tenant.added", NIP), ("key.created", NIP), ("tenant.added", OTHER), ("key.created", OTHER),
        ("key.created", NIP), ("key.revoked", NIP), ("tenant.late-invoices-set", NIP),
        ("tenant.disabled", OTHER), ("tenant.enabled", OTHER), ("outage.ordered", None), ("outage.cleared", None),
    ]  # fmt: skip
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    assert {(act["actor"]["kind"], act["actor"]["name"]) for act in found} == {("cli", who)}
    assert found[4]["object"] == found[5]["object"]
    assert found[4]["details"] == {"label": "erp"}
    assert [act["number"] for act in found] == list(range(1, 12))


def test_acts_are_chosen_by_tenant_and_time(used: Ksefd) -> None:
    assert {act["nip"] for act in acts(used, "--tenant", OTHER)} == {OTHER}
    assert acts(used, "--since", "2099-01-01") == []
    assert len(acts(used, "--since", "1h")) == 11
    assert used("audit", "--tenant", "1111111111").code == DENIED


def test_lines_for_people_name_act_tenant_and_details(used: Ksefd) -> None:
    ran = used("audit")
    assert ran.code == OK
    assert len(ran.out.splitlines()) == 11
    assert "outage.ordered" in ran.out
    assert "reason=works" in ran.out


def test_no_secret_is_in_the_audit(used: Ksefd) -> None:
    created = used("key", "create", NIP, "--label", "second", "--json").json["api_key"]
    assert created.rpartition("_")[2] not in used("audit", "--json").out
    assert "PRIVATE KEY" not in used("audit", "--json").out


def test_a_whole_chain_is_confirmed(used: Ksefd) -> None:
    ran = used("audit", "--verify", "--json")
    assert ran.code == OK
    assert ran.json["valid"] is True
    assert ran.json["rows"] == 11
    assert ran.json["newest_hash"] == acts(used)[-1]["hash"]
    assert "11 rows fit" in used("audit", "--verify").out


def test_a_changed_row_is_named_with_exit_code_1(used: Ksefd, settings: Settings) -> None:
    with psycopg.connect(settings.database_url or "") as connection:
        connection.execute("ALTER TABLE audit_rows DISABLE TRIGGER audit_rows_stay")
        connection.execute("UPDATE audit_rows SET actor = 'somebody@else' WHERE number = 6")
        connection.execute("ALTER TABLE audit_rows ENABLE TRIGGER audit_rows_stay")
    ran = used("audit", "--verify", "--json")
    assert ran.code == REFUSED
    assert ran.json["first_fault"]["number"] == 6
    assert "row 6 was changed" in used("audit", "--verify").err


def test_an_act_that_comes_later_is_printed_by_follow(
    used: Ksefd, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 1:
            raise KeyboardInterrupt
        async with open_store(settings) as store:
            await store.tenants.enable((await store.tenants.by_nip(OTHER)).id)

    monkeypatch.setattr("app.cli.actions.audit.anyio.sleep", pause)
    ran = used("audit", "--follow", "--json")
    assert ran.code == INTERRUPTED
    assert [ran.json["act"], ran.json["number"]] == ["tenant.enabled", 12]


def test_a_part_of_the_chain_cannot_be_checked(used: Ksefd) -> None:
    assert used("audit", "--verify", "--tenant", NIP).code == USAGE
