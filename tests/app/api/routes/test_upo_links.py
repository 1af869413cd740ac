"""A receipt by the link of an event, without an API key."""

from datetime import timedelta

import httpx

from app.store.sessions.upo_links import LIFETIME, UpoPlace
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock
from tests.app.api.filled_store import fill


async def test_the_link_of_an_event_gives_the_receipt_until_its_time_is_over(
    alpha: Caller, running_api: str, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    place = UpoPlace(alpha.tenant.id, filled.session_id, 1)
    link = store.upo_links.path(place, expires=clock() + LIFETIME)
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as nobody:
        given = await nobody.get(link)
        assert (given.status_code, given.headers["content-type"]) == (200, "application/xml")
        with_key = await alpha.http.get(f"/v1/sessions/{filled.session}/upo/1")
        assert given.content == with_key.content == filled.upo
        tampered = await nobody.get(link[:-3] + ("AAA" if not link.endswith("AAA") else "BBB"))
        assert (tampered.status_code, tampered.json()["code"]) == (403, "link-invalid")
        other_page = store.upo_links.path(UpoPlace(alpha.tenant.id, filled.session_id, 2), expires=clock() + LIFETIME)
        assert (await nobody.get(other_page)).status_code == 403
        clock.move(LIFETIME + timedelta(seconds=1))
        late = await nobody.get(link)
        assert (late.status_code, late.json()["code"]) == (403, "link-invalid")


async def test_links_of_a_tenant_that_is_disabled_or_was_never_there_do_not_work(
    alpha: Caller, running_api: str, store: Store, clock: MovableClock
) -> None:
    filled = await fill(store, alpha.tenant, clock())
    expires = clock() + LIFETIME
    link = store.upo_links.path(UpoPlace(alpha.tenant.id, filled.session_id, 1), expires=expires)
    nobodys = store.upo_links.path(UpoPlace(4_000, filled.session_id, 1), expires=expires)
    await store.database.execute(
        "UPDATE tenants SET disabled_at = %(now)s WHERE id = %(id)s", {"now": clock(), "id": alpha.tenant.id}
    )
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as nobody:
        assert [(await nobody.get(path)).status_code for path in (link, nobodys)] == [403, 403]
