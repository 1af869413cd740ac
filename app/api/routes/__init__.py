"""Endpoints of the API, one module for each noun of the paths. `invoices_fast_path` serves plain posts without FastAPI."""
