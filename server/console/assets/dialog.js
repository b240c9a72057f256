// SPDX-License-Identifier: Apache-2.0
// Modal dialogs, on the browser's own <dialog>: it keeps the focus inside, closes on Escape and gives the focus back.
import { explain } from './api.js';
import { button, callout, enableAgain, h, newId, toast } from './dom.js';
import { showErrors, strayErrors } from './form.js';

// Opens a dialog with a form in it. `submit` does the work (it may be absent) and may throw an ApiError, which is
// shown inside while the dialog stays open; errors of the fields in `fields` appear at them. Resolves to what
// `submit` returned (true when there is none), or to undefined when the person turned away. Work under way is waited
// for even if the dialog is gone by then (Back, a second Escape): a new secret in its answer must not be lost.
export function openDialog({ title, body, action, danger = false, cancel = 'Cancel', submit = null, fields = {} }) {
    return new Promise((resolve) => {
        const titleId = newId('dialog');
        const messages = h('div', {});
        const ok = button(action, { type: 'submit', class: danger ? 'button danger' : 'button primary' });
        const no = button(cancel, { onclick: () => dialog.close() });
        let result;
        let busy = false;

        function show(error) {
            const errors = error.errors ?? [];
            const stray = strayErrors(fields, errors);
            if (!showErrors(fields, errors) || stray.length)
                messages.replaceChildren(callout('danger', h('p', {},
                    stray.length ? stray.map((e) => `${e.field}: ${e.message}`).join(' ') : explain(error))));
        }

        async function onsubmit(event) {
            event.preventDefault();
            if (busy)
                return;
            busy = true;
            ok.disabled = true;
            messages.replaceChildren();
            try {
                result = submit ? await submit() : true;
            } catch (error) {
                if (dialog.open)
                    show(error);
                else if (error.status !== 401)      // the sign-in page says that already
                    toast(explain(error), 'bad');
            }
            busy = false;
            enableAgain(ok);
            if (result !== undefined && dialog.open)
                dialog.close();
            else if (!dialog.open)
                resolve(result);
        }

        const form = h('form', { novalidate: true, onsubmit }, h('h2', { id: titleId }, title), messages,
            h('div', { class: 'dialog-body' }, body), h('div', { class: 'actions end' }, no, ok));
        const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId,
            oncancel: (event) => { if (busy) event.preventDefault(); },
            onclose: () => {
                dialog.remove();
                if (!busy)
                    resolve(result);
            } }, form);
        document.body.append(dialog);
        dialog.showModal();
        // The first field; where a thing is destroyed or there is no field, the harmless button.
        (form.querySelector('input:checked, input, select, textarea') ?? (danger ? no : ok)).focus();
    });
}

export function closeDialogs() {
    for (const dialog of document.querySelectorAll('dialog[open]'))
        dialog.close();
}

export const ask = (options) => openDialog(options).then(Boolean);
