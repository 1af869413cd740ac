"""Chooses the media type of an answer by the Accept header (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from app.api.http.errors import NotAcceptable


def choose(accept: str | None, offers: Sequence[str]) -> str:
    """Return the offered media type that the header prefers, the first one without a preference.

    Raises NotAcceptable when the header excludes all of them.
    """
    if not accept or not accept.strip():
        return offers[0]
    preferences = [_preference(item) for item in accept[:2000].split(",") if item.strip()]
    best, best_quality = None, 0.0
    for offer in offers:
        quality = _quality(preferences, offer)
        if quality > best_quality:
            best, best_quality = offer, quality
    if best is None:
        raise NotAcceptable(f"the available media types are {', '.join(offers)}")
    return best


def _preference(item: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                quality = min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(preferences: Sequence[tuple[str, float]], offer: str) -> float:
    # The most specific matching range decides (RFC 9110).
    for pattern in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        for name, quality in preferences:
            if name == pattern:
                return quality
    return 0.0
