-- name: schema_revision
SELECT string_agg(version_num, ',' ORDER BY version_num) AS revision FROM alembic_version
