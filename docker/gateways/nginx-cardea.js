// SPDX-License-Identifier: Apache-2.0
// Checks an access token of Cardea: signature (ES256, ES384, RS256 or PS256), typ, iss, aud, exp and scope.
// For njs 0.7.9, Debian 12's, whose WebCrypto takes public keys as SubjectPublicKeyInfo only, not as JWK.

const ALGORITHMS = {
    ES256: { kty: 'EC', crv: 'P-256', name: 'ECDSA', hash: 'SHA-256', size: 32,
             spki: '3059301306072a8648ce3d020106082a8648ce3d030107034200' },
    ES384: { kty: 'EC', crv: 'P-384', name: 'ECDSA', hash: 'SHA-384', size: 48,
             spki: '3076301006072a8648ce3d020106052b81040022036200' },
    RS256: { kty: 'RSA', name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    PS256: { kty: 'RSA', name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32 },
};

// --- DER (X.690), as little as public keys need ---

function der(tag, content) {
    const length = content.length;
    const head = length < 128 ? [tag, length]
        : length < 256 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 255];
    return Buffer.concat([Buffer.from(head), content]);
}

// A positive INTEGER has no zeros in front, and its highest bit is clear.
function integer(bytes) {
    let start = 0;
    while (start < bytes.length - 1 && bytes[start] === 0)
        start++;
    bytes = bytes.slice(start);
    return der(2, bytes[0] & 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

function spki(jwk, algorithm) {
    if (algorithm.kty === 'EC')
        return Buffer.concat([Buffer.from(algorithm.spki, 'hex'), Buffer.from([4]), Buffer.from(jwk.x, 'base64url'),
                              Buffer.from(jwk.y, 'base64url')]);
    const numbers = [integer(Buffer.from(jwk.n, 'base64url')), integer(Buffer.from(jwk.e, 'base64url'))];
    const bits = Buffer.concat([Buffer.from([0]), der(0x30, Buffer.concat(numbers))]);
    return der(0x30, Buffer.concat([Buffer.from('300d06092a864886f70d0101010500', 'hex'), der(3, bits)]));
}

// --- the token ---

function part(text) {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
}

async function verify(jwk, algorithm, parts) {
    const options = { name: algorithm.name, hash: algorithm.hash };
    if (jwk.crv)
        options.namedCurve = jwk.crv;
    if (algorithm.saltLength)
        options.saltLength = algorithm.saltLength;
    const key = await crypto.subtle.importKey('spki', spki(jwk, algorithm), options, false, ['verify']);
    const signature = Buffer.from(parts[2], 'base64url');
    // base64url has several texts for the same bytes; only one of them is the signature.
    if (signature.toString('base64url') !== parts[2])
        return false;
    if (algorithm.size && signature.length !== 2 * algorithm.size)
        return false;
    return crypto.subtle.verify(options, key, signature, Buffer.from(parts[0] + '.' + parts[1]));
}

async function key_of(r, header) {
    const reply = await r.subrequest('/_cardea/jwks', { method: 'GET' });
    if (reply.status !== 200)
        throw new Error('the key set answered ' + reply.status);
    return JSON.parse(reply.responseText).keys.find((key) => key.kid === header.kid);
}

// Why the token is no good; undefined when it is.
async function fault(r, token, claims) {
    const parts = token.split('.');
    let header, body;
    try {
        header = part(parts[0]);
        body = part(parts[1]);
    } catch (e) {
        return 'malformed';
    }
    if (![header, body].every((value) => value && typeof value === 'object'))
        return 'malformed';
    const algorithm = Object.keys(ALGORITHMS).includes(header.alg) ? ALGORITHMS[header.alg] : undefined;
    if (parts.length !== 3 || !algorithm || header.crit !== undefined)
        return 'unknown algorithm';
    if (header.typ !== 'at+jwt' && header.typ !== 'JWT')
        return 'unknown typ';
    const jwk = await key_of(r, header);
    if (!jwk || jwk.kty !== algorithm.kty || jwk.alg !== header.alg || jwk.crv !== algorithm.crv)
        return 'unknown key';
    if (!await verify(jwk, algorithm, parts))
        return 'bad signature';
    if (body.iss !== r.variables.cardea_issuer)
        return 'another issuer';
    if (!(Array.isArray(body.aud) ? body.aud : [body.aud]).includes(r.variables.cardea_audience))
        return 'another audience';
    if (typeof body.exp !== 'number' || body.exp <= Date.now() / 1000)
        return 'expired';
    Object.assign(claims, body);
    return undefined;
}

function refuse(r, status, challenge) {
    r.headersOut['WWW-Authenticate'] = 'Bearer' + challenge;
    r.return(status);
}

async function check(r) {
    const given = /^Bearer +([A-Za-z0-9_.-]+)$/i.exec(r.headersIn.Authorization || '');
    const claims = {};
    if (!given)
        return refuse(r, 401, '');
    try {
        const why = await fault(r, given[1], claims);
        if (why) {
            r.log('cardea: token refused: ' + why);
            return refuse(r, 401, ' error="invalid_token"');
        }
    } catch (e) {
        r.error('cardea: cannot check a token: ' + e.message);
        return r.return(500);
    }
    if (!String(claims.scope).split(' ').includes(r.variables.cardea_scope))
        return refuse(r, 403, ' error="insufficient_scope", scope="' + r.variables.cardea_scope + '"');
    r.headersOut['X-Cardea-Subject'] = claims.sub;
    r.headersOut['X-Cardea-Tenant'] = claims.tenant;
    return r.return(204);
}

export default { check };
