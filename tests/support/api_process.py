"""The API alone, as a process of its own on a free port, for tests that kill it or must not hear its log."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.settings import Settings

_SCRIPT = """
from app.settings import load_settings
from app.api.serve import run_api
run_api(load_settings(), "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
"""


@contextmanager
def api_process(folder: Path, settings: Settings) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the API until the block ends and give its process and address; its log is added to `api.log` in the folder."""
    environment = os.environ | {
        "PYTHONPATH": os.getcwd(),
        "KSEFD_DATABASE_URL": settings.database_url or "",
        "KSEFD_DATA_DIR": str(settings.data_dir),
        "KSEFD_LOG_FORMAT": "json",
    }
    with (
        (folder / "api.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-c", _SCRIPT], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, (folder / "api.log").read_text(encoding="utf-8")
            yield process, url
        finally:
            process.kill()
