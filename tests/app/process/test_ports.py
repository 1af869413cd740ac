"""A port that is taken is found before anything starts."""

import socket
from collections.abc import Iterator

import pytest

from app.cli.exit_codes import UNREACHABLE, USAGE, exit_code_of
from app.errors import ConfigurationError, DispatchError
from app.process.ports import PortTaken, require_free_port


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_taken_port_ends_the_start_with_exit_code_3(taken: int, host: str) -> None:
    with pytest.raises(PortTaken, match=f"port {taken} of {host} is taken") as error:
        require_free_port(host, taken)
    assert exit_code_of(error.value) == UNREACHABLE


def test_a_port_that_was_just_closed_with_a_connection_behind_it_is_free(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = listener.accept()
        # The side that closes first keeps the port in TIME_WAIT.
        served.close()
        client.close()
    require_free_port("127.0.0.1", port)
    require_free_port("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot listen on {host}:8080") as error:
        require_free_port(host, 8080)
    assert isinstance(error.value, DispatchError)
    assert exit_code_of(error.value) == USAGE
