"""Generates both clients below var/clients and uses them: `python -m tests.clients`, or `make clients`, which fetches the generators."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.sandbox_process import running_sandbox
from tests.support.service_process import running_service

_ROOT: Final = Path(__file__).resolve().parents[2]
_DESCRIPTION: Final = _ROOT / "schemas" / "openapi.json"
_HERE: Final = Path(__file__).parent
_WORK: Final = _ROOT / "var" / "clients"
_PYTHON: Final = _WORK / "venv" / "bin" / "python"
_NODE: Final = _WORK / "typescript"
_NIP: Final = "5265877635"
_INVOICES: Final = 25


def main() -> int:
    """Lint the description, generate the clients, use them, and return the exit code."""
    _run(_NODE, "npx", "redocly", "lint", f"--config={_ROOT / 'redocly.yaml'}", str(_DESCRIPTION))
    _generate_python()
    _run(_NODE, "npx", "openapi-typescript", str(_DESCRIPTION), "--output", "api.d.ts")
    _run(_NODE, "npx", "tsc")
    with _service() as (address, key, folder):
        for name, start, command in (
            ("Python", 0, [str(_PYTHON), str(_HERE / "using_python.py")]),
            ("TypeScript", 1000, ["node", str(_NODE / "built" / "client.js")]),
        ):
            archive, single = _invoices(folder, start)
            arguments = [address, key, str(archive)]
            if name == "Python":
                arguments.append(str(single))
            seen = json.loads(_run(_WORK, *command, *arguments))
            print(f"{name}: {seen}")
            _check(seen)
    print("both clients upload, list and create a webhook; the description has no lint")
    return 0


def _generate_python() -> None:
    options = ["--config", str(_HERE / "python-client.yaml"), "--meta", "none", "--overwrite"]
    target = _WORK / "ksef_dispatch_client"
    _run(_WORK, str(_PYTHON), "-m", "openapi_python_client", "generate", "--path", str(_DESCRIPTION),
         "--output-path", str(target), *options)  # fmt: skip


@contextmanager
def _service() -> Iterator[tuple[str, str, Path]]:
    with tempfile.TemporaryDirectory() as name, running_sandbox() as sandbox:
        folder = Path(name)
        allowed = {"webhook_allow_http": "true", "webhook_allow_private": "true"}
        with running_service(folder, sandbox, **allowed) as service:
            yield service.base_url, service.add_tenant(_NIP).api_key, folder


def _invoices(folder: Path, start: int) -> tuple[Path, Path]:
    archive, single = folder / f"{start}.zip", folder / f"{start}"
    make = [sys.executable, "-m", "invoicegen.generate", "--nip", _NIP, "--no-attachments"]
    _run(_ROOT, *make, "--count", str(_INVOICES), "--start", str(start), "--out", str(archive))
    after = str(start + _INVOICES)
    _run(_ROOT, *make, "--count", "1", "--start", after, "--format", "folder", "--out", str(single))
    return archive, next(single.iterdir())


def _check(seen: dict[str, Any]) -> None:
    expected = {
        "state": "completed", "accepted": _INVOICES, "listed": 10, "xml": True, "receipt": True, "posted": "inv_",
        "secret": "whsec_", "problem": "not-found",
    }  # fmt: skip
    wrong = {name: value for name, value in seen.items() if expected[name] != value}
    assert not wrong, f"a generated client saw {wrong}"


def _run(folder: Path, *command: str) -> str:
    # The generated package lies in the folder of the work.
    environment = os.environ | {"PYTHONPATH": str(_WORK)} if command[0] == str(_PYTHON) else None
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
