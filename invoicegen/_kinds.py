"""The kinds of invoices of each profile, with their shares."""

from collections.abc import Callable
from random import Random

from invoicegen._drafts import Draft
from invoicegen._sales import Sales
from invoicegen._settlements import Settlements


class Kinds(Sales, Settlements):
    """Maker of drafts of all kinds."""

    def weighted(self) -> list[tuple[float, Callable[[Random], Draft]]]:
        """Return every kind of the profile with its weight."""
        if self._profile == "small":
            return [(70, self._domestic), (20, self._consumer), (5, self._exempt), (5, self._simplified)]
        if self._profile == "large":
            return [
                (55, self._domestic), (10, self._currency), (10, self._union_goods), (10, self._correction),
                (5, self._order), (5, self._final), (5, self._exempt),
            ]  # fmt: skip
        return [
            (54, self._domestic), (10, self._consumer), (4, self._exempt), (4, self._currency),
            (3, self._union_goods), (2, self._union_services), (1.5, self._export), (1, self._abroad),
            (1, self._distance_sale), (1, self._domestic_reverse), (1, self._margin), (0.5, self._vehicle),
            (5, self._correction), (1, self._rebate), (0.7, self._formal_correction), (3, self._order),
            (3, self._final), (3, self._simplified), (0.7, self._order_correction), (0.7, self._final_correction),
        ]  # fmt: skip
