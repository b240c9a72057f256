// SPDX-License-Identifier: Apache-2.0
// The frame of every page: brand, tenant, navigation, sign out; and the head of a page.
import { explain, get, path, query } from './api.js';
import { brandMark, button, h, icon, iconButton } from './dom.js';
import { searchBox } from './listing.js';

export const hashOf = (...segments) => `#/${path(...segments)}`;

// Heading of a page. `trail`: [text, hash or null] pairs before it. `actions` stand at its right.
export function pageHead(title, { trail = [], lead = null, actions = [] } = {}) {
    return h('header', { class: 'page-head' },
        h('div', { class: 'page-title' },
            trail.length > 0 && h('nav', { 'aria-label': 'Breadcrumb' }, h('ol', { class: 'trail' },
                trail.map(([text, hash]) => h('li', {}, hash ? h('a', { href: hash }, text) : text)))),
            h('h1', { tabindex: '-1' }, title),
            lead && h('p', { class: 'lead' }, lead)),
        actions.length > 0 && h('div', { class: 'page-actions' }, actions));
}

// Frame around `main`. `onTenant(id)` and `onSignOut()` are the application's.
export function makeShell(rights, { onTenant, onSignOut }) {
    const main = h('main', { id: 'main', class: 'main', tabindex: '-1' });
    const tenantName = h('span', { class: 'tenant-name' });
    const chooser = h('button', { type: 'button', class: 'tenant-button', 'aria-haspopup': 'dialog',
        onclick: () => chooseTenant(shownTenant, onTenant) }, icon('tenant'), tenantName, icon('down'));
    const nav = h('nav', { class: 'nav', id: 'nav', 'aria-label': 'Main' });
    const menu = h('button', { type: 'button', class: 'icon-button menu-button', 'aria-label': 'Menu', 'aria-expanded': 'false', 'aria-controls': 'nav',
        onclick: () => setMenu(!nav.classList.contains('open')) }, icon('menu'));
    let shownTenant = rights.tenant;

    function setMenu(open) {
        nav.classList.toggle('open', open);
        menu.setAttribute('aria-expanded', String(open));
    }

    function link(text, iconName, hash, here) {
        const inside = here === hash || here.startsWith(`${hash}/`);
        return h('li', {}, h('a', { href: hash, 'aria-current': inside ? 'page' : null }, icon(iconName), h('span', {}, text)));
    }

    function update(tenant, here) {
        shownTenant = tenant;
        tenantName.textContent = tenant;
        chooser.setAttribute('aria-label', `Tenant ${tenant}, choose another`);
        setMenu(false);
        nav.replaceChildren(
            h('h2', {}, 'Account settings'),
            h('ul', {}, link('API Access Keys', 'key', hashOf('tenants', tenant, 'keys'), here),
                link('Audit log', 'audit', hashOf('tenants', tenant, 'audit'), here)),
            ...(rights.platform ? [h('h2', {}, 'Platform'),
                h('ul', {}, link('Tenants', 'tenant', '#/tenants', here === '#/tenants' ? here : ''),
                    link('Scopes', 'scope', '#/scopes', here), link('Signing keys', 'seal', '#/signing-keys', here),
                    link('Platform audit log', 'audit', '#/audit', here))] : []));
    }

    const node = h('div', { class: 'shell' },
        // A button: a link to #main would be an address of the router's.
        h('button', { type: 'button', class: 'skip', onclick: () => main.focus() }, 'Skip to content'),
        h('header', { class: 'bar' },
            menu,
            h('div', { class: 'brand' }, brandMark(), h('span', {}, 'Cardea')),
            rights.platform ? chooser : h('span', { class: 'tenant-label' }, icon('tenant'), h('span', { class: 'visually-hidden' }, 'Tenant '), tenantName),
            h('div', { class: 'bar-end' },
                h('span', { class: 'who' }, rights.platform ? 'Platform administrator' : rights.write ? 'Administrator' : 'Read only'),
                button('Sign out', { class: 'button quiet', onclick: onSignOut }, 'leave'))),
        nav, main);
    return { node, main, update };
}

// A dialog instead of a list box: an installation may have thousands of tenants.
function chooseTenant(shown, onTenant) {
    const list = h('ul', { class: 'tenant-list' });
    const note = h('p', { class: 'hint', role: 'status' });
    let turn = 0;

    async function find(text) {
        const mine = ++turn;
        try {
            const { data } = await get(`tenants${query({ limit: 50, q: text })}`);
            if (mine !== turn)
                return;
            list.replaceChildren(...data.items.map((tenant) => h('li', {}, h('button', { type: 'button', 'aria-current': tenant.id === shown ? 'true' : null,
                onclick: () => {
                    dialog.close();
                    onTenant(tenant.id);
                } }, h('span', { class: 'tenant-list-name' }, tenant.name), h('code', {}, tenant.id), !tenant.enabled && h('span', { class: 'badge off' }, 'Disabled')))));
            note.textContent = data.items.length === 0 ? 'No tenant matches.' : data.next_cursor ? 'The first 50. Type to find others.' : '';
        } catch (error) {
            if (mine === turn)
                note.textContent = explain(error);
        }
    }

    const dialog = h('dialog', { class: 'dialog', 'aria-label': 'Choose a tenant', onclose: () => dialog.remove() },
        h('div', { class: 'dialog-head' }, h('h2', {}, 'Choose a tenant'), iconButton('close', 'Close', { onclick: () => dialog.close() })),
        searchBox('Find by name or ID', '', find), note, list);
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector('input').focus();
    find('');
}
