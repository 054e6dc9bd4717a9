// SPDX-License-Identifier: MIT
// s93: money for answers whose reader has left. One that goes on is charged once and whole, whoever reads it again
// and how often; one that nobody came back for, or that was erased, for what was made; one that outlives a killed
// door once, as if nothing had happened.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { Door, EVENKEEL, MODEL, Program, SLOW, freePort, needDoor, needEngine, startDoor, tmp, waitFor, within } from './lib.mjs';
import { ask, parseSse } from './client.mjs';

const prices = [{ model: '*', prompt: '0.001', cached: '0.001', output: '0.01' }]; // nano-units: 1 and 10 a token
const nano = (text) => { const [a, b = ''] = text.split('.'); return BigInt(a) * 1000000000n + BigInt(b.padEnd(9, '0')); };
const costOf = (u) => BigInt(u.prompt_tokens) + 10n * BigInt(u.completion_tokens);
let made = 0;

class House {
  constructor(linger) {
    this.file = path.join(tmp, `linger-${process.pid}-${++made}.db`);
    this.linger = linger;
    this.run('account', 'add', 'acme', '--topup', '10');
    const key = this.run('key', 'add', 'acme', 'first').trim().split('\n').at(-1).trim();
    this.headers = { Authorization: `Bearer ${key}` };
  }
  run(...words) {
    return execFileSync(EVENKEEL, [...words, '--ledger', this.file], { encoding: 'utf8' });
  }
  async open(upstream) {
    this.door = await startDoor({ upstream, config: { ledger: { url: this.file, door: 'a' }, prices, journal: { dir: `${this.file}.journal` },
      tiers: [{ name: 'default', linger: this.linger }], relay: { attempts: 16, probe: '200ms', stall: '300s' } } });
  }
  async kill() {
    this.door.killNow();
    await this.door.exited;
    const { port, configPath } = this.door;
    this.door = new Door(['serve', '--config', configPath, '--listen', `127.0.0.1:${port}`], port, configPath);
    await this.door.ready();
  }
  get = (where) => fetch(`${this.door.url}${where}`, { headers: this.headers });
  record = async (id) => (await this.get(`/v1/requests/${id}`)).json();
  // Leaves behind `events` events; the id of the stream.
  async begin(body, events) {
    const stop = new AbortController();
    let text = '';
    let id;
    await ask(this.door, { stream: true, stream_options: { include_usage: true }, ...body }, { headers: this.headers, signal: stop.signal,
      onBytes: (d, r) => { id = r.headers['x-stream-id']; text += d; if (parseSse(text).events.length >= events) stop.abort(); } });
    assert.ok(id, text);
    return id;
  }
  async read(id, after = 0) {
    const r = await within(120000, this.get(`/v1/streams/${id}?starting_after=${after}`), 'the rest');
    const text = await r.text();
    assert.equal(r.status, 200, text);
    const events = parseSse(text).events;
    assert.equal(events.at(-1).data, '[DONE]');
    return events.slice(0, -1).map((e) => JSON.parse(e.data));
  }
  async close() { // settlements, spent in nano-units; fails when the books are wrong
    await this.door.stop();
    const text = this.run('account', 'audit');
    assert.match(text, /every account follows from its rows/);
    assert.equal(nano(/leased ([\d.]+)/.exec(text)[1]), 0n, text);
    return { settlements: Number(/(\d+) settlements/.exec(text)[1]), spent: nano(/spent ([\d.]+)/.exec(text)[1]) };
  }
}

test('an answer goes on for one who left, and outlives the door: charged once, whole', { skip: needEngine }, async (t) => {
  const port = await freePort();
  const engine = new Program(EVENKEEL, ['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`, '--slots', '4', '--threads', '1']);
  const house = new House('120s');
  t.after(() => { house.door?.killNow(); engine.killNow(); });
  await waitFor('the engine', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  await house.open([{ url: `http://127.0.0.1:${port}`, name: 'e', dialect: 'evenkeel' }]);
  const model = (await (await house.get('/v1/models')).json()).data[0].id;
  const body = { model, temperature: 0, max_tokens: 150, messages: [{ role: 'user', content: 'What is 345 + 678?' }] };
  const whole = await ask(house.door, { ...body, stream: false }, { headers: house.headers });
  assert.equal(whole.status, 200, whole.text);
  const { usage } = JSON.parse(whole.text);

  const left = await house.begin(body, 3);
  const twice = await Promise.all([house.read(left, 2), house.read(left)]);
  for (const events of twice) assert.equal(costOf(events.at(-1).usage), costOf(usage));
  assert.equal((await house.record(left)).state, 'done');

  const cut = await house.begin(body, 5);
  await house.kill();
  const events = await house.read(cut);
  assert.equal(costOf(events.at(-1).usage), costOf(usage), JSON.stringify(events.at(-1)));
  await house.kill(); // one that has ended is not charged again when it is found again
  assert.equal((await house.read(cut)).length, events.length);
  const books = await house.close();
  assert.deepEqual(books, { settlements: 3, spent: 3n * costOf(usage) });
});

test('who does not come back, or erases, pays for what was made', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  const house = new House('300ms');
  t.after(() => house.door?.killNow());
  await house.open([{ url: up.url, slots: 16, models: ['faulty'], dialect: 'openai' }]);
  const body = (tokens) => ({ model: 'faulty', fault_think: 0, fault_tokens: 1000, fault: { kind: 'stall', at: tokens },
    messages: [{ role: 'user', content: `question ${tokens}` }] });
  const stopped = await house.begin(body(10), 8);
  await waitFor('its end', async () => (await house.record(stopped)).state !== 'running', { timeout_ms: 20000 * SLOW });
  assert.equal(await house.door.metric('evenkeel_streams_total', 'what="stopped"'), 1);
  const reader = new AbortController();
  const open = ask(house.door, { stream: true, ...body(20) }, { headers: house.headers, signal: reader.signal, onBytes: (d, r) => { reader.id = r.headers['x-stream-id']; reader.text = (reader.text ?? '') + d; } });
  await waitFor('twenty tokens', () => parseSse(reader.text ?? '').events.length >= 20);
  const gone = await fetch(`${house.door.url}/v1/streams/${reader.id}`, { method: 'DELETE', headers: house.headers });
  assert.equal(gone.status, 200);
  assert.match((await open).text, /"code":"cancelled"/);
  const records = [await house.record(stopped), await house.record(reader.id)];
  const books = await house.close();
  assert.equal(books.settlements, 2);
  const costs = records.map((r) => nano(r.cost.amount));
  assert.equal(books.spent, costs[0] + costs[1]);
  for (const [i, tokens] of [10, 20].entries()) {
    assert.equal(costOf(records[i].usage), costs[i]);
    assert.equal(records[i].usage.completion_tokens, tokens, JSON.stringify(records[i]));
  }
});
