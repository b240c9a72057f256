// SPDX-License-Identifier: Apache-2.0
// Node.js 18 or later, with nothing but what it brings.
const { ISSUER, KEY_ID, KEY_SECRET, API } = process.env;
const form = new URLSearchParams({ grant_type: 'client_credentials', scope: 'data:read' });
const basic = Buffer.from(`${encodeURIComponent(KEY_ID)}:${encodeURIComponent(KEY_SECRET)}`).toString('base64');
const answer = await fetch(`${ISSUER}/oauth2/token`, {
    method: 'POST', body: form, headers: { Authorization: `Basic ${basic}` } });
if (!answer.ok)
    throw new Error(`${answer.status} ${await answer.text()}`);
const { access_token: token } = await answer.json();
const things = await fetch(`${API}/things`, { headers: { Authorization: `Bearer ${token}` } });
console.log(await things.text());
