// SPDX-License-Identifier: Apache-2.0
// The management API: one function that asks, one that says in a sentence what went wrong.
import { ROOT, SignInError, bearer, current, distrust, end } from './session.js';

export class ApiError extends Error {
    constructor(status, problem = {}, headers = null) {
        super(problem.detail ?? problem.title ?? `HTTP ${status}`);
        this.status = status;       // 0: no answer came
        this.detail = problem.detail ?? null;
        this.title = problem.title ?? null;
        this.errors = Array.isArray(problem.errors) ? problem.errors : [];
        this.retryAfter = Number(headers?.get('Retry-After')) || null;
        this.requestId = headers?.get('X-Request-Id') ?? null;
    }
}

async function send(method, path, { body, headers = {}, signal }) {
    const text = await bearer();
    const request = {
        method, credentials: 'omit', cache: 'no-store', redirect: 'error',
        signal: signal ? AbortSignal.any([signal, AbortSignal.timeout(20000)]) : AbortSignal.timeout(20000),
        headers: { Authorization: `Bearer ${text}`, Accept: 'application/json, application/problem+json', ...headers },
    };
    if (body !== undefined) {
        request.headers['Content-Type'] = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
        request.body = body;
    }
    const response = await fetch(new URL(`v1/${path}`, ROOT), request);
    if (response.status === 401)
        distrust(text);
    return response;
}

async function problemOf(response) {
    const problem = await response.json().catch(() => ({}));
    return new ApiError(response.status, problem ?? {}, response.headers);
}

// Resolves to { data, etag, status }. `body` is JSON text, so that a caller who repeats a request repeats its bytes.
// A cancelled `signal` rejects with an AbortError: the page has been left, and nobody wants the answer.
export async function call(method, path, options = {}) {
    let response;
    try {
        response = await send(method, path, options);
        if (response.status === 401)
            response = await send(method, path, options);   // with a new token
    } catch (error) {
        if (options.signal?.aborted)
            throw new DOMException('left', 'AbortError');
        throw error instanceof SignInError ? fromSignIn(error) : new ApiError(0);
    }
    if (response.status === 401 && current()) {
        end('lost');
        throw new ApiError(401);
    }
    if (!response.ok)
        throw await problemOf(response);
    const data = response.status === 204 ? null : await response.json().catch(() => { throw new ApiError(0); });
    return { data, etag: response.headers.get('ETag'), status: response.status };
}

function fromSignIn(error) {
    const status = { unreachable: 0, unavailable: 503, limited: 429, refused: 401 }[error.kind] ?? 500;
    const problem = new ApiError(status);
    problem.retryAfter = error.retryAfter;
    return problem;
}

export const get = (path, signal) => call('GET', path, { signal });
export const patch = (path, change, etag = null) =>
    call('PATCH', path, { body: JSON.stringify(change), headers: etag ? { 'If-Match': etag } : {} });
export const remove = (path) => call('DELETE', path);
export const put = (path, value) => call('PUT', path, { body: JSON.stringify(value) });

// POSTs that must not act twice. Of one form: as long as what is sent stays the same, so does its Idempotency-Key,
// and a repetition after a lost answer leads to the same object; a changed form is another request.
export function poster(path) {
    let last = { body: null, key: null };
    return (value) => {
        const body = JSON.stringify(value);
        if (last.body !== body)
            last = { body, key: randomKey() };
        return call('POST', path, { body, headers: { 'Idempotency-Key': last.key } });
    };
}

function randomKey() {
    // crypto.randomUUID() exists on secure origins only.
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

// A path of the API; every segment is data.
export function path(...segments) {
    return segments.map(encodeURIComponent).join('/');
}

export function query(values) {
    const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== '');
    return given.length ? `?${new URLSearchParams(given)}` : '';
}

const wait = (seconds) => (seconds ? `in ${seconds} ${seconds === 1 ? 'second' : 'seconds'}` : 'in a moment');

// One or two sentences for the person in front of the screen. A 503 never blames the secret.
export function explain(error) {
    switch (error.status) {
    case 0:
        return 'The server cannot be reached. Check the connection and try again.';
    case 401:
        return 'You have been signed out.';
    case 403:
        return error.detail ?? 'Your management key may not do this.';
    case 404:
        return 'It is not there any more. Somebody may have deleted it.';
    case 412:
        return 'Somebody else changed it meanwhile.';
    case 429:
        return `Too many requests. Try again ${wait(error.retryAfter)}.`;
    case 503:
        return `The server is busy or its database is away. Nothing is wrong with your key: try again ${wait(error.retryAfter)}.`;
    default:
        break;
    }
    const said = error.errors?.length ? error.errors.map((e) => e.message).join(' ') : error.detail ?? error.title;
    if (error.status >= 400 && error.status < 500 && said)
        return said;
    return `The server could not do this${error.requestId ? ` (request ${error.requestId})` : ''}. Try again, or look into its log.`;
}

export const wasLeft = (error) => error?.name === 'AbortError';
