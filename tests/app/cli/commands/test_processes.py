"""The two halves of the service, started by themselves, count where one `/metrics` can show both."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
import app.cli.local_store as local
from app.settings import Settings
local.settings_with_database = lambda: Settings(data_dir=sys.argv[2])
name, function = sys.argv[1].rsplit(".", 1)
import importlib.util
import types
stand_in = types.ModuleType(name)
setattr(stand_in, function, lambda *a, **k: print(os.environ["PROMETHEUS_MULTIPROC_DIR"], "app.observability.metrics" in sys.modules) or 0)
sys.modules[name] = stand_in
from app.cli.commands import processes
try:
    getattr(processes, sys.argv[3])()
except BaseException as end:
    assert getattr(end, "exit_code", None) == 0, end
"""


@pytest.mark.parametrize(
    ("runs", "command"), [("app.api.serve.run_api", "api"), ("workers.runtime.run_worker", "worker")]
)
@pytest.mark.slow
def test_a_half_started_alone_counts_in_the_folder_of_its_machine(
    runs: str, command: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, runs, str(folder), command],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    where, imported = done.stdout.split()
    assert where.startswith(str(folder))
    assert imported == "False", "the metrics were imported before they knew their folder"
