"""Reads the official schema files of all forms and compares them with the digests in `schemas/catalog.toml`.

Those of FA(3) are package data of `ksef-client`; nothing of that package is imported, only its folder is used.
"""

import hashlib
import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

from app.errors import ConfigurationError

_PACKAGE = "ksef_client"
_FOLDER_IN_PACKAGE = Path("documents", "fa3", "schemas")
# No official schema file comes near this; a wrong folder full of large files must not fill the memory.
_MAX_FILE_BYTES = 4_000_000
_LOCATION = re.compile(rb'(schemaLocation=")[^"]*/([^"/]+")')
_TRAILING_BLANKS = re.compile(rb"[ \t]+$", re.MULTILINE)


def load_schema_files(schema_dir: Path | None = None) -> dict[str, dict[str, bytes]]:
    """Return the official schema files by form code and file name, each checked against `schemas/catalog.toml`.

    Reads the folder of the installed `ksef-client`, or `schema_dir` when given (KSEFD_SCHEMA_DIR). Raises
    ConfigurationError, naming the file, when one is missing or is not the file that the catalog describes.
    """
    folder = schema_dir if schema_dir is not None else _installed_folder()
    return {
        form["code"]: {entry["name"]: _read_checked(folder, entry) for entry in form["file"]}
        for form in read_catalog()["form"]
    }


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


def _read_checked(folder: Path, entry: dict[str, Any]) -> bytes:
    path = folder / entry["name"]
    try:
        with path.open("rb") as file:
            content: bytes = file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise ConfigurationError(f"Cannot read the schema file {path}: {error.strerror or error}.") from error
    found = hashlib.sha256(content).hexdigest()
    if found == entry["sha256"]:
        return content
    if hashlib.sha256(plain_form(content)).hexdigest() == entry["plain_sha256"]:
        return content
    raise ConfigurationError(
        f"The schema file {path} is not the official one: its SHA-256 is {found}, expected {entry['sha256']}."
    )
