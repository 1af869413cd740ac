"""Times until which KSeF accepts the parts and the close of a session.

Source: ksef-docs, sesja-wsadowa.md (twenty minutes for each part, all parts together); that an unclosed session is cancelled
twelve hours after its opening is from issues 313 and 591 of the ministry's repository.
"""

from datetime import datetime, timedelta
from typing import Final

TIME_PER_PART: Final = timedelta(minutes=20)
TIME_TO_CLOSE: Final = timedelta(hours=12)


def upload_by(opened_at: datetime, parts: int) -> datetime:
    """Give the moment after which the links of a session's parts are no longer taken."""
    return opened_at + parts * TIME_PER_PART


def close_by(opened_at: datetime) -> datetime:
    """Return the moment at which KSeF cancels a session that is not closed."""
    return opened_at + TIME_TO_CLOSE
