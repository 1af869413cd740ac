"""When waiting ends, and how often it asks."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.client.progress import counts_line, is_finished, next_pause, wait_for_uploads
from app.cli.client.service_client import ServiceClient, ServiceUnreachable
from app.domain.states import FINAL_INVOICE_STATES, InvoiceState, UploadState


class ScriptedService(ServiceClient):
    """Answers what it is told to, or is away."""

    def __init__(self, answers: list[dict[str, Any] | None]) -> None:
        super().__init__("http://127.0.0.1:9", "x")
        self.answers = answers

    def get(self, path: str, parameters: object = None) -> dict[str, Any]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise ServiceUnreachable("away")
        return answer


@given(st.sampled_from(UploadState), st.dictionaries(st.sampled_from(InvoiceState), st.integers(0, 3)))
def test_nothing_is_finished_while_an_invoice_is_under_way(state: UploadState, counts: dict[InvoiceState, int]) -> None:
    open_ones = any(count for invoice, count in counts.items() if invoice not in FINAL_INVOICE_STATES)
    finished = is_finished({"state": state.value, "counts": {key.value: value for key, value in counts.items()}})
    expected = state is UploadState.COMPLETED or (state is UploadState.FAILED and not open_ones)
    assert finished is expected


@given(st.floats(0.01, 100))
def test_pauses_grow_up_to_five_seconds(pause: float) -> None:
    assert min(pause, 5.0) <= next_pause(pause) <= 5.0


def test_a_restart_of_the_service_does_not_end_the_waiting() -> None:
    done = {"id": "u", "state": "completed", "counts": {"accepted": 1}}
    pauses: list[float] = []
    with ScriptedService([None, None, {"id": "u", "state": "reading"}, None, done]) as service:
        assert wait_for_uploads(service, ["u"], sleep=pauses.append) == [done]
    assert pauses == sorted(pauses)
    assert len(pauses) == 4


def test_a_service_that_stays_away_ends_the_waiting_after_two_minutes() -> None:
    pauses: list[float] = []
    with ScriptedService([None]) as service, pytest.raises(ServiceUnreachable):
        wait_for_uploads(service, ["u"], sleep=pauses.append)
    assert 110 < sum(pauses) < 130


def test_counts_are_told_in_the_order_of_an_invoices_way() -> None:
    uploads = [{"counts": {"accepted": 2, "received": 1, "new-state": 1}}, {"counts": {"accepted": 1_000}}]
    assert counts_line(uploads) == "received 1  accepted 1,002  new-state 1"
