"""The official files of several forms: where they are found, that they do not collide, and which file may be installed."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.forms.registry import FORMS
from app.schema_files import LateForms, form_statuses, load_schema_files, read_catalog, recognise_file
from app.store.blob_errors import BlobStoreUnavailable
from app.store.installed_schemas import InstalledSchemas
from tests.support.official_files import FA_RR_XSD, needs_fa_rr_xsd

FORM = "FA_RR (1)"
KEY = f"schemas/fa_rr1/{FA_RR_XSD.name}"


def test_the_catalog_and_the_registry_name_the_same_forms_and_files() -> None:
    catalog = {form["code"]: form for form in read_catalog()["form"]}
    assert set(catalog) == set(FORMS)
    for code, form in FORMS.items():
        assert catalog[code]["schema_version"] == form.schema_version
        assert [entry["name"] for entry in catalog[code]["file"]] == list(form.schema_files)
        assert catalog[code]["file"][0]["namespace"] == form.namespace
    assert len({form["folder"] for form in catalog.values()}) == len(catalog)


def test_a_form_whose_file_is_nowhere_is_off_and_says_which_file_it_lacks() -> None:
    assert set(load_schema_files()) == {"FA (3)"}
    fa3, rr = form_statuses(None, None)
    assert (fa3.is_on, fa3.source) == (True, "package")
    assert (rr.is_on, rr.source, rr.file, rr.problem) == (False, None, FA_RR_XSD.name, None)


@needs_fa_rr_xsd
def test_an_installed_file_turns_its_form_on_with_imports_from_the_package() -> None:
    stored = {KEY: FA_RR_XSD.read_bytes()}
    found = load_schema_files(None, stored.get)
    assert list(found[FORM]) == list(FORMS[FORM].schema_files)
    assert form_statuses(None, stored.get)[1].source == "installed"


@needs_fa_rr_xsd
@pytest.mark.parametrize("below", ["", "fa_rr1"])
def test_the_folder_of_the_settings_may_keep_the_forms_apart(tmp_path: Path, below: str) -> None:
    for name, content in load_schema_files()["FA (3)"].items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / below).mkdir(exist_ok=True)
    shutil.copy(FA_RR_XSD, tmp_path / below / FA_RR_XSD.name)
    assert set(load_schema_files(tmp_path)) == {"FA (3)", FORM}
    assert form_statuses(tmp_path, None)[1].source == "KSEFD_SCHEMA_DIR"


def test_files_of_one_name_in_two_forms_do_not_collide(tmp_path: Path) -> None:
    shared = "KodyKrajow_v10-0E.xsd"
    for name, content in load_schema_files()["FA (3)"].items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "fa_rr1").mkdir()
    (tmp_path / "fa_rr1" / shared).write_bytes(b"<another/>")
    assert set(load_schema_files(tmp_path)) == {"FA (3)"}, "the file of another form is not read for FA(3)"


def test_a_stored_file_that_was_changed_is_a_problem_of_its_form() -> None:
    changed: Mapping[str, bytes] = {KEY: b"<changed/>"}
    with pytest.raises(ConfigurationError, match="is not the official one"):
        load_schema_files(None, changed.get)
    fa3, rr = form_statuses(None, changed.get)
    assert fa3.is_on
    assert not rr.is_on
    assert rr.problem is not None
    assert KEY in rr.problem


@needs_fa_rr_xsd
def test_only_a_root_file_of_the_catalog_can_be_installed(tmp_path: Path) -> None:
    found = recognise_file(FA_RR_XSD)
    assert (found.form_code, found.key) == (FORM, KEY)
    other = tmp_path / FA_RR_XSD.name
    other.write_bytes(FA_RR_XSD.read_bytes() + b"<!-- -->")
    with pytest.raises(ConfigurationError, match=r"SHA-256 is [0-9a-f]{64}"):
        recognise_file(other)
    with pytest.raises(ConfigurationError, match="Cannot read"):
        recognise_file(tmp_path / "none")


def test_forms_that_come_later_are_read_again_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("app.schema_files.time.monotonic", lambda: now[0])
    loads: list[Mapping[str, Mapping[str, bytes]]] = [{}, {FORM: {"a": b""}}]
    late = LateForms(lambda: loads.pop(0))
    assert late(FORM) is None
    now[0] += 4.9
    assert late(FORM) is None
    assert len(loads) == 1
    now[0] += 0.2
    assert late(FORM) == {"a": b""}


def test_a_changed_file_leaves_a_late_form_off() -> None:
    def changed() -> Mapping[str, Mapping[str, bytes]]:
        raise ConfigurationError("changed")

    assert LateForms(changed)(FORM) is None


@pytest.mark.parametrize("as_url", [False, True])
def test_reading_installed_files_makes_no_folder(tmp_path: Path, as_url: bool) -> None:
    url = f"file://{tmp_path}/blobs" if as_url else None
    installed = InstalledSchemas(url, tmp_path)
    assert installed(KEY) is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "blobs" / "schemas" / "fa_rr1").mkdir(parents=True)
    (tmp_path / "blobs" / KEY).write_bytes(b"x")
    assert installed(KEY) == b"x"


def test_installed_files_in_an_object_store_are_read_there(tmp_path: Path) -> None:
    assert InstalledSchemas("memory:///", tmp_path)(KEY) is None


def test_a_store_that_does_not_answer_once_does_not_make_a_form_look_uninstalled() -> None:
    answers: list[Exception | dict[str, dict[str, bytes]]] = [
        BlobStoreUnavailable("away"),
        {"X (1)": {"x.xsd": b"<x/>"}},
    ]

    def load() -> dict[str, dict[str, bytes]]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    late = LateForms(load)
    with pytest.raises(BlobStoreUnavailable):
        late("X (1)")
    assert late("X (1)") == {"x.xsd": b"<x/>"}
