// SPDX-License-Identifier: Apache-2.0
// The client's public keys, pasted or read from a file, for clients that sign (private_key_jwt) instead of sending a secret.
import { button, h } from './dom.js';
import { field } from './form.js';

// Members that only private or symmetric keys have (RFC 7518 §6).
const PRIVATE = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

export const BURNT = 'This is a private key. It was not sent, but treat it as burnt: make a new pair, keep its private part where it is made, and paste only the public one.';

// Returns { jwks } (null when empty) or { error }. A single key is taken as a set of one.
export function readJwks(text) {
    if (!text.trim())
        return { jwks: null };
    if (/-----BEGIN [A-Z ]*PRIVATE KEY/.test(text))
        return { error: BURNT, burnt: true };
    let value;
    try {
        value = JSON.parse(text);
    } catch {
        return { error: text.includes('-----BEGIN')
            ? 'This is PEM. Convert it to a JWK Set first: {"keys":[…]}.' : 'This is not JSON. A JWK Set looks like {"keys":[{"kty":"EC",…}]}.' };
    }
    const isObject = value !== null && typeof value === 'object' && !Array.isArray(value);
    const jwks = isObject && 'kty' in value ? { keys: [value] } : value;
    if (!isObject || !Array.isArray(jwks.keys))
        return { error: 'A JWK Set has a member "keys": {"keys":[{"kty":"EC",…}]}.' };
    if (jwks.keys.some((key) => key && typeof key === 'object' && PRIVATE.some((name) => name in key)))
        return { error: BURNT, burnt: true };
    return { jwks };
}

export function jwksField(initial = null) {
    const area = h('textarea', { class: 'input mono', rows: 4, spellcheck: 'false', autocomplete: 'off', placeholder: '{"keys":[{"kty":"EC","crv":"P-256","x":"…","y":"…"}]}' });
    area.value = initial ? JSON.stringify(initial, null, 2) : '';
    const file = h('input', { type: 'file', class: 'visually-hidden', accept: '.json,.jwks,application/json', tabindex: '-1', 'aria-hidden': 'true',
        onchange: async () => {
            if (file.files.length === 0)
                return;
            area.value = (await file.files[0].text()).slice(0, 65536);
            file.value = '';
            area.dispatchEvent(new Event('input', { bubbles: true }));
            area.focus();
        } });
    const result = field('Client’s public keys (JWK Set)', area, {
        hint: initial ? 'Up to 5 public keys. To replace one without interruption, keep old and new here for a while.'
            : 'For clients that sign with a key of their own (private_key_jwt). The key then has no secret at all.',
        extra: [button('Choose a file…', { class: 'button small', onclick: () => file.click() }), file],
    });
    result.read = () => readJwks(area.value);
    return result;
}
