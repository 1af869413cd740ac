"""Tenants and their keys (`tenants`), KSeF's limits and permissions for each (`limits`, `permissions`), and `check_context`."""
