"""Starting and stopping the API as a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from app.api.serve import run_api
from app.errors import ConfigurationError
from app.settings import Settings

_SCRIPT = """
import sys
from app.settings import load_settings
settings = load_settings()
from app.observability.metrics_folder import use_metrics_folder
use_metrics_folder(settings)
from app.api.serve import run_api
run_api(settings, "127.0.0.1", 0, ready=lambda url: print(url, flush=True))
print("ended", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_request_finish_and_ends_the_process_well(
    settings: Settings, tmp_path: Path, number: signal.Signals
) -> None:
    script = tmp_path / "serve.py"
    script.write_text(_SCRIPT)
    environment = os.environ | {
        "PYTHONPATH": os.getcwd(),
        "KSEFD_DATABASE_URL": settings.database_url or "",
        "KSEFD_DATA_DIR": str(settings.data_dir),
        "KSEFD_LOG_FORMAT": "json",
    }
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/livez", trust_env=False).json()["status"] == "alive"
        assert "ksefd_build_info{" in httpx.get(f"{url}/metrics", trust_env=False).text
        with closing(HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.request("GET", "/livez")
            assert client.getresponse().read()
            connection = client.sock
            connection.sendall(
                b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nP"
            )
            # Whoever has heard this later question has heard the earlier one on an open connection too.
            assert httpx.get(f"{url}/livez", trust_env=False).is_success
            process.send_signal(number)
            connection.sendall(b"K")
            answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 401")
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert output.strip() == "ended"
    assert '"event": "api_started"' in errors
    assert "Traceback" not in errors


def test_a_taken_port_stops_the_start_with_a_clear_error(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="did not start"):
            run_api(settings, "127.0.0.1", taken.getsockname()[1])


def test_without_a_database_the_start_stops_with_a_clear_error(settings: Settings) -> None:
    failed: list[BaseException] = []

    def start() -> None:
        try:
            run_api(settings.model_copy(update={"database_url": None}), "127.0.0.1", 0)
        except ConfigurationError as error:
            failed.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join(20)
    assert len(failed) == 1
