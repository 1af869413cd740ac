"""Starts a sandbox and a service, fills it, and runs schemathesis: `make api-fuzz`, `API_FUZZ_EXAMPLES=20 make api-fuzz`."""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.support.sandbox_process import running_sandbox
from tests.support.service_process import ApiClient, running_service

_ROOT: Final = Path(__file__).resolve().parents[2]
_NIP: Final = "5265877635"
_PHASES: Final = "examples,coverage,fuzzing,stateful"


def main() -> int:
    """Run all phases and all checks, and return schemathesis's exit code."""
    examples = os.environ.get("API_FUZZ_EXAMPLES", "50")
    reports = _ROOT / "var" / "api-fuzz"
    reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, running_sandbox() as sandbox:
        folder = Path(name)
        with running_service(folder, sandbox) as service:
            client = service.add_tenant(_NIP)
            upload = client.upload(_invoices(folder), "application/zip", flush="true")["id"]
            assert client.wait_until_done(upload)["counts"] == {"accepted": 20}
            accepted = client.get("/v1/invoices", upload=upload, limit=1)["items"][0]
            command = [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(Path(__file__).with_name("schemathesis.toml")),
                "run", f"{service.base_url}/openapi.json", "--phases", _PHASES, "--max-examples", examples,
                "--report", "junit", "--report-dir", str(reports), "--no-color",
            ]  # fmt: skip
            known = {
                "API_KEY": client.api_key,
                "INVOICE": accepted["id"],
                "SESSION": accepted["session"],
                "UNFINISHED": _announce(client),
            }
            # schemathesis keeps what it found in the folder that it runs in.
            environment = os.environ | known | {"PYTHONPATH": str(_ROOT)}
            done = subprocess.run([*command, *sys.argv[1:]], cwd=reports, env=environment, check=False)
            errors = _server_errors(service.log)
    print(f"answers with status 5xx in the service's log: {errors}")
    return done.returncode or (1 if errors else 0)


def _invoices(folder: Path) -> bytes:
    archive = folder / "invoices.zip"
    command = ["--nip", _NIP, "--no-attachments", "--count", "20", "--out", str(archive)]
    subprocess.run([sys.executable, "-m", "invoicegen.generate", *command], cwd=_ROOT, check=True, capture_output=True)
    return archive.read_bytes()


def _announce(client: ApiClient) -> str:
    """Announce an upload in pieces of which the length is still open, and return its id."""
    filetype = base64.b64encode(b"application/x-ndjson").decode()
    headers = {"Tus-Resumable": "1.0.0", "Upload-Defer-Length": "1", "Upload-Metadata": f"filetype {filetype}"}
    return client.request("POST", "/v1/uploads/resumable", headers=headers).headers["location"].rpartition("/")[2]


def _server_errors(log: Path) -> int:
    return sum('"status": 5' in line for line in log.read_text(encoding="utf-8", errors="replace").splitlines())


if __name__ == "__main__":
    sys.exit(main())
