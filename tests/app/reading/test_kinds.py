"""The kind of a body is what its content type says; of a file, what its first bytes say."""

import tarfile

import pytest

from app.errors import UnsupportedContentType
from app.reading.kinds import BodyKind, body_kind, boundary_of, sniff


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/zip", BodyKind.ZIP),
        ("Application/X-Zip-Compressed", BodyKind.ZIP),
        ("application/gzip", BodyKind.TARGZ),
        ("application/x-gtar", BodyKind.TARGZ),
        ("application/x-tar+gzip", BodyKind.TARGZ),
        ("application/x-tar", BodyKind.TAR),
        ("application/x-ndjson; charset=utf-8", BodyKind.NDJSON),
        ("application/jsonl", BodyKind.NDJSON),
        ("multipart/form-data; boundary=abc", BodyKind.MULTIPART),
        ('multipart/form-data; boundary="a b;c"', BodyKind.MULTIPART),
        (" text/xml ;charset=UTF-8", BodyKind.XML),
    ],
)
def test_a_known_content_type_names_its_kind(content_type: str, kind: BodyKind) -> None:
    assert body_kind(content_type) is kind


@pytest.mark.parametrize("kind", [kind for kind in BodyKind if kind is not BodyKind.MULTIPART])
def test_every_kind_is_found_by_its_own_content_type(kind: BodyKind) -> None:
    assert body_kind(kind.content_type) is kind


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/pdf",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary=ż",
    ],
)
def test_any_other_content_type_is_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedContentType):
        body_kind(content_type)


def test_the_boundary_comes_without_its_quotes() -> None:
    assert boundary_of('multipart/form-data; boundary="a b;c"; charset=utf-8') == "a b;c"


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("x", b"PK\3\4....", BodyKind.ZIP),
        ("invoices.xml", b"PK\5\6....", BodyKind.ZIP),
        ("x.bin", b"\x1f\x8b\x08", BodyKind.TARGZ),
        ("x", tarfile.TarInfo("a.xml").tobuf(), BodyKind.TAR),
        ("x", b"<" + b"ustar\0\0\0" * 64, BodyKind.XML),
        ("x", b"\xef\xbb\xbf\r\n <?xml", BodyKind.XML),
        ("x", "<a/>".encode("utf-16"), BodyKind.XML),
        ("x", b'{"name":', BodyKind.NDJSON),
        ("old.TAR", b"", BodyKind.TAR),
        ("a.tar.gz", b"", BodyKind.TARGZ),
        ("a.jsonl", b"", BodyKind.NDJSON),
        ("a.pdf", b"%PDF-1.7", None),
        ("", b"", None),
    ],
)
def test_a_file_is_known_by_its_bytes_before_its_name(name: str, head: bytes, kind: BodyKind | None) -> None:
    assert sniff(name, head) is kind
