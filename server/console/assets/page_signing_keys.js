// SPDX-License-Identifier: Apache-2.0
// Platform: the keys that sign tokens, and their rotation.
import { get, poster } from './api.js';
import { copyButton } from './copy.js';
import { ask } from './dialog.js';
import { badge, button, callout, h, icon, toast } from './dom.js';
import { listing, row, table } from './listing.js';
import { pageHead } from './shell.js';
import { relative, timeNode } from './time.js';

const STATES = { announced: ['warn', 'Announced'], signing: ['accent', 'Signing'], retired: ['off', 'Retired'] };

function moments(key) {
    const list = [['Created', key.created_at], ['Signs from', key.activated_at ? null : key.signs_from], ['Signs since', key.activated_at],
        ['Retired', key.retired_at], ['Published until', key.publish_until]];
    return h('dl', { class: 'moments' }, list.filter(([, at]) => at).map(([label, at]) =>
        h('div', {}, h('dt', {}, label), h('dd', {}, timeNode(at), h('span', { class: 'sub' }, ` ${relative(at)}`)))));
}

export function signingKeysPage({ signal }) {
    const columns = [{ label: 'Key (kid)', className: 'main-cell' }, { label: 'Algorithm' }, { label: 'State' }, { label: 'Times' }];

    async function rotate() {
        const post = poster('signing-keys');
        const done = await ask({ title: 'Rotate the signing key?', action: 'Rotate',
            body: h('p', {}, 'A new key is published now, and signs once every gateway that obeys our cache time has it. Tokens already issued stay valid. Nothing is interrupted.'),
            submit: async () => {
                await post({});
                return true;
            } });
        if (done) {
            toast('A new signing key is announced.');
            list.reload();
        }
    }

    async function emergency() {
        const post = poster('signing-keys');
        const sure = h('input', { type: 'checkbox', id: 'emergency-sure' });
        const done = await ask({ title: 'Withdraw every signing key?', danger: true, action: 'Withdraw and replace', submit: async () => {
            if (!sure.checked)
                throw Object.assign(new Error(), { status: 422, errors: [], detail: 'Tick the box to confirm.' });
            await post({ emergency: true });
            return true;
        }, body: [callout('warning', h('p', {}, h('strong', {}, 'Only when a signing key has leaked.'))),
            h('p', {}, 'A new key signs at once, and every older one is withdrawn. Tokens already issued are refused as soon as gateways fetch the keys again; '
                + 'new ones are refused by gateways that have not yet. Expect failures for minutes.'),
            h('div', { class: 'choice' }, sure, h('div', { class: 'choice-text' }, h('label', { for: 'emergency-sure' }, 'I understand that all tokens stop working')))] });
        if (done) {
            toast('All older signing keys are withdrawn.');
            list.reload();
        }
    }

    const list = listing({ state: {}, noun: 'signing key',
        load: async () => {
            const { data } = await get('signing-keys', signal);
            return { items: data.items, next_cursor: null };
        },
        draw: (items) => table('Signing keys', columns, items.map((key) => {
            const [kind, text] = STATES[key.state] ?? ['off', key.state];
            return row(columns, [copyButton('kid', () => key.kid, { className: 'id', label: `Copy kid ${key.kid}`, content: h('code', {}, key.kid) }),
                key.alg, badge(kind, text), moments(key)], { class: key.state === 'retired' ? 'dim' : null });
        })),
        empty: () => h('div', { class: 'empty' }, icon('seal'), h('h2', {}, 'No signing keys'), h('p', {}, 'The server makes the first one when it starts.')) });
    return h('div', { class: 'page' },
        pageHead('Signing keys', { trail: [['Platform', null]], lead: 'They sign every token and rotate by themselves. Gateways read the public parts from the published key set.',
            actions: [button('Emergency…', { class: 'button danger-quiet', onclick: emergency }), button('Rotate now', { class: 'button primary', onclick: rotate }, 'rotate')] }),
        list.node);
}
