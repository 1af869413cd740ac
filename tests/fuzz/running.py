"""Starts atheris on a target. Only this module needs atheris, which is no dependency of the project."""

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

_MUTATED_BY_ATHERIS = 0.5

Mutate = Callable[[bytes, Random], bytes]


def run(package: str, target: str, words: Iterable[bytes], mutate: Mutate | None = None) -> None:
    """Fuzz `target` (`module:function`) until the libFuzzer options say stop; a failure ends the process.

    `package` names the modules whose coverage guides; they must not be imported yet. `words` become the dictionary.
    `mutate`, where given, makes half of the new inputs out of old ones.
    """
    atheris: Any = importlib.import_module("atheris")
    module, _, function = target.partition(":")
    with atheris.instrument_imports(include=[package]):
        check: Callable[[bytes], None] = getattr(importlib.import_module(module), function)

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        random = Random(seed)
        if mutate is None or random.random() < _MUTATED_BY_ATHERIS:
            return bytes(atheris.Mutate(data, max_size))
        return mutate(data, random)[:max_size]

    with tempfile.TemporaryDirectory() as folder:
        dictionary = Path(folder, "words")
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words), encoding="ascii")
        options = {"custom_mutator": mutated} if mutate is not None else {}
        atheris.Setup([*sys.argv, f"-dict={dictionary}"], check, **options)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
