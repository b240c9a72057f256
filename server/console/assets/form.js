// SPDX-License-Identifier: Apache-2.0
// Fields with label, hint and error, tied together for screen readers; and the mapping of the server's errors to them.
import { h, icon, newId } from './dom.js';

function describe(control, ids) {
    control.setAttribute('aria-describedby', ids.join(' '));
}

function errorLine(id) {
    return h('p', { class: 'field-error', id, hidden: true });
}

function fill(line, text) {
    line.replaceChildren(...(text ? [icon('warning'), h('span', {}, text)] : []));
    line.hidden = !text;
}

// One control under one label. `extra` stands beside the control (a unit, a button). The result is what every field
// has: node, error(text or ''), focus().
export function field(label, control, { hint = null, required = false, extra = null } = {}) {
    const id = control.id || newId('field');
    const error = errorLine(`${id}-error`);
    control.id = id;
    if (required)
        control.setAttribute('aria-required', 'true');
    describe(control, [...(hint ? [`${id}-hint`] : []), error.id]);
    const node = h('div', { class: 'field' },
        h('label', { for: id }, label, required && star()),
        hint && h('p', { class: 'hint', id: `${id}-hint` }, hint),
        extra ? h('div', { class: 'with-extra' }, control, extra) : control,
        error);
    const result = {
        node, control, label,
        error(text) {
            fill(error, text);
            if (text)
                control.setAttribute('aria-invalid', 'true');
            else
                control.removeAttribute('aria-invalid');
            node.classList.toggle('invalid', Boolean(text));
        },
        focus: () => control.focus(),
    };
    control.addEventListener('input', () => result.error(''));
    return result;
}

// Several controls under one legend.
export function group(label, content, { hint = null, required = false, first }) {
    const id = newId('group');
    const error = errorLine(`${id}-error`);
    const node = h('fieldset', { class: 'field' },
        h('legend', {}, label, required && star()),
        hint && h('p', { class: 'hint', id: `${id}-hint` }, hint),
        content, error);
    describe(node, [...(hint ? [`${id}-hint`] : []), error.id]);
    const result = {
        node, label,
        error(text) {
            fill(error, text);
            node.classList.toggle('invalid', Boolean(text));
            for (const control of node.querySelectorAll('input'))
                text ? control.setAttribute('aria-invalid', 'true') : control.removeAttribute('aria-invalid');
        },
        focus: () => first()?.focus(),
    };
    node.addEventListener('input', () => result.error(''));
    return result;
}

function star() {
    return h('span', { class: 'star', 'aria-hidden': 'true' }, ' *');
}

// Puts every error at its field and the focus on the first. Returns false when there was none that has a field here;
// the others are the caller's to show: see strayErrors().
export function showErrors(fields, errors) {
    let first = null;
    for (const [name, target] of Object.entries(fields)) {
        const text = errors.filter((error) => baseName(error.field) === name).map((error) => worded(target, error)).join(' ');
        target.error(text);
        if (text && !first)
            first = target;
    }
    first?.focus();
    return first !== null;
}

// "scopes[2]" is the third of what the field holds: it is named, where the field can tell.
function worded(target, { field: name, message }) {
    const index = /\[(\d+)\]/.exec(name);
    const item = index && target.item?.(Number(index[1]));
    return item ? `“${item}” ${message.trim()}${/[.!?]$/.test(message) ? '' : '.'}` : sentence(message);
}

export function strayErrors(fields, errors) {
    return errors.filter(({ field: name }) => !fields[baseName(name)]);
}

export function baseName(name) {
    return String(name ?? '').split(/[.[]/)[0];
}

// The API's messages are clauses; a page shows sentences.
function sentence(text) {
    const trimmed = text.trim();
    return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? '' : '.');
}

export function lines(text) {
    return text.split(/[\n,]+/).map((line) => line.trim()).filter(Boolean);
}
