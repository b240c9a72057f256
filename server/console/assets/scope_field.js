// SPDX-License-Identifier: Apache-2.0
// What a key may do: boxes to tick. A key calls APIs or manages Cardea, never both, so the two kinds are two groups of
// which one is on screen.
import { MANAGEMENT, isManagement } from './catalog.js';
import { h, newId } from './dom.js';
import { group } from './form.js';

const FILTER_FROM = 10;     // with more scopes than fit a glance, a box to find them

function box(scope, isTicked) {
    const id = newId('scope');
    const input = h('input', { type: 'checkbox', id, value: scope.name, 'aria-describedby': `${id}-about` });
    input.checked = isTicked;
    return { scope, input, node: h('div', { class: 'choice' }, input,
        h('div', { class: 'choice-text' },
            h('label', { for: id }, scope.title),
            h('p', { id: `${id}-about` }, h('code', {}, scope.name), scope.description ? ` ${scope.description}` : ''))) };
}

function filterBox(boxes) {
    const none = h('p', { class: 'hint', hidden: true }, 'No scope matches.');
    return [h('input', { type: 'search', class: 'input', placeholder: 'Find a scope', 'aria-label': 'Find a scope', autocomplete: 'off',
        oninput: (event) => {
            const wanted = event.target.value.trim().toLowerCase();
            let shown = 0;
            event.stopPropagation();    // finding is not changing: an error message stays
            for (const { scope, node } of boxes) {
                node.hidden = !`${scope.name} ${scope.title} ${scope.description ?? ''}`.toLowerCase().includes(wanted);
                shown += node.hidden ? 0 : 1;
            }
            none.hidden = shown > 0;
        } }), none];
}

// `held`: the scopes of the key being edited, or null for a new one; then its kind can still be chosen.
export function scopeField({ scopes, held, platform }) {
    const api = scopes.map((scope) => box(scope, held?.includes(scope.name)));
    // A scope that only platform administrators grant is not offered to others.
    const management = MANAGEMENT.filter((scope) => platform || scope.name !== 'cardea.platform')
        .map((scope) => box(scope, held?.includes(scope.name)));
    let managing = Boolean(held?.some(isManagement));

    const list = (boxes) => h('div', { class: 'choices' }, boxes.map((b) => b.node));
    const apiPanel = h('div', { role: 'group', 'aria-label': 'API scopes' },
        api.length ? [api.length >= FILTER_FROM ? filterBox(api) : null, list(api)]
            : h('p', { class: 'empty-note' }, platform ? ['There are no API scopes yet. ', h('a', { href: '#/scopes' }, 'Add the first one'), '.']
                : 'There are no API scopes yet. A platform administrator adds them.'));
    const managementPanel = h('div', { role: 'group', 'aria-label': 'Management access' },
        h('p', { class: 'hint' }, 'For people who sign in to this console, and for scripts that manage keys. Such a key opens no API.'),
        list(management));

    function show() {
        apiPanel.hidden = managing;
        managementPanel.hidden = !managing;
    }
    const kindName = newId('kind');
    const kind = (label, value) => {
        const input = h('input', { type: 'radio', name: kindName, value: String(value), onchange: () => { managing = value; show(); } });
        input.checked = managing === value;
        return h('label', { class: 'segment' }, input, h('span', {}, label));
    };
    show();

    const field = group('Scope', [
        held === null && h('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Kind of key' },
            kind('API access', false), kind('Management access', true)),
        apiPanel, managementPanel,
    ], { required: true, first: () => (managing ? management : api)[0]?.input });
    const ticked = () => (managing ? management : api).filter((b) => b.input.checked);
    field.item = (index) => ticked()[index]?.scope.title;
    field.value = () => ticked().map((b) => b.scope.name);
    return field;
}
