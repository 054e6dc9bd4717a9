// SPDX-License-Identifier: MIT
// s92: the books are in PostgreSQL, and PostgreSQL dies. Who has money on lease goes on being served, settlements go
// to the spool; past the lease 503 says so, and no key is called unknown that may be known. When the database is
// back everything that was answered is in it once. And a door that is stopped for longer than its lease: another has
// taken its money over, and what it had under way ends when it wakes.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { EVENKEEL, needDoor, startDoor, tmp, waitFor } from './lib.mjs';
import { ask, parseSse } from './client.mjs';

const bins = fs.existsSync('/usr/lib/postgresql') ? fs.readdirSync('/usr/lib/postgresql').map((v) => `/usr/lib/postgresql/${v}/bin`)
  .filter((b) => fs.existsSync(`${b}/initdb`)) : [];
const skip = needDoor || (bins.length ? false : 'no PostgreSQL server is installed here');

// The server refuses to be root: then it is "nobody".
class Postgres {
  constructor() {
    this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ek-pg-'));
    this.as = process.getuid() === 0 ? { uid: Number(execFileSync('id', ['-u', 'nobody'])), gid: Number(execFileSync('id', ['-g', 'nobody'])) } : {};
    if (this.as.uid) { fs.chownSync(this.dir, this.as.uid, this.as.gid); fs.chmodSync(this.dir, 0o700); }
    this.url = `postgresql://ek@/postgres?host=${this.dir}`;
    const made = spawnSync(`${bins.at(-1)}/initdb`, ['-D', path.join(this.dir, 'data'), '-U', 'ek', '-A', 'trust', '-N'], { ...this.as, cwd: this.dir, encoding: 'utf8' });
    assert.equal(made.status, 0, made.stderr);
  }
  async up() {
    this.server = spawn(`${bins.at(-1)}/postgres`, ['-D', path.join(this.dir, 'data'), '-k', this.dir, '-c', 'listen_addresses=', '-c', 'shared_buffers=16MB'],
      { ...this.as, cwd: this.dir, stdio: 'ignore' });
    await waitFor('PostgreSQL', () => spawnSync(`${bins.at(-1)}/pg_isready`, ['-h', this.dir, '-q']).status === 0);
  }
  async kill() { // with its children: one that lives on for a moment may still commit
    const children = fs.readFileSync(`/proc/${this.server.pid}/task/${this.server.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    const dead = new Promise((ok) => this.server.on('exit', ok));
    this.server.kill('SIGKILL');
    for (const c of children) { try { process.kill(Number(c), 'SIGKILL'); } catch { /* gone */ } }
    await dead;
  }
  async close() {
    if (this.server.exitCode === null && this.server.signalCode === null) await this.kill();
    fs.rmSync(this.dir, { recursive: true, force: true });
  }
}

let made = 0;
class Bank {
  constructor(pg, units) {
    this.secret = path.join(tmp, `secret-${process.pid}-${++made}`);
    this.url = pg.url;
    this.run('account', 'add', 'acme', '--topup', units);
    this.key = this.run('key', 'add', 'acme', 'first').trim().split('\n').at(-1).trim();
    this.headers = { Authorization: `Bearer ${this.key}` };
  }
  run(...words) { return execFileSync(EVENKEEL, [...words, '--ledger', this.url, '--secret', this.secret], { encoding: 'utf8' }); }
  config(door, lease = '60s') {
    return { ledger: { url: this.url, secret: this.secret, spool: path.join(tmp, `spool-${process.pid}-${made}-${door}`), door, lease },
      prices: [{ model: '*', prompt: '0.001', cached: '0.001', output: '0.01' }] };
  }
  audit() {
    const text = this.run('account', 'audit');
    assert.match(text, /every account follows from its rows/);
    const nano = (t) => { const [a, b = ''] = t.split('.'); return BigInt(a) * 1000000000n + BigInt(b.padEnd(9, '0')); };
    return { settlements: Number(/(\d+) settlements/.exec(text)[1]), spent: nano(/spent ([\d.]+)/.exec(text)[1]), leased: nano(/leased ([\d.]+)/.exec(text)[1]), text };
  }
}

const body = (i, more = {}) => ({ model: 'faulty', stream: false, fault_tokens: 20, fault_think: 0,
  messages: [{ role: 'user', content: `question ${i}` }], ...more });
const costOf = (u) => BigInt(u.prompt_tokens) + 10n * BigInt(u.completion_tokens);
const upstream = (up) => [{ url: up.url, slots: 16, models: ['faulty'], dialect: 'openai' }];

test('the database dies and comes back', { skip }, async (t) => {
  const pg = new Postgres();
  await pg.up();
  const up = await startFaulty();
  t.after(async () => { await up.close(); await pg.close(); });
  const bank = new Bank(pg, '0.01');
  const door = await startDoor({ upstream: upstream(up), config: bank.config('a') });
  let answered = 0, spent = 0n;
  const one = async (i) => {
    const r = await ask(door, body(i), { headers: bank.headers });
    if (r.status === 200) {
      answered++;
      spent += costOf(JSON.parse(r.text).usage);
    }
    return r;
  };
  for (let i = 0; i < 5; i++) assert.equal((await one(i)).status, 200);
  await pg.kill();
  const first = await one(10); // its settlement finds the database gone, and goes to the spool
  assert.equal(first.status, 200, first.text);
  await door.waitMetric('evenkeel_ledger_up', (v) => v === 0);
  for (let i = 0; i < 5; i++) assert.equal((await one(20 + i)).status, 200); // within the lease
  assert.ok(await door.metric('evenkeel_ledger_spooled_total') >= 6);
  const balance = await fetch(`http://127.0.0.1:${door.port}/user/balance`, { headers: bank.headers });
  assert.equal(balance.status, 503);
  const many = await waitFor('the end of the lease', async () => { // sixteen at once want more than is leased
    const all = await Promise.all(Array.from({ length: 16 }, (_, i) => one(100 + i)));
    return all.some((r) => r.status === 503) && all;
  }, { timeout_ms: 120000 });
  assert.equal(JSON.parse(many.find((r) => r.status === 503).text).error.code, 'ledger_away');
  assert.ok(many.every((r) => r.status === 200 || r.status === 503));
  await pg.up();
  await door.waitMetric('evenkeel_ledger_up', (v) => v === 1);
  await waitFor('the next answer', async () => (await one(300)).status === 200);
  await door.stop();
  const a = bank.audit();
  assert.equal(a.settlements, answered);
  assert.equal(a.spent, spent);
  assert.equal(a.leased, 0n);
});

test('a door that starts while the database is away calls no key unknown', { skip }, async (t) => {
  const pg = new Postgres();
  await pg.up();
  const up = await startFaulty();
  t.after(async () => { await up.close(); await pg.close(); });
  const bank = new Bank(pg, '1');
  await pg.kill();
  const door = await startDoor({ upstream: upstream(up), config: bank.config('a') });
  const r = await ask(door, body(1), { headers: bank.headers });
  assert.equal(r.status, 503, r.text);
  assert.equal(JSON.parse(r.text).error.code, 'ledger_away');
  await pg.up();
  await waitFor('its key to be known', async () => (await ask(door, body(2), { headers: bank.headers })).status === 200);
  await door.stop();
  assert.equal(bank.audit().settlements, 1);
});

test('two doors, one of them frozen past its lease', { skip }, async (t) => {
  const pg = new Postgres();
  await pg.up();
  const up = await startFaulty();
  t.after(async () => { await up.close(); await pg.close(); });
  const bank = new Bank(pg, '0.00002'); // a lease of eight needs takes all of it
  const a = await startDoor({ upstream: upstream(up), config: bank.config('a', '2s') });
  const b = await startDoor({ upstream: upstream(up), config: bank.config('b', '2s') });
  let begun;
  const first = new Promise((ok) => { begun = ok; });
  const frozen = ask(a, body(1, { stream: true, fault: { kind: 'stall', at: 5 } }), { headers: bank.headers,
    onBytes: (d) => { if (d.toString().includes('"content"')) begun(); } });
  await first;
  a.killNow('SIGSTOP');
  // Not at once, for the money is on lease, and not for ever.
  const r = await ask(b, body(2), { headers: bank.headers });
  assert.equal(r.status, 200, r.text);
  a.killNow('SIGCONT');
  const end = await frozen;
  assert.match(end.text, /"code":"lease_lost"/);
  assert.ok(end.text.includes('[DONE]'));
  await a.stop();
  await b.stop();
  const books = bank.audit();
  assert.equal(books.settlements, 2);
  assert.equal(books.leased, 0n);
  assert.doesNotMatch(books.text, /free -/);
});
