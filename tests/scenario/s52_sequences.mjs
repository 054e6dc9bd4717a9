// SPDX-License-Identifier: MIT
// s52: orders of events that once ended the door, or an answer: a retry in the turn of its first attempt, work for
// later that waits for money, a model that moves at a reload, leases that are given back, lost, or outlived by a
// place of before a restart. Each with the real binary; they run side by side, for most of them wait.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { startScripted } from '../tools/scripted.mjs';
import { SLOW, needDoor, startDoor, tmp, waitFor, within } from './lib.mjs';
import { Bank, prices } from './bank.mjs';
import { ask, post } from './client.mjs';

const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));
const gate = () => { const g = {}; g.shut = new Promise((ok) => { g.open = ok; }); return g; };
const question = (content, more = {}) => ({ model: 'faulty', stream: true, messages: [{ role: 'user', content }], ...more });
const one = (up, more = {}) => [{ name: 'u', url: up.url, slots: 4, models: ['faulty'], dialect: 'openai', ...more }];
const ek = (n, prompt) => ({ ek: { n, ids: [n], ...(prompt ? { prompt, cached: 0 } : {}) } });

async function stopped(door) {
  assert.equal(door.exit, undefined, door.err.slice(-800));
  await door.stop();
}

const tests = {
  async 'a retry in the same turn of the loop as its first attempt, with a journal'(t) {
    const up = await startScripted(async (say) => { say.role(); say.text('hi'); say.finish(); say.usage(3, 1); say.end(); });
    t.after(() => up.close());
    const door = await startDoor({ upstream: one(up), config: { journal: { dir: path.join(tmp, 's52-journal') } } });
    const body = JSON.stringify(question('same'));
    const text = (n) => `POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${body.length}\r\nX-Stainless-Retry-Count: ${n}\r\n\r\n${body}`;
    const sockets = await Promise.all([0, 1].map(() => new Promise((ok) => {
      const s = net.connect(door.port, '127.0.0.1', () => ok(s));
      s.got = '';
      s.on('error', () => {}).on('data', (d) => { s.got += d; });
      s.over = new Promise((closed) => s.on('close', closed));
    })));
    process.kill(door.pid, 'SIGSTOP'); // so that it reads both at once
    await Promise.all(sockets.map((s, n) => new Promise((ok) => s.write(text(n), ok))));
    process.kill(door.pid, 'SIGCONT');
    await within(20000, Promise.all(sockets.map((s) => s.over)), 'both answers');
    assert.match(sockets[1].got, /"content":"hi"/);
    assert.match(sockets[0].got, /superseded|"content":"hi"/);
    await stopped(door);
  },

  async 'work for later waits for money longer than a stream is silent'(t) {
    for (const mode of ['async', 'whole', 'stream', 'background']) {
      const held = gate();
      const up = await startScripted(async (say, body, nth) => {
        say.role();
        say.text('hi');
        if (nth === 1) await held.shut;
        say.finish();
        say.usage(3, 1);
        say.end();
      });
      t.after(() => up.close());
      const bank = new Bank('0.000008'); // one of them at a time
      const door = await startDoor({ upstream: one(up), config: bank.config({ waiting: { comment: '100ms', comment_min: '50ms' } }) });
      const { headers } = bank;
      const first = post(door, '/v1/chat/completions', question('one', { max_tokens: 500 }), { headers });
      await waitFor('the first', () => up.posts === 1);
      const second = mode === 'async'
        ? post(door, '/v1/chat/completions', question('two', { max_tokens: 500, stream: false }), { headers: { ...headers, Prefer: 'respond-async' } })
        : post(door, '/v1/responses', { model: 'faulty', input: 'two', max_output_tokens: 500, stream: mode === 'stream', background: mode === 'background' }, { headers });
      await door.waitMetric('evenkeel_ledger_waiting', (v) => v === 1);
      await sleep(300 * SLOW); // three silences
      held.open();
      assert.equal((await within(20000, first, 'the first')).end, 'end');
      const r = await within(20000, second, mode);
      assert.equal(r.status, mode === 'async' ? 202 : 200, r.text);
      assert.match(r.headers['content-type'], mode === 'stream' ? /event-stream/ : /json/);
      await stopped(door);
    }
  },

  async 'what has ended is not recalled from a lender whose budget is spent'(t) {
    const held = gate(), over = gate();
    const own = await startScripted(async (say, body, nth) => {
      say.role();
      say.text(nth <= 2 ? 'b' : ' MORE');
      if (nth <= 2) await held.shut;
      say.finish();
      say.usage(3, 1);
      say.end();
    });
    const lender = await startScripted(async (say, body) => {
      const second = body.messages[0].content === 'two';
      say.role();
      if (second) await over.shut;
      for (let i = 0; i < 64; i++) say.text(` t${i}`);
      await waitFor('both', () => lender.posts >= 2);
      await sleep(200);
      if (!second) {
        say.text(' t64'); // beyond what was lent
        over.open();
        await say.closed;
        return;
      }
      say.event({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'faulty',
        choices: [{ index: 0, delta: { content: ' LAST' }, finish_reason: 'stop' }] });
      await sleep(500);
      say.usage(3, 65);
      say.end();
    });
    t.after(() => [own, lender].forEach((u) => u.close()));
    const door = await startDoor({ upstream: [
      { name: 'lender', url: lender.url, slots: 4, models: ['faulty'], dialect: 'vllm', borrowed: true, budget_day: '0.0000015', price: 'lent' },
      { name: 'own', url: own.url, slots: 1, models: ['faulty'], dialect: 'vllm' }],
      config: { prices: ['*', 'lent'].map((model) => ({ model, prompt: '0', cached: '0', output: '0.01' })),
        tiers: [{ name: 'default', overflow_after: '1ms' }] } });
    const stop = new AbortController();
    const say = (content) => ask(door, question(content, { max_tokens: 64 }), content === 'one' ? { signal: stop.signal } : {});
    const busy = [say('x'), say('y')];
    await waitFor('our own to be full', () => own.posts === 2);
    const first = say('one').catch(() => null);
    await waitFor('the first to be lent', () => lender.posts === 1);
    const second = say('two');
    await waitFor('the second to be lent', () => lender.posts === 2);
    await over.shut;
    const r = await within(30000, second, 'the second');
    held.open();
    assert.equal(r.digest.complete, true, r.text);
    assert.equal((r.text.match(/"finish_reason":"/g) ?? []).length, 1);
    assert.match(r.digest.text, / LAST$/);
    stop.abort();
    await Promise.all([...busy, first]);
    await stopped(door);
  },

  async 'who is sent back by a lender keeps the deadline'(t) {
    const held = gate();
    const own = await startScripted(async (say) => { say.role(); say.text('a'); await held.shut; say.finish(); say.usage(3, 1); say.end(); });
    let lent = 0;
    const lender = http.createServer((req, res) => {
      req.resume().on('end', () => {
        const get = req.method === 'GET';
        lent += !get;
        res.writeHead(!get ? 429 : /models/.test(req.url) ? 200 : 404, { 'Content-Type': 'application/json', 'Retry-After': '600' });
        res.end(get ? '{"object":"list","data":[{"id":"faulty","object":"model"}]}' : '{"error":{"message":"full"}}');
      });
    });
    await new Promise((ok) => lender.listen(0, '127.0.0.1', ok));
    t.after(() => { own.close(); lender.close(); lender.closeAllConnections(); });
    const door = await startDoor({ upstream: [
      { name: 'own', url: own.url, slots: 1, models: ['faulty'], dialect: 'vllm' },
      { name: 'lender', url: `http://127.0.0.1:${lender.address().port}`, slots: 4, models: ['faulty'], dialect: 'vllm', borrowed: true, price: 'lent', budget_day: '1000' }],
      config: { prices: ['*', 'lent'].map((model) => ({ model, prompt: '0', cached: '0', output: '0.01' })),
        tiers: [{ name: 'default', overflow_after: '1ms' }] } });
    const say = (content, headers) => ask(door, question(content, { max_tokens: 20 }), { headers });
    const busy = [say('x'), say('y')];
    await waitFor('our own to be full', () => own.posts === 2);
    const r = await within(20000, say('z', { 'X-Deadline-Ms': `${1500 * SLOW}` }), 'the refusal');
    assert.equal(r.digest.error?.code, 'deadline', r.text);
    assert.equal(lent, 1);
    held.open();
    await Promise.all(busy);
    await stopped(door);
  },

  async 'a whole response whose beginning has left the window is refused'(t) {
    const N = 30000;
    const up = await startScripted(async (say) => {
      for (let i = 0; i < N; i++) {
        say.text(`[${i}] `);
        if (i % 200 === 0) await new Promise((ok) => setImmediate(ok));
      }
      say.finish();
      say.usage(3, N);
      say.end();
    });
    t.after(() => up.close());
    const door = await startDoor({ upstream: one(up), config: { streams: { window: '64KiB' } } });
    const r = await within(60000, post(door, '/v1/responses', { model: 'faulty', input: 't' }), 'the response');
    assert.equal(JSON.parse(r.text).error?.code, 'stream_window', r.text.slice(0, 300));
    const later = await fetch(`${door.url}/v1/responses/resp_${r.headers['x-request-id']}`);
    assert.notEqual(later.status, 200);
    await stopped(door);
  },

  async 'a reload takes a model from one upstream: who waits goes to the other'(t) {
    const gates = [gate(), gate()];
    const ups = await Promise.all(gates.map((g) => startScripted(async (say, body, nth) => {
      say.role();
      say.text('hi');
      if (nth <= 2) await g.shut; // a slot, and one that our door sends ahead
      say.finish();
      say.usage(3, 1);
      say.end();
    })));
    t.after(() => ups.forEach((u) => u.close()));
    const upstream = (models) => ups.map((u, i) => ({ name: 'ab'[i], url: u.url, slots: 1, models: i ? ['faulty'] : models, dialect: 'openai' }));
    const door = await startDoor({ upstream: upstream(['faulty', 'other']) });
    const busy = [0, 1, 2, 3].map((i) => post(door, '/v1/chat/completions', question(`busy ${i}`)));
    await waitFor('both to be full', () => ups.every((u) => u.posts === 2));
    const waiters = [0, 1, 2].map((i) => ask(door, question(`waiter ${i}`)));
    await door.waitMetric('evenkeel_waiting', (v) => v === 3);
    const text = fs.readFileSync(door.configPath, 'utf8');
    assert.ok(text.includes('["faulty", "other"]'));
    fs.writeFileSync(door.configPath, text.replace('["faulty", "other"]', '["other"]'));
    process.kill(door.pid, 'SIGHUP');
    await waitFor('the reload', () => door.err.includes('was read again and is in force'));
    gates[0].open();
    await sleep(300);
    gates[1].open();
    for (const r of await within(30000, Promise.all(waiters), 'the waiters')) assert.equal(r.digest.complete, true, r.text);
    await Promise.all(busy);
    assert.equal(ups[1].posts, 5, 'all of them at the second');
    await stopped(door);
  },

  async 'an engine says its prompt with each chunk while money is short'(t) {
    const up = await startScripted(async (say, body) => {
      say.role();
      say.text('x', 0, ek(1, 3));
      if (body.messages[0].content === 'two') {
        await waitFor('the other', () => up.posts >= 2);
        const chunk = (n) => ({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'faulty',
          choices: [{ index: 0, delta: { content: 'y' }, finish_reason: null }], ...ek(n, 3) });
        const all = Array.from({ length: 3000 }, (_, i) => `data: ${JSON.stringify(chunk(i + 2))}\n\n`); // in one piece
        say.event(all.join('').slice('data: '.length, -2));
      }
      await say.closed;
    }, { ours: true });
    t.after(() => up.close());
    const bank = new Bank('0.00002');
    const door = await startDoor({ upstream: [{ name: 'u', url: up.url, slots: 4, dialect: 'evenkeel' }], config: bank.config() });
    const stop = new AbortController(), { headers } = bank;
    const first = post(door, '/v1/chat/completions', question('one', { max_tokens: 600 }), { headers, signal: stop.signal }).catch(() => null);
    await waitFor('the first', () => up.posts === 1);
    const second = ask(door, question('two', { max_tokens: 600 }), { headers });
    await sleep(500);
    stop.abort();
    await first;
    assert.match((await within(30000, second, 'the second')).text, /balance_end/);
    await stopped(door);
    bank.audit();
  },

  async 'more at once than was reserved is paid on, where there is money'(t) {
    const up = await startScripted(async (say, body) => {
      say.role();
      say.text('a', 0, ek(1, 10));
      let n = body.messages[0].content === 'long' ? 1 : 4;
      for (let i = 0; i < 10 && n !== 4; i++) say.text(' many words', 0, ek(n += 150));
      say.finish(0, ek(n + 1));
      say.usage(10, n + 1);
      say.end();
    }, { ours: true });
    t.after(() => up.close());
    const bank = new Bank('100'), { headers } = bank;
    const door = await startDoor({ upstream: [{ name: 'u', url: up.url, slots: 4, dialect: 'evenkeel' }], config: bank.config() });
    for (let i = 0; i < 60; i++) await ask(door, question(`short ${i}`), { headers }); // what an answer usually needs
    const r = await within(20000, ask(door, question('long'), { headers }), 'the long one');
    assert.equal(r.digest.finish, 'stop', r.text.slice(-300));
    await stopped(door);
    bank.audit();
  },

  async 'free work comes while the account gives its lease back'(t) {
    const up = await startFaulty();
    t.after(() => up.close());
    const bank = new Bank('10'), { headers } = bank;
    const free = { model: 'free', prompt: '0', cached: '0', output: '0' };
    const door = await startDoor({ upstream: one(up, { models: ['faulty', 'free'] }), config: bank.config({ prices: [...prices, free] }) });
    assert.equal((await ask(door, question('1'), { headers })).status, 200);
    await sleep(4300); // it is at rest for five seconds before it gives anything back
    const holder = spawn('python3', ['-c', `import sqlite3, sys, time\nc = sqlite3.connect(sys.argv[1], isolation_level=None)\n` +
      `c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(1.9); c.execute('COMMIT')`, bank.file], { stdio: 'pipe' });
    await new Promise((ok) => holder.stdout.on('data', ok));
    await sleep(1400);
    const r = await ask(door, question('2', { model: 'free', fault: { kind: 'trickle', ms: 50 } }), { headers });
    assert.equal(r.digest.complete, true, r.text);
    await sleep(1000);
    await stopped(door);
  },

  async 'a lease is lost, and free work of the account waits in line'(t) {
    const up = await startFaulty();
    t.after(() => up.close());
    const bank = new Bank('0.00001'), free = { model: 'free', prompt: '0', cached: '0', output: '0' };
    const bob = { Authorization: `Bearer ${bank.add('bob', '10')}` };
    const start = (door) => startDoor({ upstream: one(up, { slots: 1, models: ['faulty', 'free'] }),
      config: bank.config({ prices: [...prices, free], ledger: { url: bank.file, door, lease: '3s', spool: `${bank.file}.${door}` } }) });
    const a = await start('a'), b = await start('b'), stop = new AbortController(), { headers } = bank;
    const busy = [0, 1].map((i) => ask(a, question(`${i}`, { fault: 'stall' }), { headers: bob, signal: stop.signal }).catch(() => null));
    await waitFor('the slots to be taken', () => up.state.open === 2);
    const paid = ask(a, question('paid'), { headers });
    await a.waitMetric('evenkeel_waiting', (v) => v === 1);
    const gratis = ask(a, question('free', { model: 'free' }), { headers });
    await a.waitMetric('evenkeel_waiting', (v) => v === 2);
    process.kill(a.pid, 'SIGSTOP');
    await sleep(4500); // longer than the lease
    await ask(b, question('at the other'), { headers });
    process.kill(a.pid, 'SIGCONT');
    await waitFor('the loss to be heard of', () => a.err.includes('a lease was lost'));
    stop.abort();
    await Promise.all(busy);
    assert.equal((await within(30000, gratis, 'the free one')).digest.complete, true);
    await within(30000, paid, 'the paid one');
    await stopped(a);
    await stopped(b);
    bank.audit();
  },

  async 'an account is not forgotten while a place of before the restart is its own'(t) {
    const up = await startFaulty();
    t.after(() => up.close());
    const bank = new Bank('10'), { headers } = bank;
    const bob = { Authorization: `Bearer ${bank.add('bob', '10')}` };
    const options = { upstream: one(up, { slots: 1 }), config: bank.config({ journal: { dir: path.join(tmp, 's52-places') },
      waiting: { gather: '1s', comment: '1s' }, tiers: [{ name: 'default', return_grace: `${30 * SLOW}s` }] }) };
    const door = await startDoor(options);
    const busy = [0, 1].map((i) => ask(door, question(`${i}`, { fault: 'stall' }), { headers: bob }).catch(() => null));
    await waitFor('the slots to be taken', () => up.state.open === 2);
    const queue = async (content) => {
      let text = '', heard;
      const ticket = new Promise((ok) => { heard = ok; });
      const end = ask(door, question(content), { headers, onBytes: (d) => {
        text += d;
        const m = /"ticket":"([^"]+)"/.exec(text);
        if (m) heard(m[1]);
      } }).catch(() => null);
      return { end, ticket: await within(20000, ticket, 'a ticket') };
    };
    const a = await queue('a'), b = await queue('b');
    await sleep(700); // both are on the disk
    door.killNow('SIGKILL');
    await Promise.all([a.end, b.end, ...busy]);
    up.reset();
    const again = await startDoor(options);
    const back = (who) => within(30000, ask(again, '', { headers: { ...headers, 'X-Queue-Ticket': who.ticket } }), 'one that is back');
    assert.equal((await back(a)).digest.complete, true);
    await sleep(7500); // an account at rest is given back after five seconds
    assert.equal((await back(b)).digest.complete, true);
    await stopped(again);
    bank.audit();
  },

  async 'an invitation cannot take what belongs to a static account of that name'(t) {
    const up = await startFaulty();
    t.after(() => up.close());
    const bank = new Bank('1');
    const code = /ek-invite\S+/.exec(bank.run('account', 'invite', '--grant', '1'))[0];
    const door = await startDoor({ upstream: one(up), config: bank.config({ keys: [{ name: 'main', key: 'sk-static-team-0123456789', account: 'team' }] }) });
    const made = await (await fetch(`${door.url}/v1/redeem`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ code, name: 'team' }) })).json();
    assert.ok(made.key, JSON.stringify(made));
    const team = { Authorization: 'Bearer sk-static-team-0123456789' }, stranger = { Authorization: `Bearer ${made.key}` };
    const id = (await ask(door, question('of the team'), { headers: team })).headers['x-request-id'];
    assert.equal((await fetch(`${door.url}/v1/requests/${id}`, { headers: team })).status, 200);
    for (const [method, page] of [['GET', 'requests'], ['GET', 'streams'], ['DELETE', 'streams']])
      assert.equal((await fetch(`${door.url}/v1/${page}/${id}`, { method, headers: stranger })).status, 404, `${method} ${page}`);
    await stopped(door);
  },
};

test('sequences', { skip: needDoor, concurrency: 4 }, async (t) => {
  await Promise.all(Object.entries(tests).map(([name, run]) => t.test(name, run)));
});
