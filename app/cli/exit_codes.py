"""Exit codes of `ksefd`, for scripts."""

from typing import Final

from app.errors import ConfigurationError, DispatchError, RequestError

OK: Final = 0
REFUSED: Final = 1
"""The command worked with a negative result: an invoice was refused, or a login or a check failed."""
USAGE: Final = 2
"""The command line, a file it names or a setting is wrong."""
UNREACHABLE: Final = 3
"""The service, the database or KSeF does not answer or is at a limit: the same command may work later."""
DENIED: Final = 4
"""The service or the store rejected the request: unknown key, no such object, object already exists."""
UNEXPECTED: Final = 5
"""A fault in ksef-dispatch. KSEFD_LOG_LEVEL=DEBUG shows where."""
INTERRUPTED: Final = 130
"""Ended by Ctrl-C."""
OUTPUT_CLOSED: Final = 141
"""The program that reads the output ended before it had all (`| head`): 128 and the number of SIGPIPE."""

EPILOG: Final = (
    "Exit codes: 0 done; 1 an invoice was refused or a check failed; 2 wrong usage or configuration; "
    "3 the service, the database or KSeF cannot be reached; 4 the request was refused (unknown API key, no such "
    "thing, already there); 5 an unexpected failure; 130 interrupted; 141 the output's reader ended (`| head`)."
)


def exit_code_of(error: DispatchError) -> int:
    """Return the exit code for an error that no command has handled."""
    if isinstance(error, ConfigurationError | UsageProblem):
        return USAGE
    if isinstance(error, RequestError):
        return DENIED
    # 502 means KSeF, 503 the service or the database; both may work again in a minute.
    return UNREACHABLE if error.status in {502, 503, 504} else UNEXPECTED


class UsageProblem(DispatchError):
    """The command line asks for something that cannot be done."""

    status = 400
    code = "usage"
    title = "Wrong usage"
