-- Cardea's schema, first version. SPDX-License-Identifier: Apache-2.0
--
-- Applied by `cardea migrate`, which adds BEGIN, the row in schema_migration, and COMMIT around this text.
-- Needs no superuser and no extension: only the right to create in the first schema of the search_path.
-- What must always hold is a constraint here, whatever the program above believes; the program checks
-- first, so that people get better sentences than these.
-- Identifiers are COLLATE "C": comparing bytes is what we mean, and costs half as much.
-- A CHECK passes when it is NULL: where a column may be NULL, that is meant, and counted with num_nonnulls().
-- A migration that has been published is never changed (its checksum would be refused): add the next one.

CREATE TABLE schema_migration (
    version    integer PRIMARY KEY CHECK (version > 0),
    name       text NOT NULL,
    checksum   text NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'), -- SHA-256 of the file
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Tenants ----------------------------------------------------------------------------------------------

-- seq is the order of lists: unlike created_at it is unique, so that a cursor neither skips nor repeats.
-- version is the entity tag: every change by a person makes it grow.
CREATE TABLE tenant (
    id         text COLLATE "C" PRIMARY KEY,
    name       text NOT NULL,
    enabled    boolean NOT NULL DEFAULT true,
    seq        bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    version    bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenant_id_valid CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$' OR seq = 0),
    CONSTRAINT tenant_name_valid CHECK (length(name) BETWEEN 1 AND 255 AND name !~ '[\x01-\x1f\x7f-\x9f]')
);
CREATE UNIQUE INDEX tenant_seq ON tenant (seq DESC);

-- Scopes -----------------------------------------------------------------------------------------------

-- The grammar is RFC 6749's scope-token. Names under "cardea." open the management API, so they are ours.
CREATE TABLE scope (
    name        text COLLATE "C" PRIMARY KEY,
    title       text NOT NULL,
    description text NOT NULL DEFAULT '',
    builtin     boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scope_name_valid CHECK (name ~ '^[\x21\x23-\x5b\x5d-\x7e]{1,255}$'),
    CONSTRAINT scope_name_reserved CHECK (builtin = (name LIKE 'cardea.%')),
    CONSTRAINT scope_title_valid CHECK (length(title) BETWEEN 1 AND 255),
    CONSTRAINT scope_description_valid CHECK (length(description) <= 4096)
);

INSERT INTO scope (name, title, description, builtin) VALUES
    ('cardea.admin', 'Manage keys', 'Create, change and delete the API access keys of the own tenant', true),
    ('cardea.read', 'See keys', 'See the API access keys and the audit log of the own tenant', true),
    ('cardea.platform', 'Run the platform', 'Tenants, scopes, signing keys, and every tenant''s keys', true);

CREATE FUNCTION scope_is_builtin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'scope % is built in', OLD.name
        USING ERRCODE = 'check_violation', CONSTRAINT = 'scope_name_reserved';
END $$;

CREATE TRIGGER scope_builtin_stays BEFORE UPDATE OR DELETE ON scope
    FOR EACH ROW WHEN (OLD.builtin) EXECUTE FUNCTION scope_is_builtin();

-- API access keys --------------------------------------------------------------------------------------

-- array_to_string() is not IMMUTABLE in general (it calls output functions), but it is for text.
CREATE FUNCTION scope_text(scopes text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN array_to_string(scopes, ' ');

-- scope holds the scopes as a token shows them: sending one text is cheaper than sending an array, and the
-- token path reads this row for every token. For the same reason claims and jwks are json, not jsonb: they
-- are only ever written and sent whole. fillfactor and the absence of an index on last_used_at keep the
-- updates of last-used times inside their page (HOT).
CREATE TABLE api_key (
    key_id              text COLLATE "C" PRIMARY KEY,
    tenant_id           text COLLATE "C" NOT NULL REFERENCES tenant (id) ON DELETE RESTRICT,
    name                text NOT NULL,
    description         text NOT NULL DEFAULT '',
    scopes              text[] NOT NULL, -- sorted bytewise
    scope               text NOT NULL GENERATED ALWAYS AS (scope_text(scopes)) STORED,
    enabled             boolean NOT NULL DEFAULT true,
    expires_at          timestamptz NOT NULL,
    token_ttl           integer,         -- seconds; NULL: the server's
    audience            text[],          -- NULL: the server's
    allowed_cidrs       text[],          -- NULL: any address
    claims              json,            -- NULL: none
    jwks                json,            -- the client's public keys; NULL: a client with a secret
    secret_mac          bytea,           -- HMAC-SHA-256 under a key derived from a master key …
    secret_seal         bytea,           -- … and which of them
    previous_mac        bytea,           -- the secret before the last rotation …
    previous_seal       bytea,
    previous_expires_at timestamptz,     -- … accepted until then
    seq                 bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    version             bigint NOT NULL DEFAULT 1,
    created_at          timestamptz NOT NULL DEFAULT now(),
    created_by          text NOT NULL,
    updated_at          timestamptz NOT NULL DEFAULT now(),
    last_used_at        timestamptz,
    CONSTRAINT api_key_key_id_valid CHECK (key_id ~ '^key_[a-z2-7]{24}$' OR seq = 0),
    CONSTRAINT api_key_name_valid CHECK (length(name) BETWEEN 1 AND 255 AND name !~ '[\x01-\x1f\x7f-\x9f]'),
    CONSTRAINT api_key_description_valid CHECK (length(description) <= 4096),
    CONSTRAINT api_key_scopes_count CHECK (
        cardinality(scopes) BETWEEN 1 AND 64 AND array_ndims(scopes) = 1),
    -- API scopes or management scopes, never both: a token captured at a gateway opens nothing here.
    CONSTRAINT api_key_scopes_one_kind CHECK (
        ' ' || scope NOT LIKE '% cardea.%' OR scope ~ '^cardea\.[^ ]+( cardea\.[^ ]+)*$'),
    CONSTRAINT api_key_expires_at_valid CHECK (isfinite(expires_at)),
    CONSTRAINT api_key_token_ttl_valid CHECK (token_ttl BETWEEN 10 AND 86400),
    CONSTRAINT api_key_audience_valid CHECK (
        cardinality(audience) BETWEEN 1 AND 8 AND array_ndims(audience) = 1
        AND array_position(audience, NULL) IS NULL),
    CONSTRAINT api_key_allowed_cidrs_valid CHECK (
        cardinality(allowed_cidrs) BETWEEN 1 AND 32 AND array_ndims(allowed_cidrs) = 1
        AND array_position(allowed_cidrs::inet[], NULL) IS NULL),
    CONSTRAINT api_key_claims_valid CHECK (
        json_typeof(claims) = 'object' AND octet_length(claims::text) <= 2048),
    CONSTRAINT api_key_jwks_valid CHECK (
        jwks IS NULL
        OR (json_typeof(jwks) = 'object' AND coalesce(json_array_length(jwks -> 'keys'), 0) BETWEEN 1 AND 5
            AND octet_length(jwks::text) <= 16384)),
    CONSTRAINT api_key_secret_or_jwks CHECK ((secret_mac IS NULL) <> (jwks IS NULL)),
    CONSTRAINT api_key_secret_whole CHECK (
        num_nonnulls(secret_mac, secret_seal) IN (0, 2)
        AND octet_length(secret_mac) = 32 AND octet_length(secret_seal) = 8),
    CONSTRAINT api_key_previous_whole CHECK (
        num_nonnulls(previous_mac, previous_seal, previous_expires_at) IN (0, 3)
        AND (previous_mac IS NULL OR secret_mac IS NOT NULL)
        AND octet_length(previous_mac) = 32 AND octet_length(previous_seal) = 8)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX api_key_list ON api_key (tenant_id, seq DESC);
CREATE INDEX api_key_previous ON api_key (previous_expires_at) WHERE previous_expires_at IS NOT NULL;

-- The decoy. Whoever asks for a token with an ID that does not exist gets this row: the statement of the
-- token path looks for the ID and then for '-', which sorts before every ID, and takes the first it finds, so
-- that time does not tell which IDs exist. No secret has a MAC of zeros. Both rows have seq 0, which the
-- statements of the management side leave out. Here, before the trigger below, so that its scope needs no
-- place in the catalog.
INSERT INTO tenant (id, name, seq) OVERRIDING SYSTEM VALUE VALUES ('-', 'decoy', 0);
INSERT INTO api_key (key_id, tenant_id, name, scopes, expires_at, secret_mac, secret_seal, created_by, seq)
    OVERRIDING SYSTEM VALUE
    VALUES ('-', '-', 'decoy', '{decoy:read,decoy:write}', '9999-12-31T00:00:00Z',
            decode(repeat('00', 32), 'hex'), decode(repeat('00', 8), 'hex'), '-', 0);

CREATE FUNCTION decoy_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the decoy in % stays as it is', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'decoy_stays';
END $$;

CREATE TRIGGER decoy_stays BEFORE UPDATE OR DELETE ON tenant
    FOR EACH ROW WHEN (OLD.seq = 0) EXECUTE FUNCTION decoy_stays();
CREATE TRIGGER decoy_stays BEFORE UPDATE OR DELETE ON api_key
    FOR EACH ROW WHEN (OLD.seq = 0) EXECUTE FUNCTION decoy_stays();

-- Which key holds which scope, derived from api_key.scopes by the trigger below: so an unknown scope cannot
-- be held, and one in use cannot be deleted.
CREATE TABLE api_key_scope (
    key_id text COLLATE "C" NOT NULL REFERENCES api_key (key_id) ON DELETE CASCADE,
    scope  text COLLATE "C" NOT NULL REFERENCES scope (name) ON DELETE RESTRICT,
    PRIMARY KEY (key_id, scope)
);
CREATE INDEX api_key_scope_scope ON api_key_scope (scope);

CREATE FUNCTION api_key_scopes_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.scopes IS DISTINCT FROM ARRAY(SELECT DISTINCT s COLLATE "C" FROM unnest(NEW.scopes) AS s ORDER BY 1)
    THEN
        RAISE EXCEPTION 'scopes of % are not sorted and distinct', NEW.key_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'api_key_scopes_sorted';
    END IF;
    DELETE FROM api_key_scope WHERE key_id = NEW.key_id AND scope <> ALL (NEW.scopes);
    INSERT INTO api_key_scope (key_id, scope)
        SELECT NEW.key_id, s FROM unnest(NEW.scopes) AS s ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;

CREATE TRIGGER api_key_scopes_changed AFTER INSERT OR UPDATE OF scopes ON api_key
    FOR EACH ROW EXECUTE FUNCTION api_key_scopes_changed();

-- Signing keys -----------------------------------------------------------------------------------------

-- The one row about the set of signing keys. generation grows with every change of the set, so that an
-- instance that missed a notice sees it at its next poll. longest_ttl is the longest token_ttl that any
-- API key has ever had: a retired key stays published at least that long, also when the API key with
-- the long-lived tokens has been changed or deleted since.
CREATE TABLE signing_ring (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    generation  bigint NOT NULL DEFAULT 0,
    longest_ttl integer NOT NULL DEFAULT 0
);
INSERT INTO signing_ring DEFAULT VALUES;

CREATE TABLE signing_key (
    kid           text COLLATE "C" PRIMARY KEY, -- RFC 7638 thumbprint
    alg           text NOT NULL,
    public_jwk    json NOT NULL,
    sealed        bytea NOT NULL,   -- PKCS #8 under a master key …
    seal_id       bytea NOT NULL,   -- … and which of them
    state         text NOT NULL,
    created_at    timestamptz NOT NULL,
    signs_from    timestamptz NOT NULL, -- not before: caches must have it first
    activated_at  timestamptz,
    retired_at    timestamptz,
    publish_until timestamptz,
    CONSTRAINT signing_key_kid_valid CHECK (kid ~ '^[A-Za-z0-9_-]{43}$'),
    CONSTRAINT signing_key_alg_valid CHECK (alg IN ('ES256', 'ES384', 'RS256', 'PS256', 'EdDSA')),
    -- A public key has no d: whoever writes a private one here has made a mistake that must not commit.
    CONSTRAINT signing_key_public_jwk_valid CHECK (
        json_typeof(public_jwk) = 'object' AND public_jwk -> 'd' IS NULL),
    CONSTRAINT signing_key_sealed_valid CHECK (octet_length(sealed) BETWEEN 32 AND 16384),
    CONSTRAINT signing_key_seal_id_valid CHECK (octet_length(seal_id) = 8),
    CONSTRAINT signing_key_state_valid CHECK (
        num_nonnulls(activated_at, retired_at, publish_until)
            = CASE state WHEN 'announced' THEN 0 WHEN 'signing' THEN 1 WHEN 'retired' THEN 3 ELSE -1 END
        AND (state = 'announced' OR activated_at IS NOT NULL)
        AND activated_at >= signs_from AND publish_until >= retired_at)
);
CREATE UNIQUE INDEX signing_key_one_signing ON signing_key (state) WHERE state = 'signing';
CREATE UNIQUE INDEX signing_key_one_announced ON signing_key (state) WHERE state = 'announced';

CREATE FUNCTION signing_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE signing_ring SET generation = generation + 1;
    PERFORM pg_notify('cardea_ring', ''); -- equal notices of one transaction become one
    RETURN NULL;
END $$;

CREATE TRIGGER signing_key_changed AFTER INSERT OR UPDATE OR DELETE ON signing_key
    FOR EACH ROW EXECUTE FUNCTION signing_key_changed();

CREATE FUNCTION signing_key_state_turned_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'signing key % cannot go from % to %', OLD.kid, OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'signing_key_state_forward';
END $$;

-- announced -> signing -> retired: what has been retired never signs again.
CREATE TRIGGER signing_key_state_forward BEFORE UPDATE OF state ON signing_key
    FOR EACH ROW WHEN ((OLD.state, NEW.state) NOT IN (('announced', 'signing'), ('signing', 'retired'))
                       AND OLD.state <> NEW.state)
    EXECUTE FUNCTION signing_key_state_turned_back();

CREATE FUNCTION api_key_token_ttl_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE signing_ring SET longest_ttl = NEW.token_ttl WHERE longest_ttl < NEW.token_ttl;
    RETURN NULL;
END $$;

CREATE TRIGGER api_key_token_ttl_changed AFTER INSERT OR UPDATE OF token_ttl ON api_key
    FOR EACH ROW WHEN (NEW.token_ttl IS NOT NULL) EXECUTE FUNCTION api_key_token_ttl_changed();

-- Audit ------------------------------------------------------------------------------------------------

-- No foreign keys: an entry outlives what it tells about.
CREATE TABLE audit (
    id         bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at         timestamptz NOT NULL DEFAULT now(),
    tenant_id  text COLLATE "C", -- NULL: of no tenant
    actor      text NOT NULL CHECK (actor <> ''),
    action     text NOT NULL CHECK (action <> ''),
    object     text NOT NULL,
    changes    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(changes) = 'object'),
    address    text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT ''
);
-- The log of one tenant, newest first. By -id and not by id DESC: that order the primary key has as well, and
-- the planner would take it and leave out the entries of all others, which for a quiet tenant is every entry.
CREATE INDEX audit_tenant ON audit (tenant_id, (-id));

-- Not even the owner changes an entry by mistake; who must (to thin out old years) drops the trigger first,
-- which shows in PostgreSQL's own log.
CREATE FUNCTION audit_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit entries are final' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_final();

-- What expires by itself -------------------------------------------------------------------------------

-- Idempotency-Key of a request, kept for 24 hours: what it led to, and a digest of the request.
CREATE TABLE idempotency (
    actor      text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    digest     bytea NOT NULL CHECK (octet_length(digest) = 32),
    object     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);

-- The jti of clients' assertions, each good once (RFC 7523 section 3): SHA-256 of key ID and jti.
CREATE TABLE assertion_jti (
    digest     bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX assertion_jti_expires_at ON assertion_jti (expires_at);
