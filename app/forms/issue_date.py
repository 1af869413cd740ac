"""The issue date of an invoice against the day on which it is checked."""

from datetime import date

from app.domain.findings import Finding
from app.forms.rules import finding


def issue_date_findings(issued: date, today: date, *, field: str, line: int | None, path: str) -> list[Finding]:
    """Return the finding on an issue date that is not `today`, the day in Warsaw. `field` is the name of its element."""
    if issued == today:
        return []
    rule = "issue-date-in-future" if issued > today else "will-be-offline"
    return [finding(rule, line=line, path=path, field=field, value=issued.isoformat(), today=today.isoformat())]
