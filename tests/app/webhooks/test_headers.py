"""Which headers a tenant may add to its deliveries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.headers import (
    MASK,
    MAX_CHARACTERS,
    MAX_HEADERS,
    MAX_NAME_CHARACTERS,
    MAX_VALUE_CHARACTERS,
    InvalidWebhookHeaders,
    checked_headers,
)

TAKEN = {
    "Authorization": "Bearer 7f6c",
    "X-Api-Key": "k",
    "Cookie": "a=b; c=d",
    "x_under.score~": "tab\tinside",
    "Ocp-Apim-Subscription-Key": "!#$%&'()*+,-./:;<=>?@[]^_`{|}~",
}

REFUSED = {
    "of the connection": {"Connection": "close"},
    "that keeps alive": {"keep-alive": "5"},
    "of transfer": {"Transfer-Encoding": "chunked"},
    "an upgrade": {"Upgrade": "h2c"},
    "a proxy's": {"Proxy-Authorization": "Basic x"},
    "the host": {"HOST": "internal"},
    "a length": {"Content-Length": "0"},
    "a type": {"content-type": "text/plain"},
    "an encoding": {"Content-Encoding": "gzip"},
    "a signature": {"Webhook-Signature": "v1,x"},
    "an id": {"webhook-id": "evt_x"},
    "a pseudo header": {":authority": "x"},
    "another origin": {"X-Forwarded-For": "127.0.0.1"},
    "expectation": {"Expect": "100-continue"},
    "an empty name": {"": "x"},
    "a space in the name": {"X A": "x"},
    "a colon in the name": {"X:A": "x"},
    "a line break in the name": {"X\r\nA": "x"},
    "a name with a space behind": {"X-A ": "x"},
    "letters beyond ASCII in the name": {"X-Ż": "x"},
    "a long name": {"x" * (MAX_NAME_CHARACTERS + 1): "x"},
    "an empty value": {"X-A": ""},
    "a blank value": {"X-A": " "},
    "a value with a space in front": {"X-A": " x"},
    "a line break": {"X-A": "b\r\nX-C: d"},
    "a bare line feed": {"X-A": "b\nc"},
    "a fold": {"X-A": "b\r\n c"},
    "a NUL": {"X-A": "b\0"},
    "letters beyond ASCII": {"X-A": "żółć"},
    "a long value": {"X-A": "x" * (MAX_VALUE_CHARACTERS + 1)},
    "one name twice": {"X-A": "1", "x-a": "2"},
    "a mask of nothing": {"X-A": MASK},
    "too many": {f"X-{n}": "x" for n in range(MAX_HEADERS + 1)},
    "too much": {f"X-{n}": "x" * 2_000 for n in range(1 + MAX_CHARACTERS // 2_000)},
}


def test_ordinary_headers_are_taken_as_they_are_written() -> None:
    assert checked_headers(TAKEN) == TAKEN


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED.keys())
def test_a_header_that_is_not_a_tenants_to_set_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidWebhookHeaders):
        checked_headers(headers)


def test_the_words_of_a_refusal_do_not_hold_the_value() -> None:
    with pytest.raises(InvalidWebhookHeaders) as caught:
        checked_headers({"X-A": "secret\n"})
    assert "secret" not in caught.value.detail


def test_a_mask_keeps_the_value_whatever_the_capitals_of_the_name() -> None:
    known = {"Authorization": "Bearer 7f6c", "X-Gone": "1"}
    assert checked_headers({"authorization": MASK, "X-New": "2"}, known=known) == {
        "authorization": "Bearer 7f6c",
        "X-New": "2",
    }


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=5))
def test_what_is_taken_can_end_no_line_and_begin_no_other(headers: dict[str, str]) -> None:
    try:
        taken = checked_headers(headers)
    except InvalidWebhookHeaders:
        return
    for name, value in taken.items():
        assert all("!" <= character <= "~" for character in name)
        assert all(" " <= character <= "~" or character == "\t" for character in value)
        assert value == value.strip()
