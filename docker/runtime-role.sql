-- The rights that `cardea serve` needs, and no others. SPDX-License-Identifier: Apache-2.0
--
--   psql "$OWNER_URL" -v role=cardea_runtime -f docker/runtime-role.sql
--
-- Run it as the role that owns the schema (the one that runs `cardea migrate`), after the first migration and
-- after each upgrade; twice does no harm. The role is created when it does not exist yet, which needs
-- CREATEROLE; it gets no password here: set one (\password) or let it in by certificate or peer.
\set ON_ERROR_STOP on
\if :{?role}
\else
    \set role cardea_runtime
\endif

SELECT format('CREATE ROLE %I LOGIN', :'role')
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
SELECT current_schema() AS schema \gset

BEGIN;
GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT, INSERT, UPDATE, DELETE
    ON tenant, scope, api_key, api_key_scope, signing_key, idempotency, assertion_jti TO :"role";
GRANT SELECT, UPDATE ON signing_ring TO :"role";
-- What has been logged stays: no UPDATE, DELETE or TRUNCATE.
GRANT SELECT, INSERT ON audit TO :"role";
-- To see that the schema fits; only the owner migrates.
GRANT SELECT ON schema_migration TO :"role";
COMMIT;
