"""A real S3 server for tests: SeaweedFS, one for a file of tests."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from botocore.config import Config
from botocore.session import get_session

from tests.support.ports import reserved_port

BUCKET = "ksefd-tests"
KEY, SECRET = "tests-key", "tests-secret"
_START_SECONDS = 60.0
_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server with an empty bucket."""

    endpoint: str
    pid: int

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that uses it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def client(self) -> Any:
        """A client of another project, to see what the bucket holds."""
        return get_session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            config=Config(s3={"addressing_style": "path"}),
        )


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Run a server whose data is below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    accounts = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [accounts]}))
    with ExitStack() as stack:
        ports = {name: stack.enter_context(reserved_port()) for name in _PORTS}
        log = stack.enter_context((folder / "server.log").open("wb"))
        server = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("weed")),
                "server",
                f"-dir={folder}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                "-filer",
                "-s3",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.config={folder / 's3.json'}",
                "-volume.max=8",
                "-master.volumeSizeLimitMB=256",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HOME": str(folder)},
        )
        try:
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            _wait_until_ready(server, endpoint, folder)
            s3 = S3Server(endpoint, server.pid)
            s3.client().create_bucket(Bucket=BUCKET)
            yield s3
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()


def _wait_until_ready(server: "subprocess.Popen[bytes]", endpoint: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            # Without a signature: refused, which the server can say only when it runs.
            if httpx.get(endpoint, timeout=5).status_code == 403:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the S3 server did not start: {(folder / 'server.log').read_text()[-2000:]}")
