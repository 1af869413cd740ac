"""`ksefd schema`: the forms that are on, without an installation, and installing an official file into one."""

from pathlib import Path

from app.cli.exit_codes import OK, USAGE
from app.clock import utc_now, warsaw_day
from invoicegen.vat_rr import generate_rr_invoices
from tests.app.cli.conftest import Ksefd
from tests.support.official_files import FA_RR_XSD, needs_fa_rr_xsd
from tests.support.road import NIP


def test_the_list_needs_no_installation_and_makes_none(ksefd: Ksefd, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    ran = ksefd("schema", "list", "--json", data_dir=str(folder))
    assert ran.code == OK
    fa3, rr = ran.json
    assert (fa3["form"], fa3["on"], fa3["source"]) == ("FA (3)", True, "package")
    assert (rr["form"], rr["on"], rr["source"]) == ("FA_RR (1)", False, None)
    assert not folder.exists()
    shown = ksefd("schema", "list", data_dir=str(folder)).out
    assert "ksefd schema install" in shown


def test_a_file_that_is_not_official_is_refused(on_database: Ksefd, tmp_path: Path) -> None:
    other = tmp_path / "other.xsd"
    other.write_bytes(b"<schema/>")
    ran = on_database("schema", "install", str(other))
    assert ran.code == USAGE
    assert "is not an official schema file" in ran.err


@needs_fa_rr_xsd
def test_an_installed_form_is_listed_and_its_documents_are_valid(on_database: Ksefd, tmp_path: Path) -> None:
    (invoice,) = generate_rr_invoices(1, buyer_nip=NIP, issue_date=warsaw_day(utc_now()))
    document = tmp_path / "rr.xml"
    document.write_bytes(invoice.xml)
    before = on_database("validate", str(document))
    assert before.code != OK
    assert "form-not-installed" in before.out
    ran = on_database("schema", "install", str(FA_RR_XSD), "--json")
    assert (ran.code, ran.json["form"]) == (OK, "FA_RR (1)")
    rr = on_database("schema", "list", "--json").json[1]
    assert (rr["on"], rr["source"]) == (True, "installed")
    assert on_database("validate", str(document)).code == OK
    assert on_database("validate", str(document), "--nip", "5213814999").code != OK
