"""The rules of who may import whom stand in pyproject.toml; here they are a test."""

import tomllib
from pathlib import Path

import pytest
from importlinter import cli

ROOT = Path(__file__).resolve().parents[2]


def test_imports_point_one_way(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    result = cli.lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert result == 0, capsys.readouterr().out


def test_every_module_of_the_workers_has_its_layer() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["name"] == "Stages do not call each other")
    listed = {module.strip() for layer in layers for module in layer.split("|")}
    unlisted = [
        module
        for path in sorted((ROOT / "workers").rglob("*.py"))
        if path.name != "__init__.py"
        for module in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
        if module not in listed and module.rpartition(".")[0] not in listed
    ]
    assert unlisted == []


def test_workers_and_store_say_the_way_of_an_invoice_in_their_listing() -> None:
    import workers

    assert workers.__doc__ is not None
    for stage in ("intake", "sealing", "sessions", "ksef", "delivery", "maintenance"):
        assert stage in workers.__doc__
        place = ROOT / "workers" / stage
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"workers/{stage} is announced but missing"


def test_no_official_schema_is_copied_into_the_tree() -> None:
    copies = [path for path in ROOT.rglob("*.xsd") if ".venv" not in path.parts]
    assert copies == []
