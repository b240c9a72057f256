-- Where the log of a tenant begins. SPDX-License-Identifier: Apache-2.0
--
-- A tenant may have the ID of an earlier one that was deleted: what was logged of that is not its own. By -id for
-- the reason that audit_tenant gives.

CREATE INDEX audit_tenant_create ON audit (tenant_id, (-id)) WHERE action = 'tenant.create';
