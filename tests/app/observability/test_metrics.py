"""Metrics: names as documented, and the counts of several processes on one page."""

import os
import subprocess
import sys
from pathlib import Path

from app.observability.metrics import METRICS, exposition, start_at_zero
from app.observability.metrics_folder import FOLDER_VARIABLE, metrics_folder, process_environment, sweep_dead_processes
from app.settings import Settings

_WORK = """
from app.observability.metrics import PART_BYTES, STAGE_SECONDS, exposition, start_at_zero
start_at_zero()
PART_BYTES.inc(100)
STAGE_SECONDS.labels(stage="pack").observe(0.2)
print(exposition().decode())
"""


def _run(settings: Settings) -> str:
    environment = os.environ | process_environment(settings) | {"PYTHONPATH": os.getcwd()}
    return subprocess.run(
        [sys.executable, "-c", _WORK], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_counters_of_all_processes_of_a_machine_are_added(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _run(settings)
    page = _run(settings)
    assert "ksefd_part_bytes_total 200.0" in page
    assert 'ksefd_stage_seconds_count{stage="pack"} 2.0' in page
    assert "ksefd_build_info{" in page
    assert "pid=" not in page


def test_the_values_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _run(settings)
    mine = metrics_folder(settings) / f"counter_{os.getpid()}.db"
    mine.write_bytes(b"")
    (metrics_folder(settings) / "notes.txt").write_text("not ours")
    assert sweep_dead_processes(settings) >= 3
    assert {path.name for path in metrics_folder(settings).iterdir()} == {mine.name, "notes.txt"}
    assert sweep_dead_processes(settings) == 0


def test_every_metric_has_the_prefix_and_help() -> None:
    start_at_zero()
    assert FOLDER_VARIABLE not in os.environ
    page = exposition().decode()
    for metric in METRICS:
        (family,) = metric.describe()
        assert family.name.startswith("ksefd_")
        assert family.documentation.endswith(".")
        assert f"# HELP {family.name}" in page
    assert 'ksefd_validation_findings_total{rule="too-large"}' in page
