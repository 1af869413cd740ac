"""Storage: rows in PostgreSQL, bytes in an object store, secrets encrypted under the master key.

    tenants/     tenants, API keys, credentials, limits
    uploads/     uploads, chunks, invoices
    sessions/    sessions by stage
    events/      events, webhook endpoints, deliveries
    ksef/        request quota and outages
    backup/      backup and restore of an installation on one machine
    sql/         every query, named and described
    migrations/  the schema

Beside them are the engine's modules: `database`, `jobs`, `blobs`, `disk`, `secrets`, `data_folder`, `file_locks`, `embedded` (with
`embedded_account` and `embedded_files`), `installation`, `migrate`, `health`; `store` opens all of them together. Rows decide; blobs hold
bytes, and a job holds only an id. No other package runs SQL.
"""
