"""What the exit code of `ksefd` tells a script."""

from typing import Final

from app.errors import ConfigurationError, DispatchError, RequestError

OK: Final = 0
REFUSED: Final = 1
"""The command worked, and the answer is no: an invoice was refused, a login or a check failed."""
USAGE: Final = 2
"""The command line, a file it names or a setting is wrong."""
UNREACHABLE: Final = 3
"""The service, the database or KSeF is away or at a limit: the same command may work later."""
DENIED: Final = 4
"""The service or the store refused the request itself: unknown key, no such thing, already there."""
UNEXPECTED: Final = 5
"""A fault of ours. KSEFD_LOG_LEVEL=DEBUG shows where."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C."""

EPILOG: Final = (
    "Exit codes: 0 done; 1 an invoice was refused or a check failed; 2 wrong usage or configuration; "
    "3 the service, the database or KSeF cannot be reached; 4 the request was refused (unknown API key, no such "
    "thing, already there); 5 an unexpected failure; 130 interrupted."
)


def exit_code_of(error: DispatchError) -> int:
    """Give the exit code for a failure that nobody closer to it dealt with."""
    if isinstance(error, ConfigurationError | UsageProblem):
        return USAGE
    if isinstance(error, RequestError):
        return DENIED
    # 502 is KSeF's, 503 ours or the database's; both may be over in a minute.
    return UNREACHABLE if error.status in {502, 503, 504} else UNEXPECTED


class UsageProblem(DispatchError):
    """What was asked for on the command line cannot be done."""

    status = 400
    code = "usage"
    title = "Wrong usage"
