"""What an installation is: made by few commands, found by all, and bound to one master key."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.clock import utc_now
from app.settings import Settings
from app.store.database_errors import DatabaseUnavailable
from app.store.installation import (
    NoInstallation,
    WrongMasterKey,
    find_installation,
    key_check_of,
    key_id,
    place_of,
    prepare_installation,
)
from app.store.installation_wait import reason_to_wait, wait_for_installation
from app.store.secrets import SecretBox, make_master_key, read_master_key
from app.store.store import open_store
from tests.support.database import database_url, drop_database, make_database


@pytest.fixture
def new_database(postgres_url: str) -> Iterator[str]:
    """The address of a database with our schema, whose key no process has written yet."""
    url = make_database(postgres_url)
    yield url
    drop_database(postgres_url, url)


@pytest.fixture
def bare_database(postgres_url: str) -> Iterator[str]:
    """The address of a database without a schema."""
    name = f"bare_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = database_url(postgres_url, name)
    yield url
    drop_database(postgres_url, url)


def on(url: str, folder: Path) -> Settings:
    return Settings(data_dir=folder, database_url=url)


def test_a_new_installation_gets_an_id_and_one_key_that_its_database_recognises(
    new_database: str, tmp_path: Path
) -> None:
    settings = on(new_database, tmp_path / "var")
    prepare_installation(settings)
    key = (tmp_path / "var" / "master.key").read_bytes()
    first = find_installation(new_database)
    prepare_installation(settings)
    assert find_installation(new_database) == first
    assert (tmp_path / "var" / "master.key").read_bytes() == key
    assert first.key_check == key_check_of(SecretBox(read_master_key(tmp_path / "var" / "master.key")))


@pytest.mark.parametrize("other", ["missing", "another"])
async def test_a_missing_or_another_key_is_refused_by_every_opener_and_never_replaced(
    new_database: str, tmp_path: Path, other: str
) -> None:
    settings = on(new_database, tmp_path / "var")
    prepare_installation(settings)
    path = tmp_path / "var" / "master.key"
    kept = find_installation(new_database)
    assert kept.key_check is not None
    path.unlink()
    if other == "another":
        make_master_key(path)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(WrongMasterKey, match=key_id(kept.key_check)) as refused:
        prepare_installation(settings)
    with pytest.raises(WrongMasterKey):
        async with open_store(settings):
            pass
    with pytest.raises(WrongMasterKey):
        await reason_to_wait(settings)
    assert str(path) in refused.value.detail
    if before is not None:
        assert key_id(key_check_of(SecretBox(read_master_key(path)))) in refused.value.detail
    assert (path.read_bytes() if path.exists() else None) == before
    assert find_installation(new_database) == kept


async def test_a_database_of_a_version_without_check_value_takes_only_the_key_that_opens_its_secrets(
    new_database: str, tmp_path: Path
) -> None:
    settings = on(new_database, tmp_path / "var")
    prepare_installation(settings)
    async with open_store(settings) as store:
        await store.tenants.add(
            nip="5265877635", name="X", credential_kind="ksef_token", credential={"token": "t"}, compression="zip",
            now=utc_now(),
        )  # fmt: skip
    with psycopg.connect(new_database) as connection:
        connection.execute("UPDATE installation SET key_check = NULL")
    path = tmp_path / "var" / "master.key"
    right = path.rename(tmp_path / "right.key")
    with pytest.raises(WrongMasterKey, match="there is no"):
        prepare_installation(settings)
    make_master_key(path)
    with pytest.raises(WrongMasterKey, match="cannot open the secrets of this database"):
        prepare_installation(settings)
    assert find_installation(new_database).key_check is None
    right.replace(path)
    prepare_installation(settings)
    assert find_installation(new_database).key_check is not None


def test_a_second_machine_without_the_key_file_makes_no_second_key(new_database: str, tmp_path: Path) -> None:
    prepare_installation(on(new_database, tmp_path / "first"))
    with pytest.raises(WrongMasterKey, match="from another machine of the installation"):
        prepare_installation(on(new_database, tmp_path / "second"))
    assert not (tmp_path / "second" / "master.key").exists()


def test_a_database_without_installation_is_named_with_its_host_and_without_its_password(bare_database: str) -> None:
    with pytest.raises(NoInstallation, match=r"the database bare_\w+ at /\S+; `ksefd migrate` makes one"):
        find_installation(bare_database)
    assert place_of("postgresql://u:geheim@db.example:5433/ksefd?sslmode=require") == (
        "the database ksefd at db.example:5433"
    )


def test_a_database_that_is_away_is_another_thing_than_one_without_installation() -> None:
    with pytest.raises(DatabaseUnavailable):
        find_installation("postgresql://nobody@127.0.0.1:9/none")


async def test_a_process_waits_while_the_database_is_away_or_empty_and_goes_on_when_it_is_made(
    bare_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.installation_wait._PAUSE_SECONDS", 0.01)
    away = await reason_to_wait(on("postgresql://nobody@127.0.0.1:9/none", tmp_path / "var"))
    assert away == "the database none at 127.0.0.1:9: the database does not answer"
    settings = on(bare_database, tmp_path / "var")
    reasons: list[str] = []

    async def waits(reason: str) -> None:
        reasons.append(reason)
        if len(reasons) == 2:
            prepare_installation(settings)

    await wait_for_installation(settings, waits=waits)
    assert len(reasons) == 2
    assert "there is no installation of this version" in reasons[0]
    assert (tmp_path / "var").is_dir()
