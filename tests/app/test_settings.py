"""Settings that hold a secret, given as files."""

from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import load_settings, secret_settings

_URL = "postgresql://ksefd:geheim@db/ksefd"


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "API_KEY", "CONFIG"):
        monkeypatch.delenv(f"KSEFD_{name}", raising=False)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{_URL}\n")
    return path


def test_the_settings_that_hold_a_secret_are_known() -> None:
    assert {"database_url", "api_key"} <= set(secret_settings())


def test_a_secret_comes_from_a_file_without_the_end_of_its_line(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSEFD_DATABASE_URL_FILE", str(secret))
    assert load_settings().database_url == _URL
    secret.write_bytes(f"{_URL}\r\n".encode())
    assert load_settings().database_url == _URL


def test_a_secret_may_come_from_a_file_that_the_file_of_settings_names(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "ksefd.toml"
    config.write_text(f'database_url_file = "{secret}"\n')
    monkeypatch.setenv("KSEFD_CONFIG", str(config))
    assert load_settings().database_url == _URL
    monkeypatch.setenv("KSEFD_DATABASE_URL", "postgresql://other/x")
    assert load_settings().database_url == "postgresql://other/x"


def test_a_secret_given_twice_in_one_place_is_an_error(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KSEFD_API_KEY_FILE", str(secret))
    monkeypatch.setenv("KSEFD_API_KEY", "x")
    with pytest.raises(ConfigurationError, match=r"KSEFD_API_KEY_FILE: KSEFD_API_KEY is set, too, in the environment"):
        load_settings()
    monkeypatch.delenv("KSEFD_API_KEY")
    monkeypatch.delenv("KSEFD_API_KEY_FILE")
    config = tmp_path / "ksefd.toml"
    config.write_text(f'api_key_file = "{secret}"\napi_key = "x"\n')
    monkeypatch.setenv("KSEFD_CONFIG", str(config))
    with pytest.raises(ConfigurationError, match="in the file of KSEFD_CONFIG"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "cannot read"), (b"\n", "is empty"), (b"\xff\xfe", "is not text in UTF-8")]
)
def test_a_file_without_a_secret_is_an_error_that_names_it(
    content: bytes | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("KSEFD_DATABASE_URL_FILE", str(path))
    with pytest.raises(ConfigurationError, match=f"KSEFD_DATABASE_URL_FILE: .*{says}") as error:
        load_settings()
    assert str(path) in error.value.detail


def test_a_wrong_secret_of_a_file_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text("mysql://geheim")
    monkeypatch.setenv("KSEFD_DATABASE_URL_FILE", str(path))
    with pytest.raises(ConfigurationError, match="must start with postgresql://") as error:
        load_settings()
    assert "geheim" not in str(error.value)
