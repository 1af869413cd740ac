"""The record of what was said: complete, and without anything secret."""

import base64
import json
import socket
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.recorder import masked, record_path
from tests.support.ksef_by_hand import HandClient, invoice
from tests.support.ksef_contract import read_exchanges
from tests.support.sandbox_process import running_sandbox


@given(st.binary(min_size=1))
def test_a_masked_secret_keeps_its_form_and_nothing_else(secret: bytes) -> None:
    text = base64.b64encode(secret).decode()
    hidden = masked({"encryptedToken": text})["encryptedToken"]
    assert len(hidden) == len(text)
    assert set(hidden) <= set("x+/=")
    base64.b64decode(hidden, validate=True)


def test_secrets_are_masked_wherever_they_stand() -> None:
    link = "http://host/storage/01/a?st=1&se=2&sig=abc%2Bdef"
    hidden = masked({"pages": [{"downloadUrl": link}], "token": {"token": "ab.c-d"}, "other": "ab"})
    assert hidden == {
        "pages": [{"downloadUrl": link.replace("abc%2Bdef", "x")}],
        "token": {"token": "xx.x-x"},
        "other": "ab",
    }


def test_a_folder_gets_a_file_for_each_process(tmp_path: Path) -> None:
    assert record_path(str(tmp_path)).parent == tmp_path
    assert record_path(str(tmp_path / "one.ndjson")) == tmp_path / "one.ndjson"


def test_a_day_is_recorded_whole_and_nothing_secret_is_in_it(tmp_path: Path) -> None:
    with running_sandbox(record=str(tmp_path / "day.ndjson"), validate="off") as handle:
        client = HandClient(handle.base_url).login()
        secrets = [client.access_token, client.refresh_token]
        reference, final = client.send_documents({"a.xml": invoice("A", client.nip)})
        link = final["upo"]["pages"][0]["downloadUrl"]
        secrets.append(link.rpartition("sig=")[2])
        httpx.get(link)
        rule = {"path": f"/sessions/{reference}$", "cut": "before", "times": 1}
        httpx.post(f"{handle.control_url}/faults", json=rule)
        with pytest.raises(httpx.RemoteProtocolError):
            client.status(reference)
        assert client.call("GET", "/sessions/unknown").status_code == 400
        client.close()
    text = (tmp_path / "day.ndjson").read_text(encoding="utf-8")
    assert not [secret for secret in secrets if secret in text]
    assert "<P_2>" not in text, "no invoice is kept"
    lines = [exchange.line for exchange in read_exchanges(tmp_path)]
    assert not [line for line in lines if line["path"].startswith("/_sandbox/")]
    [opened] = [line for line in lines if line["path"] == "/v2/sessions/batch"]
    assert (opened["status"], opened["fault"], opened["answer"]["referenceNumber"]) == (201, False, reference)
    [put] = [line for line in lines if line["method"] == "PUT"]
    assert (put["status"], put["body"]) == (201, None)
    assert put["size"] == opened["body"]["batchFile"]["fileParts"][0]["fileSize"]
    [cut] = [line for line in lines if line["fault"]]
    assert (cut["path"], cut["status"]) == (f"/v2/sessions/{reference}", None)
    # Lines come in the order in which requests ended, and the end of one that was cut may be late.
    [refused] = [line for line in lines if line["path"] == "/v2/sessions/unknown"]
    assert refused["answer"]["exception"]["exceptionDetailList"]
    assert all(json.dumps(line) for line in lines)


def test_a_client_that_goes_in_the_middle_of_its_request_has_no_answer(tmp_path: Path) -> None:
    with running_sandbox(record=str(tmp_path / "day.ndjson"), validate="off") as handle:
        port = int(handle.base_url.split(":")[2].split("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as line:
            head = (
                f"POST /v2/auth/xades-signature HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/xml\r\n"
            )
            line.sendall(f"{head}Content-Length: 500\r\n\r\n<half".encode())
            # Whoever is answered later has been heard later.
            assert httpx.post(f"{handle.base_url}/auth/challenge", timeout=30).status_code == 200
    answers = [(exchange.line["path"], exchange.line["status"]) for exchange in read_exchanges(tmp_path)]
    assert ("/v2/auth/xades-signature", None) in answers
