"""Connections to PostgreSQL that notice its loss, also without a sign: when packets are swallowed and sockets stay open.

Each wait for an answer has a time limit in this process, since no limit of the server helps when its answers do not arrive. The kernel
ends connections whose packets are not acknowledged, and the server ends statements and transactions of a client that is gone.
"""

from time import monotonic
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import _WaitTimeout
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

ANSWER_SECONDS: Final = 40.0
"""Time limit of one wait for the server's answer."""
CHECK_SECONDS: Final = 2.0
"""The same for a question that needs no work: whether a connection is alive."""
LISTEN_SECONDS: Final = 10.0
"""How long a listener waits for a notification before it checks its connection."""

_CONNECT_SECONDS: Final = 5
_INTERVAL_SECONDS: Final = 0.1
_IDLE_SECONDS: Final = 1.0
_SOCKET: Final[dict[str, Any]] = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
# What the server does with a client that is gone. A statement ends before its client gives it up.
_SERVER: Final = """
SELECT set_config('statement_timeout', '35s', false), set_config('idle_in_transaction_session_timeout', '60s', false),
    set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '25s', false)
"""

_Result = TypeVar("_Result")


class Silent(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed, and a statement may or may not have been carried out."""


class Reach:
    """Whether the database of a pool can be reached, by what its connections have met last."""

    def __init__(self) -> None:
        self.is_away = False
        self.silent_at = float("-inf")
        """When the question was asked that had no answer. Idle connections that were used before it are given up without a check."""

        self.pool: AsyncConnectionPool[Any] | None = None

    async def replace_idle(self) -> None:
        """Close all idle connections of the pool. It opens new ones when they are wanted."""
        if self.pool is not None:
            await self.pool.drain()

    def answered(self) -> None:
        """Note that the server answered a connection."""
        self.is_away = False

    def lost(self) -> None:
        """Note that the server refused a connection or did not answer."""
        self.is_away = True


class LimitedConnection(AsyncConnection[DictRow]):
    """A connection each wait of which has a time limit. After it the connection is closed."""

    reach: Reach | None = None
    answer_seconds: float = ANSWER_SECONDS
    used_at: float = float("-inf")
    """When it was opened, or came back to its pool."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
        """Connect like psycopg. `reach` notes the outcome; `answer_seconds` replaces the limit of one wait."""
        reach: Reach | None = kwargs.pop("reach", None)
        answer_seconds: float | None = kwargs.pop("answer_seconds", None)
        try:
            connection = await super().connect(conninfo, **kwargs)
            connection.reach, connection.used_at = reach, monotonic()
            connection.answer_seconds = _CONNECT_SECONDS
            await connection.execute(_SERVER)
            # Of a connection that is not in autocommit; else this does nothing.
            await connection.commit()
            connection.answer_seconds = answer_seconds or ANSWER_SECONDS
        except psycopg.OperationalError:
            if reach is not None:
                reach.lost()
            raise
        if reach is not None:
            reach.answered()
        return connection

    async def wait(
        self, gen: PQGen[_Result], interval: float = _INTERVAL_SECONDS, timeout: float | None = None
    ) -> _Result:
        """Wait like psycopg, but never without a limit. Raises Silent."""
        if timeout is not None:
            return await super().wait(gen, interval, timeout)
        asked_at = monotonic()
        try:
            return await super().wait(gen, interval, self.answer_seconds)
        except _WaitTimeout:
            # Not `close`: that waits for nothing, but this also forgets what the server may still send.
            self.pgconn.finish()
            if self.reach is not None:
                self.reach.lost()
                self.reach.silent_at = asked_at
            raise Silent(f"the server did not answer within {self.answer_seconds:.0f} s") from None

    async def ask_whether_alive(self) -> None:
        """Make sure that the server answers. Raises an OperationalError."""
        before, self.answer_seconds = self.answer_seconds, min(CHECK_SECONDS, self.answer_seconds)
        try:
            await AsyncConnectionPool.check_connection(self)
        finally:
            self.answer_seconds = before


def prepared(url: str) -> str:
    """Return the connection string with the limits of the socket that it does not set itself."""
    return make_conninfo(url, **{name: value for name, value in _SOCKET.items() if name not in conninfo_to_dict(url)})


async def note_return(connection: LimitedConnection) -> None:
    """Note the time at which a connection came back to its pool."""
    connection.used_at = monotonic()


async def check_idle(connection: LimitedConnection) -> None:
    """Check that a connection works before it is lent; one that was used within the last second is not checked.

    After a loss all idle connections of the pool are replaced together.
    """
    is_old = connection.reach is not None and connection.used_at < connection.reach.silent_at
    if not is_old and monotonic() - connection.used_at <= _IDLE_SECONDS:
        return
    asked_at = monotonic()
    try:
        if is_old:
            raise Silent("the connection was used last before the server was lost")
        await connection.ask_whether_alive()
    except psycopg.OperationalError:
        connection.pgconn.finish()
        if connection.reach is not None:
            if not is_old:
                connection.reach.silent_at = asked_at
            await connection.reach.replace_idle()
        raise


def make_pool(url: str, *, max_connections: int, reach: Reach, seconds: float, name: str, **more: Any) -> Any:
    """Return a pool, not open, that gives a connection within `seconds`; an attempt to connect is not repeated by itself."""
    reach.pool = pool = AsyncConnectionPool(
        prepared(url),
        connection_class=LimitedConnection,
        min_size=1,
        max_size=max_connections,
        open=False,
        timeout=seconds,
        # The next caller who wants a connection makes the next attempt, without the growing pauses of the pool.
        reconnect_timeout=0.01,
        check=check_idle,
        reset=note_return,
        name=name,
        kwargs={"reach": reach, **more},
    )
    return pool


async def open_connection(url: str, **more: Any) -> LimitedConnection:
    """Open a connection of its own, with the limits of all."""
    return await LimitedConnection.connect(prepared(url), autocommit=True, row_factory=dict_row, **more)
