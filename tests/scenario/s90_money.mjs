// SPDX-License-Identifier: MIT
// s90: money, with the real binary, SQLite and a key as people make it. The balance is exact after streams, whole
// answers, disconnects, upstreams that break and a door that is killed; a thousand requests at once on an account
// that can pay for a hundred spend what there is and not more; who is refused was refused for a reason.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { startFaulty } from '../tools/faulty.mjs';
import { startScripted } from '../tools/scripted.mjs';
import { MODEL, needDoor, needEngine, rng, startDoor, waitFor } from './lib.mjs';
import { Bank, prices } from './bank.mjs';
import { ask, parseSse, post } from './client.mjs';

const body = (i, more = {}) => ({ model: 'faulty', stream: true, fault_tokens: 20, fault_think: 0,
  messages: [{ role: 'user', content: `question ${i}` }], ...more });
const costOf = (u) => BigInt(u.prompt_tokens) + 10n * BigInt(u.completion_tokens);
const usageOf = (r) => parseSse(r.text).events.map((e) => { try { return JSON.parse(e.data); } catch { return {}; } })
  .map((c) => c.usage).filter(Boolean).at(-1);
const upstream = (up, slots = 16) => [{ url: up.url, slots, models: ['faulty'], dialect: 'openai' }];

test('streams, whole answers, disconnects, broken upstreams', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  const bank = new Bank('10');
  const door = await startDoor({ upstream: upstream(up), config: bank.config() });
  const { pick, int } = rng();
  let whole = 0n, answered = 0, left = 0;
  for (let round = 0; round < 6; round++) {
    await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      const kind = pick(['stream', 'stream', 'whole', 'response', 'leave', 'break']);
      const more = { stream_options: { include_usage: true } };
      if (kind === 'whole') Object.assign(more, { stream: false, stream_options: undefined });
      if (kind === 'leave') Object.assign(more, { fault: { kind: 'stall', at: 1 + int(10) } });
      if (kind === 'break') Object.assign(more, { fault: 'reset-before-head' });
      if (kind === 'response') { // the Responses API has its own names for the same
        const { usage } = JSON.parse((await post(door, '/v1/responses',
          { model: 'faulty', input: `case ${i}`, max_output_tokens: 64 }, { headers: bank.headers })).text);
        const cost = costOf({ prompt_tokens: usage.input_tokens, completion_tokens: usage.output_tokens });
        assert.equal(BigInt(Math.round(usage.cost * 1e9)), cost);
        whole += cost;
        answered++;
        return;
      }
      const stop = new AbortController();
      const r = await ask(door, body(round * 100 + i, more), { headers: bank.headers, signal: stop.signal,
        onBytes: (d) => { if (kind === 'leave' && d.toString().includes('"content"')) stop.abort(); } }).catch((e) => ({ gone: e }));
      if (kind === 'leave') { left++; return; }
      if (kind === 'break') { // one that had to wait between its attempts has its status already
        assert.ok(r.status === 502 || (r.status === 200 && /"code":"upstream_/.test(r.text)), `${r.status} ${r.text}`);
        return;
      }
      assert.equal(r.status, 200, r.text);
      const usage = kind === 'whole' ? JSON.parse(r.text).usage : usageOf(r);
      assert.equal(BigInt(Math.round(usage.cost * 1e9)), costOf(usage));
      if (kind === 'whole') assert.equal(Number(r.headers['x-cost']), usage.cost);
      whole += costOf(usage);
      answered++;
    }));
  }
  await door.stop();
  const a = bank.audit();
  assert.equal(a.leased, 0n);
  assert.ok(a.settlements >= answered && a.settlements <= answered + left, `${a.settlements} of ${answered} and ${left}`);
  const partial = a.spent - whole;
  assert.ok(partial >= 0n && partial <= BigInt(left) * 400n, `${partial} for ${left} who left`);
});

test('a key is revoked, an empty account is told who must pay', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  const bank = new Bank(null);
  const door = await startDoor({ upstream: upstream(up), config: bank.config({ ledger: { url: bank.file, door: 'a', top_up: 'see pay.example' } }) });
  const broke = await ask(door, body(1, { stream: false }), { headers: bank.headers });
  assert.equal(broke.status, 402);
  assert.match(JSON.parse(broke.text).error.message, /Insufficient Balance.*'acme'.*pay\.example/);
  bank.run('account', 'topup', 'acme', '1');
  const good = await waitFor('the money', async () => {
    const r = await ask(door, body(2, { stream: false }), { headers: bank.headers });
    return r.status === 200 && r;
  });
  assert.ok(JSON.parse(good.text).usage.cost > 0);
  const key = /(\S+)\s+first/.exec(bank.run('key', 'list', 'acme'))?.[1] ?? 'first';
  bank.run('key', 'revoke', 'acme', key);
  let before = 1;
  await waitFor('the revocation', async () => {
    const r = await ask(door, body(3, { stream: false }), { headers: bank.headers });
    before += r.status === 200;
    return r.status === 401;
  });
  await door.stop();
  assert.equal(bank.audit().settlements, before);
});

test('kill -9: what was answered is charged once, leases come back', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  const bank = new Bank('10');
  let answered = 0, spent = 0n;
  for (let life = 0; life < 3; life++) {
    const door = await startDoor({ upstream: upstream(up), config: bank.config() });
    const flow = Array.from({ length: 16 }, async (_, i) => {
      for (let k = 0; k < 40; k++) {
        const r = await ask(door, body(life * 1000 + i * 50 + k, { stream_options: { include_usage: true } }), { headers: bank.headers }).catch(() => null);
        if (!r || !r.text?.includes('[DONE]')) return;
        answered++;
        spent += costOf(usageOf(r));
      }
    });
    const before = answered;
    await waitFor('some answers', () => answered >= before + 20 + life * 15);
    door.killNow();
    await Promise.all(flow);
  }
  const door = await startDoor({ upstream: upstream(up), config: bank.config() });
  const last = await ask(door, body(9, { stream: false }), { headers: bank.headers });
  assert.equal(last.status, 200, last.text);
  spent += costOf(JSON.parse(last.text).usage);
  answered++;
  await door.stop();
  const a = bank.audit();
  // Settled and killed before the end was sent: charged, and not heard of. At most those under way.
  assert.ok(a.settlements >= answered && a.settlements <= answered + 3 * 16, `${a.settlements} of ${answered}`);
  assert.ok(a.spent >= spent, `${a.spent} for ${spent}`);
  assert.equal(a.leased, 0n);
});

test('a thousand at once, money for a hundred', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  const price = costOf({ prompt_tokens: (await (async () => { // what one of them costs
    const bank = new Bank('1');
    const door = await startDoor({ upstream: upstream(up), config: bank.config() });
    const r = await ask(door, body(1, { stream: false }), { headers: bank.headers });
    await door.stop();
    return JSON.parse(r.text).usage;
  })()).prompt_tokens, completion_tokens: 20 });
  const units = (n) => `0.${String(n).padStart(9, '0')}`;
  const bank = new Bank(units(price * 100n));
  const door = await startDoor({ upstream: upstream(up, 32), config: bank.config({ queue: { waiting_max: 2000 } }) });
  const all = await Promise.all(Array.from({ length: 1000 }, (_, i) =>
    ask(door, body(1, { stream: i % 2 === 0, stream_options: i % 2 === 0 ? { include_usage: true } : undefined, user: `u${i}` }), { headers: bank.headers })));
  await door.stop();
  const a = bank.audit();
  const ok = (r) => (r.status === 200 && !r.text.includes('"error"') && !r.text.includes('balance_end'));
  const served = all.filter(ok).length, cut = all.filter((r) => r.text.includes('balance_end')).length;
  const refused = all.filter((r) => r.status === 402 || r.text.includes('insufficient_balance')).length;
  assert.equal(served + cut + refused, 1000, `${served} served, ${cut} cut, ${refused} refused`);
  assert.ok(served <= 100, `${served} served`);
  assert.ok(!a.free.startsWith('-'), `below zero: ${a.free}`);
  assert.ok(a.spent <= price * 100n);
  // Refused although there was money left in the end for so many more.
  const falsely = Math.max(0, Math.floor(Number(price * 100n - a.spent) / Number(price)));
  t.diagnostic(`served ${served}, cut ${cut}, refused ${refused}, left ${a.free}, falsely refused ${falsely}`);
  assert.ok(falsely < 10, `${falsely} could have been served`);
});

test('the engine dies in mid-stream: the answer goes on and is charged once', { skip: needEngine }, async (t) => {
  const bank = new Bank('10');
  const door = await startDoor({ model: MODEL, config: bank.config() });
  t.after(() => door.killNow());
  const model = (await (await fetch(`${door.url}/v1/models`, { headers: bank.headers })).json()).data[0].id;
  let killed = false;
  const long = { model, stream: true, seed: 7, temperature: 0.8, max_tokens: 160, ignore_eos: true, stream_options: { include_usage: true },
    messages: [{ role: 'user', content: 'What is 321 + 478?' }] };
  const r = await ask(door, long, { headers: bank.headers, onBytes: (d) => {
    if (killed || !d.toString().includes('content')) return;
    killed = true;
    process.kill(door.engines()[0], 'SIGKILL');
  } });
  assert.ok(killed);
  const usage = usageOf(r);
  assert.equal(usage.completion_tokens, 160, r.text.slice(-600));
  // And one whose client leaves: for what was made, the prompt counted as the engine counts it.
  const stop = new AbortController();
  await ask(door, long, { headers: bank.headers, signal: stop.signal,
    onBytes: (d) => { if (d.toString().includes('content')) stop.abort(); } }).catch(() => null);
  await waitFor('its settlement', async () => bank.audit().settlements === 2);
  await door.stop();
  const a = bank.audit();
  const partial = a.spent - costOf(usage);
  assert.ok(partial >= BigInt(usage.prompt_tokens) + 10n && partial < costOf(usage), `${partial}`);
  assert.equal((partial - BigInt(usage.prompt_tokens)) % 10n, 0n, 'the prompt is counted exactly');
});

// One choice ends early, is even told twice, and the other goes on for ever: money is looked at until all have ended.
for (const [what, path, more] of [['two prompts', '/v1/completions', { prompt: ['p', 'q'] }],
  ['two choices', '/v1/chat/completions', { n: 2, messages: [{ role: 'user', content: 'x' }] }]]) {
  test(`${what}: the end of one is not the end of the money`, { skip: needDoor }, async (t) => {
    const up = await startScripted(async (say) => {
      for (let i = 0; i < 5; i++) say.text(`a${i}`, 0);
      say.finish(0);
      say.finish(0);
      for (let i = 0; i < 3000; i++) {
        say.text(` b${i}`, 1);
        if (i % 20 === 0) await new Promise((ok) => setImmediate(ok));
      }
      say.finish(1);
      say.usage(10, 3005);
      say.end();
    });
    t.after(() => up.close());
    const bank = new Bank('0.000002'); // some two hundred tokens
    const door = await startDoor({ upstream: upstream(up), config: bank.config() });
    const r = await post(door, path, { model: 'faulty', stream: true, stream_options: { include_usage: true }, ...more },
      { headers: bank.headers });
    assert.match(r.text, /"end_reason":"balance_end"/);
    const usage = usageOf(r);
    assert.ok(usage.completion_tokens < 205, JSON.stringify(usage));
    await door.stop();
    const a = bank.audit();
    assert.equal(a.spent, costOf(usage));
    assert.ok(a.spent <= 2000n && a.spent > 1900n, `${a.spent}`);
  });
}
