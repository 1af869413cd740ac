"""Memory goes back to the system, or nothing happens."""

import pytest

from app.process import memory


def test_memory_is_given_back_where_the_c_library_can_and_elsewhere_nothing_happens(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory, "_TRIM", asked.append)
    memory.trim_heap()
    assert asked == [0]
    monkeypatch.setattr(memory, "_TRIM", None)
    memory.trim_heap()
    assert asked == [0]
