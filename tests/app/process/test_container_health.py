"""The health check of a container fits the role of its first process."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.process.container_health import Probe, is_well, probe_of

KSEFD = ["/opt/ksefd/bin/python3", "/opt/ksefd/bin/ksefd"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([*KSEFD, "serve", "--host", "0.0.0.0"], Probe("127.0.0.1", 8080, "/readyz")),
        (["/sbin/docker-init", "--", "ksefd", "serve"], Probe("127.0.0.1", 8080, "/readyz")),
        ([*KSEFD, "api", "--port=9000", "--host", "10.0.0.7"], Probe("10.0.0.7", 9000, "/readyz")),
        ([*KSEFD, "sandbox", "--port", "8100"], Probe("127.0.0.1", 8100, "/_sandbox/health")),
        ([*KSEFD, "worker"], None),
        ([*KSEFD, "migrate"], None),
        ([*KSEFD, "tenant", "add", "serve"], None),
        ([*KSEFD], None),
        (["sh"], None),
    ],
)
def test_each_role_has_its_own_check(command: list[str], expected: Probe | None) -> None:
    assert probe_of(command) == expected


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_only_the_answer_200_is_well() -> None:
    with HTTPServer(("127.0.0.1", 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        assert is_well(Probe("127.0.0.1", server.server_port, "/readyz"))
        assert not is_well(Probe("127.0.0.1", server.server_port, "/livez"))
        server.shutdown()
        thread.join()
    assert not is_well(Probe("127.0.0.1", server.server_port, "/readyz"))
