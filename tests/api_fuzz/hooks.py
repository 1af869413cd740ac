"""Teaches schemathesis to send the bodies of this API."""

import schemathesis

schemathesis.serializer.alias(["application/offset+octet-stream"], "application/octet-stream")
