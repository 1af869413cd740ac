"""Intake of documents.

`uploads` reads the body of an upload and cuts it into chunks, `singles` does the same for single posts, `chunks` has the limits and the
check context of both, and `body_hash` verifies resumable uploads.
"""
