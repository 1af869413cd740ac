"""Schema files, their digests, and that nothing is ever fetched."""

import sys
from pathlib import Path

import pytest
from lxml import etree

from app.errors import ConfigurationError
from app.forms.fa3.schema import compile_schema
from app.forms.xsd.schema import UnusableSchemaError
from app.schema_files import load_schema_files, plain_form, read_catalog

CODES = "KodyKrajow_v10-0E.xsd"


def test_the_files_of_the_catalog_make_a_schema() -> None:
    files = load_schema_files()["FA (3)"]
    assert set(files) == {entry["name"] for entry in read_catalog()["form"][0]["file"]}
    assert isinstance(compile_schema(files), etree.XMLSchema)


def test_loading_does_not_import_the_package_that_ships_the_files() -> None:
    import subprocess

    code = "import sys, app.schema_files as s; s.load_schema_files(); sys.exit('ksef_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_changed_file_is_refused_by_name_and_digest(tmp_path: Path) -> None:
    for name, content in load_schema_files()["FA (3)"].items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / CODES).write_bytes(b"<other/>")
    with pytest.raises(ConfigurationError, match=r"KodyKrajow.*SHA-256 is [0-9a-f]{64}, expected [0-9a-f]{64}"):
        load_schema_files(tmp_path)


def test_the_ministrys_line_ends_and_relative_locations_are_accepted(tmp_path: Path) -> None:
    for name, content in load_schema_files()["FA (3)"].items():
        (tmp_path / name).write_bytes(plain_form(content).replace(b"\n", b"\r"))
    assert isinstance(compile_schema(load_schema_files(tmp_path)["FA (3)"]), etree.XMLSchema)


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Cannot read the schema file"):
        load_schema_files(tmp_path / "none")


def test_an_unknown_import_fails_instead_of_going_out() -> None:
    files = load_schema_files()["FA (3)"]
    del files[CODES]
    with pytest.raises(UnusableSchemaError, match="KodyKrajow"):
        compile_schema(files)


def test_an_import_from_the_disk_fails_even_if_the_file_is_there(tmp_path: Path) -> None:
    files = load_schema_files()["FA (3)"]
    outside = tmp_path / "outside.xsd"
    outside.write_bytes(files.pop(CODES))
    name = "ElementarneTypyDanych_v10-0E.xsd"
    location = b"http://crd.gov.pl/xml/schematy/dziedzinowe/mf/2022/01/05/eD/DefinicjeTypy/" + CODES.encode()
    assert location in files[name]
    files[name] = files[name].replace(location, outside.as_uri().encode())
    with pytest.raises(UnusableSchemaError, match=r"outside\.xsd"):
        compile_schema(files)


def test_files_without_the_root_schema_are_refused() -> None:
    with pytest.raises(UnusableSchemaError, match="exactly one"):
        compile_schema({CODES: load_schema_files()["FA (3)"][CODES]})


def test_the_order_of_lists_that_saves_time_changes_no_allowed_value() -> None:
    from app.forms.xsd.schema_order import usual_values_first

    def lists(root: etree._Element) -> list[list[str | None]]:
        name = "{http://www.w3.org/2001/XMLSchema}"
        return [[v.get("value") for v in r.findall(f"{name}enumeration")] for r in root.iter(f"{name}restriction")]

    moved = 0
    for content in load_schema_files()["FA (3)"].values():
        root = etree.fromstring(content)
        before = lists(root)
        usual_values_first(root)
        after = lists(root)
        assert [sorted(map(str, one)) for one in after] == [sorted(map(str, one)) for one in before]
        moved += after != before
    assert moved, "the countries and currencies of the official files are not in the usual order of their use"
