"""Starting and stopping the API as a process of its own."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import anyio
import httpx
import psycopg
import pytest
from psycopg import sql

from app.api.serve import _serve, make_server, run_api
from app.clock import utc_now
from app.errors import ConfigurationError
from app.process.ports import PortTaken
from app.settings import Settings
from app.store.installation import prepare_installation
from app.store.store import Store
from tests.support.database import database_url, drop_database
from tests.support.road import add_tenant
from tests.support.waiting import poll

_SCRIPT = """
import sys
from app.settings import load_settings
settings = load_settings()
from app.observability.metrics_folder import use_metrics_folder
use_metrics_folder(settings)
from app.api.serve import _serve, make_server, run_api
from app.clock import utc_now
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
        with pytest.raises(PortTaken, match="is taken"):
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


async def test_the_api_waits_for_a_database_that_has_no_installation_yet_and_then_serves(
    postgres_url: str, tmp_path: Path
) -> None:
    name = f"late_{secrets.token_hex(4)}"
    url = database_url(postgres_url, name)
    settings = Settings(data_dir=tmp_path / "var", database_url=url)
    addresses: list[str] = []
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        async with anyio.create_task_group() as tasks, httpx.AsyncClient(trust_env=False) as http:
            tasks.start_soon(_serve, settings, "127.0.0.1", 0, addresses.append, utc_now)

            async def answers(path: str, status: int) -> bool:
                try:
                    return (await http.get(f"{addresses[0]}{path}")).status_code == status if addresses else False
                except httpx.TransportError:
                    return False

            await poll(lambda: answers("/livez", 200))
            waiting = await http.get(f"{addresses[0]}/readyz")
            assert waiting.status_code == 503
            assert waiting.headers["retry-after"] == "5"
            assert waiting.json()["code"] == "not-ready"
            assert name in waiting.json()["errors"][0]["message"]
            assert (await http.post(f"{addresses[0]}/v1/invoices", content=b"x")).status_code == 503
            assert (tmp_path / "var").is_dir()
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            await anyio.to_thread.run_sync(prepare_installation, settings)
            await poll(lambda: answers("/readyz", 200))
            tasks.cancel_scope.cancel()
    drop_database(postgres_url, url)


@pytest.mark.slow
async def test_a_client_in_the_middle_of_an_upload_gets_a_503_with_retry_after_when_the_process_stops(
    settings: Settings, caller_key: str
) -> None:
    settings = settings.model_copy(update={"stop_seconds": 1.0})
    addresses: list[str] = []
    server = make_server(settings, "127.0.0.1", 0, ready=addresses.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await poll(lambda: _true(bool(addresses)))
        host, port = addresses[0].removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as client:
            await client.send(
                b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 1000\r\n"
                b"Authorization: Bearer " + caller_key.encode() + b"\r\n\r\nPK"
            )
            await poll(lambda: _true(len(server.server_state.tasks) == 1))
            server.should_exit = True
            answer = b""
            with anyio.fail_after(20):
                while b"\r\n\r\n" not in answer:
                    answer += await client.receive()
    head = answer.decode().lower()
    assert head.startswith("http/1.1 503")
    assert "retry-after: " in head
    assert "connection: close" in head
    assert '"stopping"' in answer.decode()


async def _true(value: bool) -> bool:
    return value


@pytest.fixture
async def caller_key(store: Store) -> str:
    tenant = await add_tenant(store)
    _, key = await store.tenants.add_key(tenant.id, label="test", now=utc_now())
    return key
