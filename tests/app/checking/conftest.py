"""The API's and the command line's fixtures, for tests that go through several doors."""

from tests.app.api.conftest import alpha, clock, running_api
from tests.app.cli.conftest import ksefd

__all__ = ["alpha", "clock", "ksefd", "running_api"]
