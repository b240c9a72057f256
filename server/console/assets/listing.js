// SPDX-License-Identifier: Apache-2.0
// Lists that hold for any number of rows: one page on screen, the cursors of those before it remembered. The table
// becomes cards on a phone; its roles are spelled out, because CSS that turns a table into blocks takes them away.
import { explain, wasLeft } from './api.js';
import { announce, button, callout, h, icon } from './dom.js';

export const PAGE_SIZE = 50;

// Cells are nodes in the order of `columns` ({ label, className, hiddenLabel }).
export function table(caption, columns, rows) {
    return h('table', { class: 'table', role: 'table', 'aria-label': caption },
        h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((column) =>
            h('th', { role: 'columnheader', scope: 'col', class: column.className },
                column.hiddenLabel ? h('span', { class: 'visually-hidden' }, column.label) : column.label)))),
        h('tbody', { role: 'rowgroup' }, rows));
}

export function row(columns, cells, props = {}) {
    return h('tr', { role: 'row', ...props }, cells.map((cell, i) =>
        h('td', { role: 'cell', class: columns[i].className, 'data-label': columns[i].hiddenLabel ? null : columns[i].label }, cell)));
}

// `load(cursor)` resolves to { items, next_cursor }; `draw(items)` to a node; `empty()` to what stands there when there is
// nothing at all. `state` outlives the page, so that coming back shows what was left.
export function listing({ state, load, draw, empty, noun, plural = `${noun}s` }) {
    const holder = h('div', { class: 'listing', 'aria-busy': 'true' });
    const status = h('p', { class: 'listing-status' });
    const pages = h('nav', { class: 'pages', 'aria-label': 'Pages', hidden: true });
    let turn = 0;       // answers to questions asked before the last one are dropped

    state.cursors ??= [null];

    // `quiet`: the first showing of a page, which the heading announces already.
    async function show({ quiet = false } = {}) {
        const mine = ++turn;
        holder.setAttribute('aria-busy', 'true');
        try {
            const data = await load(state.cursors.at(-1));
            if (mine !== turn)
                return;
            if (data.items.length === 0 && state.cursors.length > 1) {
                state.cursors.pop();        // the last row of the last page was deleted
                show({ quiet });
                return;
            }
            paint(data, quiet);
        } catch (error) {
            if (mine !== turn || wasLeft(error))
                return;
            // A cursor of before an upgrade, say: the first page always works.
            const restart = error.status === 400 && state.cursors.length > 1;
            if (restart) {
                state.cursors = [null];
                show({ quiet });
                return;
            }
            pages.hidden = true;
            status.textContent = '';
            holder.replaceChildren(callout('danger', h('p', {}, explain(error)),
                button('Try again', { class: 'button small', onclick: () => show() })));
        } finally {
            if (mine === turn)
                holder.setAttribute('aria-busy', 'false');
        }
    }

    function paint(data, quiet) {
        const count = data.items.length;
        holder.replaceChildren(count ? draw(data.items) : empty());
        const many = count === 1 ? noun : plural;
        const page = state.cursors.length;
        const alone = page === 1 && !data.next_cursor;
        const text = count === 0 ? '' : alone ? `${count} ${many}` : `${count} ${many} on page ${page}`;
        status.textContent = text;
        if (!quiet)
            announce(text || `No ${plural}`);
        pages.hidden = alone || count === 0;
        const turnTo = (change) => async () => {
            change();
            await show();
            holder.scrollIntoView({ block: 'start' });
            // The button that was pressed has been replaced; its successor may be disabled.
            pages.querySelector('button:not(:disabled)')?.focus({ preventScroll: true });
        };
        pages.replaceChildren(
            h('button', { type: 'button', class: 'button small', disabled: page === 1, onclick: turnTo(() => state.cursors.pop()) },
                icon('left'), 'Previous'),
            h('span', {}, `Page ${page}`),
            h('button', { type: 'button', class: 'button small', disabled: !data.next_cursor,
                onclick: turnTo(() => state.cursors.push(data.next_cursor)) }, 'Next', icon('right')));
    }

    show({ quiet: true });
    return {
        node: h('div', {}, holder, h('div', { class: 'listing-foot' }, status, pages)),
        reload: () => show(),
        // Another search or filter: from its first page.
        restart() {
            state.cursors = [null];
            return show();
        },
    };
}

// Calls `fn` when typing has paused.
export function debounced(fn, ms = 250) {
    let timer = 0;
    return (...args) => {
        clearTimeout(timer);
        timer = setTimeout(() => fn(...args), ms);
    };
}

export function searchBox(label, value, onSearch) {
    const search = debounced(onSearch);
    const input = h('input', { type: 'search', class: 'input', 'aria-label': label, placeholder: label, autocomplete: 'off', spellcheck: 'false',
        oninput: () => search(input.value.trim()) });
    input.value = value;
    return h('div', { class: 'search' }, icon('search'), input);
}
