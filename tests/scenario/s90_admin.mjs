// SPDX-License-Identifier: MIT
// s90: people and money over HTTP: the admin API (each answer held against its description), codes that people redeem
// themselves, web hooks signed as Stripe's own package signs them, all of it again after kill -9, on SQLite and, where
// it is installed, PostgreSQL.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import Stripe from 'stripe';
import { EVENKEEL, needDoor, startDoor, startPacer, tmp, waitFor } from './lib.mjs';

const TOPUP_SECRET = 'a secret of ours, for top-ups';
const OLD_SECRET = 'the one before that is rolled over';
const STRIPE_SECRET = 'whsec_0123456789abcdefghijklmnop';

// ---- databases -----------------------------------------------------------------------------------

let counted = 0;

function sqlite() {
  return { name: 'SQLite', url: path.join(tmp, `ledger-${++counted}.db`), stop: async () => {} };
}

// A private PostgreSQL on a Unix socket; null where there is no server. It refuses to be root.
async function postgres() {
  const found = fs.existsSync('/usr/lib/postgresql')
    ? fs.readdirSync('/usr/lib/postgresql').map((v) => `/usr/lib/postgresql/${v}/bin`).filter((d) => fs.existsSync(`${d}/initdb`))
    : [];
  if (found.length === 0) return null;
  const bin = found.at(-1);
  const dir = fs.mkdtempSync('/tmp/ek-pg-');
  const who = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {};
  if (who.uid) fs.chownSync(dir, who.uid, who.gid);
  const options = { ...who, cwd: dir, stdio: 'ignore' };
  assert.equal(spawnSync(`${bin}/initdb`, ['-D', dir, '-U', 'ek', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    options).status, 0);
  const server = spawn(`${bin}/postgres`, ['-D', dir, '-k', dir, '-c', 'listen_addresses='], options);
  const ended = new Promise((ok) => server.on('close', ok));
  await waitFor('PostgreSQL', () => fs.existsSync(`${dir}/.s.PGSQL.5432`) &&
    spawnSync(`${bin}/pg_isready`, ['-h', dir, '-U', 'ek', '-d', 'postgres'], { stdio: 'ignore' }).status === 0,
  { timeout_ms: 60000, every_ms: 100 });
  return {
    name: 'PostgreSQL',
    url: `postgresql://ek@/postgres?host=${dir}`,
    stop: async () => {
      server.kill('SIGQUIT');
      await ended;
      fs.rmSync(dir, { recursive: true, force: true });
    },
  };
}

// ---- answers against their description -------------------------------------------------------------

let description;

function fits(schema, value, where) {
  if (schema.$ref) return fits(description.components.schemas[schema.$ref.split('/').at(-1)], value, where);
  for (const s of schema.allOf ?? []) fits(s, value, where);
  if (schema.anyOf) {
    const errors = schema.anyOf.map((s) => { try { fits(s, value, where); return null; } catch (e) { return e; } });
    assert.ok(errors.includes(null), `${where}: ${errors.map((e) => e?.message)}`);
  }
  const is = value === null ? 'null' : Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
  if (schema.type) assert.ok([schema.type].flat().includes(is), `${where} is ${is}, not ${schema.type}`);
  if (schema.enum) assert.ok(schema.enum.includes(value), `${where}: ${value}`);
  if (schema.pattern && is === 'string') assert.match(value, new RegExp(schema.pattern), where);
  if (schema.minimum !== undefined && is === 'integer') assert.ok(value >= schema.minimum, where);
  if (is === 'array') value.forEach((v, i) => fits(schema.items ?? {}, v, `${where}[${i}]`));
  if (is !== 'object') return;
  for (const name of schema.required ?? []) assert.ok(name in value, `${where} has no ${name}`);
  for (const [name, v] of Object.entries(value)) {
    const of = schema.properties?.[name];
    if (schema.additionalProperties === false) assert.ok(of, `${where}.${name} is not described`);
    if (of) fits(of, v, `${where}.${name}`);
  }
}

function described(method, pathname) {
  for (const [template, item] of Object.entries(description.paths)) {
    const like = new RegExp(`^${template.replaceAll(/\{\w+\}/g, '[^/]+')}$`);
    if (like.test(pathname) && item[method.toLowerCase()]) return item[method.toLowerCase()];
  }
  return null;
}

// ---- the office under test -------------------------------------------------------------------------

const file = (name, text) => {
  const at = path.join(tmp, name);
  fs.writeFileSync(at, text, { mode: 0o600 });
  return at;
};

class Office {
  constructor(db, upstream) {
    this.db = db;
    this.upstream = upstream;
    this.keyFile = path.join(tmp, `admin-${++counted}.key`);
    this.config = {
      access: { open_on_loopback: false },
      ledger: { url: db.url, secret: path.join(tmp, `secret-${counted}`), spool: path.join(tmp, `spool-${counted}`), lease: '2s' },
      admin: {
        key: this.keyFile,
        topup_hook: file(`topup-${counted}`, `${OLD_SECRET}\n${TOPUP_SECRET}\n`),
        stripe_hook: file(`stripe-${counted}`, `${STRIPE_SECRET}\n`),
      },
    };
  }
  async start() {
    this.config.admin.listen = '127.0.0.1:0'; // the system's choice: two free ports asked for may be one
    this.door = await startDoor({ upstream: this.upstream, config: this.config });
    this.port = Number(/admin API listens on 127\.0\.0\.1:(\d+)/.exec(this.door.err)[1]);
    this.key = fs.readFileSync(this.keyFile, 'utf8').trim();
    this.admin = `http://127.0.0.1:${this.port}/admin/v1`;
    if (!description) description = (await this.api('GET', '/openapi.json')).body;
    return this;
  }
  // Asks, checks the answer against the description, and gives { status, body, headers }.
  async api(method, at, body, headers = {}) {
    const r = await fetch(this.admin + at, {
      method,
      headers: { authorization: `Bearer ${this.key}`, ...headers },
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    });
    const text = await r.text();
    const lines = /ndjson/.test(r.headers.get('content-type'));
    const answer = { status: r.status, headers: r.headers, text, body: lines ? null : JSON.parse(text) };
    assert.match(r.headers.get('x-request-id'), /^[0-9a-f]{32}$/);
    const op = description && described(method, new URL(this.admin + at).pathname);
    if (op) {
      const response = op.responses[r.status] ?? description.components.responses.Error;
      if (!lines) fits(response.content['application/json'].schema, answer.body, `${method} ${at}`);
    }
    return answer;
  }
  async ok(method, at, body, headers) {
    const r = await this.api(method, at, body, headers);
    assert.ok(r.status < 300, `${method} ${at}: ${r.status} ${r.text}`);
    return r.body;
  }
  async exact() {
    const audit = await this.ok('GET', '/audit');
    assert.ok(audit.exact, audit.first_wrong);
    return audit;
  }
  async balance(name) {
    return (await this.ok('GET', `/accounts/${name}`)).balance.total;
  }
  async post(at, body, headers = {}) {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const r = await fetch(this.door.url + at, {
      method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: text,
    });
    return { status: r.status, body: await r.json(), headers: r.headers };
  }
  ask(key) {
    return this.post('/v1/chat/completions', { messages: [{ role: 'user', content: 'hello' }] },
      { authorization: `Bearer ${key}` });
  }
}

const sign = (secret, body, t = Math.floor(Date.now() / 1000)) =>
  `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`;

const code = (r) => r.body.error?.code;

// ---- scenarios -------------------------------------------------------------------------------------

async function administering(o) {
  const r = await fetch(`${o.admin}/accounts`);
  assert.equal(r.status, 401);
  assert.equal(r.headers.get('www-authenticate'), 'Bearer');
  assert.equal((await o.api('GET', '/accounts', undefined, { authorization: `Bearer ${o.key}x` })).status, 401);
  assert.equal((await o.api('GET', '/accounts', undefined, { authorization: 'Basic Zm9vOmJhcg==' })).status, 401);
  assert.equal(fs.statSync(o.keyFile).mode & 0o777, 0o600);

  await o.ok('POST', '/accounts', { name: 'ann', topup: '5', limits: { running: 4, models: ['*'] } });
  const made = await o.ok('POST', '/accounts/ann/keys', { name: 'laptop' });
  assert.equal((await o.ask(made.key)).status, 200, 'a key that is shown works');
  await waitFor('usage', async () => (await o.ok('GET', '/usage?by=day,account,model,key')).rows.length === 1);
  const { rows: [row] } = await o.ok('GET', '/usage?by=day,account,model,key&account=ann');
  assert.equal(row.account, 'ann');
  assert.equal(row.key_name, 'laptop');
  assert.equal(row.key, made.id);
  assert.ok(row.requests >= 1 && row.output_tokens > 0);
  const live = await o.ok('GET', '/accounts/ann/live');
  assert.ok(live.door, 'this door holds money of ann');
  assert.equal(live.limits.running, 4);
  assert.equal(live.left.running, 4);
  assert.equal(live.left.minute_tokens, null);
  const board = await o.ok('GET', '/upstreams');
  assert.equal(board.upstreams.length, 1);
  assert.equal(board.upstreams[0].up, true);
  assert.equal(board.upstreams[0].breaker, 'closed');
  assert.equal(board.upstreams[0].borrowed, null);
  assert.ok(board.upstreams[0].requests.done >= 0 && board.currency);

  const fresh = await o.ok('POST', `/accounts/ann/keys/${made.id}/rotate`, { overlap_s: 3600 });
  assert.equal((await o.ask(fresh.key)).status, 200);
  assert.equal((await o.ask(made.key)).status, 200); // both, for an hour
  await o.ok('DELETE', `/accounts/ann/keys/${made.id}`);
  assert.equal((await o.ask(made.key)).status, 401);
  await o.ok('PATCH', '/accounts/ann', { state: 'suspended' });
  assert.equal((await o.ask(fresh.key)).status, 403);
  await o.ok('PATCH', '/accounts/ann', { state: 'active' });
  assert.equal((await o.ask(fresh.key)).status, 200);
  const tier = await o.api('PATCH', '/accounts/ann', { tier: 'gold' });
  assert.equal(tier.status, 400);
  assert.match(tier.body.error.message, /no tier 'gold'; it has: default/);

  await Promise.all(Array.from({ length: 24 }, async (_, i) => { // beside each other, and each at once
    const { key, id } = await o.ok('POST', '/accounts/ann/keys', { name: `k${i}` });
    const balance = () => fetch(`${o.door.url}/user/balance`, { headers: { authorization: `Bearer ${key}` } });
    assert.equal((await balance()).status, 200);
    if (i % 3) return;
    await o.ok('DELETE', `/accounts/ann/keys/${id}`);
    assert.equal((await balance()).status, 401);
  }));

  const acts = (await o.ok('GET', '/acts?account=ann')).acts;
  assert.deepEqual(acts.map((a) => a.what.split(' ').slice(0, 2).join(' ')).reverse().slice(0, 6),
    ['account add', 'key add', 'key rotate', 'key revoke', 'account change', 'account change']);
  assert.ok(acts.every((a) => a.who === 'admin API, 127.0.0.1'));
}

async function idempotence(o) {
  await o.ok('POST', '/accounts', { name: 'bob' });
  const pay = (amount = '1') => o.api('POST', '/accounts/bob/topups', { amount }, { 'idempotency-key': 'invoice 7' });
  const all = await Promise.all(Array.from({ length: 20 }, () => pay()));
  assert.ok(all.every((r) => r.status === 201), all.map((r) => r.text).join());
  assert.equal(new Set(all.map((r) => r.text)).size, 1);
  assert.equal(all.filter((r) => !r.headers.get('idempotency-replayed')).length, 1);
  assert.equal(code(await pay('2')), 'idempotency_key_reused');
  assert.equal(await o.balance('bob'), '1');
  const different = await Promise.all(Array.from({ length: 30 }, (_, i) =>
    o.api('POST', '/accounts/bob/topups', { amount: '0.000000001' }, { 'idempotency-key': `n${i}` })));
  assert.ok(different.every((r) => r.status === 201));
  assert.equal(await o.balance('bob'), '1.00000003');
}

async function redeeming(o) {
  const invitation = await o.ok('POST', '/codes', { kind: 'invitation', tier: 'default', gift: '0.5', uses: 1 });
  const stolen = await o.post('/v1/redeem', { code: invitation.code, name: 'oidc:alice' });
  assert.equal(code(stolen), 'invalid_value', 'names of an identity provider are not for the taking');
  const joined = await o.post('/v1/redeem', { code: invitation.code, name: 'dan' });
  assert.equal(joined.status, 201);
  assert.equal(joined.body.gift, '0.5');
  assert.equal((await o.ask(joined.body.key)).status, 200);
  const voucher = await o.ok('POST', '/codes', { kind: 'voucher', amount: '3', uses: 9 });
  const bearer = { authorization: `Bearer ${joined.body.key}` };
  const before = Number(await o.balance('dan'));
  assert.equal((await o.post('/v1/redeem', { code: voucher.code }, bearer)).status, 201);
  assert.equal(code(await o.post('/v1/redeem', { code: voucher.code }, bearer)), 'code_used');
  assert.ok(Math.abs(Number(await o.balance('dan')) - before - 3) < 0.01);
  assert.equal(code(await o.post('/v1/redeem', { code: voucher.code }, { authorization: 'Bearer sk-nobody' })), 'invalid_api_key');
  assert.equal((await fetch(`${o.door.url}/v1/redeem`)).status, 405);

  // Unknown, used up, of the other kind, malformed: one answer, at a beat of its own.
  const signed = await o.ok('POST', '/invitations', { tier: 'default', gift: '1', expires: 4000000000 });
  const refused = await Promise.all([
    invitation.code, voucher.code, 'ek-invite-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', signed.code.slice(0, -3) + 'AAA',
  ].map(async (c) => {
    const t = performance.now();
    const r = await o.post('/v1/redeem', { code: c, name: 'eve' });
    return { r, ms: performance.now() - t };
  }));
  assert.equal(new Set(refused.map(({ r }) => r.body.error.message)).size, 1);
  assert.ok(refused.every(({ r, ms }) => r.status === 404 && ms >= 245), JSON.stringify(refused.map(({ ms }) => ms)));
  assert.equal(code(await o.post('/v1/redeem', { code: signed.code })), 'missing_parameter');
  // Ten tries a minute from one address: those above were seven or more of the minute.
  const tries = await Promise.all(Array.from({ length: 12 }, () => o.post('/v1/redeem', { code: 'x', name: 'eve' })));
  const held = tries.filter((r) => r.status === 429);
  assert.ok(held.length >= 2 && held.every((r) => code(r) === 'rate_codes'));
  const wait = Number(held[0].headers.get('retry-after'));
  assert.ok(wait >= 1 && wait <= 61, String(wait));
}

async function hooks(o) {
  await o.ok('POST', '/accounts', { name: 'cleo/1' });
  const stripe = new Stripe('sk_test_x');
  const event = (id, session = {}, type = 'checkout.session.completed') => JSON.stringify({
    id, object: 'event', type, created: 1, livemode: false,
    data: { object: { id: 'cs_test_1', object: 'checkout.session', amount_total: 1250, currency: 'usd',
      client_reference_id: 'cleo/1', payment_status: 'paid', metadata: {}, ...session } },
  });
  const send = (payload, options = {}) => o.post('/hooks/stripe', payload, {
    'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret: STRIPE_SECRET, ...options }),
  });
  const cleo = () => o.balance('cleo%2F1');
  const first = await send(event('evt_1'));
  assert.equal(first.status, 201, JSON.stringify(first.body));
  assert.equal(await cleo(), '12.5');
  const again = await Promise.all(Array.from({ length: 10 }, (_, i) => send(event(`evt_${i % 3}`))));
  assert.ok(again.every((r) => r.status === 201 && r.headers.get('idempotency-replayed') === 'true'));
  assert.equal(await cleo(), '12.5');
  assert.equal((await send(event('evt_2', {}, 'checkout.session.async_payment_succeeded'))).status, 201); // the same session
  assert.deepEqual((await send(event('evt_3', { id: 'cs_2', payment_status: 'unpaid' }))).body, { received: true, paid: false });
  assert.deepEqual((await send(event('evt_4', { id: 'cs_3' }, 'invoice.paid'))).body, { received: true, paid: false });
  assert.equal((await send(event('evt_5', { id: 'cs_4' }, 'checkout.session.async_payment_succeeded'))).status, 201);
  assert.equal(await cleo(), '25');
  assert.equal((await send(event('evt_6', { id: 'cs_5', client_reference_id: null, metadata: { account: 'cleo/1' } }))).status, 201);
  assert.equal(await cleo(), '37.5');
  assert.equal(code(await send(event('evt_7', { id: 'cs_6', currency: 'eur' }))), 'invalid_value');
  assert.match(o.door.err, /Stripe web hook paid nothing.*/, 'and the operator hears of it');
  assert.equal(code(await send(event('evt_8', { id: 'cs_7', client_reference_id: 'nobody' }))), 'not_found');
  assert.equal(code(await send(event('evt_9', { id: 'cs_8', client_reference_id: '../../export' }))), 'not_found');
  assert.equal(code(await send(event('evt_a', { id: 'cs_9', amount_total: -5 }))), 'invalid_value');
  assert.equal(code(await send(event('evt_b', { id: 'cs_1' }), { timestamp: 1492774577 })), 'stale_signature');
  assert.equal(code(await send(event('evt_c', { id: 'cs_b' }), { secret: 'whsec_of_somebody_else_altogether' })), 'bad_signature');
  const payload = event('evt_d', { id: 'cs_d' });
  const header = stripe.webhooks.generateTestHeaderString({ payload, secret: STRIPE_SECRET });
  assert.equal(code(await o.post('/hooks/stripe', payload.replace('1250', '9250'), { 'stripe-signature': header })), 'bad_signature');
  assert.equal(code(await o.post('/hooks/stripe', payload)), 'bad_signature');
  assert.equal(code(await o.post('/hooks/topup', payload, { 'evenkeel-signature': header })), 'bad_signature');

  const topup = (body, secret = TOPUP_SECRET) => {
    const text = JSON.stringify(body);
    return o.post('/hooks/topup', text, { 'evenkeel-signature': sign(secret, text) });
  };
  assert.equal((await topup({ id: 'pay-1', account: 'cleo/1', amount: '0.25', note: 'by hand' })).status, 201);
  assert.equal((await topup({ id: 'pay-1', account: 'cleo/1', amount: '0.25', note: 'by hand' }, OLD_SECRET)).status, 201);
  const other = await topup({ id: 'pay-1', account: 'cleo/1', amount: '0.26', note: 'by hand' });
  assert.equal(code(other), 'idempotency_key_reused');
  assert.equal(other.body.error.param, 'id');
  assert.match(other.body.error.message, /This 'id' came with another payment/);
  assert.equal(code(await topup({ id: 'pay-2', account: 'cleo/1', amount: '1', colour: 1 })), 'unknown_parameter');
  assert.equal(code(await topup({ account: 'cleo/1', amount: '1' })), 'missing_parameter');
  assert.equal(await cleo(), '37.75');
  assert.equal(await o.door.metric('evenkeel_office_paid_total'), 4);
}

async function rough(o) {
  assert.equal((await o.api('POST', '/accounts', `{"name":"${'x'.repeat(70000)}"}`)).status, 413);
  let pieces = 0; // a body that does not say how long it will be
  const stream = new ReadableStream({
    pull(c) {
      if (++pieces > 8) c.close();
      else c.enqueue(new TextEncoder().encode('x'.repeat(20000)));
    },
  });
  const r = await fetch(`${o.admin}/accounts`, {
    method: 'POST', headers: { authorization: `Bearer ${o.key}` }, body: stream, duplex: 'half',
  }).catch((e) => e);
  assert.ok(r instanceof Error || r.status === 413);
  for (const at of ['/../../etc/passwd', '/accounts/%2e%2e', '/accounts/%00', `/accounts/${'a'.repeat(2000)}`, '/accounts?limit=1e9'])
    assert.ok([400, 404].includes((await o.api('GET', at)).status), at);
  assert.equal((await o.api('PUT', '/accounts', {})).headers.get('allow'), 'GET, POST');
  const many = await Promise.all(Array.from({ length: 120 }, () => o.api('GET', '/accounts')));
  assert.ok(many.every((m) => m.status === 200 || code(m) === 'admin_busy'));
  assert.ok(many.some((m) => m.status === 200));
}

async function surviving(o) {
  await o.ok('POST', '/accounts', { name: 'fay' });
  for (let round = 0; round < 3; round++) {
    const sent = Array.from({ length: 20 }, (_, i) =>
      o.api('POST', '/accounts/fay/topups', { amount: '1' }, { 'idempotency-key': `r${round}-${i}` }).catch(() => null));
    await Promise.race(sent); // one is through, others are on their way
    o.door.killNow('SIGKILL');
    const known = (await Promise.all(sent)).filter((r) => r?.status === 201);
    await o.door.exited;
    await o.start();
    for (let i = 0; i < 20; i++) // what had no answer is asked again: the sum is as if nothing had happened
      await o.ok('POST', '/accounts/fay/topups', { amount: '1' }, { 'idempotency-key': `r${round}-${i}` });
    assert.ok(known.length <= 20);
    assert.equal(await o.balance('fay'), String(20 * (round + 1)));
  }
}

async function moving(o, db, upstream) {
  const lines = (await o.api('GET', '/export?limit=500')).text;
  assert.ok(lines.split('\n').length > 4);
  const other = new Office(db, upstream);
  other.config.ledger.secret = o.config.ledger.secret; // the hashes are worth something only under the same secret
  await other.start();
  const first = await other.ok('POST', '/import', lines);
  assert.deepEqual(first.refused, []);
  assert.equal(first.imported, lines.trimEnd().split('\n').length);
  const again = await other.ok('POST', '/import', lines);
  assert.deepEqual(again, { imported: 0, present: first.imported, refused: [] });
  assert.equal((await other.api('GET', '/export?limit=500')).text, lines);
  const made = await o.ok('POST', '/accounts/ann/keys', { name: 'left-behind' });
  assert.equal((await other.ask(made.key)).status, 401);
  await other.exact();
  return other;
}

// The command line over the API prints what it prints over the database (tests/live/books_cli.py has that).
function commanding(o) {
  const run = (args, { code: want = 0, input, key = o.key } = {}) => {
    const r = spawnSync(EVENKEEL, args, {
      input, encoding: 'utf8', env: { ...process.env, EVENKEEL_ADMIN: `http://127.0.0.1:${o.port}`, EVENKEEL_ADMIN_KEY: key },
    });
    assert.equal(r.status, want, `${args}: ${r.stdout}${r.stderr}`);
    return want ? r.stderr : r.stdout;
  };
  run(['account', 'add', 'gil/2', '--topup', '2', '--models', 'a b*', '--expires', '30d']);
  assert.match(run(['account', 'show', 'gil/2']), /balance 2 \(granted 0, topped up 2\)[^]*models: a b\*;/);
  run(['account', 'topup', 'gil/2', '0.5', '--name', 'inv 1']);
  assert.match(run(['account', 'topup', 'gil/2', '0.5', '--name', 'inv 1']), /paid before/);
  assert.match(run(['account', 'topup', 'gil/2', '0.6', '--name', 'inv 1'], { code: 1 }), /another payment/);
  assert.match(run(['account', 'limit', 'gil/2', '--tier', 'gold'], { code: 1 }), /no tier 'gold'; it has: default/);
  assert.match(run(['account', 'add', '..'], { code: 1 }), /name/);
  assert.match(run(['account', 'topup', 'gil/2'], { code: 64 }), /not how.*account topup. is used:\nevenkeel account topup NAME AMOUNT/);
  const key = run(['key', 'add', 'gil/2', 'laptop']).trim();
  assert.match(key, /^sk-ek-[\w-]{32}$/);
  const [, id] = /^(\d+) /.exec(run(['key', 'list', 'gil/2']));
  assert.notEqual(run(['key', 'rotate', 'gil/2', id, '--overlap', '1h']).trim(), key);
  run(['key', 'revoke', 'gil/2', id]);
  assert.match(run(['account', 'acts', 'gil/2']), /admin API, 127\.0\.0\.1: key revoke laptop/);
  assert.match(run(['account', 'audit']), /follows from its rows/);
  const lines = run(['account', 'export']);
  assert.match(run(['account', 'import'], { input: lines, code: 1 }), /here already, and not from this line/);
  assert.match(run(['account', 'show', 'gil/2'], { code: 1, key: `${o.key}x` }), /not known here/);
  assert.match(run(['account', 'show', 'nobody'], { code: 1 }), /no account/);
  assert.match(run(['account', 'show', 'x', '--admin', 'http://127.0.0.1:1'], { code: 1 }), /did not answer/);
}

function silent(o, secrets) {
  let shown = o.door.err + o.door.out + fs.readFileSync(`/proc/${o.door.pid}/cmdline`);
  try {
    shown += fs.readFileSync(`/proc/${o.door.pid}/environ`);
  } catch (e) {
    assert.equal(e.code, 'EACCES'); // the process keeps that to itself
  }
  for (const s of secrets) assert.ok(!shown.includes(s), 'a secret is to be seen');
}

for (const make of [sqlite, postgres]) {
  test(`people and money on ${make === sqlite ? 'SQLite' : 'PostgreSQL'}`, { skip: needDoor }, async (t) => {
    const db = await make();
    if (!db) return t.skip('no PostgreSQL server is installed here');
    const pacer = await startPacer(['--tokens', '5', '--rate', '1000']);
    const o = await new Office(db, pacer.url).start();
    await t.test('administering', () => administering(o));
    await t.test('the same payment twice is one', () => idempotence(o));
    await t.test('web hooks', () => hooks(o));
    await t.test('redeeming', () => redeeming(o));
    await t.test('what is sent by mistake or malice', () => rough(o));
    await t.test('the command line over the API', () => commanding(o));
    await t.test('kill -9 in the middle', () => surviving(o));
    await t.test('no secret is to be seen', () => silent(o, [o.key, TOPUP_SECRET, STRIPE_SECRET, randomBytes(4).toString('hex')]));
    if (make === sqlite) {
      await t.test('to another ledger', async () => {
        const other = await moving(o, sqlite(), pacer.url);
        await other.door.stop();
      });
    }
    await o.exact();
    await o.door.stop();
    await pacer.stop();
    await db.stop();
  });
}

test('the admin API is not for everybody by accident', { skip: needDoor }, async () => {
  const pacer = await startPacer(['--tokens', '5']);
  const o = new Office(sqlite(), pacer.url);
  o.config.admin.listen = '0.0.0.0:0';
  const door = await startDoor({ upstream: pacer.url, config: o.config, wait: false });
  assert.equal((await door.exited).code, 1);
  assert.match(door.err, /admin\.remote/);
  await pacer.stop();
});

test('a ledger that is no database is no ledger', { skip: needDoor }, async () => {
  const pacer = await startPacer(['--tokens', '5']);
  const text = path.join(tmp, 'not-books.conf');
  fs.writeFileSync(text, 'listen: 127.0.0.1:8080\n'.repeat(100));
  const door = await startDoor({ upstream: pacer.url, wait: false,
    config: { ledger: { url: text, secret: path.join(tmp, 'x.secret'), spool: path.join(tmp, 'x.spool') } } });
  assert.equal((await door.exited).code, 1);
  assert.match(door.err, /not-books\.conf is a file, but no database/);
  await pacer.stop();
});
