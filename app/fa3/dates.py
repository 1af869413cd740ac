"""The dates of an invoice against the day on which it is checked."""

import re
from datetime import date

from app.domain.findings import Finding
from app.fa3.places import line_of_element, path_of
from app.fa3.reading import InvoiceElements, date_of, text_of
from app.fa3.rules import finding, quoted

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,20})?")


def check_dates(found: InvoiceElements, today: date) -> list[Finding]:
    """Return the findings on `P_1` (against `today`, the day in Warsaw) and on `DataWytworzeniaFa`."""
    findings = []
    issued = date_of(found.issue_date)
    if issued is not None and found.issue_date is not None and issued != today:
        findings.append(
            finding(
                "issue-date-in-future" if issued > today else "will-be-offline",
                line=line_of_element(found.issue_date),
                path=path_of(found.issue_date),
                value=issued.isoformat(),
                today=today.isoformat(),
            )
        )
    if found.created_at is not None and _LOCAL_TIME.fullmatch(created := text_of(found.created_at)):
        line = line_of_element(found.created_at)
        path = path_of(found.created_at)
        findings.append(finding("creation-time-without-offset", line=line, path=path, value=quoted(created)))
    return findings
