"""The found and the wanted value of a finding apart from its sentence, for lists that a clerk or a program's maker reads.

Most rules name the value that they found as `value`. The table has what the schema or KSeF wants instead; a rule that wants
nothing in particular (a wrong check digit) has no entry there.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final, NamedTuple

from app.domain.findings import Compared


class Wanted(NamedTuple):
    """Templates of the found value and of the wanted one, filled in with the values of a finding."""

    found: str
    english: str
    polish: str


def _same(found: str, wanted: str) -> Wanted:
    return Wanted(found, wanted, wanted)


WANTED: Final[Mapping[str, Wanted]] = {
    "too-large": Wanted("{size} B", "at most {limit} B", "najwyżej {limit} B"),
    "too-large-without-attachment": Wanted("{size} B", "at most {limit} B", "najwyżej {limit} B"),
    "too-many-attributes": Wanted("{count}", "at most {limit}", "najwyżej {limit}"),
    "byte-order-mark": Wanted("EF BB BF", "UTF-8 without BOM", "UTF-8 bez BOM"),
    "declared-encoding": _same("{value}", "UTF-8"),
    "xml-version": _same("{value}", "1.0"),
    "forbidden-character": Wanted("U+{code}", "", ""),
    "form-not-supported": _same("{english_form}", "FA(3)"),
    "form-header-mismatch": _same("{value}", "{expected}"),
    "seller-not-tenant": _same("{value}", "{tenant}"),
    "buyer-not-tenant": _same("{value}", "{tenant}"),
    "issue-date-in-future": Wanted("{value}", "at the latest {today}", "najpóźniej {today}"),
    "will-be-offline": _same("{value}", "{today}"),
    "creation-time-without-offset": Wanted("{value}", "with Z or +01:00 at its end", "z Z albo +01:00 na końcu"),
    "creation-time-in-future": Wanted("{value}", "at the latest {today}", "najpóźniej {today}"),
    "period-reversed": Wanted("{first} – {last}", "the earlier date first", "najpierw wcześniejsza data"),
    "total-mismatch": _same("{value}", "{sum}"),
    "tax-mismatch": Wanted("{tax}", "{english_rates} × {net}", "{polish_rates} × {net}"),
    "xsd-missing-element": Wanted("", "{english_expected}", "{polish_expected}"),
    "xsd-foreign-namespace": _same("{namespace}", "{expected}"),
    "xsd-bad-value": Wanted("{value}", "{english_kind}", "{polish_kind}"),
    "xsd-value-not-allowed": _same("{value}", "{allowed}"),
    "xsd-pattern": Wanted("{value}", "{english_kind}", "{polish_kind}"),
    "xsd-empty-value": Wanted('""', "a value, or no element", "wartość albo brak elementu"),
    "xsd-too-short": Wanted("{value}", "at least {limit} characters", "co najmniej {limit} znaków"),
    "xsd-too-long": Wanted("{length}", "at most {limit} characters", "najwyżej {limit} znaków"),
    "xsd-out-of-range": Wanted("{value}", "{english_bound} {limit}", "{polish_bound} {limit}"),
    "xsd-too-many-digits": Wanted(
        "{value}", "at most {limit} digits{english_where}", "najwyżej {limit} cyfr{polish_where}"
    ),
    "xsd-missing-attribute": _same("", "{attribute}"),
    "xsd-unexpected-attribute": Wanted("{attribute}", "no such attribute", "bez tego atrybutu"),
    "xsd-instruction": Wanted("xsi:{attribute}", "no such attribute", "bez tego atrybutu"),
}


def compared(rule: str, values: Mapping[str, str]) -> Compared | None:
    """Return the found and the wanted value of a finding, or None when its rule compares nothing."""
    wanted = WANTED.get(rule)
    if wanted is None:
        return Compared(values["value"], "", "") if "value" in values else None
    known = defaultdict(str, values)
    return Compared(*(template.format_map(known) for template in wanted))
