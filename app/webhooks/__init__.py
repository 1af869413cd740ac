"""Telling receivers: where they may be (`addresses`), proof of origin (`signing`), the request (`delivery`), when again (`backoff`).

Nothing here knows the database; `workers.webhooks` joins it with the rows of `app.store.webhooks`.
"""
