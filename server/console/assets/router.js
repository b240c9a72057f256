// SPDX-License-Identifier: Apache-2.0
// Which page is shown. The address is the part after `#`, so the server knows one page only. A page may put a guard
// before its exit: then every way out (a link, the Back button, signing out, closing the tab) asks first.

let routes = [];
let shown = null;       // the hash on screen
let render = () => {};
let guard = null;       // { isNeeded(), ask(): Promise<boolean> }
let asking = false;

function match(hash) {
    const parts = hash.replace(/^#\/?/, '').split('/').filter(Boolean);
    for (const [pattern, page] of routes) {
        const wanted = pattern.split('/').filter(Boolean);
        if (wanted.length !== parts.length)
            continue;
        const params = {};
        const fits = wanted.every((name, i) => {
            if (!name.startsWith(':'))
                return name === parts[i];
            try {
                params[name.slice(1)] = decodeURIComponent(parts[i]);
            } catch {
                return false;
            }
            return true;
        });
        if (fits)
            return { page, params };
    }
    return null;
}

// May the page be left? A second question while one is open is a no.
export async function mayLeave() {
    if (!guard?.isNeeded())
        return true;
    if (asking)
        return false;
    asking = true;
    try {
        return await guard.ask();
    } finally {
        asking = false;
    }
}

async function changed() {
    const target = location.hash;
    if (target === shown)
        return;
    if (guard?.isNeeded()) {
        // The address has changed already: put it back while we ask. pushState() makes no hashchange event.
        history.pushState(null, '', shown);
        if (await mayLeave())
            go(target);
        return;
    }
    show(target);
}

function show(hash) {
    guard = null;
    shown = hash;
    render(match(hash));
}

// Goes there without asking. `replace`: the page left is not to be come back to.
export function go(hash, { replace = false } = {}) {
    if (replace)
        history.replaceState(null, '', hash);
    else if (location.hash !== hash)
        history.pushState(null, '', hash);
    show(hash);
}

// A page that was not reached by its address (the one that shows a secret): it gets one, so that Back leaves it.
export function adopt(hash, { replace = false } = {}) {
    guard = null;
    shown = hash;
    if (replace)
        history.replaceState(null, '', hash);
    else
        history.pushState(null, '', hash);
}

export function setGuard(isNeeded, ask) {
    guard = { isNeeded, ask };
}

export function clearGuard() {
    guard = null;
}

export function start(table, onRoute) {
    routes = table;
    render = onRoute;
    shown = null;
}

addEventListener('hashchange', () => {
    if (shown !== null)
        changed();
});

addEventListener('beforeunload', (event) => {
    if (guard?.isNeeded()) {
        event.preventDefault();
        event.returnValue = '';     // what older browsers look at
    }
});

// Signed out: addresses mean nothing until somebody is in again.
export function stop() {
    guard = null;
    shown = null;
}
