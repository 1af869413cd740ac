"""What is kept: rows in PostgreSQL, bytes in an object store, secrets encrypted under the master key.

Rows are the truth, blobs hold bytes, a job holds only an id. SQL stands in `sql/`, one file a noun or a stage of a
session, each query named and described; nothing outside this package runs any.
"""
