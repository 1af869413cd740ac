"""Packages that must fail as a whole, with the session status that says why."""

import base64
import gzip
import io
import secrets
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.ksef_by_hand import (
    HandClient,
    Package,
    encrypt,
    encrypt_unpadded,
    invoice,
    sha256,
    tar_package,
    zip_package,
)

Build = Callable[[dict[str, bytes]], bytes]


def zipped(write: Callable[[zipfile.ZipFile, dict[str, bytes]], None]) -> Build:
    def build(documents: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in documents.items():
                archive.writestr(name, content)
            write(archive, documents)
        return buffer.getvalue()

    return build


def with_folder(archive: zipfile.ZipFile, _documents: dict[str, bytes]) -> None:
    archive.mkdir("folder")


def with_nested(archive: zipfile.ZipFile, documents: dict[str, bytes]) -> None:
    archive.writestr("folder/b.xml", next(iter(documents.values())))


def with_link(archive: zipfile.ZipFile, _documents: dict[str, bytes]) -> None:
    link = zipfile.ZipInfo("link.xml")
    link.external_attr = 0o120777 << 16
    archive.writestr(link, "a.xml")


def with_bzip2(archive: zipfile.ZipFile, documents: dict[str, bytes]) -> None:
    archive.writestr("b.xml", next(iter(documents.values())), zipfile.ZIP_BZIP2)


def with_zip64(archive: zipfile.ZipFile, documents: dict[str, bytes]) -> None:
    with archive.open("b.xml", "w", force_zip64=True) as stream:
        stream.write(next(iter(documents.values())))


def twice(documents: dict[str, bytes]) -> bytes:
    """A name that the directory and the headers give twice."""
    renamed = {**documents, "b.xml": invoice("B", "5265877635")}
    return zip_package(renamed).replace(b"b.xml", b"a.xml")


def encrypted_flag(documents: dict[str, bytes]) -> bytes:
    content = bytearray(zip_package(documents))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def different_header(documents: dict[str, bytes]) -> bytes:
    content = bytearray(zip_package(documents))
    content[22] ^= 1  # the local header's uncompressed size
    return bytes(content)


def damaged(documents: dict[str, bytes]) -> bytes:
    content = bytearray(zip_package(documents))
    content[60] ^= 0xFF
    return bytes(content)


def tarred(add: Callable[[tarfile.TarFile], None]) -> Build:
    def build(documents: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in documents.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            add(archive)
        return gzip.compress(buffer.getvalue())

    return build


def tar_entry(name: str, kind: bytes, link: str = "") -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.type = kind
        entry.linkname = link
        archive.addfile(entry)

    return add


def long_name(documents: dict[str, bytes]) -> bytes:
    return tar_package({"n" * 120: next(iter(documents.values()))}, tarfile.PAX_FORMAT)


@pytest.mark.parametrize(
    ("build", "compression"),
    [
        pytest.param(zipped(with_folder), "Zip", id="folder"),
        pytest.param(zipped(with_nested), "Zip", id="file in a folder"),
        pytest.param(zipped(with_link), "Zip", id="link"),
        pytest.param(zipped(with_bzip2), "Zip", id="bzip2"),
        pytest.param(zipped(with_zip64), "Zip", id="needless ZIP64"),
        pytest.param(zipped(lambda archive, _: setattr(archive, "comment", b"hi")), "Zip", id="comment"),
        pytest.param(twice, "Zip", id="name twice"),
        pytest.param(encrypted_flag, "Zip", id="encrypted entry"),
        pytest.param(different_header, "Zip", id="header unlike directory"),
        pytest.param(damaged, "Zip", id="damaged data"),
        pytest.param(lambda documents: b"XX" + zip_package(documents), "Zip", id="bytes before"),
        pytest.param(lambda documents: zip_package(documents) + b"XX", "Zip", id="bytes behind"),
        pytest.param(lambda documents: zip_package(documents)[:-30], "Zip", id="cut"),
        pytest.param(lambda _: secrets.token_bytes(500), "Zip", id="noise"),
        pytest.param(tar_package, "Zip", id="tar.gz declared as ZIP"),
        pytest.param(tar_package, None, id="tar.gz not declared"),
        pytest.param(zip_package, "TarGz", id="ZIP declared as tar.gz"),
        pytest.param(tarred(tar_entry("folder", tarfile.DIRTYPE)), "TarGz", id="tar: folder"),
        pytest.param(tarred(tar_entry("link", tarfile.SYMTYPE, "a.xml")), "TarGz", id="tar: link"),
        pytest.param(tarred(tar_entry("x/b.xml", tarfile.REGTYPE)), "TarGz", id="tar: file in a folder"),
        pytest.param(tarred(tar_entry("a.xml", tarfile.REGTYPE)), "TarGz", id="tar: name twice"),
        pytest.param(long_name, "TarGz", id="tar: PAX header"),
        pytest.param(lambda d: tar_package(d, tarfile.GNU_FORMAT), "TarGz", id="tar: GNU format"),
        pytest.param(lambda d: tar_package(d)[:-20], "TarGz", id="tar: cut"),
        pytest.param(lambda d: tar_package(d) + gzip.compress(b""), "TarGz", id="tar: second gzip member"),
        pytest.param(lambda d: gzip.compress(gzip.decompress(tar_package(d))[:1024]), "TarGz", id="tar: no end"),
        pytest.param(lambda d: gzip.compress(gzip.decompress(tar_package(d)) + b"x"), "TarGz", id="tar: bytes behind"),
    ],
)
def test_an_archive_that_is_not_flat_and_plain_is_430(
    client: HandClient, build: Build, compression: str | None
) -> None:
    plain = build({"a.xml": invoice("A", client.nip)})
    reference, final = client.send(Package(plain, compression))
    assert final["status"]["code"] == 430, final
    assert final["status"]["details"]
    assert "upo" not in final
    assert client.invoices(reference) == []


def test_streamed_entries_with_data_descriptors_are_read(client: HandClient) -> None:
    class Unseekable(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

        def seek(self, *_: int) -> int:
            raise OSError

    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", invoice("A", client.nip))
        archive.writestr("b.xml", invoice("B", client.nip))
    _, final = client.send(Package(buffer.getvalue()))
    assert final["successfulInvoiceCount"] == 2, final


def test_more_invoices_than_a_session_takes_lose_the_whole_package(client: HandClient) -> None:
    limit = client.call("GET", "/limits/context").json()["batchSession"]["maxInvoices"]
    sent = {f"{number}.xml": b"<x/>" for number in range(limit + 1)}
    for build, compression in ((zip_package, "Zip"), (tar_package, "TarGz")):
        _, final = client.send(Package(build(sent), compression))
        assert final["status"]["code"] == 420
        assert str(limit + 1) in final["status"]["details"][0]


def test_an_empty_archive_is_a_cancelled_session(client: HandClient) -> None:
    _, final = client.send(Package(zip_package({})))
    assert final["status"] == {"code": 440, "description": "Sesja anulowana", "details": ["Nie przesłano faktur"]}


def test_a_part_unlike_its_hash_is_405(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    part = bytearray(package.encrypted_parts()[0])
    part[5] ^= 1
    client.put(opened["partUploadRequests"][0], bytes(part))
    client.close_session(opened["referenceNumber"])
    assert client.final_status(opened["referenceNumber"])["status"]["code"] == 405


def test_a_part_that_does_not_decrypt_is_435(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    body = client.open_body(package)
    wrong = encrypt_unpadded(package.key, package.iv)
    body["batchFile"]["fileParts"] = [{"ordinalNumber": 1, "fileSize": len(wrong), "fileHash": sha256(wrong)}]
    opened = client.open(body)
    client.put(opened["partUploadRequests"][0], wrong)
    client.close_session(opened["referenceNumber"])
    assert client.final_status(opened["referenceNumber"])["status"]["code"] == 435


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["batchFile"].update(fileHash=sha256(b"other")),
        lambda body: body["batchFile"].update(fileSize=body["batchFile"]["fileSize"] + 1),
        lambda body: body["encryption"].update(initializationVector=base64.b64encode(bytes(16)).decode()),
    ],
    ids=["hash of the package", "size of the package", "wrong vector"],
)
def test_a_package_unlike_its_declaration_is_430(client: HandClient, change: Callable[[dict[str, Any]], None]) -> None:
    _, final = client.send(Package(zip_package({"a.xml": invoice("A", client.nip)})), change)
    assert final["status"]["code"] == 430


def test_a_vector_in_front_of_the_ciphertext_is_noticed(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    body = client.open_body(package)
    prefixed = package.iv + encrypt(package.plain, package.key, package.iv)
    body["batchFile"]["fileParts"] = [{"ordinalNumber": 1, "fileSize": len(prefixed), "fileHash": sha256(prefixed)}]
    opened = client.open(body)
    client.put(opened["partUploadRequests"][0], prefixed)
    client.close_session(opened["referenceNumber"])
    assert client.final_status(opened["referenceNumber"])["status"]["code"] == 430


@pytest.mark.parametrize("key", [secrets.token_bytes(256), None, b"short"], ids=["noise", "token key", "short key"])
def test_a_key_that_cannot_be_read_shows_in_the_status_at_once(client: HandClient, key: bytes | None) -> None:
    package = Package(b"content")
    body = client.open_body(package)
    if key is None:
        body["encryption"] |= wrapped(client, "KsefTokenEncryption", package.key)
    elif len(key) == 256:
        body["encryption"]["encryptedSymmetricKey"] = base64.b64encode(key).decode()
    else:
        body["encryption"] |= wrapped(client, "SymmetricKeyEncryption", key)
    opened = client.open(body)
    assert client.status(opened["referenceNumber"])["status"]["code"] == 415
    client.upload(opened, package)
    answer = client.close_session(opened["referenceNumber"])
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21180


def wrapped(client: HandClient, usage: str, key: bytes) -> dict[str, str]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    scheme = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    sealed = client.public_key(usage)[1].encrypt(key, scheme)
    return {"encryptedSymmetricKey": base64.b64encode(sealed).decode()}
