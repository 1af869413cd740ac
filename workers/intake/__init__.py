"""Intake: `uploads` reads the body of an upload into chunks, `singles` does it for single posts, `body_hash` verifies resumable uploads."""
