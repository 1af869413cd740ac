"""The check on this machine."""

import html
import io
import os
import re
import sys
import threading
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.cli.exit_codes import OK, REFUSED, USAGE
from app.clock import warsaw_day
from invoicegen.bad_invoices import bad_invoices
from invoicegen.invoices import generate_invoices, write_folder, write_ndjson, write_targz, write_zip
from tests.app.cli.conftest import Ksefd

NIP = "5265877635"
TODAY = warsaw_day(datetime.now(UTC))


def test_valid_invoices_are_valid_and_nothing_is_said_about_them(ksefd: Ksefd, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", generate_invoices(5, seller_nip=NIP, issue_date=TODAY))
    ran = ksefd("validate", str(tmp_path / "in"), "--nip", NIP, "--json")
    assert ran.code == OK
    assert (ran.json["checked"], ran.json["valid"], ran.json["invalid"]) == (5, 5, 0)


@pytest.mark.parametrize(
    ("name", "write"), [("a.zip", write_zip), ("a.tar.gz", write_targz), ("a.ndjson", write_ndjson)]
)
def test_archives_are_read_as_the_service_reads_them(ksefd: Ksefd, tmp_path: Path, name: str, write: object) -> None:
    assert callable(write)
    write(tmp_path / name, generate_invoices(4, seller_nip=NIP, issue_date=TODAY))
    assert ksefd("validate", str(tmp_path / name), "--json").json["valid"] == 4


def test_many_documents_go_through_several_processes_and_keep_their_order(ksefd: Ksefd, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", generate_invoices(200, seller_nip=NIP, issue_date=TODAY, profile="small"))
    bad = bad_invoices(NIP, TODAY)[:10]
    write_folder(tmp_path / "in" / "zz", bad)
    ran = ksefd("validate", str(tmp_path / "in"), "--nip", NIP, "--json", pool_workers="2")
    assert ran.code == REFUSED
    assert (ran.json["valid"], ran.json["invalid"]) == (200, 10)
    assert [one["name"] for one in ran.json["documents"]] == [f"zz/{one.name}" for one in bad]


def test_each_bad_invoice_is_named_with_its_rule(ksefd: Ksefd, tmp_path: Path) -> None:
    bad = [one for one in bad_invoices(NIP, TODAY) if not one.name.startswith(("17", "18"))]
    write_folder(tmp_path / "in", bad)
    ran = ksefd("validate", str(tmp_path / "in"), "--nip", NIP, "--json")
    found = {one["name"]: {finding["rule"] for finding in one["findings"]} for one in ran.json["documents"]}
    assert [one.name for one in bad if one.rule not in found.get(one.name, set())] == []


def test_without_a_nip_the_seller_may_be_anybody(ksefd: Ksefd, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", generate_invoices(1, seller_nip=NIP, issue_date=TODAY, profile="small"))
    assert ksefd("validate", str(tmp_path / "in")).code == OK
    other = ksefd("validate", str(tmp_path / "in"), "--nip", "1111111111")
    assert other.code == REFUSED
    assert "seller-not-tenant" in other.out


def test_messages_come_in_polish_when_asked_for(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "empty.xml").write_bytes(b"")
    assert "Dokument" in ksefd("validate", str(tmp_path / "empty.xml"), "--lang", "pl").out
    assert "empty" in ksefd("validate", str(tmp_path / "empty.xml")).out


def test_a_cut_archive_is_a_failed_check(ksefd: Ksefd, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("a.xml", "<a/>")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-30])
    ran = ksefd("validate", str(tmp_path / "cut.zip"), "--json")
    assert ran.code == REFUSED
    assert len(ran.json["errors"]) == 1


def test_a_wrong_nip_or_a_missing_file_is_wrong_usage(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a/>")
    assert ksefd("validate", str(tmp_path / "a.xml"), "--nip", "12").code == USAGE
    assert ksefd("validate", str(tmp_path / "none.xml")).code == USAGE


def test_lines_that_come_through_a_pipe_are_checked(ksefd: Ksefd, tmp_path: Path) -> None:
    write_ndjson(tmp_path / "three.ndjson", generate_invoices(3, seller_nip=NIP, issue_date=TODAY))
    reader, writer = os.pipe()

    def fill() -> None:
        with open(writer, "wb") as pipe:
            pipe.write((tmp_path / "three.ndjson").read_bytes())

    thread = threading.Thread(target=fill)
    thread.start()
    ran = ksefd("validate", f"/dev/fd/{reader}")
    thread.join()
    os.close(reader)
    assert (ran.code, ran.out.splitlines()[-1]) == (OK, "3 checked: 3 valid, 0 invalid")


def test_a_folder_without_invoices_is_wrong_usage_and_what_it_holds_is_named(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.zip").write_bytes(b"")
    ran = ksefd("validate", str(tmp_path / "in"))
    assert ran.code == USAGE
    assert "not checked: 1 archive in a folder" in ran.err


def test_an_xml_that_cannot_be_read_fails_the_check_of_its_folder(ksefd: Ksefd, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", generate_invoices(1, seller_nip=NIP, issue_date=TODAY))
    (tmp_path / "in" / "gone.xml").symlink_to("nothing")
    ran = ksefd("validate", str(tmp_path / "in"))
    assert (ran.code, ran.out.splitlines()[-1]) == (REFUSED, "1 checked: 1 valid, 0 invalid")
    assert "gone.xml (a link to nothing)" in ran.err


def test_the_archives_behind_a_broken_one_are_checked_too(ksefd: Ksefd, tmp_path: Path) -> None:
    write_zip(tmp_path / "b.zip", generate_invoices(2, seller_nip=NIP, issue_date=TODAY))
    (tmp_path / "a.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-30])
    ran = ksefd("validate", str(tmp_path / "a.zip"), str(tmp_path / "b.zip"), "--json")
    assert (ran.code, ran.json["valid"], len(ran.json["errors"])) == (REFUSED, 2, 1)
    assert ran.json["errors"][0].startswith("a.zip: ")


def test_errors_come_first_sorted_by_file_and_line_and_the_sums_last(ksefd: Ksefd, tmp_path: Path) -> None:
    yesterday = TODAY - timedelta(days=1)
    write_folder(tmp_path, generate_invoices(3, seller_nip=NIP, issue_date=yesterday, profile="small"))
    for name in ("10.xml", "9.xml", "b/1.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("<x>\n</y>")
    lines = ksefd("validate", str(tmp_path)).out.splitlines()
    assert [line.removeprefix(f"{tmp_path}/").partition(": ")[0] for line in lines[:3]] == [
        "9.xml:2",
        "10.xml:2",
        "b/1.xml:2",
    ]
    (warning,) = [line for line in lines if "will-be-offline" in line]
    assert warning.startswith(str(tmp_path))
    assert "will-be-offline: warning: " in warning
    assert "(and 2 more documents)" in warning
    assert lines[-1] == "6 checked: 3 valid, 3 of them with warnings, 3 invalid"


def test_quiet_leaves_only_the_sums(ksefd: Ksefd, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<x/>")
    ran = ksefd("validate", str(tmp_path / "a.xml"), "--quiet")
    assert (ran.code, ran.out) == (REFUSED, "1 checked: 0 valid, 1 invalid\n")


@pytest.mark.parametrize("form", ["one.xml", "a.zip"])
def test_the_standard_input_is_read_for_a_dash(
    ksefd: Ksefd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    if form == "a.zip":
        write_zip(tmp_path / form, generate_invoices(4, seller_nip=NIP, issue_date=TODAY))
    else:
        (tmp_path / form).write_text("<x/>")
    with (tmp_path / form).open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        ran = ksefd("validate", "-")
    if form == "a.zip":
        assert (ran.code, ran.out) == (OK, "4 checked: 4 valid, 0 invalid\n")
    else:
        assert ran.out.startswith("stdin:1: ")


def test_an_empty_standard_input_is_wrong_usage(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    ran = ksefd("validate", "-")
    assert ran.code == USAGE
    assert "stdin has no known format" in ran.err


def test_the_report_has_every_finding_in_both_languages_with_found_and_wanted_value(
    ksefd: Ksefd, tmp_path: Path
) -> None:
    (one,) = generate_invoices(1, seller_nip=NIP, issue_date=TODAY, profile="small")
    wrong = one.xml.replace(b"<KodWaluty>PLN<", b"<KodWaluty>&lt;b&gt;X<")
    assert wrong != one.xml
    (tmp_path / "a<i>.xml").write_bytes(wrong)
    report = tmp_path / "report.html"
    ran = ksefd("validate", str(tmp_path / "a<i>.xml"), "--report", str(report), "--nip", NIP, "--quiet")
    assert ran.code == REFUSED
    page = report.read_text("utf-8")
    cells = [html.unescape(cell) for cell in re.findall(r"<td>(?:<code>)?(.*?)(?:</code>)?</td>", page)]
    place, line, number, rule, path, found, wanted, message = cells
    assert (place, rule, path) == (str(tmp_path / "a<i>.xml"), "xsd-value-not-allowed", "/Faktura/Fa/KodWaluty")
    assert found == '"<b>X"'
    assert wanted.startswith("PLN, EUR")
    assert line == "1"
    assert number
    assert "jest niedozwolona" in message
    assert "is not allowed" in message
    assert "<b>" not in page
    assert "<i>" not in page
    assert str(TODAY) in page
    assert NIP in page
    assert not re.search(r"<script|src=|href=|url\(|@import", page)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_report_of_nothing_but_valid_invoices_says_so(ksefd: Ksefd, tmp_path: Path) -> None:
    write_folder(tmp_path / "in", generate_invoices(2, seller_nip=NIP, issue_date=TODAY, profile="small"))
    assert ksefd("validate", str(tmp_path / "in"), "--report", str(tmp_path / "r.html")).code == OK
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "2 checked: 2 valid" in page
    assert "<table>" not in page


@pytest.mark.parametrize("place", ["no-folder/r.html", "."])
def test_a_report_that_cannot_be_written_is_refused_before_the_check(ksefd: Ksefd, tmp_path: Path, place: str) -> None:
    (tmp_path / "a.xml").write_text("<x/>")
    ran = ksefd("validate", str(tmp_path / "a.xml"), "--report", str(tmp_path / place))
    assert ran.code == USAGE
    assert ran.out == ""
    assert "--report" in ran.err
