"""The unit of systemd gives the service no right that it does not need, and waits as long as an orderly stop takes."""

import re
import shutil
import subprocess
from pathlib import Path

from app.settings import Settings

UNIT = Path(__file__).resolve().parents[2] / "deploy/systemd/ksefd.service"
_MOST_EXPOSURE = 3.0
_NEEDED = {
    "UMask": "0077", "StateDirectoryMode": "0700", "NoNewPrivileges": "true", "CapabilityBoundingSet": "",
    "AmbientCapabilities": "", "ProtectSystem": "strict", "ProtectHome": "true", "PrivateTmp": "true",
    "PrivateDevices": "true", "ProtectProc": "invisible", "ProtectKernelTunables": "true",
    "ProtectKernelModules": "true", "ProtectKernelLogs": "true", "ProtectControlGroups": "true",
    "RestrictNamespaces": "true", "RestrictSUIDSGID": "true", "LockPersonality": "true",
    "MemoryDenyWriteExecute": "true", "SystemCallArchitectures": "native",
}  # fmt: skip


def _directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.M):
        found.setdefault(name, []).append(value)
    return found


def test_the_unit_takes_away_every_right_that_the_service_does_not_need() -> None:
    directives = _directives()
    assert {name: directives.get(name) for name in _NEEDED} == {name: [value] for name, value in _NEEDED.items()}
    assert directives["SystemCallFilter"] == ["@system-service", "~@privileged"]


def test_systemd_itself_finds_little_exposure() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        # Its directives are compared above.
        return
    done = subprocess.run(
        [program, "security", "--offline=true", UNIT], capture_output=True, text=True, check=False, timeout=60
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if found is None:
        # An older one does not look at files.
        assert "offline" in done.stderr
        return
    assert float(found[1]) < _MOST_EXPOSURE


def test_the_unit_compose_and_the_image_wait_twenty_seconds_more_than_an_orderly_stop_takes() -> None:
    stop = Settings.model_fields["stop_seconds"].default
    deploy = UNIT.parents[1]
    waits = [
        *_directives()["TimeoutStopSec"],
        *re.findall(r"stop_grace_period: (\d+)s", (deploy / "compose.yaml").read_text(encoding="utf-8")),
        *re.findall(r"docker stop --time (\d+)", (deploy.parent / "Dockerfile").read_text(encoding="utf-8")),
    ]
    assert len(waits) == 3
    assert {int(seconds) for seconds in waits} == {stop + 20}
