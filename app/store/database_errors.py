"""Errors of PostgreSQL that pass, by SQLSTATE: each class names the trouble, how long to wait and what to do.

```
DatabaseError
├── DatabaseUnavailable    57P01-57P05, class 08, or no SQLSTATE
├── TransactionConflict    40001, 40P01
├── LockTimeout            55P03
├── StatementCancelled     57014
├── DatabaseDiskFull       53100
└── TooManyConnections     53300
```

In every case the transaction is rolled back, so the same call may be made again. Source: PostgreSQL, appendix "Error Codes".
"""

from typing import Final

import psycopg

from app.errors import TryLater


class DatabaseError(TryLater):
    """The database could not run a statement for a reason of its own; nothing was changed. See its log for the SQLSTATE."""

    code = "database-error"
    title = "Database error"


class DatabaseUnavailable(DatabaseError):
    """The database does not answer; nothing was changed, the same call may succeed later."""

    code = "database-unavailable"
    title = "Database unavailable"


class TransactionConflict(DatabaseError):
    """Two transactions waited for each other and the database ended this one; nothing was changed. Send it again at once."""

    code = "database-conflict"
    title = "Transactions in conflict"
    retry_after_seconds = 1


class LockTimeout(DatabaseError):
    """Another transaction kept a lock for too long, such as a migration or a backup; nothing was changed."""

    code = "database-lock-timeout"
    title = "Lock not released in time"
    retry_after_seconds = 2


class StatementCancelled(DatabaseError):
    """The database cancelled a statement, by its `statement_timeout` or an operator's order; nothing was changed."""

    code = "database-statement-cancelled"
    title = "Statement cancelled"


class DatabaseDiskFull(DatabaseError):
    """The disk of the database is full; nothing was changed. The operator has to make room on it."""

    code = "database-disk-full"
    title = "Disk of the database full"
    retry_after_seconds = 60


class TooManyConnections(DatabaseError):
    """The database server takes no more connections; nothing was changed. The operator raises `max_connections`."""

    code = "database-too-many-connections"
    title = "Too many connections to the database"


_DETAILS: Final[dict[type[DatabaseError], str]] = {
    DatabaseUnavailable: "the database does not answer",
    TransactionConflict: "the database ended this transaction in favour of another one",
    LockTimeout: "a lock in the database was not released in time",
    StatementCancelled: "the database cancelled a statement",
    DatabaseDiskFull: "the disk of the database is full",
    TooManyConnections: "the database takes no more connections",
}
"""What a client reads: nothing of the statement or its rows."""

_BY_SQLSTATE: Final[dict[str, type[DatabaseError]]] = {
    "40001": TransactionConflict,
    "40P01": TransactionConflict,
    "55P03": LockTimeout,
    "57014": StatementCancelled,
    "53100": DatabaseDiskFull,
    "53300": TooManyConnections,
}


def translated(error: Exception) -> DatabaseError:
    """Return the error of ours for one of psycopg or its pool; raise it `from` the original, which keeps the cause."""
    sqlstate = error.sqlstate if isinstance(error, psycopg.Error) else None
    if sqlstate is None or sqlstate.startswith(("08", "57P")):
        return DatabaseUnavailable(_DETAILS[DatabaseUnavailable])
    kind = _BY_SQLSTATE.get(sqlstate)
    if kind is None:
        return DatabaseError(f"the database could not run a statement (SQLSTATE {sqlstate})")
    return kind(_DETAILS[kind])
