"""Each measurement runs once, tiny, against the real service, so that none of them rots; and what is said of a figure is true."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from lxml import etree
from rich.console import Console

from benchmarks import run
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick, percentile
from benchmarks.measure_cargo import TarBody, fresh_invoices, many_invoices, renumbered, up_to_bytes
from benchmarks.measure_service import nobody_at_ksef, running_service
from benchmarks.run import MEASUREMENTS, Name, figures_table, measure_all, verdict, write_results

TINY = Scale(
    count=500,
    rounds=1,
    session_invoices=300,
    upload_bytes=1_500_000,
    seconds=0.5,
    rate=40,
    # Enough that something is left to do after two kills.
    in_flight=12_000,
    fast_rate=60,
    largest=1_000,
)
FIGURES = {
    Name.PIPELINE: 1,
    Name.WAY: 3,
    Name.RAW: 5,
    Name.COMMIT: 1,
    Name.PACKING: 2,
    Name.MEMORY: 2,
    Name.LATENCY: 4,
    Name.WEBHOOKS: 1,
    Name.RESTART: 2,
    Name.STAGES: 1,
    Name.CURVE: 2,
}


def figure(value: float = 1.0, **more: Any) -> Figure:
    return Figure("x", "what", value, "s", **more)


@pytest.mark.parametrize("name", list(Name))
def test_a_measurement_gives_its_figures_and_leaves_no_process_behind(name: Name) -> None:
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    found = MEASUREMENTS[name](TINY, lambda text: None)
    assert len(found) == FIGURES[name]
    for one in found:
        assert one.name == name
        assert one.value > 0
        assert one.yardstick is not None
        assert one.yardstick.value > 0
        json.dumps(one.as_dict())
    left = [one for one in psutil.Process().children(recursive=True) if one.pid not in before]
    assert [one for one in left if "resource_tracker" not in " ".join(one.cmdline())] == []


def test_ending_early_ends_every_process() -> None:
    def broken() -> None:
        with running_service(nobody_at_ksef(), warm=False) as service:
            seen.extend([*service.processes(), *service.postgres()])
            raise KeyboardInterrupt

    seen: list[psutil.Process] = []
    with pytest.raises(KeyboardInterrupt):
        broken()
    assert len(seen) > 4
    _, alive = psutil.wait_procs(seen, timeout=10)
    assert alive == []


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(10), 9.9, True),
        (Goal(10), 10.0, False),
        (Goal(0.6, at_least=True, of_ratio=True), 1.2, True),
        (Goal(0.6, at_least=True, of_ratio=True), 1.19, False),
        (Goal(10, full_size=False), 1.0, None),
    ],
)
def test_a_goal_is_met_only_on_its_side_of_the_limit(goal: Goal, value: float, met: bool | None) -> None:
    one = figure(value, goal=goal, yardstick=Yardstick("stick", 2.0, "s"))
    assert one.met is met
    assert verdict(one).plain == {True: "met", False: "missed", None: "too small to decide"}[met]


def test_a_ratio_needs_a_yardstick_and_a_measured_one_wins() -> None:
    assert figure(3.0).ratio is None
    assert figure(3.0, yardstick=Yardstick("stick", 2.0, "s")).ratio == 1.5
    assert figure(3.0, yardstick=Yardstick("stick", 2.0, "s"), measured_ratio=0.7).ratio == 0.7


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_renumbered_invoices_are_valid_and_differ_in_nothing_but_the_number(fa3_schema: etree.XMLSchema) -> None:
    source = many_invoices(seed=7, templates=40)
    made = [next(source) for _ in range(120)]
    assert len({one.xml for one in made}) == len({one.number for one in made}) == len({one.name for one in made}) == 120
    for first, second in zip(made[:40], made[40:80], strict=True):
        assert fa3_schema.validate(etree.fromstring(second.xml))
        assert second.number == f"{first.number}/1"
        assert second.xml.replace(f"{first.number}/1".encode(), first.number.encode()) == first.xml


def test_an_invoice_without_its_number_cannot_be_renumbered() -> None:
    broken = replace(fresh_invoices(1)[0], xml=b"<Faktura/>")
    with pytest.raises(ValueError, match="P_2"):
        renumbered(broken, 1)


def test_a_body_counts_what_it_holds() -> None:
    body = TarBody(up_to_bytes(many_invoices(seed=3, templates=20), 100_000))
    size = sum(len(piece) for piece in body)
    assert 100_000 <= body.xml_bytes < 200_000 < size + 100_000
    assert body.count >= 10


def test_one_failed_measurement_does_not_cost_the_figures_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scale: Scale, say: Say) -> list[Figure]:
        raise ExceptionGroup("tasks", [MeasurementFailed("the disk is full")])

    def works(scale: Scale, say: Say) -> list[Figure]:
        say("working")
        return [figure(goal=Goal(2))]

    monkeypatch.setitem(run.MEASUREMENTS, Name.PACKING, fails)
    monkeypatch.setitem(run.MEASUREMENTS, Name.STAGES, works)
    console = Console(record=True, width=120)
    figures, failures = measure_all([Name.PACKING, Name.STAGES], TINY, console)
    assert [one.what for one in figures] == ["what"]
    assert failures == {"packing": "the disk is full"}
    console.print(figures_table(figures, failures))
    printed = console.export_text()
    for words in ("working", "not measured", "the disk is full", "met"):
        assert words in printed


def test_the_results_file_has_every_number(tmp_path: Path) -> None:
    one = figure(goal=Goal(2), yardstick=Yardstick("stick", 4.0, "s"), detail={"more": [1, 2]})
    path = write_results([one], {"memory": "why"}, {"cores": 2}, tmp_path / "results")
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["failures"] == {"memory": "why"}
    assert found["figures"][0]["ratio"] == 0.25
    assert found["figures"][0]["met"] is True
    assert found["figures"][0]["detail"] == {"more": [1, 2]}


def test_the_command_measures_what_it_is_asked_for() -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--only", "stages", "--count", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(run.__file__).parents[1])
    assert "CPU of one invoice" in " ".join(done.stdout.split())
    assert "durable pipeline" not in done.stdout
