// SPDX-License-Identifier: Apache-2.0
// A new API access key, and changes to one. What a key must be is the server's to say: the form is sent as it is, and
// every objection comes back at once. Only what the server could not read, or must not see, is caught here.
import { call, explain, get, path, poster, wasLeft } from './api.js';
import { catalog } from './catalog.js';
import { ask } from './dialog.js';
import { announce, button, callout, enableAgain, h, toast } from './dom.js';
import { expiryField } from './expiry_field.js';
import { baseName, field, lines, showErrors, strayErrors } from './form.js';
import { jwksField } from './jwks_field.js';
import { firstPage } from './page_keys.js';
import { secretPage } from './page_secret.js';
import { scopeField } from './scope_field.js';
import { hashOf, pageHead } from './shell.js';
import { exact } from './time.js';
import * as router from './router.js';

const UNITS = [['s', 'seconds', 1], ['m', 'minutes', 60], ['h', 'hours', 3600]];

function lifetimeField(seconds) {
    const [unit, , size] = seconds ? [...UNITS].reverse().find(([, , length]) => seconds % length === 0) : UNITS[1];
    const input = h('input', { class: 'input short', type: 'text', inputmode: 'numeric', autocomplete: 'off' });
    const select = h('select', { class: 'input short', 'aria-label': 'Unit of the token lifetime' }, UNITS.map(([value, label]) => h('option', { value }, label)));
    input.value = seconds ? String(seconds / size) : '';
    select.value = unit;
    const result = field('Token lifetime', input, { hint: 'Between 10 seconds and 24 hours. Empty: the server’s default.', extra: select });
    // Not a number: sent as the text it is, for the server to refuse together with everything else.
    result.value = () => {
        const text = input.value.trim();
        return text === '' ? null : /^\d{1,9}$/.test(text) ? Number(text) * UNITS.find(([value]) => value === select.value)[2] : text;
    };
    return result;
}

function linesField(label, values, options) {
    const area = h('textarea', { class: 'input mono', rows: 3, spellcheck: 'false', autocomplete: 'off', placeholder: options.placeholder });
    area.value = (values ?? []).join('\n');
    const result = field(label, area, options);
    result.value = () => (lines(area.value).length ? lines(area.value) : null);
    result.item = (index) => lines(area.value)[index];
    return result;
}

function textField(label, value, options) {
    const input = h('input', { class: 'input', type: 'text', autocomplete: 'off', maxlength: options.max });
    input.value = value ?? '';
    const result = field(label, input, options);
    result.value = () => input.value.trim();
    return result;
}

// The fields of the form under the names that the API gives them.
function makeFields(key, scopes, rights) {
    const fields = {
        name: textField('Name', key?.name, { required: true, hint: 'What will use the key, so that others recognise it.' }),
        scopes: scopeField({ scopes, held: key?.scopes ?? null, platform: rights.platform }),
        expires_at: expiryField(key?.expires_at ?? null),
        description: textField('Description', key?.description, { hint: 'Whom to ask about it, or where it runs.' }),
        allowed_cidrs: linesField('Allowed addresses', key?.allowed_cidrs,
            { hint: 'The only networks the key works from, one a line. Empty: from anywhere.', placeholder: '203.0.113.0/24\n2001:db8::/32' }),
        token_ttl: lifetimeField(key?.token_ttl),
        audience: linesField('Audience', key?.audience,
            { hint: 'The APIs its tokens are for (aud), one a line. Empty: the server’s default.', placeholder: 'https://api.example.com' }),
    };
    // A key with a secret stays one with a secret.
    if (!key || key.auth_method === 'private_key_jwt')
        fields.jwks = jwksField(key?.jwks ?? null);
    return fields;
}

function read(fields) {
    const { jwks } = fields;
    const values = {
        name: fields.name.value(), scopes: fields.scopes.value(), expires_at: fields.expires_at.value(),
        description: fields.description.value() || null, allowed_cidrs: fields.allowed_cidrs.value(),
        token_ttl: fields.token_ttl.value(), audience: fields.audience.value(),
    };
    if (jwks)
        values.jwks = jwks.read().jwks ?? null;
    return values;
}

// What the form itself knows to be missing, in words that fit the form. The server finds the same, in its own.
function localErrors(fields) {
    const errors = [];
    const add = (name, message) => errors.push({ field: name, message });
    if (!fields.name.value())
        add('name', 'Enter a name.');
    if (fields.scopes.value().length === 0)
        add('scopes', 'Choose at least one scope.');
    if (fields.expires_at.incomplete())
        add('expires_at', 'Complete the date and time.');
    else if (!fields.expires_at.value())
        add('expires_at', 'Choose an expiration date.');
    const jwks = fields.jwks?.read();
    if (jwks?.error)
        add('jwks', jwks.error);
    return errors;
}

// Ours go before the server's on the same field.
function merged(local, remote) {
    return [...local, ...remote.filter((error) => !local.some((mine) => mine.field === baseName(error.field)))];
}

// Only what differs from `before`: others may have changed the rest meanwhile.
function changesOf(before, after) {
    return Object.fromEntries(Object.entries(after).filter(([name, value]) => {
        const was = before[name] ?? null;
        const order = (v) => JSON.stringify(name === 'scopes' && v ? [...v].sort() : v);
        return order(was) !== order(value) && !(name === 'audience' && !value?.length && !was?.length);
    }));
}

const WORDS = { name: 'name', scopes: 'scopes', expires_at: 'expiration', description: 'description', allowed_cidrs: 'allowed addresses',
    token_ttl: 'token lifetime', audience: 'audience', jwks: 'client’s public keys', enabled: 'enabled' };

function inWords(name, value) {
    if (value === null || value === undefined || value === '')
        return 'empty';
    if (name === 'expires_at')
        return exact(value);
    return Array.isArray(value) ? value.join(', ') : typeof value === 'object' ? 'another set' : String(value);
}

// Behind "More".
const ADVANCED = ['description', 'allowed_cidrs', 'token_ttl', 'audience', 'jwks'];

// Both forms: fields, messages, one button that acts once, and a guard that protects what was typed.
// `submit(fields, values)` does the work; its errors are shown here.
function makeForm({ fields, action, listHash, submit, advanced }) {
    const messages = h('div', { class: 'messages' });
    const ok = button(action, { type: 'submit', class: 'button primary' });
    const more = h('details', { class: 'more', open: advanced }, h('summary', {}, h('span', {}, 'More'),
        h('span', { class: 'sub' }, 'Description, allowed addresses, token lifetime, audience', fields.jwks ? ', public keys' : '')),
    h('div', { class: 'more-body' }, ADVANCED.map((name) => fields[name]?.node)));
    const start = JSON.stringify(read(fields));
    let busy = false;

    function show(errors, error = null) {
        // An error behind the fold must be seen.
        if (errors.some((e) => ADVANCED.includes(baseName(e.field))))
            more.open = true;
        const placed = showErrors(fields, errors);
        const stray = strayErrors(fields, errors);
        const count = errors.length;
        const texts = stray.map((e) => h('p', {}, `${e.field}: ${e.message}`));
        if (error)
            texts.push(h('p', {}, explain(error)), (error.status === 0 || error.status >= 500) && h('p', {}, 'What you typed is still here.'));
        messages.replaceChildren(...(texts.length ? [callout('danger', texts)] : []));
        if (placed)
            announce(`${count} ${count === 1 ? 'field needs' : 'fields need'} another look.`);
        else
            messages.scrollIntoView({ block: 'center' });
    }

    const node = h('form', { class: 'card form', novalidate: true, onsubmit: async (event) => {
        event.preventDefault();
        if (busy)       // the second click of a double click
            return;
        const local = localErrors(fields);
        if (fields.jwks?.read().burnt) {
            show(local);    // a private key does not leave the page, not even to be refused
            return;
        }
        busy = true;
        ok.disabled = true;
        messages.replaceChildren();
        try {
            const values = read(fields);
            // Unreadable as JSON: sent as text, which no server takes for a key set.
            if (fields.jwks?.read().error)
                values.jwks = 'unreadable';
            await submit(values, messages);
        } catch (error) {
            if (wasLeft(error))
                return;
            if (error.status === 422)
                show(merged(local, error.errors), error.errors.length || local.length ? null : error);
            else
                show(local, error);
        } finally {
            busy = false;
            enableAgain(ok);
        }
    } },
    messages,
    h('p', { class: 'legend' }, h('span', { class: 'star', 'aria-hidden': 'true' }, '*'), ' required'),
    fields.name.node, fields.scopes.node, fields.expires_at.node, more,
    h('div', { class: 'actions' }, ok, h('a', { class: 'button', href: listHash }, 'Cancel')));

    router.setGuard(() => node.isConnected && JSON.stringify(read(fields)) !== start,
        () => ask({ title: 'Leave without saving?', action: 'Leave', cancel: 'Stay here', danger: true, body: h('p', {}, 'What you typed here will be lost.') }));
    return { node, messages };
}

function loadingPage(title, trail, signal, fill) {
    const holder = h('div', { class: 'page narrow' }, pageHead(title, { trail }), h('p', { class: 'loading', role: 'status' }, 'Loading…'));
    async function run() {
        try {
            await fill(holder);
        } catch (error) {
            if (!signal.aborted && !wasLeft(error))
                holder.lastChild.replaceWith(callout('danger', h('p', {}, explain(error)), button('Try again', { class: 'button small', onclick: run })));
        }
    }
    run();
    return holder;
}

export function newKeyPage({ rights, params: { tenant }, signal, present }) {
    const listHash = hashOf('tenants', tenant, 'keys');
    const trail = [['Account settings', null], ['API Access Keys', listHash]];
    return loadingPage('New API key', trail, signal, async (holder) => {
        const scopes = await catalog();
        if (signal.aborted)
            return;
        const fields = makeFields(null, scopes, rights);
        const post = poster(path('tenants', tenant, 'keys'));
        const { node } = makeForm({ fields, action: 'Create API key', listHash, submit: async (values) => {
            // Absent and empty are alike on create.
            const body = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
            const { data } = await post(body);
            firstPage(tenant);      // the newest key heads the list
            // Even if the form has been left meanwhile: the secret is shown now or never.
            present(hashOf('tenants', tenant, 'keys', data.key_id, 'secret'), () => secretPage({ key: data, rights, listHash }),
                { replace: !signal.aborted });
        } });
        holder.lastChild.replaceWith(node);
        fields.name.focus();
    });
}

export function editKeyPage({ rights, params: { tenant, key: keyId }, signal }) {
    const listHash = hashOf('tenants', tenant, 'keys');
    const trail = [['Account settings', null], ['API Access Keys', listHash]];
    const keyPath = path('tenants', tenant, 'keys', keyId);

    return loadingPage('Edit API key', trail, signal, async (holder) => {
        const [{ data, etag }, scopes] = await Promise.all([get(keyPath, signal), catalog()]);
        if (signal.aborted)
            return;
        let before = data;
        let tag = etag;
        const fields = makeFields(before, scopes, rights);

        // 412: say what the other one changed; what was typed here stays, and is saved over it only when asked to.
        async function explainConflict(messages) {
            const fresh = await get(keyPath, signal);
            const theirs = Object.keys(WORDS).filter((name) => inWords(name, fresh.data[name]) !== inWords(name, before[name]));
            before = fresh.data;
            tag = fresh.etag;
            messages.replaceChildren(callout('warning',
                h('p', {}, h('strong', {}, 'Somebody else changed this key while you were editing it.')),
                theirs.length > 0 && h('ul', {}, theirs.map((name) => h('li', {}, `Now its ${WORDS[name]}: ${inWords(name, before[name])}`))),
                h('p', {}, 'Your entries are still here. Save again to write them over that, or load the current version.'),
                button('Load the current version', { class: 'button small', onclick: () => {
                    router.clearGuard();
                    router.go(location.hash);
                } })));
            messages.scrollIntoView({ block: 'center' });
            announce('Not saved: somebody else changed this key meanwhile.');
        }

        const { node } = makeForm({ fields, action: 'Save changes', listHash,
            advanced: Boolean(before.description || before.allowed_cidrs || before.token_ttl || before.audience || fields.jwks),
            submit: async (values, messages) => {
                const changes = changesOf(before, values);
                try {
                    // Nothing changed: nothing to ask.
                    const result = Object.keys(changes).length ? (await call('PATCH', keyPath,
                        { body: JSON.stringify(changes), headers: tag ? { 'If-Match': tag } : {} })).data : before;
                    if (signal.aborted)
                        return;
                    router.clearGuard();
                    toast(`“${result.name}” is saved.`);
                    router.go(listHash);
                } catch (error) {
                    if (error.status !== 412)
                        throw error;
                    await explainConflict(messages);
                }
            } });
        holder.lastChild.replaceWith(h('div', {}, h('p', { class: 'under-title' }, h('code', {}, before.key_id), ` · created ${exact(before.created_at)}`), node));
        fields.name.focus();
    });
}
