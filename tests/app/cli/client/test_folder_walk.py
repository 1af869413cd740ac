"""The walk through folders, and the pipes of a command line."""

import os
import threading
from pathlib import Path

import pytest

from app.cli.client.folder_walk import PassedOver, Why, loose_files
from app.cli.client.pipes import pipes_copied
from app.cli.exit_codes import UsageProblem


def walk(*roots: Path) -> tuple[list[str], PassedOver]:
    noted = PassedOver()
    return [file.name for file in loose_files(roots, noted)], noted


def test_what_a_folder_holds_beside_invoices_is_counted_by_reason(tmp_path: Path) -> None:
    for name in ("a.xml", "B.XML", "b.zip", "c.TAR.GZ", "d.ndjson.gz", "e.jsonl", "f.pdf", ".g.xml", ".h", "in/i.Xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<a/>")
    names, noted = walk(tmp_path)
    assert names == ["B.XML", "a.xml", "in/i.Xml"]
    assert noted.counts == {Why.ARCHIVE: 4, Why.OTHER: 1, Why.HIDDEN: 1}
    assert noted.names[Why.ARCHIVE] == ["b.zip", "c.TAR.GZ", "d.ndjson.gz", "e.jsonl"]
    assert not noted.misses_invoices


@pytest.mark.parametrize("kind", ["a link to nothing", "a link to itself", "a FIFO", "no permission"])
def test_an_xml_that_cannot_be_read_is_named_and_counts_as_missing(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.xml"
    if kind == "a link to nothing":
        path.symlink_to("gone.xml")
    elif kind == "a link to itself":
        path.symlink_to("a.xml")
    elif kind == "a FIFO":
        os.mkfifo(path)
    else:
        path.write_text("<a/>")
        monkeypatch.setattr(os, "access", lambda *_: False)
    names, noted = walk(tmp_path)
    assert (names, noted.counts, noted.misses_invoices) == ([], {Why.UNREADABLE: 1}, True)
    [line] = noted.lines()
    assert line.startswith("1 .xml file that cannot be read: a.xml (")


def test_a_linked_folder_is_not_followed_and_misses_invoices_only_if_it_holds_others(tmp_path: Path) -> None:
    (tmp_path / "sent" / "deep").mkdir(parents=True)
    (tmp_path / "sent" / "deep" / "a.xml").write_text("<a/>")
    (tmp_path / "sent" / "inside").symlink_to(tmp_path / "sent" / "deep")
    names, noted = walk(tmp_path / "sent")
    assert (names, noted.counts, noted.misses_invoices) == (["deep/a.xml"], {Why.LINKED_FOLDER: 1}, False)
    (tmp_path / "other" / "more").mkdir(parents=True)
    (tmp_path / "sent" / "outside").symlink_to(tmp_path / "other")
    assert not walk(tmp_path / "sent")[1].misses_invoices
    (tmp_path / "other" / "more" / "b.XML").write_text("<a/>")
    names, noted = walk(tmp_path / "sent")
    assert (names, noted.counts, noted.misses_invoices) == (["deep/a.xml"], {Why.LINKED_FOLDER: 2}, True)
    assert list(noted.lines()) == ["2 linked folders (links are not followed): inside, outside"]


def test_a_linked_file_is_read_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("<a/>")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.xml").symlink_to(tmp_path / "elsewhere")
    assert walk(tmp_path / "in")[0] == ["a.xml"]


def test_a_line_names_the_first_few_and_counts_the_rest(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.zip").write_text("")
    [line] = walk(tmp_path)[1].lines()
    assert line == (
        "8 archives in a folder (name them on the command line): 0.zip, 1.zip, 2.zip, 3.zip, 4.zip and 3 more"
    )


def test_a_pipe_is_copied_and_the_copy_removed(tmp_path: Path) -> None:
    fifo = tmp_path / "lines"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(b'{"xml": "<a/>"}\n' * 100_000,))
    writer.start()
    with pipes_copied([tmp_path, fifo]) as ((folder, copy), _):
        assert folder == tmp_path
        assert (copy.name, copy.read_bytes()) == ("lines", b'{"xml": "<a/>"}\n' * 100_000)
    writer.join()
    assert not copy.exists()


def test_a_device_is_no_file_of_invoices() -> None:
    with pytest.raises(UsageProblem, match="/dev/null is neither"), pipes_copied([Path(os.devnull)]):
        pass
