-- Which master keys are still needed. SPDX-License-Identifier: Apache-2.0
--
-- Every start and every reload of the master keys asks that, and waits for the answer: with these indexes it
-- jumps from one master key to the next, however many keys there are, instead of reading them all. A last-used
-- time changes none of these columns, so its updates stay inside their page (HOT). Writes of API keys wait
-- while they are built, about a second for a million keys; tokens do not.

CREATE INDEX api_key_secret_seal ON api_key (secret_seal, expires_at)
    WHERE secret_seal IS NOT NULL AND seq > 0;
CREATE INDEX api_key_previous_seal ON api_key (previous_seal, least(previous_expires_at, expires_at))
    WHERE previous_seal IS NOT NULL AND seq > 0;
