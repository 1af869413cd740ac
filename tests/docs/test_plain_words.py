"""Docstrings and comments name their subject: no stand-in words, and first lines of one shape."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(path for top in ("app", "workers", "sandbox") for path in (ROOT / top).rglob("*.py"))
WORDS = "whoever|whatever|whomever|nobody|somebody|someone|anybody|told|tells?|stands?|looks?|looked|minds?"
STAND_INS = re.compile(rf"\b({WORDS})\b", re.IGNORECASE)
BAD_STARTS = re.compile(
    rf"({WORDS}|who|what|how|where|when|why|nothing|everything|all that|those|it|they)\b", re.IGNORECASE
)
NAMES = re.compile(r"_?(settle|look|mind|told|knock|hold|held)(_.*)?")


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""


def _faults(source: str) -> list[str]:
    """Return what breaks the rules for prose in a module, a line each."""
    tree = ast.parse(source)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    docstrings = list(_docstrings(tree))
    found = [f"{line}: says {word[0]!r}" for line, text in docstrings + comments for word in STAND_INS.finditer(text)]
    for line, first in ((line, text.split("\n", 1)[0]) for line, text in docstrings if text):
        if BAD_STARTS.match(first) or first[-1] not in ".:" or len(first) > 120:
            found.append(f"{line}: begins {first[:60]!r}")
    defined = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
    found.extend(f"{node.lineno}: is named {node.name}" for node in defined if NAMES.fullmatch(node.name))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_names_what_it_is_about(path: Path) -> None:
    assert _faults(path.read_text(encoding="utf-8")) == []


def test_each_kind_of_fault_is_found() -> None:
    source = '"""Whoever asks is told."""\ndef look() -> None:\n    """What is seen"""\n    # Nobody knows.\n'
    rules = [fault.split(" ")[1] for fault in _faults(source)]
    assert sorted(rules) == ["begins", "begins", "is", "says", "says", "says"]
