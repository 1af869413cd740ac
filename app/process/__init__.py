"""Processes of the service on one machine.

`serve_lock` lets one supervisor run a data folder, and `ports` finds a taken port before anything starts.
`supervisor` starts and restarts the API, the worker and PostgreSQL; `heartbeat` reports to it; `parent` ends a process of a
pool with its parent; `memory` sets up garbage collection
and returns freed memory; `fair_slots` shares a process's slots among tenants; `owner` names a process as the owner of sessions.
"""
