// SPDX-License-Identifier: Apache-2.0
// Copying with a click.
import { announce, h, icon, toast } from './dom.js';

async function write(text) {
    // Absent on plain HTTP away from loopback, and refused by some policies: then the old way.
    if (navigator.clipboard) {
        try {
            await navigator.clipboard.writeText(text);
            return true;
        } catch {
            // falls through
        }
    }
    const area = h('textarea', { class: 'visually-hidden', readonly: true, 'aria-hidden': 'true' });
    const back = document.activeElement;
    area.value = text;
    // Inside an open dialog, where the rest of the page cannot take the focus.
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.value = '';
    area.remove();
    back?.focus();
    return done;
}

// `text` is a function, so that no attribute or closure of the button keeps a secret longer than its owner does.
// `content` is what the button shows besides its icon; `label` its accessible name.
export function copyButton(what, text, { content = null, label = `Copy ${what}`, className = 'copy' } = {}) {
    let timer = 0;
    const node = h('button', { type: 'button', class: className, 'aria-label': label, title: label,
        onclick: async () => {
            if (!await write(text())) {
                toast(`The browser did not allow copying the ${what}: select and copy it by hand.`, 'bad');
                return;
            }
            node.classList.add('copied');
            node.querySelector('svg').replaceWith(icon('check'));
            announce(`Copied the ${what}.`);
            clearTimeout(timer);
            timer = setTimeout(() => {
                node.classList.remove('copied');
                node.querySelector('svg').replaceWith(icon('copy'));
            }, 2000);
        } }, content, icon('copy'));
    return node;
}
