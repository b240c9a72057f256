// SPDX-License-Identifier: Apache-2.0
// Platform: the tenants.
import { get, patch, path, poster, query, remove } from './api.js';
import { ask, openDialog } from './dialog.js';
import { badge, button, callout, h, icon, iconButton, toast } from './dom.js';
import { field } from './form.js';
import { PAGE_SIZE, listing, row, searchBox, table } from './listing.js';
import { toggle } from './page_keys.js';
import { hashOf, pageHead } from './shell.js';
import { exact, timeNode } from './time.js';

function nameInput(value = '') {
    const input = h('input', { class: 'input', type: 'text', autocomplete: 'off' });
    input.value = value;
    return input;
}

export function tenantsPage({ rights, signal }) {
    const state = { q: '' };
    const columns = [{ label: 'Name and ID', className: 'main-cell' }, { label: 'Created' }, { label: 'Enabled', className: 'switch-cell' },
        { label: 'Actions', hiddenLabel: true, className: 'actions-cell' }];

    function tenantRow(tenant) {
        return row(columns, [
            h('div', { class: 'name-cell' },
                h('div', { class: 'name-line' }, h('a', { class: 'key-name', href: hashOf('tenants', tenant.id, 'keys') }, tenant.name),
                    tenant.id === rights.tenant && badge('accent', 'Yours'), !tenant.enabled && badge('off', 'Disabled')),
                h('code', { class: 'sub' }, tenant.id)),
            tenant.created_at ? timeNode(tenant.created_at, exact(tenant.created_at)) : h('span', { class: 'sub' }, '–'),
            toggle({ name: `${tenant.name} enabled`, on: tenant.enabled, save: (on) => setEnabled(tenant, on) }),
            h('div', { class: 'row-actions' }, iconButton('edit', `Rename ${tenant.name}`, { onclick: () => rename(tenant) }, 'Rename'),
                iconButton('close', `Delete ${tenant.name}`, { class: 'icon-button danger', onclick: () => destroy(tenant) }, 'Delete')),
        ], { class: tenant.enabled ? null : 'dim' });
    }

    async function setEnabled(tenant, on) {
        if (!on && !await ask({ title: 'Disable this tenant?', danger: true, action: 'Disable tenant',
            body: [h('p', { class: 'named' }, h('strong', {}, tenant.name), h('code', {}, tenant.id)),
                h('p', {}, 'All its keys stop at once: none gets another token until the tenant is enabled again.'),
                tenant.id === rights.tenant && callout('warning', h('p', {}, 'You are signed in with a key of this tenant. You will be signed out, and only the command line on the server can enable it again.'))] }))
            return tenant.enabled;
        const { data } = await patch(path('tenants', tenant.id), { enabled: on });
        toast(`“${data.name}” is ${data.enabled ? 'enabled' : 'disabled'}.`);
        list.reload();
        return data.enabled;
    }

    async function rename(tenant) {
        const input = nameInput(tenant.name);
        const name = field('Name', input, { required: true });
        const done = await openDialog({ title: 'Rename tenant', action: 'Save', body: [h('p', { class: 'named' }, h('code', {}, tenant.id)), name.node], fields: { name },
            submit: async () => (await patch(path('tenants', tenant.id), { name: input.value.trim() })).data });
        if (done) {
            toast(`“${done.name}” is saved.`);
            list.reload();
        }
    }

    async function create() {
        const idInput = h('input', { class: 'input mono', type: 'text', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' });
        const nameOf = nameInput();
        const fields = { id: field('ID', idInput, { required: true, hint: 'Lower-case letters, digits and hyphens. It cannot be changed later, and is in every token.' }),
            name: field('Name', nameOf, { required: true }) };
        const post = poster('tenants');
        const made = await openDialog({ title: 'New tenant', action: 'Create tenant', fields, body: [fields.id.node, fields.name.node],
            submit: async () => (await post({ id: idInput.value.trim(), name: nameOf.value.trim() })).data });
        if (made) {
            toast(`“${made.name}” is created.`);
            list.restart();
        }
    }

    async function destroy(tenant) {
        const gone = await ask({ title: 'Delete this tenant?', danger: true, action: 'Delete permanently',
            body: [h('p', { class: 'named' }, h('strong', {}, tenant.name), h('code', {}, tenant.id)),
                h('p', {}, 'This is permanent. A tenant that still has keys cannot be deleted: delete those first.')],
            submit: async () => {
                await remove(path('tenants', tenant.id));
                return true;
            } });
        if (!gone)
            return;
        toast(`“${tenant.name}” was deleted.`);
        node.querySelector('h1').focus();
        list.reload();
    }

    const list = listing({ state, noun: 'tenant',
        load: async (cursor) => (await get(`tenants${query({ limit: PAGE_SIZE, cursor, q: state.q })}`, signal)).data,
        draw: (items) => table('Tenants', columns, items.map(tenantRow)),
        empty: () => h('div', { class: 'empty' }, icon('tenant'), h('h2', {}, state.q ? 'No tenant matches' : 'No tenants yet'),
            h('p', {}, state.q ? `Nothing has “${state.q}” in its name or ID.` : 'A tenant is a customer or a department with keys of its own.')) });
    const node = h('div', { class: 'page' },
        pageHead('Tenants', { trail: [['Platform', null]], lead: 'Customers or departments, each with keys and administrators of its own.',
            actions: [button('New tenant', { class: 'button primary', onclick: create }, 'plus')] }),
        h('div', { class: 'tools' }, searchBox('Search by name or ID', '', (text) => {
            state.q = text;
            list.restart();
        })), list.node);
    return node;
}
