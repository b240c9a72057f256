// SPDX-License-Identifier: Apache-2.0
// Moments as people read them: in the browser's own zone, which is always named, with UTC a hover away.
import { h } from './dom.js';

const DAY = 86400;
export const SOON_DAYS = 30;

// The console speaks English, so its dates do; day before month, written out, is misread by nobody.
const EXACT = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit',
    minute: '2-digit', hourCycle: 'h23', timeZoneName: 'short' });
const EXACT_SECONDS = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', year: 'numeric',
    hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZoneName: 'short' });
const ZONE = new Intl.DateTimeFormat('en-GB', { timeZoneName: 'short' });
const RELATIVE = new Intl.RelativeTimeFormat('en', { numeric: 'always' });

const UNITS = [['year', 365 * DAY], ['month', 30 * DAY], ['day', DAY], ['hour', 3600], ['minute', 60]];

export function exact(iso, seconds = false) {
    return (seconds ? EXACT_SECONDS : EXACT).format(new Date(iso));
}

// "in 12 days", "3 hours ago". Days up to four months: that is how people count towards an expiration.
export function relative(iso, now = Date.now()) {
    const seconds = Math.round((Date.parse(iso) - now) / 1000);
    const size = Math.abs(seconds);
    if (size < 60)
        return seconds <= 0 ? 'just now' : 'in less than a minute';
    for (const [unit, length] of UNITS) {
        const long = unit === 'month' ? 4 * length : length;
        if (size >= (unit === 'year' ? 2 * length : long))
            return RELATIVE.format(Math.trunc(seconds / length), unit);
    }
    return '';
}

// Of what has happened, on a server whose clock may be a little ahead of the browser's.
export function ago(iso) {
    return relative(iso, Math.max(Date.now(), Date.parse(iso)));
}

export function utc(iso) {
    return `${new Date(iso).toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}

export function zoneName(date = new Date()) {
    return ZONE.formatToParts(date).find((part) => part.type === 'timeZoneName').value;
}

export function timeNode(iso, text = exact(iso), props = {}) {
    return h('time', { datetime: iso, title: `${exact(iso)} · ${utc(iso)}`, ...props }, text);
}

// 'expired', 'soon' (within 30 days) or 'later'.
export function expiryState(iso, now = Date.now()) {
    const left = (Date.parse(iso) - now) / 1000;
    if (left <= 0)
        return 'expired';
    return left <= SOON_DAYS * DAY ? 'soon' : 'later';
}

const pad = (number) => String(number).padStart(2, '0');

// What <input type=date> and <input type=time> hold, in local time.
export function localParts(date) {
    return {
        date: `${String(date.getFullYear()).padStart(4, '0')}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
        time: `${pad(date.getHours())}:${pad(date.getMinutes())}`,
    };
}
