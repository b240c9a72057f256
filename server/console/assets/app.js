// SPDX-License-Identifier: Apache-2.0
// The console: signed out, a form; signed in, a frame with the page that the address names.
import { forgetCatalog } from './catalog.js';
import { closeDialogs } from './dialog.js';
import { clearToasts, h } from './dom.js';
import { auditPage } from './page_audit.js';
import { editKeyPage, newKeyPage } from './page_key_form.js';
import { forgetLists, keysPage } from './page_keys.js';
import { scopesPage } from './page_scopes.js';
import { signInPage } from './page_sign_in.js';
import { signingKeysPage } from './page_signing_keys.js';
import { tenantsPage } from './page_tenants.js';
import { hashOf, makeShell, pageHead } from './shell.js';
import * as router from './router.js';
import * as session from './session.js';

const root = document.getElementById('app');

// `need`: who has any use for it. The server decides what is allowed; this spares a page that could only say no.
const anyone = () => true;
const writers = (rights) => rights.write;
const platform = (rights) => rights.platform;

const ROUTES = [
    ['tenants/:tenant/keys', { show: keysPage, need: anyone }],
    ['tenants/:tenant/keys/new', { show: newKeyPage, need: writers }],
    ['tenants/:tenant/keys/:key', { show: editKeyPage, need: writers }],
    ['tenants/:tenant/audit', { show: auditPage, need: anyone }],
    ['tenants', { show: tenantsPage, need: platform }],
    ['scopes', { show: scopesPage, need: platform }],
    ['signing-keys', { show: signingKeysPage, need: platform }],
    ['audit', { show: auditPage, need: platform }],
];

function notFoundPage() {
    return h('div', { class: 'page' }, pageHead('Not found', { lead: 'There is no such page here.' }));
}

function enter(rights) {
    let left = new AbortController();
    let tenant = rights.tenant;
    const home = () => hashOf('tenants', tenant, 'keys');
    const shell = makeShell(rights, {
        onTenant: async (id) => {
            if (await router.mayLeave())
                router.go(hashOf('tenants', id, 'keys'));
        },
        onSignOut: async () => {
            if (await router.mayLeave())
                session.end('signed-out');
        },
    });

    function put(page) {
        shell.main.replaceChildren(page);
        shell.update(tenant, location.hash);
        scrollTo(0, 0);
        const heading = page.querySelector('h1');
        document.title = `${heading.textContent} · ${tenant} · Cardea`;
        heading.focus({ preventScroll: true });
    }

    // A page that no address leads to: the card with a new secret. Its guard is set while it is made, after the old
    // page's is gone. Whoever has signed out meanwhile does not get to see it.
    function present(hash, makePage, { replace = false } = {}) {
        if (session.current() !== rights)
            return;
        left.abort();
        left = new AbortController();
        router.adopt(hash, { replace });
        put(makePage());
    }

    function onRoute(found) {
        left.abort();
        left = new AbortController();
        closeDialogs();
        const named = found?.params.tenant;
        const foreign = named && named !== rights.tenant && !rights.platform;
        const nowhere = !found && (location.hash.length < 3 || location.hash.endsWith('/secret'));
        // No address, or that of a card which is gone, or of somebody else who was signed in here: the list.
        if (nowhere || foreign || (found && !found.page.need(rights))) {
            router.go(home(), { replace: true });
            return;
        }
        tenant = named ?? tenant;
        put(found ? found.page.show({ rights, params: found.params, signal: left.signal, present }) : notFoundPage());
    }

    session.onEnd((reason) => {
        left.abort();
        router.stop();
        leave(reason);
    });
    root.replaceChildren(shell.node);
    router.start(ROUTES, onRoute);
    router.go(location.hash || home(), { replace: true });
}

function leave(reason = null) {
    closeDialogs();
    clearToasts();
    forgetCatalog();
    forgetLists();
    if (reason === 'signed-out')
        history.replaceState(null, '', location.pathname);
    document.title = 'Sign in · Cardea';
    const page = signInPage({ reason, onSignedIn: enter });
    root.replaceChildren(page);
    page.querySelector('input').focus();
}

// Kept by the browser for its Back button, the page would come back signed in.
addEventListener('pageshow', (event) => {
    if (event.persisted)
        location.reload();
});

leave();
