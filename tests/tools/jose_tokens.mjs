// SPDX-License-Identifier: MIT
// Writes tests/unit/jose_tokens.h: keys and tokens as the npm package jose makes them, so that what is
// checked in C was not also made in C. Run once, by hand: node jose_tokens.mjs > ../unit/jose_tokens.h
import * as jose from 'jose';
import { createHmac } from 'node:crypto';

const ISSUER = 'https://id.example', AUDIENCE = 'evenkeel';
const BEGIN = 1800000000, END = 1800003600;
const keys = {};
const set = [];
const make = async (kid, alg, options) => {
  keys[kid] = await jose.generateKeyPair(alg, { extractable: true, ...options });
  keys[kid].alg = alg;
  set.push({ ...(await jose.exportJWK(keys[kid].publicKey)), kid, alg, use: 'sig' });
};
await make('rsa-1', 'RS256');
await make('ec-1', 'ES256');
await make('ed-1', 'EdDSA');
const stranger = await jose.generateKeyPair('RS256', { extractable: true });
const ec384 = await jose.generateKeyPair('ES384', { extractable: true });

const claims = { sub: 'alice', groups: ['staff', 'pro'] };
const sign = (kid, header = {}, extra = {}, key) => {
  const t = new jose.SignJWT({ ...claims, ...extra }).setIssuedAt(BEGIN).setExpirationTime(END)
    .setIssuer(ISSUER).setAudience(AUDIENCE);
  if ('iss' in extra) t.setIssuer(extra.iss);
  if ('aud' in extra) t.setAudience(extra.aud);
  if ('exp' in extra) t.setExpirationTime(extra.exp);
  if ('iat' in extra) t.setIssuedAt(extra.iat);
  if ('nbf' in extra) t.setNotBefore(extra.nbf);
  return t.setProtectedHeader({ alg: keys[kid].alg, kid, ...header }).sign(key ?? keys[kid].privateKey);
};
const b64 = (x) => Buffer.from(typeof x === 'string' ? x : JSON.stringify(x)).toString('base64url');
const body = { ...claims, iss: ISSUER, aud: AUDIENCE, iat: BEGIN, exp: END };
const pem = await jose.exportSPKI(keys['rsa-1'].publicKey);
const jwk = JSON.stringify(set[0]);
const hs = (secret) => {
  const text = `${b64({ alg: 'HS256', kid: 'rsa-1' })}.${b64(body)}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
};
const good = await sign('rsa-1');
const [h, p, s] = good.split('.');
const ec = await sign('ec-1');

// name, the fault expected, token
const tokens = [
  ['RS256', 'NONE', good],
  ['ES256', 'NONE', ec],
  ['EdDSA', 'NONE', await sign('ed-1')],
  ['typ JWT', 'NONE', await sign('rsa-1', { typ: 'JWT' })],
  ['typ at+jwt', 'NONE', await sign('ed-1', { typ: 'at+jwt' })],
  ['list of audiences', 'NONE', await sign('ec-1', {}, { aud: ['other', AUDIENCE] })],
  ['no kid, one RSA key', 'NONE', await sign('rsa-1', { kid: undefined })],
  ['alg none', 'ALGORITHM', new jose.UnsecuredJWT(claims).setIssuer(ISSUER).setAudience(AUDIENCE)
    .setExpirationTime(END).encode() + 'AA'],
  ['alg none, no signature', 'FORM', `${b64({ alg: 'none' })}.${b64(body)}.`],
  ['alg None', 'ALGORITHM', `${b64({ alg: 'None', kid: 'rsa-1' })}.${p}.${s}`],
  ['alg missing', 'ALGORITHM', `${b64({ kid: 'rsa-1' })}.${p}.${s}`],
  ['alg a number', 'ALGORITHM', `${b64({ alg: 256, kid: 'rsa-1' })}.${p}.${s}`],
  ['alg null', 'ALGORITHM', `${b64({ alg: null, kid: 'rsa-1' })}.${p}.${s}`],
  ['HS256 with the public key as PEM', 'ALGORITHM', hs(pem)],
  ['HS256 with the public key as JWK', 'ALGORITHM', hs(jwk)],
  ['HS256 with an empty secret', 'ALGORITHM', hs('')],
  ['PS256', 'ALGORITHM', await new jose.SignJWT(body).setProtectedHeader({ alg: 'PS256', kid: 'rsa-1' })
    .sign(await jose.importJWK(await jose.exportJWK(keys['rsa-1'].privateKey), 'PS256'))],
  ['ES384', 'ALGORITHM', await new jose.SignJWT(body).setProtectedHeader({ alg: 'ES384', kid: 'ec-1' })
    .sign(ec384.privateKey)],
  ['RS256 naming the EC key', 'KEY', `${b64({ alg: 'RS256', kid: 'ec-1' })}.${p}.${s}`],
  ['ES256 naming the RSA key', 'KEY', `${b64({ alg: 'ES256', kid: 'rsa-1' })}.${p}.${s}`],
  ['unknown kid', 'KEY', await sign('rsa-1', { kid: 'rsa-2' })],
  ['kid of a path', 'KEY', await sign('rsa-1', { kid: '../../../../dev/null' })],
  ['kid of SQL', 'KEY', await sign('rsa-1', { kid: "x' UNION SELECT 'k" })],
  ['kid a URL', 'KEY', await sign('rsa-1', { kid: 'https://evil.example/jwks.json' })],
  ['kid empty', 'KEY', await sign('rsa-1', { kid: '' })],
  ['kid a list', 'FORM', `${b64({ alg: 'RS256', kid: ['rsa-1'] })}.${p}.${s}`],
  ['kid with a NUL', 'FORM', `${b64('{"alg":"RS256","kid":"rsa-1\\u0000x"}')}.${p}.${s}`],
  ['another key, its own kid in jwk', 'SIGNATURE', await sign('rsa-1',
    { jwk: await jose.exportJWK(stranger.publicKey) }, {}, stranger.privateKey)],
  ['another key, jku', 'SIGNATURE', await sign('rsa-1', { jku: 'https://evil.example/' }, {}, stranger.privateKey)],
  ['crit', 'CRITICAL', `${b64({ alg: 'RS256', kid: 'rsa-1', crit: ['b64'], b64: false })}.${p}.${s}`],
  ['typ of another kind', 'TYPE', await sign('rsa-1', { typ: 'logout+jwt' })],
  ['payload changed', 'SIGNATURE', `${h}.${b64({ ...body, sub: 'mallory' })}.${s}`],
  ['signature cut', 'SIGNATURE', `${h}.${p}.${s.slice(0, -4)}`],
  ['signature of zeros', 'SIGNATURE', `${ec.split('.').slice(0, 2).join('.')}.${Buffer.alloc(64).toString('base64url')}`],
  ['signature in ASN.1', 'SIGNATURE', `${ec.split('.').slice(0, 2).join('.')}.${Buffer.from([0x30, 6, 2, 1, 1, 2, 1, 1]).toString('base64url')}`],
  ['signature not canonical', 'SIGNATURE', `${h}.${p}.${s.slice(0, -1)}${String.fromCharCode(s.charCodeAt(s.length - 1) + 1)}`],
  ['padding', 'SIGNATURE', `${good}==`],
  ['alg twice', 'FORM', `${b64('{"alg":"none","alg":"RS256","kid":"rsa-1"}')}.${p}.${s}`],
  ['sub twice', 'FORM', await (async () => {
    const payload = `{"sub":"a","iss":"${ISSUER}","aud":"${AUDIENCE}","exp":${END},"sub":"b"}`;
    return new jose.CompactSign(new TextEncoder().encode(payload)).setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' })
      .sign(keys['ed-1'].privateKey);
  })()],
  ['payload a list', 'FORM', await new jose.CompactSign(new TextEncoder().encode('[1]'))
    .setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' }).sign(keys['ed-1'].privateKey)],
  ['another issuer', 'ISSUER', await sign('ec-1', {}, { iss: `${ISSUER}/` })],
  ['another audience', 'AUDIENCE', await sign('ec-1', {}, { aud: 'someone-else' })],
  ['no audience in the list', 'AUDIENCE', await sign('ec-1', {}, { aud: ['a', 'b'] })],
  ['expired', 'EXPIRED', await sign('ec-1', {}, { iat: BEGIN - 7200, exp: BEGIN - 3600 })],
  ['not yet', 'NOT_YET', await sign('ec-1', {}, { nbf: BEGIN + 3000 })],
  ['issued tomorrow', 'NOT_YET', await sign('ec-1', {}, { iat: BEGIN + 86400, exp: BEGIN + 90000 })],
  ['no end', 'CLAIM', await new jose.SignJWT(claims).setIssuer(ISSUER).setAudience(AUDIENCE)
    .setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' }).sign(keys['ed-1'].privateKey)],
  ['exp a string', 'CLAIM', await new jose.CompactSign(new TextEncoder().encode(
    JSON.stringify({ ...body, exp: `${END}` }))).setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' }).sign(keys['ed-1'].privateKey)],
  ['exp negative', 'CLAIM', await new jose.CompactSign(new TextEncoder().encode(
    JSON.stringify({ ...body, exp: -1 }))).setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' }).sign(keys['ed-1'].privateKey)],
  ['sub with a line break', 'CLAIM', await sign('ed-1', {}, { sub: 'a\nb' })],
  ['sub empty', 'CLAIM', await sign('ed-1', {}, { sub: '' })],
  ['sub a number', 'CLAIM', await new jose.CompactSign(new TextEncoder().encode(
    JSON.stringify({ ...body, sub: 7 }))).setProtectedHeader({ alg: 'EdDSA', kid: 'ed-1' }).sign(keys['ed-1'].privateKey)],
  ['sub too long', 'CLAIM', await sign('ed-1', {}, { sub: 'x'.repeat(257) })],
];

const quote = (text, indent = '     ') => text.match(/.{1,80}/g).map((t) => `${indent}${JSON.stringify(t)}`).join('\n');
const lines = tokens.map(([name, fault, token]) => `    {${JSON.stringify(name)}, EK_JWT_${fault},\n${quote(token)}},`);
console.log(`/* SPDX-License-Identifier: MIT */
/* Written by tests/tools/jose_tokens.mjs with the npm package jose; do not edit. Public keys, and tokens
 * whose private keys nobody has any more: good from ${BEGIN} to ${END}, for "${AUDIENCE}",
 * by ${ISSUER}. */
#ifndef EK_TESTS_JOSE_TOKENS_H
#define EK_TESTS_JOSE_TOKENS_H

#include "guard/jwt.h"

static const char jose_keys[] =
${quote(JSON.stringify({ keys: set }), '    ')};

static const struct {
    const char *name;
    enum ek_jwt_fault fault;
    const char *token;
} jose_tokens[] = {
${lines.join('\n')}
};

#endif`);
