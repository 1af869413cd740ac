"""What documents and deployment files name is there: metrics, settings, commands, paths, files, paragraphs."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from app import __version__
from app.api.application import create_app
from app.api.database_gauges import UNFINISHED
from app.cli.main import app as command_line
from app.domain.states import INVOICE_MOVES, SESSION_MOVES, InvoiceState, SessionState
from app.ksef.transport import LimitGroup
from app.observability.metrics import CHECKS, DELIVERY_OUTCOMES, REFUSALS, REQUEST_STATUSES
from app.settings import Settings, secret_settings
from tools.docs_reference import metric_facts

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
WRITTEN = [*DOCUMENTS, ROOT / "Dockerfile", *(path for path in sorted(ROOT.glob("deploy/**/*")) if path.is_file())]
NOT_SETTINGS = {
    "KSEFD_CONFIG",
    "KSEFD_TEST_DATABASE_URL",
    "KSEFD_TORTURE_INVOICES",
    "KSEFD_TORTURE_KILLS",
    "KSEFD_TORTURE_SEED",
}
LABEL_VALUES = {
    ("ksefd_sessions", "state"): {state.value for state in SessionState},
    ("ksefd_oldest_unfinished_session_seconds", "state"): {state.value for state in UNFINISHED},
    ("ksefd_invoices_total", "state"): {state.value for state in InvoiceState},
    ("ksefd_webhook_deliveries_total", "outcome"): set(DELIVERY_OUTCOMES),
    ("ksefd_refused_requests_total", "reason"): set(REFUSALS),
    ("ksefd_ksef_requests_total", "status"): set(REQUEST_STATUSES),
    ("ksefd_ksef_quota_remaining", "group"): {group.value for group in LimitGroup},
    ("ksefd_ksef_quota_remaining", "window"): {"second", "minute", "hour"},
    ("ksefd_waiting", "what"): {"uploads", "spooled_bytes", "invoices"},
    ("ksefd_worker_heartbeat_age_seconds", "which"): {"newest", "oldest"},
    ("ksefd_checks_total", "path"): {path for path, _ in CHECKS},
    ("ksefd_checks_total", "result"): {result for _, result in CHECKS},
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _labels() -> dict[str, set[str]]:
    """Return the labels of every series that a scrape has."""
    found: dict[str, set[str]] = {}
    for name, kind, labels, _ in metric_facts():
        own = set(re.findall(r"`([a-z]+)`", labels))
        ends = {"_bucket": own | {"le"}, "_sum": own, "_count": own} if kind == "histogram" else {"": own}
        found |= {name + end: labels for end, labels in ends.items()}
    return found


def _expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads((ROOT / "deploy/grafana/ksef-dispatch.json").read_text(encoding="utf-8"))
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (ROOT / "deploy/alerts.yml").read_text(encoding="utf-8")
    return [*found, *re.findall(r"expr: ((?:>-\n(?:          .*\n)+)|.*)", alerts)]


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def _anchors(text: str) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)} | set(
        re.findall(r'id="([^"]+)"', text)
    )


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    expressions = _expressions()
    assert len(expressions) > 20
    named = {name for expression in expressions for name in re.findall(r"\bksefd_[a-z_]+", expression)}
    assert named <= set(_labels())


def test_alerts_and_dashboard_ask_for_label_values_that_exist() -> None:
    asked = 0
    for expression in _expressions():
        for metric, selectors in re.findall(r"(ksefd_[a-z_]+)\{([^}]+)\}", expression):
            for label, how, values in re.findall(r'([a-z]+)(=~|!~|!=|=)"([^"]+)"', selectors):
                known = LABEL_VALUES[metric, label]
                wanted = values.split("|") if how.endswith("~") else [values]
                assert all(any(re.fullmatch(one, value) for value in known) for one in wanted), expression
                asked += 1
    assert asked >= 20


def test_alerts_and_dashboard_ask_for_labels_that_exist() -> None:
    labels = _labels()
    for expression in _expressions():
        named = re.findall(r"\bksefd_[a-z_]+", expression)
        known = {label for name in named for label in labels[name]}
        grouped = re.findall(r"\b(?:by|on) \(([a-z, ]*)\)", expression)
        assert {label for one in grouped for label in one.split(", ") if label} <= known, expression
        for name, selectors in re.findall(r"(ksefd_[a-z_]+)\{([^}]+)\}", expression):
            assert set(re.findall(r"([a-z]+)[=!]", selectors)) <= labels[name], expression


def test_legends_of_panels_and_words_of_alerts_name_labels_that_the_expression_keeps() -> None:
    dashboard: dict[str, Any] = json.loads((ROOT / "deploy/grafana/ksef-dispatch.json").read_text(encoding="utf-8"))
    targets = [(target["legendFormat"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (ROOT / "deploy/alerts.yml").read_text(encoding="utf-8").split("- alert: ")[1:]
    for words, expression in [*targets, *((alert, alert) for alert in alerts)]:
        for label in re.findall(r"\{\{ ?(?:\$labels\.)?([a-z]+) ?\}\}", words):
            assert re.search(rf"by \([a-z, ]*\b{label}\b", expression) or 'up{job="ksefd"}' in expression, words


def test_every_alert_has_a_test_of_its_rule() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (ROOT / "deploy/alerts.yml").read_text(encoding="utf-8")))
    tested = (ROOT / "tests/deploy/alerts.test.yml").read_text(encoding="utf-8")
    silent = set(re.findall(r"\{eval_time: \w+, alertname: (\w+)\}", tested))
    firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts", tested))
    assert silent == firing == alerts


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    dashboard: dict[str, Any] = json.loads((ROOT / "deploy/grafana/ksef-dispatch.json").read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_alert_leads_to_a_paragraph_of_the_operations_page() -> None:
    alerts = (ROOT / "deploy/alerts.yml").read_text(encoding="utf-8")
    runbooks = re.findall(r"runbook_url: docs/operations\.md#(\S+)", alerts)
    assert len(runbooks) == alerts.count("- alert:")
    assert set(runbooks) <= _anchors((ROOT / "docs/operations.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_settings_that_are_named_exist(path: Path) -> None:
    known = {f"KSEFD_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    known |= {f"KSEFD_{name.upper()}_FILE" for name in secret_settings()}
    named = set(re.findall(r"\bKSEFD_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert named <= known


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("path", WRITTEN, ids=_name)
def test_commands_that_are_named_exist(path: Path) -> None:
    root = typer.main.get_command(command_line)
    assert isinstance(root, TyperGroup)
    for name, following in re.findall(r"\bksefd ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", _commands(path)):
        assert name in root.commands, f"ksefd {name}"
        command = root.commands[name]
        if isinstance(command, TyperGroup) and following:
            assert following in command.commands, f"ksefd {name} {following}"


def _commands(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return "\n".join(re.findall(r"(?:exec service |bin/)ksefd .*", text))
    fenced = re.findall(r"```sh\n(.*?)```", text, re.S)
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))])


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_targets_of_make_that_are_named_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for line in re.findall(r"^make ([a-z -]+)", _commands(path), re.M):
        assert set(line.split()) <= targets, line


@pytest.mark.parametrize("path", [ROOT / "README.md", ROOT / "docs/api.md", ROOT / "docs/operations.md"], ids=_name)
def test_addresses_of_the_api_that_are_named_exist(path: Path) -> None:
    known = create_app(Settings()).openapi()["paths"]
    patterns = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", address)) for address in known]
    named = {found.rstrip("/") for found in re.findall(r"/v1/[a-zA-Z0-9_${}/-]+", path.read_text(encoding="utf-8"))}
    assert named
    for address in named:
        assert any(pattern.fullmatch(address) for pattern in patterns), address


def test_the_container_copies_what_is_there_and_is_let_in() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    let_in = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M))
    sources = {word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M) for word in line.split()}
    assert {"requirements.lock", "pyproject.toml", "app", "schemas"} <= sources
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)
    assert "--require-hashes" in text
    assert re.search(r"^USER ksefd$", text, re.M)


def test_the_files_that_compose_mounts_are_there() -> None:
    mounted = re.findall(r"- \./(\S+?):", (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    assert len(mounted) == 4
    assert all((ROOT / "deploy" / name).exists() for name in mounted)


def _compose() -> dict[str, Any]:
    yaml = importlib.import_module("yaml")
    found: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
    return found


def test_every_container_is_read_only_checked_pinned_and_without_rights() -> None:
    compose = _compose()
    for name, service in compose["services"].items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["healthcheck"]["test"], name
        assert re.search(r":v?\d+(\.\d+)+\}?$", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        used = {mount.partition(":")[0] for mount in service.get("volumes", []) if not mount.startswith("./")}
        assert used <= set(compose["volumes"]), name


def test_no_secret_stands_in_the_environment_of_a_container() -> None:
    compose = _compose()
    for name, service in compose["services"].items():
        files = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        given = service.get("environment", {})
        assert {value for value in given.values() if str(value).startswith("/run/secrets/")} == files, name
        assert not [
            key for key in given if re.search("PASSWORD|SECRET|TOKEN|DATABASE_URL", key) and not key.endswith("_FILE")
        ]
    text = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    for secret in compose["secrets"].values():
        assert f"> {secret['file'].removeprefix('./')}" in text, "its head says how to make the file"
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8")


def test_grafana_finds_its_data_source_and_dashboard() -> None:
    yaml = importlib.import_module("yaml")
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text(encoding="utf-8"))["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/ksef-dispatch.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    services = _compose()["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in services["grafana"]["volumes"]
    dashboards = f"./grafana/ksef-dispatch.json:{provider['options']['path']}/ksef-dispatch.json:ro"
    assert dashboards in services["grafana"]["volumes"]
    dashboard = json.loads((ROOT / "deploy/grafana/ksef-dispatch.json").read_text(encoding="utf-8"))
    (variable,) = dashboard["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", source["type"])
    assert "service:8080" in (ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8")


def test_the_version_is_the_same_everywhere() -> None:
    assert re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1] == __version__  # type: ignore[index]  # a missing heading fails as well
    assert f"ksef-dispatch:{__version__}" in (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_no_document_names_a_place_of_one_machine() -> None:
    for path in WRITTEN:
        assert not re.search(r"/(?:home|root|work|tmp)/", path.read_text(encoding="utf-8")), _name(path)


def test_decisions_have_their_four_parts() -> None:
    records = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [record.name[:4] for record in records] == [f"{number:04d}" for number in range(1, len(records) + 1)]
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert re.findall(r"^## (.+)$", text, re.M)[:4] == ["Context", "Decision", "Consequences", "Refused"], (
            record.name
        )
        assert text.startswith(f"# {record.name[:4]}. ")


def test_the_diagrams_of_states_show_the_allowed_moves_and_no_other() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = [
        set(re.findall(r"^  (\w+) --> (\w+)", diagram, re.M))
        for diagram in re.findall(r"stateDiagram-v2\n(.*?)```", text, re.S)
    ]
    invoice = {(old.value, new.value) for old, moves in INVOICE_MOVES.items() for new in moves}
    session = {(old.value, new.value) for old, moves in SESSION_MOVES.items() for new in moves}
    assert drawn == [invoice, session]
