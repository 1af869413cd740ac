"""Tenants and keys, on a real database."""

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from psycopg import sql

from app.cli.actions.accounts import in_store
from app.cli.exit_codes import DENIED, OK, REFUSED, UNREACHABLE, USAGE
from app.ksef.login.certificates import load_certificate, self_signed_seal
from app.settings import Settings
from app.store.store import Store
from tests.app.cli.conftest import Ksefd
from tests.support.database import database_url
from tests.support.sandbox_process import running_sandbox

NIP = "5265877635"
WRONG_CHECK_DIGIT = "5265877634"


def stored_credential(settings: Settings, nip: str = NIP) -> tuple[str, dict[str, str]]:
    async def work(store: Store) -> tuple[str, dict[str, str]]:
        return await store.tenants.credential((await store.tenants.by_nip(nip)).id)

    return in_store(settings, work)


def test_a_new_tenant_comes_with_a_key_that_works(on_database: Ksefd, settings: Settings) -> None:
    ran = on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed", "--json")
    assert ran.code == OK
    assert set(ran.json) == {"tenant", "nip", "api_key"}
    assert ran.json["nip"] == NIP

    async def work(store: Store) -> str:
        (tenant,) = await store.tenants.authenticate([ran.json["api_key"]], now=datetime.now(UTC))
        return tenant.public_id if tenant is not None else ""

    assert in_store(settings, work) == ran.json["tenant"]


def test_a_self_signed_credential_is_a_certificate_with_its_key(on_database: Ksefd, settings: Settings) -> None:
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    kind, parts = stored_credential(settings)
    assert kind == "self_signed"
    identity = load_certificate(parts["certificate"].encode(), parts["key"].encode())
    assert f"VATPL-{NIP}" in identity.certificate.subject.rfc4514_string()


@pytest.mark.parametrize("form", ["pem", "pem-encrypted", "pkcs12"])
def test_a_certificate_is_stored_in_one_form_however_it_comes(
    on_database: Ksefd, settings: Settings, tmp_path: Path, form: str
) -> None:
    certificate, key = self_signed_seal(NIP, "Firma", now=datetime.now(UTC))
    private = load_pem_private_key(key, None)
    arguments = ["--certificate", str(tmp_path / "cert")]
    (tmp_path / "password").write_text("tajne hasło\n")
    sealed = BestAvailableEncryption("tajne hasło".encode())
    if form == "pkcs12":
        packed = pkcs12.serialize_key_and_certificates(
            b"x",
            private,  # type: ignore[arg-type]  # an RSA key, which the function takes
            load_pem_x509_certificate(certificate),
            None,
            sealed,
        )
        (tmp_path / "cert").write_bytes(packed)
        arguments += ["--password-file", str(tmp_path / "password")]
    else:
        (tmp_path / "cert").write_bytes(certificate)
        arguments += ["--key", str(tmp_path / "key")]
        (tmp_path / "key").write_bytes(key)
        if form == "pem-encrypted":
            (tmp_path / "key").write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealed))
            arguments += ["--password-file", str(tmp_path / "password")]
    ran = on_database("tenant", "add", NIP, "--name", "Firma", *arguments)
    assert ran.code == OK, ran.err
    assert stored_credential(settings) == ("certificate", {"certificate": certificate.decode(), "key": key.decode()})


def test_a_ksef_token_is_taken_without_the_blanks_around_it(
    on_database: Ksefd, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("  20261122-EC-ABC|nip-5265877635|deadbeef \n")
    ran = on_database("tenant", "add", NIP, "--name", "Firma", "--ksef-token-file", str(tmp_path / "token"))
    assert ran.code == OK, ran.err
    assert stored_credential(settings) == ("ksef_token", {"token": "20261122-EC-ABC|nip-5265877635|deadbeef"})


def test_no_secret_lies_open_in_the_database(on_database: Ksefd, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("very-secret-token")
    ran = on_database("tenant", "add", NIP, "--name", "Firma", "--ksef-token-file", str(tmp_path / "token"), "--json")
    secret = ran.json["api_key"].rpartition("_")[2]
    with psycopg.connect(settings.database_url or "") as connection:
        for table in ("tenants", "api_keys"):
            query = sql.SQL("SELECT t::text, t.* FROM {} t").format(sql.Identifier(table))
            rows = connection.execute(query).fetchall()
            text = repr(rows)
            assert rows
            assert "very-secret-token" not in text
            assert secret not in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--self-signed", "--ksef-token-file", "FILE"],
        ["--self-signed", "--key", "FILE"],
        ["--ksef-token-file", "EMPTY"],
        ["--certificate", "FILE"],
        ["--certificate", "EXPIRED"],
        ["--ksef-token-file", "MISSING"],
    ],
)
def test_a_credential_that_cannot_be_used_adds_nobody(on_database: Ksefd, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "FILE").write_text("not a certificate")
    (tmp_path / "EMPTY").write_text("\n")
    certificate, key = self_signed_seal(NIP, "Firma", now=datetime.now(UTC) - timedelta(days=800))
    (tmp_path / "EXPIRED").write_bytes(certificate + key)
    given = [str(tmp_path / one) if one.isupper() else one for one in arguments]
    ran = on_database("tenant", "add", NIP, "--name", "Firma", *given)
    assert ran.code == USAGE
    assert "Traceback" not in ran.err
    assert on_database("tenant", "list", "--json").json == []


@pytest.mark.parametrize("environment", ["demo", "production"])
def test_only_the_test_environment_takes_self_signed_certificates(on_database: Ksefd, environment: str) -> None:
    ran = on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed", ksef_env=environment)
    assert ran.code == USAGE
    assert "self-signed" in ran.err


@pytest.mark.parametrize("nip", ["123", "0265877635", "526587763X", "526-587-76-35", "1006877635"])
def test_what_does_not_look_like_a_nip_is_refused(on_database: Ksefd, nip: str) -> None:
    ran = on_database("tenant", "add", nip, "--name", "Firma", "--self-signed")
    assert ran.code == USAGE
    assert "is not a NIP" in ran.err


def test_a_wrong_check_digit_warns_in_test_and_is_refused_in_production(on_database: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token")
    arguments = ["tenant", "add", WRONG_CHECK_DIGIT, "--name", "Firma", "--ksef-token-file", str(tmp_path / "token")]
    assert on_database(*arguments, ksef_env="production").code == USAGE
    ran = on_database(*arguments)
    assert ran.code == OK
    assert "check digit" in ran.err


def test_the_same_nip_twice_is_a_conflict(on_database: Ksefd) -> None:
    add = ("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    assert on_database(*add).code == OK
    assert on_database(*add).code == DENIED


def test_a_tenant_can_be_listed_shown_and_disabled(on_database: Ksefd) -> None:
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed", "--compression", "targz")
    (listed,) = on_database("tenant", "list", "--json").json
    shown = on_database("tenant", "show", NIP, "--json").json
    assert listed["compression"] == "targz"
    assert shown["keys"][0]["label"] == "first"
    assert shown["certificate_valid_until"] > datetime.now(UTC).isoformat()
    assert on_database("tenant", "disable", NIP, "--json").json["disabled_at"] is not None
    assert on_database("tenant", "enable", NIP, "--json").json["disabled_at"] is None
    assert "Firma" in on_database("tenant", "list").out
    assert on_database("tenant", "show", "1111111111").code == DENIED


def test_a_tenant_chooses_what_becomes_of_late_invoices(on_database: Ksefd) -> None:
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    assert on_database("tenant", "show", NIP, "--json").json["late_invoices"] == "send"
    assert on_database("tenant", "late", NIP, "hold", "--json").json["late_invoices"] == "hold"
    assert "wait for your decision" in on_database("tenant", "late", NIP, "hold").out
    assert "offline" in on_database("tenant", "late", NIP, "send").out
    assert on_database("tenant", "late", NIP, "later").code == USAGE
    assert on_database("tenant", "late", "1111111111", "hold").code == DENIED


def test_a_revoked_key_stays_listed_as_revoked(on_database: Ksefd) -> None:
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    made = on_database("key", "create", NIP, "--label", "erp", "--json").json
    assert on_database("key", "revoke", NIP, made["key"]).code == OK
    listed = {one["label"]: one for one in on_database("key", "list", NIP, "--json").json}
    assert listed["erp"]["revoked_at"] is not None
    assert listed["first"]["revoked_at"] is None
    assert made["api_key"] not in on_database("key", "list", NIP).out
    assert on_database("key", "revoke", NIP, "key_" + "0" * 32).code == DENIED
    assert on_database("key", "revoke", NIP, "nonsense").code == DENIED


def test_a_database_without_our_schema_is_refused_with_the_next_step(
    ksefd: Ksefd, settings: Settings, tmp_path: Path
) -> None:
    name = f"bare_{secrets.token_hex(6)}"
    with psycopg.connect(settings.database_url or "", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_url(settings.database_url or "", name)
    before = ksefd("tenant", "list", database_url=url, data_dir=str(tmp_path))
    assert before.code == USAGE
    assert "ksefd migrate" in before.err
    assert ksefd("migrate", "--json", database_url=url, data_dir=str(tmp_path)).json["revision"]
    assert ksefd("tenant", "list", "--json", database_url=url, data_dir=str(tmp_path)).json == []


def test_a_database_that_is_away_is_told_in_one_line(ksefd: Ksefd, tmp_path: Path) -> None:
    ran = ksefd("migrate", database_url="postgresql://nobody@127.0.0.1:9/none", data_dir=str(tmp_path))
    assert ran.code == UNREACHABLE
    assert ran.err == "ksefd: the database does not answer\n"


@pytest.mark.slow
def test_without_a_database_address_the_data_folder_has_one(ksefd: Ksefd, tmp_path: Path) -> None:
    folder = str(tmp_path / "var")
    none = ksefd("tenant", "list", data_dir=folder)
    assert none.code == USAGE
    assert folder in none.err
    assert not (tmp_path / "var").exists()
    assert ksefd("migrate", data_dir=folder).code == OK
    assert ksefd("tenant", "add", NIP, "--name", "Firma", "--self-signed", data_dir=folder).code == OK
    assert [one["nip"] for one in ksefd("tenant", "list", "--json", data_dir=folder).json] == [NIP]


@pytest.mark.parametrize("command", ["api", "worker"])
def test_the_halves_of_the_service_want_a_shared_database(ksefd: Ksefd, tmp_path: Path, command: str) -> None:
    ran = ksefd(command, data_dir=str(tmp_path))
    assert ran.code == USAGE
    assert "KSEFD_DATABASE_URL" in ran.err
    assert str(tmp_path) in ran.err


@pytest.mark.slow
def test_auth_check_says_as_whom_we_are_logged_in_or_why_not(on_database: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("20261122-EC-0000000000-0000000000-00|nip-1111111111|" + "0" * 64)
    on_database("tenant", "add", NIP, "--name", "Firma", "--self-signed")
    on_database("tenant", "add", "1111111111", "--name", "Inna", "--ksef-token-file", str(tmp_path / "token"))
    with running_sandbox(validate="off") as sandbox:
        good = on_database("auth", "check", NIP, "--json", ksef_url=sandbox.base_url)
        bad = on_database("auth", "check", "1111111111", "--json", ksef_url=sandbox.base_url)
    assert good.code == OK, good.err
    assert (good.json["ok"], good.json["nip"]) == (True, NIP)
    assert "InvoiceWrite" in good.json["permissions"]
    assert good.json["attachments"]["allowed"] is False
    assert good.json["attachments"]["checked_at"]
    assert bad.code == REFUSED
    assert bad.json["ok"] is False
    assert bad.json["reason"]
    away = on_database("auth", "check", NIP, ksef_url="http://127.0.0.1:9/v2")
    assert away.code == UNREACHABLE
