"""Choosing a form of the answer by the Accept header (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from app.api.http.errors import NotAcceptable


def choose(accept: str | None, offers: Sequence[str]) -> str:
    """Give the offered media type that the header likes best, the first one when it has no preference.

    Raises NotAcceptable when it rules out every one.
    """
    if not accept or not accept.strip():
        return offers[0]
    wishes = [_wish(item) for item in accept[:2000].split(",") if item.strip()]
    best, liking = None, 0.0
    for offer in offers:
        quality = _quality(wishes, offer)
        if quality > liking:
            best, liking = offer, quality
    if best is None:
        raise NotAcceptable(f"this can be given as {', '.join(offers)}")
    return best


def _wish(item: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(wishes: Sequence[tuple[str, float]], offer: str) -> float:
    # The most specific wish that speaks of the offer decides, as the RFC says.
    for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        for name, quality in wishes:
            if name == pattern:
                return quality
    return 0.0
