"""Find calls from the API to the store that name no tenant, by reading the source of both.

A store method is scoped when one of its parameters is a tenant, a tenant's number, or a row of the store that has a `tenant_id`.
Methods of which only jobs may make use are named `..._for_job`, or belong to a part of the store that only jobs use.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JOB_PARTS: Final = {"sealing", "packages", "dispatch", "verdicts", "delivery_queue"}
"""Parts of the store that work on a session, a lane or an endpoint by its own id, of whichever tenant."""

ENGINE_PARTS: Final[Mapping[str, str]] = {
    "blobs": "bytes by key; the key comes from a scoped row or was made by the caller",
    "disk": "free space of this machine",
    "outages": "KSeF's availability, one row for each environment",
    "upo_links": "a signed link names its tenant itself",
}

WITHOUT_TENANT: Final[Mapping[tuple[str, str], str]] = {
    ("admission", "usage"): "admission: the limits of the installation count all tenants",
    ("admission", "worker_heartbeats"): "metrics: ages of workers",
    ("chunks", "queued_by_lane"): "metrics: gauges by lane number",
    ("invoices", "state_counts"): "metrics: sums over all tenants",
    ("duplicates", "unresolved_count"): "metrics: one sum over all tenants",
    ("sessions", "state_counts"): "metrics: sums over all tenants",
    ("sessions", "oldest_opened"): "metrics: one moment for each state",
    ("keys", "secrets_by_key"): "metrics: sums over all tenants",
    ("tenants", "authenticate"): "authentication: it finds the tenant of a key",
}
"""Methods that the API may call although they take no tenant, each with the reason."""


HANDED_ON: Final[Mapping[tuple[str, str], str]] = {
    ("app/api/application.py", "feed"): "the event watcher asks for the newest events of a list of tenants",
    ("app/api/application.py", "tenants"): "the authenticator finds the tenant of a key",
}
"""Parts that a module of the API hands on whole, each with the reason."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A use of the store that names no tenant."""

    line: int
    use: str


def parts_of_store(root: Path) -> dict[str, str]:
    """Return the fields of `Store` in app/store/store.py, each with the name of its class."""
    tree = ast.parse((root / "app/store/store.py").read_text(encoding="utf-8"))
    (store,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Store")
    return {
        field.target.id: ast.unparse(field.annotation)
        for field in store.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def scoped_methods(root: Path) -> dict[str, set[str]]:
    """Return, for each class of app/store, the names of its methods that take a tenant."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((root / "app/store").rglob("*.py"))]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    with_tenant = {"Tenant"} | {
        one.name
        for one in classes
        for field in one.body
        if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) == "tenant_id"
    }
    return {
        one.name: {
            method.name
            for method in one.body
            if isinstance(method, ast.AsyncFunctionDef | ast.FunctionDef) and _takes_tenant(method, with_tenant)
        }
        for one in classes
    }


def _takes_tenant(method: ast.AsyncFunctionDef | ast.FunctionDef, with_tenant: set[str]) -> bool:
    parameters = [*method.args.args, *method.args.kwonlyargs]
    return any(
        parameter.arg in {"tenant_id", "tenant_ids"}
        or (parameter.annotation is not None and ast.unparse(parameter.annotation) in with_tenant)
        for parameter in parameters
    )


def faults(source: str, parts: Mapping[str, str], scoped: Mapping[str, set[str]], *, path: str = "") -> Iterator[Fault]:
    """Yield each use of a part of the store in `source`, the text of `path`, that is neither scoped nor excused."""
    tree = ast.parse(source)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    owners = {id(node.value): node for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and _is_store(node.value) and node.attr in parts):
            continue
        method = owners.get(id(node))
        if node.attr in ENGINE_PARTS:
            continue
        if method is None or id(method) not in called:
            # A part that is handed on whole hides which methods are called on it.
            if (path, node.attr) not in HANDED_ON:
                yield Fault(node.lineno, f"store.{node.attr}")
        elif (node.attr, method.attr) in WITHOUT_TENANT:
            continue
        elif node.attr in JOB_PARTS or method.attr not in scoped.get(parts[node.attr], set()):
            yield Fault(node.lineno, f"store.{node.attr}.{method.attr}")


def _is_store(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"store", "_store"}
