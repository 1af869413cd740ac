"""Generator of reference pages: `python -m tools.docs_reference --write` writes four pages in docs/ (`PAGES`).

Rules of the check are in one registry; findings of other modules are read from the source text, where each is made by a call
with its id and its text in both languages. A test fails for a page that is out of date.
"""

import ast
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from prometheus_client.metrics import MetricWrapperBase

from app.forms.rules import RULES
from app.observability import metrics
from app.settings import Settings, secret_settings
from tools.docs_sessions import sessions_page

ROOT: Final = Path(__file__).resolve().parents[1]
_MADE: Final = (
    "Generated from the code by `python -m tools.docs_reference --write`; a test fails when it is out of date.\n"
)
_FINDING_SOURCES: Final = ("app/api", "app/checking", "app/reading", "app/store", "workers")


@dataclass(frozen=True, slots=True)
class WrittenFinding:
    """A finding as its source text makes it. `{fields}` are placeholders."""

    rule: str
    severity: str
    english: str
    polish: str
    source: str


_S3_VARIABLES: Final = (
    ("`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`", "Credentials."),
    ("`AWS_REGION`", "Region of the bucket. Unset: `us-east-1`."),
    ("`AWS_ENDPOINT_URL`", "Address of a server other than Amazon's."),
    ("`AWS_ALLOW_HTTP`", "`true`: that address may be plain http."),
    ("`AWS_VIRTUAL_HOSTED_STYLE_REQUEST`", "`true`: the bucket is in the host name and not in the path."),
)


def settings_page() -> str:
    """Return docs/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        rows.append(
            (
                f"`KSEFD_{name.upper()}`",
                _type_words(field.annotation, field.metadata),
                _default_words(name, field.default, field.default_factory is not None),
                field.description or "",
            )
        )
    return (
        "# Settings\n\n"
        + _MADE
        + "\nA setting is an environment variable, or a line of the TOML file that `KSEFD_CONFIG` names. In the file it has its\n"
        "name without the prefix, in lower case: `linger_seconds = 60`. The environment overrides the file. A wrong value stops the start\n"
        "with one line that names it. Every process of an installation should have the same settings.\n\n"
        f"A secret may be in a file: {_secret_files()} name files whose first line is the value. A secret that is given\n"
        "both ways in one place is an error.\n\n"
        + _table(("Setting", "Value", "Default", "What it does"), rows)
        + "\nA path that is not absolute starts at the folder in which the command runs.\n\n"
        "## Object store\n\n"
        "An object store has its usual variables, from the environment only. Google Cloud Storage reads\n"
        "`GOOGLE_SERVICE_ACCOUNT`, Azure reads `AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`. S3 and its like read:\n\n"
        + _table(("Variable", "What it does"), _S3_VARIABLES)
        + "\nWithout keys the credentials of the machine, the task or the web identity are used.\n"
    )


def _secret_files() -> str:
    return " and ".join(f"`KSEFD_{name.upper()}_FILE`" for name in secret_settings())


def metrics_page() -> str:
    """Return docs/metrics.md."""
    rows = [(f"`{name}`", kind, labels, text) for name, kind, labels, text in metric_facts()]
    stages = ", ".join(f"`{stage}`" for stage in metrics.STAGES)
    groups = ", ".join(f"`{group}`" for group in metrics.LIMIT_GROUPS)
    outcomes = ", ".join(f"`{outcome}`" for outcome in metrics.DELIVERY_OUTCOMES)
    refusals = ", ".join(f"`{reason}`" for reason in metrics.REFUSALS)
    disabled = ", ".join(f"`{reason}`" for reason in metrics.DISABLED_REASONS)
    checks = ", ".join(f"`{path}` with `{result}`" for path, result in metrics.CHECKS)
    return (
        "# Metrics\n\n"
        + _MADE
        + "\n`GET /metrics` of an API process returns them in Prometheus's text format, without an API key. Those marked *database*\n"
        "are read from the database at each scrape and are the same from every API process: do not sum them over machines.\n"
        "The others count in the processes of one machine; sum them over machines. A histogram has the usual `_bucket`, `_sum`\n"
        "and `_count`. No label names a tenant or an invoice. Series whose labels are known beforehand are there from the start, with 0.\n"
        "`ksefd_invoices_total` is a number that rises and falls, as its type says, in spite of its name.\n\n"
        + _table(("Metric", "Kind", "Labels", "Meaning"), rows)
        + f"\nValues of `stage`, in the order in which an invoice meets them: {stages}.\n\n"
        f"Values of `group` are KSeF's own names of its limit groups, at first {groups}, and `storage` for parts and receipts.\n\n"
        f"Values of `path` and `result`: {checks}. `fast` is the match of a plain invoice, `full` the whole check. `crashed` is a\n"
        "document that ended or hung its process, on either path. Entries that could not be read are not counted.\n\n"
        f"Values of `reason` of refused requests: {refusals}; of disabled webhooks: {disabled}.\n\n"
        f"Values of `outcome`: {outcomes}. Values of `rule` are in [rules.md](rules.md).\n"
    )


def rules_page() -> str:
    """Return docs/rules.md."""
    checked = [
        (f"`{rule.id}`", rule.severity.value, _cell(rule.english), _cell(rule.polish), rule.source)
        for rule in RULES.values()
    ]
    findings, reasons = list(written_findings()), list(written_reasons())
    other = [(f"`{f.rule}`", f.severity, f.english, f.polish, f"`{f.source}`") for f in findings]
    ends = [(f"`{f.rule}`", f.english, f.polish) for f in reasons]
    return (
        "# Rules\n\n"
        + _MADE
        + "\nEvery verdict has findings. A finding has a `rule` (stable: programs may depend on it), a `severity`, the same text in\n"
        "English (`message`) and Polish (`message_pl`), and a `line` and a `path` if they are known. An `error` is the reason why\n"
        "the invoice is not sent or has no KSeF number; a `warning` does not stop it. `{fields}` are placeholders.\n\n"
        "## Rules of the check\n\nOne pass over the invoice: bytes, XML, the official XSD, then KSeF's further checks.\n\n"
        + _table(("Rule", "Severity", "English", "Polish", "Source"), checked)
        + "\n## Other findings\n\nUnreadable entries, duplicates, and errors of KSeF or of the sending.\n\n"
        + _table(("Rule", "Severity", "English", "Polish", "Made in"), other)
        + "\n## Why the reading of an upload ends\n\nThese are not findings of an invoice but the `reason` of an item in the upload's "
        "`errors`. Invoices read before stay valid,\nunless the upload asked for all or nothing.\n\n"
        + _table(("Reason", "English", "Polish"), ends)
    )


PAGES: Final[dict[str, Callable[[], str]]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "rules.md": rules_page,
    "sessions.md": sessions_page,
}
"""Pages by their name in docs/."""


def metric_facts() -> list[tuple[str, str, str, str]]:
    """Return name as scraped, kind, labels and help of every metric."""
    facts = [_described(metric) for metric in metrics.METRICS]
    for family, kind in (("GaugeMetricFamily", "gauge"), ("UntypedMetricFamily", "untyped")):
        for _, call in _calls(family):
            values = _arguments(call, ("name", "documentation"))
            facts.append((values["name"], f"{kind}, *database*", _labels(call), values["documentation"]))
    return sorted(facts)


def written_findings() -> Iterator[WrittenFinding]:
    """Return the findings that are made outside the registry of the check, in the order of the files."""
    for path, call in _calls("Finding", "EntryFault"):
        values = _arguments(call, ("rule", "severity", "message", "message_pl"))
        if _name_of(call) == "EntryFault":
            values = _arguments(call, ("rule", "message", "message_pl")) | {"severity": "error"}
        rule = values.get("rule")
        if rule is None or rule.startswith("{"):
            # The call passes on a finding that another call has made.
            continue
        yield WrittenFinding(rule, values["severity"], values["message"], values["message_pl"], path)


def written_reasons() -> Iterator[WrittenFinding]:
    """Return the reasons for which the reading of an upload ends; one with several wordings is given once."""
    known: set[str] = set()
    for path, call in _calls("unreadable"):
        values = _arguments(call, ("rule", "message", "message_pl"))
        rule = values.get("rule")
        if rule is not None and not rule.startswith("{") and rule not in known:
            known.add(rule)
            yield WrittenFinding(rule, "error", values["message"], values["message_pl"], path)


def main() -> None:
    """Write the pages with `--write`, or name those that are out of date and exit with 1."""
    stale = []
    for name, make in PAGES.items():
        path, text = ROOT / "docs" / name, make()
        if "--write" in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        sys.exit(f"out of date: {', '.join(stale)}; run python -m tools.docs_reference --write")


def _calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    for folder in _FINDING_SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name_of(node) in names]
            for call in sorted(calls, key=lambda node: node.lineno):
                yield path.relative_to(ROOT).as_posix(), call


def _name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _arguments(call: ast.Call, names: Iterable[str]) -> dict[str, str]:
    given = dict(zip(names, call.args, strict=False)) | {item.arg: item.value for item in call.keywords if item.arg}
    return {name: _cell(_words(value)) for name, value in given.items()}


def _words(node: ast.expr) -> str:
    """Convert an expression of text to the text, with the names of its placeholders."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    if isinstance(node, ast.IfExp):
        return _words(node.body)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Severity":
        return node.attr.lower()
    return f"{{{_field(node.value if isinstance(node, ast.FormattedValue) else node)}}}"


def _field(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.lower()
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
        case _:
            return "…"


def _described(metric: MetricWrapperBase) -> tuple[str, str, str, str]:
    family = next(iter(metric.describe()))
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return name, family.type, ", ".join(f"`{label}`" for label in metric._labelnames), family.documentation


def _labels(call: ast.Call) -> str:
    given = next((item.value for item in call.keywords if item.arg == "labels"), None)
    return ", ".join(f"`{_words(label)}`" for label in given.elts) if isinstance(given, ast.List) else ""


def _type_words(annotation: Any, limits: Iterable[object]) -> str:
    kinds = [one for one in get_args(annotation) if one is not types.NoneType]
    kind = kinds[0] if get_origin(annotation) in {Union, types.UnionType} else annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return ", ".join(f"`{member.value}`" for member in kind)
    words = {bool: "`true` or `false`", int: "whole number", float: "number", Path: "path", str: "text"}[kind]
    stated: dict[str, Any] = {}
    for limit in limits:
        stated |= {name: getattr(limit, name) for name in ("ge", "le", "pattern") if hasattr(limit, name)}
    if "pattern" in stated:
        return ", ".join(f"`{value}`" for value in stated["pattern"].strip("^$()").split("|"))
    least, most = (f"{stated[name]:,}" if name in stated else None for name in ("ge", "le"))
    if least and most:
        return f"{words}, {least} to {most}"
    return f"{words}, {least} or more" if least else words


def _default_words(name: str, default: Any, computed: bool) -> str:
    if computed:
        return {"pool_workers": "number of processors"}[name]
    if default is None:
        return "unset"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`"


def _cell(text: str) -> str:
    return " ".join(text.split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for row in rows:
        cells = [value.replace("|", "\\|").replace("<", "&lt;") for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
