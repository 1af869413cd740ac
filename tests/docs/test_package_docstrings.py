"""A folder listing is alphabetical; the docstring of its package tells the order. Both name the same modules."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for top in ("app", "workers", "sandbox") for path in ROOT.glob(f"{top}/**/__init__.py"))


def _docstring(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""


def _is_there(package: Path, name: str) -> bool:
    head = name.strip("/").split(".")[0].split("/")[0]
    return any((folder / head).is_dir() or (folder / f"{head}.py").is_file() for folder in (package, ROOT))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_package_has_a_docstring_that_names_only_what_is_there(package: Path) -> None:
    text = _docstring(package)
    assert text
    quoted = re.findall(r"`([a-z_0-9./]+)`", text)
    columns = re.findall(r"^    ([a-z_/]+(?:, [a-z_/]+)*)  ?\S?", text, re.M)
    listed = [name for column in columns for name in column.split(", ")]
    for name in [*quoted, *listed]:
        if not name.startswith("/") and name != "ksefd":
            assert _is_there(package, name), f"{name} is named in {package.name}/__init__.py and is not there"


def test_every_stage_is_named_in_the_docstring_of_its_package() -> None:
    for package in (ROOT / "workers", *(path.parent for path in (ROOT / "workers").glob("*/__init__.py"))):
        text = _docstring(package)
        modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
        assert {module for module in modules if not re.search(rf"\b{module}\b", text)} == set(), package.name
