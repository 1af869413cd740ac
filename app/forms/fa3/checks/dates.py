"""The dates of an invoice against the day on which it is checked, and against each other.

KSeF refuses one thing only: an issue date in the future. All else is a warning: a slip of the keyboard costs a correction.
"""

import re
from datetime import date, timedelta

from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.key_fields import InvoiceElements
from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.fields import date_of, text_of
from app.forms.issue_date import issue_date_findings
from app.forms.quoting import quoted
from app.forms.rules import finding
from app.forms.xsd.places import line_of_element, path_of

FA3_IN_FORCE_SINCE = date(2026, 2, 1)
"""Invoices of earlier days were issued by FA(2), or outside KSeF."""
_LONG_PAST = timedelta(days=366)
"""KSeF has been seen to take issue dates of ten months ago (ksef-docs, issue 657); past a year a slip is likelier."""
FAR_AHEAD = timedelta(days=366)
FAR_BEFORE = -timedelta(days=5 * 366)
"""After five years the tax of a delivery can no longer be demanded; only corrections speak of older ones."""

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,20})?")
_DAY_LENGTH = 10
_PERIOD_FROM = f"{{{FA3_NAMESPACE}}}P_6_Od"
_PERIOD_TO = f"{{{FA3_NAMESPACE}}}P_6_Do"


def check_dates(found: InvoiceElements, today: date) -> list[Finding]:
    """Return the findings on `P_1` and `DataWytworzeniaFa` (against `today`, the day in Warsaw) and on `P_6`."""
    findings: list[Finding] = []
    issued = date_of(found.issue_date)
    if issued is not None and found.issue_date is not None and issued != today:
        line, path = line_of_element(found.issue_date), path_of(found.issue_date)
        findings += fa3_issue_date_findings(issued, today, line=line, path=path)
    if found.created_at is not None:
        findings += _check_creation(found.created_at, today)
    if issued is not None and (found.delivery is not None or found.period is not None):
        findings += _check_delivery(found, issued)
    return findings


def fa3_issue_date_findings(issued: date, today: date, *, line: int | None, path: str) -> list[Finding]:
    """Return the findings on an issue date, which is at `line` and `path`, against the day in Warsaw."""
    found = issue_date_findings(issued, today, field="P_1", line=line, path=path)
    if found and (issued < FA3_IN_FORCE_SINCE or today - issued > _LONG_PAST):
        values = {"value": issued.isoformat(), "today": today.isoformat(), "since": FA3_IN_FORCE_SINCE.isoformat()}
        found.append(finding("issue-date-long-past", line=line, path=path, **values))
    return found


def _check_creation(element: etree._Element, today: date) -> list[Finding]:
    created = text_of(element)
    findings = []
    if _LOCAL_TIME.fullmatch(created):
        findings.append(_about(element, "creation-time-without-offset", value=quoted(created)))
    # No offset makes more than a day; texts of dates are ordered as the dates are.
    if created[:_DAY_LENGTH] > today.isoformat() and created[:_DAY_LENGTH] > (today + timedelta(days=1)).isoformat():
        findings.append(_about(element, "creation-time-in-future", value=quoted(created), today=today.isoformat()))
    return findings


def _check_delivery(found: InvoiceElements, issued: date) -> list[Finding]:
    start, end = (_first(found.period, name) for name in (_PERIOD_FROM, _PERIOD_TO))
    findings = []
    is_correction = text_of(found.kind).startswith("KOR")
    for element in (found.delivery, start, end):
        day = date_of(element)
        if element is None or day is None:
            continue
        if day - issued > FAR_AHEAD or (day - issued < FAR_BEFORE and not is_correction):
            values = {"value": day.isoformat(), "issued": issued.isoformat()}
            findings.append(_about(element, "delivery-date-unlikely", **values))
    first, last = date_of(start), date_of(end)
    if start is not None and first is not None and last is not None and first > last:
        findings.append(_about(start, "period-reversed", first=first.isoformat(), last=last.isoformat()))
    return findings


def _about(element: etree._Element, rule: str, **values: str) -> Finding:
    return finding(rule, line=line_of_element(element), path=path_of(element), raw=None, **values)


def _first(parent: etree._Element | None, tag: str) -> etree._Element | None:
    return None if parent is None else next(parent.iterchildren(tag), None)
