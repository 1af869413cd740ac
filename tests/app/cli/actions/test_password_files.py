"""The password of a certificate, from the files that Windows programs write."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from app.cli.actions.credentials import CredentialSource, read_credential
from app.cli.exit_codes import UsageProblem
from app.ksef.login.certificates import self_signed_seal
from app.settings import Settings

NIP = "9999999999"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_password_is_read_in_the_encoding_of_its_file(tmp_path: Path, encoding: str) -> None:
    now = datetime.now(UTC)
    certificate, key = self_signed_seal(NIP, "Firma", now=now)
    sealed = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption("hasło ".encode())
    )
    source = CredentialSource(
        certificate_file=tmp_path / "cert", key_file=tmp_path / "key", password_file=tmp_path / "password"
    )
    (tmp_path / "cert").write_bytes(certificate)
    (tmp_path / "key").write_bytes(sealed)
    (tmp_path / "password").write_bytes("hasło \r\n".encode(encoding))
    stored = read_credential(source, nip=NIP, name="Firma", settings=Settings(data_dir=tmp_path), now=now)
    assert stored == ("certificate", {"certificate": certificate.decode(), "key": key.decode()})


def test_a_password_file_that_is_cut_in_a_character_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "cert").write_bytes(b"x")
    (tmp_path / "password").write_bytes(b"\xff\xfea")
    source = CredentialSource(certificate_file=tmp_path / "cert", password_file=tmp_path / "password")
    with pytest.raises(UsageProblem, match="not a text file"):
        read_credential(source, nip=NIP, name="Firma", settings=Settings(data_dir=tmp_path), now=datetime.now(UTC))
