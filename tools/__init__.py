"""Generators of reference pages: `docs_reference` and `docs_sessions`. They read the source tree and are not installed."""
