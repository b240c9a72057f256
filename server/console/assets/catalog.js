// SPDX-License-Identifier: Apache-2.0
// The scopes by title: the installation's catalog, and the three that manage Cardea itself.
import { get } from './api.js';

export const MANAGEMENT = [
    { name: 'cardea.read', title: 'View', description: 'Sees the tenant’s keys and audit log, and changes nothing.' },
    { name: 'cardea.admin', title: 'Administer', description: 'Creates, changes and deletes the tenant’s keys, other administrators’ too.' },
    { name: 'cardea.platform', title: 'Administer the platform', description: 'Everything, in every tenant: tenants, scopes, signing keys and all keys.' },
];

const managementTitles = { 'cardea.read': 'View keys', 'cardea.admin': 'Administer keys', 'cardea.platform': 'Administer platform' };

let loading = null;

// The whole catalog, asked for once a session and again after a change of it.
export function catalog() {
    loading ??= load().catch((error) => {
        loading = null;
        throw error;
    });
    return loading;
}

export function forgetCatalog() {
    loading = null;
}

async function load() {
    const scopes = [];
    let cursor = null;
    do {
        const { data } = await get(`scopes${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ''}`);
        scopes.push(...data.items);
        cursor = data.next_cursor ?? null;
    } while (cursor);
    return scopes.sort((a, b) => a.name.localeCompare(b.name));
}

export const isManagement = (name) => name.startsWith('cardea.');

// What a list shows for a scope; its name when the catalog could not be had.
export function titleOf(name, scopes) {
    return managementTitles[name] ?? scopes.find((scope) => scope.name === name)?.title ?? name;
}
