// SPDX-License-Identifier: Apache-2.0
// Signing in with a management key. A real form with the names that password managers look for.
import { brandMark, button, callout, enableAgain, h, iconButton } from './dom.js';
import { field } from './form.js';
import { signIn, tidy } from './session.js';

const wait = (seconds) => (seconds ? `in ${seconds} seconds` : 'in a moment');

// What to do now. Only `refused` says anything about the credentials.
function advice(error) {
    switch (error.kind) {
    case 'refused':
        return [h('p', {}, h('strong', {}, 'This key ID and secret were not accepted.')),
            h('ul', {}, h('li', {}, 'Copy both again, whole. The ID begins with ', h('code', {}, 'key_'), ', the secret with ', h('code', {}, 'cardea_'), '.'),
                h('li', {}, 'The key may be disabled, expired or limited to other addresses, or its tenant disabled. Another administrator can look.'),
                h('li', {}, 'A lost secret cannot be retrieved: have the key’s secret rotated, or make a new key on the server with ',
                    h('code', {}, 'cardea key create'), '.'))];
    case 'api-key':
        return [h('p', {}, h('strong', {}, 'This key is for calling APIs.')),
            h('p', {}, 'It was accepted, but the console needs a management key: one with management access (', h('code', {}, 'cardea.admin'), ' or ',
                h('code', {}, 'cardea.read'), ').')];
    case 'limited':
        return [h('p', {}, h('strong', {}, 'Too many failed attempts from your address.')), h('p', {}, `Try again ${wait(error.retryAfter)}.`)];
    case 'unavailable':
        return [h('p', {}, h('strong', {}, 'The server cannot check keys right now.')),
            h('p', {}, `It is busy, or its database is away. This says nothing about your key. Try again ${wait(error.retryAfter)}.`)];
    case 'unreachable':
        return [h('p', {}, h('strong', {}, 'The server cannot be reached.')), h('p', {}, 'Check the connection and try again.')];
    default:
        return [h('p', {}, h('strong', {}, 'The server gave an unexpected answer.')), h('p', {}, 'Try again, or look into its log.')];
    }
}

const FAREWELLS = {
    'signed-out': () => callout('info', h('p', {}, 'You have signed out. Nothing is kept on this device.')),
    lost: () => callout('warning', h('p', {}, h('strong', {}, 'You have been signed out.')),
        h('p', {}, 'The key you signed in with no longer works: it was disabled, deleted or has expired, or its secret was rotated.')),
};

export function signInPage({ reason, onSignedIn }) {
    const id = h('input', { class: 'input mono', name: 'username', type: 'text', autocomplete: 'username', 'aria-required': 'true', autocapitalize: 'none', autocorrect: 'off', spellcheck: 'false',
        placeholder: 'key_…' });
    const secret = h('input', { class: 'input mono', name: 'password', type: 'password', autocomplete: 'current-password', 'aria-required': 'true',
        placeholder: 'cardea_…' });
    const reveal = iconButton('eye', 'Show secret', { 'aria-pressed': 'false', onclick: () => {
        const hidden = secret.type === 'password';
        secret.type = hidden ? 'text' : 'password';
        reveal.setAttribute('aria-pressed', String(hidden));
    } });
    const idField = field('Key ID', id);
    const secretField = field('Secret', secret, { extra: reveal });
    const message = h('div', { 'aria-live': 'polite' }, FAREWELLS[reason]?.());
    const submit = button('Sign in', { type: 'submit', class: 'button primary wide' });

    async function onsubmit(event) {
        event.preventDefault();
        if (submit.disabled)
            return;
        idField.error(tidy(id.value) ? '' : 'Enter the key ID.');
        secretField.error(tidy(secret.value) ? '' : 'Enter the secret.');
        const missing = [id, secret].find((input) => !tidy(input.value));
        if (missing) {
            missing.focus();
            return;
        }
        submit.disabled = true;
        submit.lastChild.textContent = 'Signing in…';
        message.replaceChildren();
        try {
            const rights = await signIn(id.value, secret.value);
            onSignedIn(rights);
        } catch (error) {
            message.replaceChildren(callout(['refused', 'api-key'].includes(error.kind) ? 'danger' : 'warning', ...advice(error)));
        } finally {
            submit.lastChild.textContent = 'Sign in';
            enableAgain(submit);
        }
    }

    return h('main', { class: 'sign-in' },
        h('div', { class: 'sign-in-card' },
            h('div', { class: 'brand large' }, brandMark(), h('span', {}, 'Cardea')),
            h('h1', { tabindex: '-1' }, 'Sign in'),
            h('p', { class: 'lead' }, 'with the ID and secret of a management key.'),
            message,
            // Never sent by the browser itself (CSP form-action 'none'): method only keeps a secret out of the address
            // should scripts fail half-way.
            h('form', { method: 'post', novalidate: true, onsubmit }, idField.node, secretField.node, submit),
            h('p', { class: 'fine' }, 'Your credentials stay in this page’s memory. Reloading or closing it signs you out.')));
}
