// SPDX-License-Identifier: Apache-2.0
// The one time a secret is on screen. It lives in this page's nodes and in `shown`, both emptied when the page is left.
import { button, callout, h, icon } from './dom.js';
import { copyButton } from './copy.js';
import { ask } from './dialog.js';
import { exact } from './time.js';
import { pageHead } from './shell.js';
import * as router from './router.js';

// In single quotes for a POSIX shell. IDs, secrets and issuers have no quote in them; if one ever had, it stays data.
const quote = (text) => `'${text.replace(/'/g, "'\\''")}'`;

export function curlLine(issuer, keyId, secret) {
    return `curl ${quote(`${issuer}/oauth2/token`)} \\\n  -d grant_type=client_credentials \\\n  -u ${quote(`${keyId}:${secret}`)}`;
}

function signedLine(issuer, keyId) {
    return `curl ${quote(`${issuer}/oauth2/token`)} \\\n  -d grant_type=client_credentials \\\n  -d client_id=${keyId} \\\n`
        + '  -d client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer \\\n  -d client_assertion="$ASSERTION"';
}

const copyLook = () => ({ className: 'button small copy-button', content: h('span', {}, 'Copy') });

function shownValue(label, what, text) {
    return h('div', { class: 'shown' }, h('span', { class: 'shown-label' }, label),
        h('div', { class: 'shown-value' }, h('code', { class: 'value' }, text()), copyButton(what, text, copyLook())));
}

// `key`: as the server answered; `rotated`: its secret was replaced, `listHash` is where Done leads.
export function secretPage({ key, rights, rotated = false, listHash }) {
    let shown = { keyId: key.key_id, secret: key.secret ?? null };
    const hasSecret = shown.secret !== null;
    const line = () => (hasSecret ? curlLine(rights.issuer, shown.keyId, shown.secret) : signedLine(rights.issuer, shown.keyId));

    function forget() {
        shown = { keyId: '', secret: '' };
        node.replaceChildren();
    }

    function done() {
        router.clearGuard();
        forget();
        router.go(listHash, { replace: true });
    }

    const title = rotated ? 'New secret' : 'API access key created';
    const node = h('div', { class: 'page narrow' },
        pageHead(title, { trail: [['Account settings', null], ['API Access Keys', listHash]] }),
        h('section', { class: 'card secret-card', 'aria-label': 'Credentials' },
            h('p', { class: 'secret-name' }, icon('key'), h('strong', {}, key.name)),
            hasSecret && callout('warning', h('p', {}, h('strong', {}, 'Copy the secret now.')),
                h('p', {}, 'It is shown only this once and cannot be retrieved later, by anybody. Keep it where the system that uses it keeps its secrets.')),
            shownValue('Key ID', 'key ID', () => shown.keyId),
            hasSecret ? shownValue('Secret', 'secret', () => shown.secret)
                : h('p', { class: 'hint' }, 'This key has no secret: the client signs a JWT with its own private key and sends it as client_assertion (private_key_jwt).'),
            h('div', { class: 'shown' },
                h('div', { class: 'shown-head' }, h('span', { class: 'shown-label' }, 'Get a token'), copyButton('command', line, copyLook())),
                h('div', { class: 'code-block' }, h('pre', {}, h('code', {}, line())))),
            h('p', { class: 'hint' }, rotated && key.previous_secret_expires_at
                ? `The previous secret works until ${exact(key.previous_secret_expires_at)}. The key expires on ${exact(key.expires_at)}.`
                : rotated ? `The previous secret has stopped working. The key expires on ${exact(key.expires_at)}.`
                    : `The key expires on ${exact(key.expires_at)}.`),
            h('div', { class: 'actions end' }, button('Done', { class: 'button primary', onclick: done }))));

    if (hasSecret)
        router.setGuard(() => true, async () => {
            const leave = await ask({ title: 'Leave without the secret?', danger: true, action: 'Leave', cancel: 'Stay here',
                body: h('p', {}, 'Once you leave, the secret cannot be shown again. If it is lost, it has to be rotated.') });
            if (leave) {
                router.clearGuard();
                forget();
            }
            return leave;
        });
    return node;
}
