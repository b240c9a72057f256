// SPDX-License-Identifier: Apache-2.0
// When a key ends: a date and a time in the browser's zone, with the usual spans a click away, and the result in words.
import { button, h, newId } from './dom.js';
import { group } from './form.js';
import { exact, localParts, relative, timeNode, zoneName } from './time.js';

const SPANS = [30, 90, 365];
// A key that ends "on the 5th" works through the 5th.
const END_OF_DAY = '23:59';

export function expiryField(expiresAt = null) {
    const before = expiresAt ? localParts(new Date(expiresAt)) : { date: '', time: END_OF_DAY };
    const dateId = newId('date');
    const timeId = newId('time');
    const date = h('input', { type: 'date', id: dateId, class: 'input', 'aria-required': 'true', max: '9999-12-31',
        min: expiresAt ? null : localParts(new Date()).date });
    const time = h('input', { type: 'time', id: timeId, class: 'input' });
    date.value = before.date;
    time.value = before.time;
    const timeLabel = h('label', { class: 'small-label', for: timeId });
    const words = h('p', { class: 'preview', 'aria-live': 'polite' });

    function moment() {
        if (!date.value)
            return null;
        const at = new Date(`${date.value}T${time.value || END_OF_DAY}`);
        return Number.isNaN(at.getTime()) ? null : at;
    }

    function say() {
        const at = moment();
        // Of that day: the zone's name changes with the season.
        timeLabel.textContent = `Time (${zoneName(at ?? new Date())})`;
        if (!at) {
            words.textContent = '';
        } else if (at <= Date.now()) {
            words.textContent = expiresAt ? `In the past (${exact(at.toISOString())}): the key ends at once.`
                : `In the past (${exact(at.toISOString())}).`;
        } else {
            const iso = at.toISOString();
            words.replaceChildren('Stops working on ', timeNode(iso), ', ', relative(iso), '.');
        }
    }

    const quick = SPANS.map((days) => button(`${days} days`, { class: 'button small', 'aria-label': `Expires in ${days} days`,
        onclick: () => {
            const at = new Date();
            at.setDate(at.getDate() + days);
            date.value = localParts(at).date;
            time.value = END_OF_DAY;
            date.dispatchEvent(new Event('input', { bubbles: true }));
        } }));

    const field = group('Expiration', [
        h('div', { class: 'expiry' },
            h('div', { class: 'expiry-inputs' },
                h('div', {}, h('label', { class: 'small-label', for: dateId }, 'Expiration date'), date),
                h('div', {}, timeLabel, time)),
            h('div', { class: 'expiry-quick' }, quick)),
        words,
    ], { required: true, first: () => date });
    field.node.addEventListener('input', say);
    say();

    // Half a date typed is not no date: the browser tells them apart.
    field.incomplete = () => date.validity.badInput || time.validity.badInput;
    // RFC 3339, or null. Untouched, it is the moment it was, seconds included.
    field.value = () => {
        if (expiresAt && date.value === before.date && time.value === before.time)
            return expiresAt;
        const at = field.incomplete() ? null : moment();
        return at ? `${at.toISOString().slice(0, 19)}Z` : null;
    };
    return field;
}
