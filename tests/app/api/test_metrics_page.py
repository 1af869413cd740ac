"""The page of `/metrics`: every metric is there from the start, and its names keep Prometheus's rules."""

import re

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.store.store import Store
from tests.app.api.conftest import Caller
from tools.docs_reference import metric_facts

OTHER_UNITS = ("milliseconds", "minutes", "hours", "kilobytes", "megabytes", "percent", "ms", "kb", "mb")


async def _families(caller: Caller) -> dict[str, Metric]:
    page = (await caller.http.get("/metrics")).text
    # The parser of prometheus_client takes the ending from a counter's name.
    return {
        name: family
        for family in text_string_to_metric_families(page)
        for name in [f"{family.name}_total" if family.type == "counter" else family.name]
    }


async def test_every_documented_metric_has_its_series_before_anything_has_happened(alpha: Caller, store: Store) -> None:
    await store.tenants.ensure_lane(alpha.tenant, form_code="FA (3)", offline_mode=False)
    families = await _families(alpha)
    assert set(families) == {name for name, *_ in metric_facts()}
    assert [name for name, family in families.items() if not family.samples] == []
    (lane,) = families["ksefd_queued_invoices"].samples
    assert lane.value == 0


async def test_names_and_types_keep_prometheus_rules(alpha: Caller) -> None:
    for name, family in (await _families(alpha)).items():
        assert re.fullmatch(r"ksefd_[a-z][a-z_]*[a-z]", name)
        assert family.documentation
        assert (family.type in {"counter", "unknown"}) == name.endswith("_total"), name
        assert not name.endswith(("_count", "_sum", "_bucket", "_info")) or name == "ksefd_build_info"
        assert not set(OTHER_UNITS) & set(name.split("_")), name
        assert not {label for sample in family.samples for label in sample.labels} & {"quantile", "job", "instance"}
