"""Links to receipts: made by us, for one page of one session of one tenant, for a while."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store.keys.envelope import Envelope
from app.store.secrets import SecretBox
from app.store.sessions.upo_links import LIFETIME, LinkInvalid, UpoLinks, UpoPlace
from app.webhooks.backoff import JITTER, SCHEDULE

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LINKS = UpoLinks(Envelope(SecretBox(b"m" * 32), {1: b"d" * 32}))
PLACE = UpoPlace(7, UUID(int=0x0198F2A4C1D27E3F8A9B0C1D2E3F4A5B), 3)


def _token(place: UpoPlace = PLACE, *, expires: datetime = NOW + LIFETIME, links: UpoLinks = LINKS) -> str:
    path = links.path(place, expires=expires)
    assert path.startswith("/v1/upo?token=")
    return path.partition("=")[2]


@given(st.integers(1, 2**31 - 1), st.uuids(), st.integers(1, 10_000))
def test_a_link_leads_to_the_page_that_it_was_made_for(tenant: int, session: UUID, page: int) -> None:
    place = UpoPlace(tenant, session, page)
    token = _token(place)
    assert LINKS.read(token, now=NOW) == place
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_link_works_until_its_time_is_over() -> None:
    token = _token()
    assert LINKS.read(token, now=NOW + LIFETIME - timedelta(seconds=1)) == PLACE
    with pytest.raises(LinkInvalid):
        LINKS.read(token, now=NOW + LIFETIME)


def test_a_link_outlives_every_attempt_to_deliver_its_event() -> None:
    assert sum(SCHEDULE, timedelta(0)) * (1 + JITTER) < LIFETIME


@pytest.mark.parametrize("position", range(len(base64.urlsafe_b64decode(_token() + "=="))))
def test_no_byte_of_a_link_can_be_changed(position: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(_token() + "=="))
    raw[position] ^= 1
    with pytest.raises(LinkInvalid):
        LINKS.read(base64.urlsafe_b64encode(raw).decode().rstrip("="), now=NOW)


@pytest.mark.parametrize("token", ["", "x", "====", "żółć", "A" * 86, "A" * 200, _token()[:-4], _token() + "AAAA"])
def test_what_is_no_link_is_refused(token: str) -> None:
    with pytest.raises(LinkInvalid):
        LINKS.read(token, now=NOW)


def test_another_installations_link_is_refused() -> None:
    with pytest.raises(LinkInvalid):
        LINKS.read(_token(links=UpoLinks(Envelope(SecretBox(b"n" * 32), {1: b"e" * 32}))), now=NOW)


def test_keys_for_other_purposes_differ_and_nothing_prints() -> None:
    box = Envelope(SecretBox(b"m" * 32), {1: b"d" * 32})
    assert box.derived_key("upo-link") != box.derived_key("other")
    assert box.derived_key("upo-link") == Envelope(SecretBox(b"n" * 32), {1: b"d" * 32}).derived_key("upo-link")
    assert "m" * 8 not in repr(box) + repr(LINKS)


def test_the_pages_of_an_event_get_a_link_and_keep_the_rest() -> None:
    pages = [{"page": 1, "href": "/v1/sessions/ses_x/upo/1"}, {"page": 2, "href": "/v1/sessions/ses_x/upo/2"}]
    made = LINKS.with_links(pages, tenant_id=7, session_id=PLACE.session_id, now=NOW)
    assert [page["href"] for page in made] == [page["href"] for page in pages]
    assert {page["link_expires_at"] for page in made} == {"2026-11-26T12:00:00.000Z"}
    read = [LINKS.read(page["link"].partition("=")[2], now=NOW).page for page in made]
    assert read == [1, 2]
