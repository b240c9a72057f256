// SPDX-License-Identifier: Apache-2.0
// Account settings › API Access Keys: the list, and what is done to a key from its row.
import { explain, get, patch, path, poster, query, remove, wasLeft } from './api.js';
import { catalog, isManagement, titleOf } from './catalog.js';
import { copyButton } from './copy.js';
import { ask, openDialog } from './dialog.js';
import { badge, button, callout, h, icon, iconButton, newId, toast } from './dom.js';
import { PAGE_SIZE, listing, row, searchBox, table } from './listing.js';
import { secretPage } from './page_secret.js';
import { end, replaceSecret } from './session.js';
import { hashOf, pageHead } from './shell.js';
import { ago, expiryState, relative, timeNode } from './time.js';
import * as router from './router.js';

const STATUSES = [['', 'All'], ['active', 'Active'], ['disabled', 'Disabled'], ['expired', 'Expired']];
const SHOWN_SCOPES = 3;

// What was searched and which page was open, per tenant: coming back from a key finds the list as it was left.
const kept = new Map();

export function forgetLists() {
    kept.clear();
}

export function firstPage(tenant) {
    kept.delete(tenant);
}

// A switch that is true to the server: it moves at once, and back when the server says no.
export function toggle({ name, on, save, disabled = false }) {
    let state = on;
    let busy = false;
    const node = h('button', { type: 'button', class: 'switch', role: 'switch', 'aria-label': name, disabled,
        onclick: async () => {
            if (busy)
                return;
            busy = true;
            paint(!state);
            try {
                state = await save(!state);
            } catch (error) {
                if (!wasLeft(error) && error.status !== 401)
                    toast(explain(error), 'bad');
            } finally {
                busy = false;
                paint(state);
            }
        } }, h('span', { class: 'thumb' }));
    function paint(value) {
        node.setAttribute('aria-checked', String(value));
    }
    paint(state);
    return node;
}

function expiration(key) {
    const state = expiryState(key.expires_at);
    const words = relative(key.expires_at);
    return [timeNode(key.expires_at, undefined, { class: 'exact' }),
        state === 'expired' ? badge('bad', `Expired ${words}`, 'warning')
            : state === 'soon' ? badge('warn', `Expires ${words}`, 'clock')
                : h('span', { class: 'sub' }, words)];
}

function scopeChips(key, scopes) {
    const chips = key.scopes.map((name) => h('li', { class: isManagement(name) ? 'chip strong' : 'chip', title: name }, titleOf(name, scopes)));
    const list = h('ul', { class: 'chips' }, chips);
    if (chips.length > SHOWN_SCOPES + 1) {
        const rest = chips.slice(SHOWN_SCOPES);
        rest.forEach((chip) => { chip.hidden = true; });
        const more = h('li', {}, h('button', { type: 'button', class: 'chip more', 'aria-label': `+${rest.length} more scopes`, onclick: () => {
            rest.forEach((chip) => { chip.hidden = false; });
            more.remove();
        } }, `+${rest.length}`));
        list.append(more);
    }
    return list;
}

export function keysPage({ rights, params: { tenant }, signal, present }) {
    const state = kept.get(tenant) ?? { q: '', status: '' };
    kept.set(tenant, state);
    let scopes = [];
    let inviting = false;       // there is no key for APIs: instead of tools, an invitation to make one
    const here = hashOf('tenants', tenant, 'keys');
    const keyPath = (key, ...more) => path('tenants', tenant, 'keys', key.key_id, ...more);

    const columns = [{ label: 'Name and key ID', className: 'main-cell' }, { label: 'Scopes' }, { label: 'Expiration' }, { label: 'Last used' },
        { label: 'Enabled', className: 'switch-cell' }];
    if (rights.write)
        columns.push({ label: 'Actions', hiddenLabel: true, className: 'actions-cell' });

    // A tenant's administrator sees a key of the platform's but may not touch it.
    const mayChange = (key) => rights.write && (rights.platform || !key.scopes.includes('cardea.platform'));

    function nameCell(key) {
        const edit = hashOf('tenants', tenant, 'keys', key.key_id);
        return h('div', { class: 'name-cell' },
            h('div', { class: 'name-line' }, mayChange(key) ? h('a', { href: edit, class: 'key-name' }, key.name) : h('span', { class: 'key-name' }, key.name),
                key.key_id === rights.keyId && badge('accent', 'You'),
                !key.enabled && badge('off', 'Disabled'),
                key.auth_method === 'private_key_jwt' && badge('off', 'Public key')),
            copyButton('key ID', () => key.key_id, { className: 'id', label: `Copy key ID ${key.key_id}`, content: h('code', {}, key.key_id) }),
            key.description && h('p', { class: 'sub description' }, key.description),
            key.previous_secret_expires_at && expiryState(key.previous_secret_expires_at) !== 'expired'
                && h('p', { class: 'sub' }, 'Previous secret works until ', timeNode(key.previous_secret_expires_at)));
    }

    // A tenant's first administrator has a key already, to sign in with: what keys are for is said all the same.
    function draw(items) {
        const rows = table('API access keys', columns, items.map(keyRow));
        return inviting ? h('div', { class: 'stack' }, invitation('No keys for your APIs yet'), rows) : rows;
    }

    function keyRow(key) {
        const cells = [nameCell(key), scopeChips(key, scopes), h('div', { class: 'expiration' }, expiration(key)),
            key.last_used_at ? timeNode(key.last_used_at, ago(key.last_used_at)) : h('span', { class: 'sub' }, 'Never'),
            mayChange(key) ? toggle({ name: `${key.name} enabled`, on: key.enabled, save: (on) => setEnabled(key, on) })
                : h('span', {}, key.enabled ? 'Yes' : 'No')];
        if (rights.write)
            cells.push(mayChange(key) ? h('div', { class: 'row-actions' },
                iconButton('edit', `Edit ${key.name}`, { onclick: () => router.go(hashOf('tenants', tenant, 'keys', key.key_id)) }, 'Edit'),
                key.auth_method !== 'private_key_jwt' && iconButton('rotate', `Rotate secret of ${key.name}`, { onclick: () => rotate(key) }, 'Rotate'),
                iconButton('close', `Delete ${key.name}`, { class: 'icon-button danger', onclick: () => destroy(key) }, 'Delete')) : null);
        const node = row(columns, cells, { class: key.enabled && key.status !== 'expired' ? null : 'dim' });
        rows.set(key.key_id, node);
        return node;
    }

    const rows = new Map();

    // Redrawn from the server's answer, the focus staying on the same control.
    function redraw(key) {
        const old = rows.get(key.key_id);
        if (!old?.isConnected)
            return;
        const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
        const fresh = keyRow(key);
        old.replaceWith(fresh);
        if (focused)
            Array.from(fresh.querySelectorAll('button')).find((b) => b.getAttribute('aria-label') === focused)?.focus();
    }

    async function setEnabled(key, on) {
        if (!on && key.key_id === rights.keyId
            && !await ask({ title: 'Disable the key you are signed in with?', danger: true, action: 'Disable and sign out',
                body: h('p', {}, 'You will be signed out at once, and only another administrator can enable it again.') }))
            return key.enabled;
        const { data } = await patch(keyPath(key), { enabled: on }).catch((error) => {
            if (error.status === 404)
                list.reload();      // deleted by somebody else
            throw error;
        });
        if (!data.enabled && key.key_id === rights.keyId) {
            end('lost');
            return data.enabled;
        }
        toast(data.enabled ? `“${data.name}” is enabled.` : `“${data.name}” is disabled. It gets no more tokens.`);
        redraw(data);
        return data.enabled;
    }

    async function destroy(key) {
        const own = key.key_id === rights.keyId;
        const gone = await ask({ title: 'Delete this API access key?', danger: true, action: 'Delete permanently',
            body: [h('p', { class: 'named' }, h('strong', {}, key.name), h('code', {}, key.key_id)),
                h('p', {}, 'This is permanent: the key cannot be brought back, and systems that use it get no more tokens. To stop it for a while, disable it instead.'),
                own && callout('warning', h('p', {}, 'You are signed in with this key: deleting it signs you out.'))],
            submit: async () => {
                try {
                    await remove(keyPath(key));
                } catch (error) {
                    if (error.status !== 404)       // gone already is what was wanted
                        throw error;
                }
                return true;
            } });
        if (!gone)
            return;
        if (own) {
            end('lost');
            return;
        }
        toast(`“${key.name}” was deleted.`);
        node.querySelector('h1').focus();
        list.reload();
    }

    async function rotate(key) {
        const name = newId('overlap');
        const choices = [['', 'Stop it at once', 'Right when the secret has leaked. Systems that still use it are refused.'],
            ['1h', 'Keep it 1 hour', null], ['24h', 'Keep it 24 hours', 'Time to bring the new one to every system without interruption.'],
            ['7d', 'Keep it 7 days', null], ['30d', 'Keep it 30 days', null]];
        const radios = choices.map(([value, label, about]) => {
            const id = newId('choice');
            const input = h('input', { type: 'radio', id, name, value, 'aria-describedby': about ? `${id}-about` : null });
            input.checked = value === '24h';
            return h('div', { class: 'choice' }, input, h('div', { class: 'choice-text' }, h('label', { for: id }, label), about && h('p', { id: `${id}-about` }, about)));
        });
        const post = poster(keyPath(key, 'secret'));
        const fresh = await openDialog({ title: 'Rotate secret', action: 'Rotate secret',
            body: [h('p', { class: 'named' }, h('strong', {}, key.name), h('code', {}, key.key_id)),
                h('p', {}, 'A new secret is made and shown once. The key ID stays the same.'),
                h('fieldset', {}, h('legend', {}, 'What happens to the present secret?'), h('div', { class: 'choices' }, radios))],
            submit: async () => {
                const overlap = radios.map((r) => r.querySelector('input')).find((input) => input.checked).value;
                return (await post(overlap ? { overlap } : {})).data;
            } });
        if (!fresh)
            return;
        replaceSecret(key.key_id, fresh.secret);    // if it is ours
        present(hashOf('tenants', tenant, 'keys', key.key_id, 'secret'),
            () => secretPage({ key: { ...key, ...fresh }, rights, rotated: true, listHash: here }));
    }

    async function load(cursor) {
        const [{ data }, found] = await Promise.all([
            get(path('tenants', tenant, 'keys') + query({ limit: PAGE_SIZE, cursor, status: state.status, q: state.q }), signal),
            catalog().catch(() => []),      // without the catalog, scopes are shown by name
        ]);
        scopes = found;
        rows.clear();
        inviting = !isFiltered() && state.cursors.length === 1 && !data.next_cursor
            && data.items.every((key) => key.scopes.every(isManagement));
        tools.hidden = inviting;
        create.forEach((b) => { b.hidden = inviting; });
        return data;
    }

    const isFiltered = () => state.q !== '' || state.status !== '';
    const goCreate = () => router.go(hashOf('tenants', tenant, 'keys', 'new'));

    function empty() {
        if (isFiltered())
            return h('div', { class: 'empty' }, icon('search'), h('h2', {}, 'No key matches'),
                h('p', {}, state.q ? `Nothing has “${state.q}” in its name or ID${state.status ? ' and this status' : ''}.` : 'No key has this status.'),
                button('Show all keys', { onclick: () => {
                    state.q = '';
                    state.status = '';
                    const search = tools.querySelector('input[type=search]');
                    search.value = '';
                    search.focus();
                    tools.querySelector('input[type=radio]').checked = true;
                    list.restart();
                } }));
        return invitation('No API access keys yet');
    }

    function invitation(title) {
        return h('div', { class: 'empty' }, icon('key'), h('h2', {}, title),
            h('p', {}, 'An API access key lets an external system, such as a partner’s server or a nightly job, call your APIs. '
                + 'It has an ID and a secret; the system exchanges them for tokens that live a few minutes.'),
            rights.write ? button('New API key', { class: 'button primary', onclick: goCreate }, 'plus')
                : h('p', { class: 'sub' }, 'An administrator of this tenant can make one.'));
    }

    const filterName = newId('status');
    const tools = h('div', { class: 'tools', hidden: true },
        searchBox('Search by name or key ID', state.q, (text) => {
            state.q = text;
            list.restart();
        }),
        h('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Status' }, STATUSES.map(([value, label]) => {
            const input = h('input', { type: 'radio', name: filterName, value, onchange: () => {
                state.status = value;
                list.restart();
            } });
            input.checked = value === state.status;
            return h('label', { class: 'segment' }, input, h('span', {}, label));
        })));
    const create = rights.write ? [button('New API key', { class: 'button primary', onclick: goCreate }, 'plus')] : [];

    const list = listing({ state, load, draw, empty, noun: 'key' });
    const node = h('div', { class: 'page' },
        pageHead('API Access Keys', { trail: [['Account settings', null]], actions: create,
            lead: rights.write ? 'External systems exchange these for the short-lived tokens that your APIs accept.'
                : 'You can look at this tenant’s keys. Changing them takes an administrator’s key.' }),
        tools, list.node);
    return node;
}
