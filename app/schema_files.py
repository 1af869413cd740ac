"""Reads the official schema files of all forms and compares them with the digests in `schemas/catalog.toml`.

Those of FA(3) are package data of `ksef-client`; nothing of that package is imported, only its folder is used.
"""

import hashlib
import importlib.util
import re
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ConfigurationError

LATE_FORMS_SECONDS = 5.0
"""A form that is installed while processes run is used by all of them after this time."""

_PACKAGE = "ksef_client"
_PACKAGED = "fa3"
_FROM_PACKAGE, _FROM_FOLDER, _INSTALLED = "package", "KSEFD_SCHEMA_DIR", "installed"
_FOLDER_IN_PACKAGE = Path("documents", "fa3", "schemas")
# No official schema file comes near this; a wrong folder full of large files must not fill the memory.
_MAX_FILE_BYTES = 4_000_000
_LOCATION = re.compile(rb'(schemaLocation=")[^"]*/([^"/]+")')
_TRAILING_BLANKS = re.compile(rb"[ \t]+$", re.MULTILINE)


ReadInstalled = Callable[[str], bytes | None]
"""Reads a file that `ksefd schema install` stored, by its key; None when it is not there."""


@dataclass(frozen=True, slots=True)
class FormStatus:
    """One form of the catalog: whether its official files are found, and where the root file comes from."""

    code: str
    schema_version: str
    is_on: bool
    source: str | None
    """`package`, `KSEFD_SCHEMA_DIR` or `installed`; None for a form that is off."""
    file: str
    """Name of the root file."""
    sha256: str
    problem: str | None = None
    """The reason why the form is off."""


def load_schema_files(
    schema_dir: Path | None = None, read_installed: ReadInstalled | None = None
) -> dict[str, dict[str, bytes]]:
    """Return the official schema files of the forms that are on, by form code and file name, each checked against the catalog.

    Those of FA(3) are read from the installed `ksef-client`, or from `schema_dir` when given (KSEFD_SCHEMA_DIR). Other forms are on
    when their root file is in `schema_dir` or installed. Raises ConfigurationError, naming the file, when one of FA(3) is missing, or
    when a file is not the one that the catalog describes.
    """
    found: dict[str, dict[str, bytes]] = {}
    for form in read_catalog()["form"]:
        files = _read_form(form, schema_dir, read_installed)
        if files is not None:
            found[form["code"]] = {name: content for name, (content, _) in files.items()}
    return found


def form_statuses(schema_dir: Path | None, read_installed: ReadInstalled | None) -> list[FormStatus]:
    """Return the status of each form of the catalog; a file that cannot be used is its `problem`."""
    return [_status(form, schema_dir, read_installed) for form in read_catalog()["form"]]


def _status(form: dict[str, Any], schema_dir: Path | None, read_installed: ReadInstalled | None) -> FormStatus:
    root = form["file"][0]
    problem: str | None = None
    files = None
    try:
        files = _read_form(form, schema_dir, read_installed)
    except ConfigurationError as error:
        problem = error.detail
    return FormStatus(
        code=form["code"],
        schema_version=form["schema_version"],
        is_on=files is not None,
        source=files[root["name"]][1] if files is not None else None,
        file=root["name"],
        sha256=root["sha256"],
        problem=problem,
    )


@dataclass(frozen=True, slots=True)
class InstallableFile:
    """An official file that a form lacks: the code of the form, and the key under which it is stored."""

    form_code: str
    key: str
    content: bytes


def recognise_file(path: Path) -> InstallableFile:
    """Return the form that a file is the root schema of, by its digest.

    Raises ConfigurationError when the file cannot be read, or is none of the catalog's root files.
    """
    content = _read(path)
    for form in read_catalog()["form"]:
        entry = form["file"][0]
        if _is_official(content, entry):
            return InstallableFile(form["code"], _installed_key(form, entry), content)
    raise ConfigurationError(
        f"{path} is not an official schema file that the catalog describes: its SHA-256 is {hashlib.sha256(content).hexdigest()}."
    )


class LateForms:
    """Finds the files of a form that was installed after a process started, reading them again every five seconds at most."""

    def __init__(self, load: Callable[[], Mapping[str, Mapping[str, bytes]]]) -> None:
        """`load` gives the files of all forms that are on."""
        self._load = load
        self._again_at = 0.0

    def __call__(self, code: str) -> Mapping[str, bytes] | None:
        """Return the files of a form, None while it is off."""
        now = time.monotonic()
        if now < self._again_at:
            return None
        try:
            files = self._load()
        except ConfigurationError:
            # `ksefd schema list` shows the reason; documents of the form are refused meanwhile.
            files = {}
        # Not after any other error: a store that does not answer says nothing about the form, so the next document asks again.
        self._again_at = now + LATE_FORMS_SECONDS
        return files.get(code)


def read_catalog() -> dict[str, Any]:
    """Return the catalog: `form`, a list of `code`, `schema_version`, `folder` and `file` (name, namespace, role, digests)."""
    folder = _package_folder("schemas")
    if folder is None:
        raise ConfigurationError("The package schemas, part of ksef-dispatch, is not installed.")
    try:
        return tomllib.loads((folder / "catalog.toml").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"Cannot read the catalog of schemas: {error}.") from error


def plain_form(content: bytes) -> bytes:
    r"""Return a schema file with the differences between the ministry's copies and ksef-client's evened out.

    Line ends become \n, blanks at line ends go, and a schema location keeps only its file name.
    """
    content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _LOCATION.sub(rb"\1\2", _TRAILING_BLANKS.sub(b"", content))


def _package_folder(name: str) -> Path | None:
    # find_spec of a top-level name imports nothing; of a submodule it would import the parents.
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _installed_folder() -> Path:
    folder = _package_folder(_PACKAGE)
    if folder is None:
        raise ConfigurationError(
            "The official FA(3) schema files are missing: install the package ksef-client or set KSEFD_SCHEMA_DIR."
        )
    return folder / _FOLDER_IN_PACKAGE


def _read_form(
    form: dict[str, Any], schema_dir: Path | None, read_installed: ReadInstalled | None
) -> dict[str, tuple[bytes, str]] | None:
    """Return content and source of a form's files by name; None when its root file is nowhere."""
    files: dict[str, tuple[bytes, str]] = {}
    for entry in form["file"]:
        places = _places(form, entry, schema_dir)
        if form["folder"] == _PACKAGED:
            source, path = places[0]
            files[entry["name"]] = _checked(_read(path), entry, str(path)), source
            continue
        found = _first_official(entry, places) or _read_stored(form, entry, read_installed)
        if found is None:
            if entry["role"] == "root":
                return None
            raise ConfigurationError(f"The schema file {entry['name']} of the form {form['code']} is missing.")
        files[entry["name"]] = found
    return files


def _places(form: dict[str, Any], entry: dict[str, Any], schema_dir: Path | None) -> list[tuple[str, Path]]:
    """Return the places of a file, best first: the folder of its form, then the folder that all forms share."""
    places = []
    if schema_dir is not None:
        own = schema_dir / form["folder"] / entry["name"]
        shared = (_FROM_FOLDER, schema_dir / entry["name"])
        places += [(_FROM_FOLDER, own), shared] if own.exists() else [shared]
    if schema_dir is None or form["folder"] != _PACKAGED:
        places.append((_FROM_PACKAGE, _installed_folder() / entry["name"]))
    return places


def _first_official(entry: dict[str, Any], places: list[tuple[str, Path]]) -> tuple[bytes, str] | None:
    wrong: ConfigurationError | None = None
    for source, path in places:
        if not path.exists():
            continue
        try:
            return _checked(_read(path), entry, str(path)), source
        except ConfigurationError as error:
            wrong = error
    if wrong is not None:
        raise wrong
    return None


def _read_stored(
    form: dict[str, Any], entry: dict[str, Any], read_installed: ReadInstalled | None
) -> tuple[bytes, str] | None:
    key = _installed_key(form, entry)
    content = read_installed(key) if read_installed is not None else None
    return None if content is None else (_checked(content, entry, key), _INSTALLED)


def _installed_key(form: dict[str, Any], entry: dict[str, Any]) -> str:
    return f"schemas/{form['folder']}/{entry['name']}"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"Cannot read the schema file {path}: {error.strerror or error}.") from error


def _checked(content: bytes, entry: dict[str, Any], place: str) -> bytes:
    if _is_official(content, entry):
        return content
    raise ConfigurationError(
        f"The schema file {place} is not the official one: its SHA-256 is {hashlib.sha256(content).hexdigest()},"
        f" expected {entry['sha256']}."
    )


def _is_official(content: bytes, entry: dict[str, Any]) -> bool:
    digests = {hashlib.sha256(content).hexdigest(), hashlib.sha256(plain_form(content)).hexdigest()}
    return not digests.isdisjoint((entry["sha256"], entry["plain_sha256"]))
