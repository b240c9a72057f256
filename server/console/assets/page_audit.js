// SPDX-License-Identifier: Apache-2.0
// Who changed what, when and from where: of one tenant, or of the whole installation.
import { get, path, query } from './api.js';
import { h, icon } from './dom.js';
import { PAGE_SIZE, listing, row, table } from './listing.js';
import { pageHead } from './shell.js';
import { ago, exact, timeNode } from './time.js';

const ACTIONS = {
    'key.create': 'Created key', 'key.update': 'Changed key', 'key.delete': 'Deleted key', 'key.rotate': 'Rotated secret',
    'tenant.create': 'Created tenant', 'tenant.update': 'Changed tenant', 'tenant.delete': 'Deleted tenant',
    'scope.create': 'Created scope', 'scope.update': 'Changed scope', 'scope.delete': 'Deleted scope',
    'signing_key.first': 'Created first signing key', 'signing_key.announce': 'Announced signing key',
    'signing_key.activate': 'Began to sign with key', 'signing_key.emergency': 'Withdrew all signing keys',
    'signing_key.reseal': 'Sealed signing key anew',
};

function value(v) {
    if (v === null || v === undefined)
        return h('span', { class: 'sub' }, 'none');
    if (Array.isArray(v))
        return v.join(', ') || h('span', { class: 'sub' }, 'none');
    if (typeof v === 'string')
        return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(v) ? timeNode(v) : v;
    return JSON.stringify(v);
}

// {"field":[before,after]}; anything else is shown as it came.
function changes(entry) {
    const fields = Object.entries(entry.changes ?? {});
    if (fields.length === 0)
        return null;
    return h('ul', { class: 'changes' }, fields.map(([name, change]) => h('li', {}, h('span', { class: 'change-name' }, name), ' ',
        Array.isArray(change) && change.length === 2
            ? [change[0] !== null && [value(change[0]), h('span', { class: 'arrow', role: 'img', 'aria-label': 'became' }, ' → ')], value(change[1])]
            : value(change))));
}

export function auditPage({ params: { tenant = null }, signal }) {
    const columns = [{ label: 'When' }, { label: 'What', className: 'main-cell' }, { label: 'By' }, { label: 'From' }];
    const source = tenant ? path('tenants', tenant, 'audit') : 'audit';

    const list = listing({ state: {}, noun: 'entry', plural: 'entries',
        load: async (cursor) => (await get(source + query({ limit: PAGE_SIZE, cursor }), signal)).data,
        draw: (items) => table('Audit log', columns, items.map((entry) => row(columns, [
            h('div', { class: 'expiration' }, timeNode(entry.at, exact(entry.at, true), { class: 'exact' }), h('span', { class: 'sub' }, ago(entry.at))),
            h('div', { class: 'name-cell' }, h('div', { class: 'name-line' }, h('span', { class: 'key-name', title: entry.action }, ACTIONS[entry.action] ?? entry.action),
                !tenant && entry.tenant && h('span', { class: 'chip' }, entry.tenant)),
            h('code', { class: 'sub' }, entry.object), changes(entry)),
            h('code', {}, entry.actor),
            h('div', { class: 'expiration' }, h('span', {}, entry.address || '–'), entry.request_id && h('code', { class: 'sub', title: 'Request ID, as in the server’s log' }, entry.request_id)),
        ]))),
        empty: () => h('div', { class: 'empty' }, icon('audit'), h('h2', {}, 'Nothing has happened yet'), h('p', {}, 'Every change to keys is written down here.')) });
    return h('div', { class: 'page' }, pageHead(tenant ? 'Audit log' : 'Platform audit log', { trail: [[tenant ? 'Account settings' : 'Platform', null]],
        lead: tenant ? 'Every change in this tenant, newest first.' : 'Every change in the whole installation, newest first.' }), list.node);
}
