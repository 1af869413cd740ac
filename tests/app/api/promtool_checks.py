"""The page of `/metrics` by Prometheus's own judge. `make promtool` runs this file; it needs the program promtool."""

import anyio

from tests.app.api.conftest import Caller


async def test_promtool_has_nothing_to_say_about_the_metrics(alpha: Caller) -> None:
    page = (await alpha.http.get("/metrics")).content
    done = await anyio.run_process(["promtool", "check", "metrics"], input=page, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
