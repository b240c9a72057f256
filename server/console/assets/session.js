// SPDX-License-Identifier: Apache-2.0
// Who is signed in. The credentials and the token live in this module's variables and nowhere else: not in
// storage, cookies, URLs or the document. Reloading or closing the page is signing out.

// What a refused exchange means, apart from "it did not work": only `refused` says anything about the secret.
export class SignInError extends Error {
    constructor(kind, { retryAfter = null } = {}) {
        super(kind);
        this.kind = kind;       // 'refused' | 'limited' | 'unavailable' | 'unreachable' | 'api-key' | 'unexpected'
        this.retryAfter = retryAfter;
    }
}

// The console lies beside the API, whatever path a proxy puts before both.
export const ROOT = new URL('../', document.baseURI);

let credentials = null;     // { keyId, secret }
let token = null;           // { text, renewAt }
let renewing = null;        // the exchange in flight, shared by all who wait for it
let rights = null;
let ended = () => {};

// Copied from a mail or a table, an ID brings spaces, line ends and zero-width characters along; no ID or secret
// has any.
export function tidy(text) {
    return text.replace(/[\s\u200b-\u200d\u2060\ufeff]+/g, '');
}

function payloadOf(jwt) {
    const bytes = Uint8Array.from(atob(jwt.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
}

// POST /oauth2/token. `credentials: 'omit'`: otherwise a 401 would bring up the browser's own password prompt.
async function exchange({ keyId, secret }) {
    let response;
    try {
        response = await fetch(new URL('oauth2/token', ROOT), {
            method: 'POST', credentials: 'omit', cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(15000),
            body: new URLSearchParams({ grant_type: 'client_credentials', client_id: keyId, client_secret: secret }),
        });
    } catch {
        throw new SignInError('unreachable');
    }
    const retryAfter = Number(response.headers.get('Retry-After')) || null;
    // 400 too: an ID with characters that no ID has is a typing error, not a fault of the page.
    if (response.status === 401 || response.status === 400)
        throw new SignInError('refused');
    if (response.status === 429)
        throw new SignInError('limited', { retryAfter });
    if (response.status === 503 || response.status === 502 || response.status === 504)
        throw new SignInError('unavailable', { retryAfter });
    if (!response.ok)
        throw new SignInError('unexpected');
    return response.json().catch(() => { throw new SignInError('unexpected'); });
}

function keep(answer) {
    // Renewed well before its end, so that no request leaves with a token that dies on the way.
    const lifetime = answer.expires_in * 1000;
    token = { text: answer.access_token, renewAt: Date.now() + lifetime - Math.min(30000, lifetime / 4) };
}

function rightsOf(answer) {
    const scopes = answer.scope.split(' ');
    const claims = payloadOf(answer.access_token);
    const platform = scopes.includes('cardea.platform');
    const write = platform || scopes.includes('cardea.admin');
    if (!write && !scopes.includes('cardea.read'))
        throw new SignInError('api-key');
    return Object.freeze({ keyId: claims.sub, tenant: claims.tenant, issuer: claims.iss, platform, write });
}

export async function signIn(keyId, secret) {
    const given = { keyId: tidy(keyId), secret: tidy(secret) };
    const answer = await exchange(given);
    let found;
    try {
        found = rightsOf(answer);
    } catch (error) {
        throw error instanceof SignInError ? error : new SignInError('unexpected');
    }
    credentials = given;
    rights = found;
    keep(answer);
    return rights;
}

export function current() {
    return rights;
}

// A token good for the next request. Renewal is done when it is needed: a laptop that slept for a night just goes on.
export async function bearer() {
    if (!credentials)
        throw new SignInError('refused');
    if (token && Date.now() < token.renewAt)
        return token.text;
    const owner = credentials;
    renewing ??= exchange(owner).finally(() => { renewing = null; });
    try {
        const answer = await renewing;
        if (credentials === owner)      // not signed out, nor signed in as another, meanwhile
            keep(answer);
        return answer.access_token;
    } catch (error) {
        if (error.kind === 'refused' && credentials === owner)
            end('lost');
        throw error;
    }
}

// The server did not take this token: the next request gets a new one.
export function distrust(text) {
    if (token?.text === text)
        token = null;
}

// The admin rotated the very key that is signed in here.
export function replaceSecret(keyId, secret) {
    if (credentials?.keyId === keyId)
        credentials = { keyId, secret };
}

export function onEnd(callback) {
    ended = callback;
}

// `reason`: 'signed-out' or 'lost'.
export function end(reason) {
    credentials = null;
    token = null;
    rights = null;
    ended(reason);
}
