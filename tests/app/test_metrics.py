"""Metrics: names as documented, and the counts of several processes on one page."""

import os
import subprocess
import sys
from pathlib import Path

from app.metrics import METRICS, exposition, start_at_zero
from app.metrics_folder import FOLDER_VARIABLE, metrics_folder, process_environment, sweep_dead_processes
from app.settings import Settings

_WORK = """
from app.metrics import PART_BYTES, STAGE_SECONDS, KSEF_QUOTA_REMAINING, exposition, start_at_zero
start_at_zero()
PART_BYTES.inc(100)
STAGE_SECONDS.labels(stage="pack").observe(0.2)
KSEF_QUOTA_REMAINING.labels(group="batchSession", window="hour").set({quota})
print(exposition().decode())
"""


def _run(settings: Settings, quota: int) -> str:
    environment = os.environ | process_environment(settings) | {"PYTHONPATH": os.getcwd()}
    code = _WORK.replace("{quota}", str(quota))
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_counters_of_all_processes_of_a_machine_are_added(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _run(settings, 60)
    page = _run(settings, 42)
    assert "ksefd_part_bytes_total 200.0" in page
    assert 'ksefd_stage_seconds_count{stage="pack"} 2.0' in page
    assert 'ksefd_ksef_quota_remaining{group="batchSession",window="hour"} 42.0' in page
    assert "pid=" not in page


def test_the_values_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    _run(settings, 1)
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
