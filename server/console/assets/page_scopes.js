// SPDX-License-Identifier: Apache-2.0
// Platform: the catalog of API scopes.
import { path, put, remove } from './api.js';
import { catalog, forgetCatalog } from './catalog.js';
import { ask, openDialog } from './dialog.js';
import { button, h, icon, iconButton, toast } from './dom.js';
import { field } from './form.js';
import { listing, row, table } from './listing.js';
import { pageHead } from './shell.js';

export function scopesPage() {
    const columns = [{ label: 'Title and name', className: 'main-cell' }, { label: 'Description' }, { label: 'Actions', hiddenLabel: true, className: 'actions-cell' }];

    async function edit(scope = null) {
        const nameInput = h('input', { class: 'input mono', type: 'text', autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', placeholder: 'orders:read' });
        const titleInput = h('input', { class: 'input', type: 'text', autocomplete: 'off' });
        const about = h('textarea', { class: 'input', rows: 3 });
        titleInput.value = scope?.title ?? '';
        about.value = scope?.description ?? '';
        const fields = { title: field('Title', titleInput, { required: true, hint: 'What administrators see when they make a key.' }), description: field('Description', about) };
        if (!scope)
            fields.name = field('Name', nameInput, { required: true, hint: 'What stands in the token and what your APIs check. It cannot be changed later.' });
        const saved = await openDialog({ title: scope ? 'Edit scope' : 'New scope', action: scope ? 'Save' : 'Create scope', fields,
            body: [scope ? h('p', { class: 'named' }, h('code', {}, scope.name)) : fields.name.node, fields.title.node, fields.description.node],
            submit: async () => {
                const name = scope?.name ?? nameInput.value.trim();
                // PUT would replace another scope of that name without a word; and without a name there is no URL to ask.
                if (!scope && (!name || (await catalog()).some((other) => other.name === name)))
                    throw Object.assign(new Error(), { status: 422, errors: [{ field: 'name', message: name ? 'There is a scope of this name already.' : 'Enter a name.' },
                        ...(titleInput.value.trim() ? [] : [{ field: 'title', message: 'Enter a title.' }])] });
                await put(path('scopes', name), { title: titleInput.value.trim(), description: about.value.trim() });
                return titleInput.value.trim();
            } });
        if (saved) {
            forgetCatalog();
            toast(`“${saved}” is saved.`);
            list.reload();
        }
    }

    async function destroy(scope) {
        const gone = await ask({ title: 'Delete this scope?', danger: true, action: 'Delete permanently',
            body: [h('p', { class: 'named' }, h('strong', {}, scope.title), h('code', {}, scope.name)),
                h('p', {}, 'This is permanent. A scope that a key holds cannot be deleted: take it from those keys first.')],
            submit: async () => {
                await remove(path('scopes', scope.name));
                return true;
            } });
        if (!gone)
            return;
        forgetCatalog();
        toast(`“${scope.title}” was deleted.`);
        node.querySelector('h1').focus();
        list.reload();
    }

    const list = listing({ state: {}, noun: 'scope',
        load: async () => {
            forgetCatalog();
            return { items: await catalog(), next_cursor: null };
        },
        draw: (items) => table('Scopes', columns, items.map((scope) => row(columns, [
            h('div', { class: 'name-cell' }, h('span', { class: 'key-name' }, scope.title), h('code', { class: 'sub' }, scope.name)),
            h('span', { class: 'prose' }, scope.description || h('span', { class: 'sub' }, '–')),
            h('div', { class: 'row-actions' }, iconButton('edit', `Edit ${scope.title}`, { onclick: () => edit(scope) }, 'Edit'),
                iconButton('close', `Delete ${scope.title}`, { class: 'icon-button danger', onclick: () => destroy(scope) }, 'Delete')),
        ]))),
        empty: () => h('div', { class: 'empty' }, icon('scope'), h('h2', {}, 'No scopes yet'),
            h('p', {}, 'A scope is one thing that a key may do, such as reading orders. Your APIs look for its name in the token.'),
            button('New scope', { class: 'button primary', onclick: () => edit() }, 'plus')) });
    const node = h('div', { class: 'page' },
        pageHead('Scopes', { trail: [['Platform', null]], lead: 'What keys can be allowed to do, in every tenant.',
            actions: [button('New scope', { class: 'button primary', onclick: () => edit() }, 'plus')] }), list.node);
    return node;
}
