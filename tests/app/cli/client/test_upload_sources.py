"""Upload bodies made on the fly."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.client.folder_walk import loose_files
from app.cli.client.upload_sources import BLOCK_BYTES, plan_bodies, sort_paths, tar_pieces
from app.cli.exit_codes import UsageProblem
from app.reading.entry import decode_entry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


def documents_of(tar: bytes) -> list[bytes]:
    entries = read_entries(BodyKind.TAR, io.BytesIO(tar), size=len(tar), limits=ReadingLimits())
    return [decode_entry(entry, 3_000_000).content for entry in entries]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(NAMES, st.binary(max_size=2_000).map(lambda content: b"<a/>" + content)), max_size=20))
def test_a_tar_made_on_the_fly_gives_every_document_back(documents: list[tuple[str, bytes]]) -> None:
    tar = b"".join(tar_pieces((name, len(content), (content,)) for name, content in documents))
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        members = opened.getmembers()
        found = [opened.extractfile(member).read() for member in members]  # type: ignore[union-attr]  # all are files
    assert found == [content for _, content in documents]
    assert [member.name.rstrip("/") for member in members] == [name.rstrip("/") for name, _ in documents]


def test_our_own_reader_reads_what_submit_sends(tmp_path: Path) -> None:
    (tmp_path / "żółć").mkdir()
    contents = {f"żółć/{'x' * 150}-{number}.xml": b"<a>%d</a>" % number for number in range(5)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (body,) = plan_bodies(sort_paths([tmp_path]))
    tar = b"".join(body.pieces())
    assert documents_of(tar) == list(contents.values())
    assert len(tar) == body.size
    assert tar == b"".join(body.pieces())


def test_the_blocks_stay_small_whatever_the_files(tmp_path: Path) -> None:
    (tmp_path / "large.xml").write_bytes(b"<a>" + b"x" * (5 * BLOCK_BYTES))
    for number in range(300):
        (tmp_path / f"{number}.xml").write_bytes(b"<a/>" * 300)
    (body,) = plan_bodies(sort_paths([tmp_path]))
    assert max(len(piece) for piece in body.pieces()) <= 3 * BLOCK_BYTES


def test_folders_are_walked_in_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b/2.xml", "b/1.XML", "a.xml", ".hidden.xml", ".git/x.xml", "notes.txt", "c/d/3.xml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("<a/>")
    assert [file.name for file in loose_files([tmp_path])] == ["a.xml", "b/1.XML", "b/2.xml", "c/d/3.xml"]


def test_archives_go_as_they_are_and_loose_files_together(tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text("<a/>")
    (tmp_path / "two.xml").write_text("")
    (tmp_path / "three").write_bytes(b"PK\3\4rest")
    (tmp_path / "four.gz").write_bytes(b"\x1f\x8brest")
    found = sort_paths([tmp_path / name for name in ("one.xml", "three", "two.xml", "four.gz")])
    bodies = plan_bodies(found)
    assert [body.content_type for body in bodies] == ["application/x-tar", "application/zip", "application/gzip"]
    assert b"".join(bodies[1].pieces()) == b"PK\3\4rest"
    assert documents_of(b"".join(bodies[0].pieces())) == [b"<a/>", b""]


def test_what_is_no_upload_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageProblem, match=r"photo\.jpg"):
        sort_paths([tmp_path / "photo.jpg"])
    with pytest.raises(UsageProblem, match=r"no \.xml file"):
        plan_bodies(sort_paths([tmp_path]))


def test_a_file_that_shrinks_under_way_cuts_the_body_instead_of_padding_it() -> None:
    with pytest.raises(UsageProblem, match="shorter"):
        list(tar_pieces([("a.xml", 10, (b"<a/>",))]))


def test_a_file_that_grows_under_way_is_sent_as_it_was_announced() -> None:
    assert documents_of(b"".join(tar_pieces([("a.xml", 4, (b"<a/>", b"more"))]))) == [b"<a/>"]


def test_compressed_lines_travel_inflated_and_a_compressed_tar_as_it_is(tmp_path: Path) -> None:
    lines = b'{"name": "a.xml", "xml": "<a/>"}\n' * 50_000
    (tmp_path / "lines.ndjson.gz").write_bytes(gzip.compress(lines))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.xml"))
    (tmp_path / "tar.tar.gz").write_bytes(packed.getvalue())
    bodies = {body.label: body for body in plan_bodies(sort_paths(sorted(tmp_path.iterdir())))}
    body = bodies["lines.ndjson.gz"]
    assert (body.content_type, body.size) == (BodyKind.NDJSON.content_type, len(lines))
    assert b"".join(body.pieces()) == lines
    assert b"".join(body.pieces_from(300_000)) == lines[300_000:]
    assert max(map(len, body.pieces())) <= BLOCK_BYTES
    assert b"".join(bodies["tar.tar.gz"].pieces()) == packed.getvalue()


def test_compressed_lines_that_break_off_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "lines.ndjson.gz").write_bytes(gzip.compress(b'{"name": "a.xml", "xml": "<a/>"}\n' * 1_000)[:-9])
    with pytest.raises(UsageProblem, match="cannot inflate"):
        plan_bodies(sort_paths([tmp_path / "lines.ndjson.gz"]))
