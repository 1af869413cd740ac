"""Poison for checking processes: documents that end, hang or fill the process that checks them.

No real document is known that does so. `load_poisoned_schema` replaces `load_schema_files` in a checking process and wraps
the checker that the process makes, so that a marker in a document takes effect there and nowhere else.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from app.checking import check_chunk
from app.forms.form import CheckContext, CheckedInvoice
from app.forms.registry import SchemaFiles
from app.schema_files import load_schema_files

CRASH: Final = b"<!-- poison: crash -->"
HANG: Final = b"<!-- poison: hang -->"
BLOCK: Final = b"<!-- poison: block -->"
MEMORY: Final = b"<!-- poison: memory -->"
POISONS: Final = {"crash": CRASH, "hang": HANG, "memory": MEMORY}
"""Poisons whose effect comes at once; `BLOCK` takes the seconds of a stalled process."""


def poisoned(document: bytes, poison: bytes) -> bytes:
    """Return an invoice with the marker behind its last tag: valid but for what the marker does."""
    return document + poison


def load_poisoned_schema(schema_dir: Path | None = None) -> SchemaFiles:
    """Return the schema files, and have this process's checker obey the markers. For processes of the check service alone."""
    assert multiprocessing.parent_process() is not None, "a test's own process must not be poisoned"
    make: Callable[..., Any] = check_chunk.__dict__["make_checker"]

    def make_poisoned(files: SchemaFiles, *late_forms: Any, fast_path: bool = True) -> _PoisonedChecker:
        return _PoisonedChecker(make(files, *late_forms, fast_path=fast_path))

    check_chunk.__dict__["make_checker"] = make_poisoned
    return load_schema_files(schema_dir)


class _PoisonedChecker:
    def __init__(self, checker: Any) -> None:
        self._checker = checker

    def check(self, document: bytes, context: CheckContext) -> CheckedInvoice:
        if CRASH in document:
            os.kill(os.getpid(), signal.SIGSEGV)
        if HANG in document:
            while True:
                pass
        if BLOCK in document:
            time.sleep(3_600)
        if MEMORY in document:
            filling: list[bytearray] = []
            while True:
                filling.append(bytearray(50_000_000))
        result: CheckedInvoice = self._checker.check(document, context)
        return result
