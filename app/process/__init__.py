"""Processes of the service on one machine.

`supervisor` starts and restarts the API, the worker and PostgreSQL; `heartbeat` reports to it; `memory` sets up garbage collection
and returns freed memory; `fair_slots` shares a process's slots among tenants.
"""
