"""What the API says about itself: the description, the page that shows it, and the schemas of the events."""

import json
import re
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
async def anybody(running_api: str) -> httpx.AsyncClient:
    """A client without a key."""
    return httpx.AsyncClient(base_url=running_api, trust_env=False)


async def test_the_description_is_served_as_it_is_written(anybody: httpx.AsyncClient) -> None:
    async with anybody as client:
        answer = await client.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.content == (ROOT / "schemas" / "openapi.json").read_bytes()


async def test_the_page_loads_only_files_of_this_service_and_runs_no_inline_script(anybody: httpx.AsyncClient) -> None:
    async with anybody as client:
        page = await client.get("/docs")
        policy = page.headers["content-security-policy"]
        loaded = [address for address in re.findall(r'(?:src|href)="([^"]+)"', page.text) if address != "data:,"]
        answers = {address: await client.get(f"/{address}") for address in loaded}
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert [address for address in loaded if "//" in address] == []
    assert {address: answer.status_code for address, answer in answers.items()} == dict.fromkeys(loaded, 200)
    assert [text for text in re.findall(r"<script[^>]*>([^<]*)", page.text) if text] == []
    assert not re.search(r"<style|\son\w+=|style=", page.text)
    script = answers["docs/assets/start.js"]
    assert "validatorUrl: null" in script.text
    assert "//" not in script.text
    assert answers["docs/assets/swagger-ui-bundle.js"].headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2Fcore.py", "nothing.js"])
async def test_no_other_file_is_served(anybody: httpx.AsyncClient, name: str) -> None:
    async with anybody as client:
        answer = await client.get(f"/docs/assets/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_the_schema_of_an_event_is_served_under_its_type(anybody: httpx.AsyncClient) -> None:
    async with anybody as client:
        answer = await client.get("/schemas/events/invoices.accepted.json")
        unknown = await client.get("/schemas/events/invoices.eaten.json")
    written = (ROOT / "schemas" / "events" / "invoices.accepted.json").read_text("utf-8")
    assert answer.json() == json.loads(written)
    assert answer.headers["content-type"] == "application/schema+json"
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


async def test_the_page_of_problems_has_a_policy_too(anybody: httpx.AsyncClient) -> None:
    async with anybody as client:
        page = await client.get("/docs/problems")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert '<tr id="not-found">' in page.text
