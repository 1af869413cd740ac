"""Ends multipart uploads in S3 that a killed process left.

They cost space, are on no list of objects, and do not end by themselves. obstore can neither list nor end them, so botocore does. Both
read the same variables and find the same credentials. For other object stores this does nothing: Azure drops such parts by itself
after a week, and a bucket of Google's needs a lifecycle rule.
"""

import os
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from app.observability.logs import get_logger

log = get_logger(__name__)

_S3_SCHEMES: Final = frozenset({"s3", "s3a"})


def end_unfinished(url: str, before: datetime) -> int:
    """End the uploads below `url` that were begun before a moment; return their number. Blocks, so call it from a thread.

    A store that refuses the list is logged: the service works without it.
    """
    parts = urlsplit(url)
    if parts.scheme not in _S3_SCHEMES:
        return 0
    # Imported here: it takes a tenth of a second and twenty megabytes, and only one process needs it, once a night.
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    prefix = parts.path.strip("/")
    ended = 0
    try:
        client = _client()
        pages = client.get_paginator("list_multipart_uploads").paginate(
            Bucket=parts.netloc, Prefix=f"{prefix}/" if prefix else ""
        )
        for page in pages:
            for upload in page.get("Uploads", []):
                if upload["Initiated"] < before:
                    client.abort_multipart_upload(Bucket=parts.netloc, Key=upload["Key"], UploadId=upload["UploadId"])
                    ended += 1
    except (BotoCoreError, ClientError) as error:
        log.warning("unfinished_blobs_not_ended", error=repr(error), ended=ended)
    return ended


def _client() -> Any:
    """Return a client of S3 by the variables that obstore reads, where their names differ from botocore's."""
    from botocore.config import Config  # noqa: PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    endpoint = _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    virtual_hosted = _variable("AWS_VIRTUAL_HOSTED_STYLE_REQUEST") == "true"
    return get_session().create_client(
        "s3",
        region_name=_variable("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=5,
            read_timeout=60,
            s3={"addressing_style": "virtual" if virtual_hosted or endpoint is None else "path"},
        ),
    )


def _variable(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)
