// SPDX-License-Identifier: MIT
// s60: many at once. 64 SDK streams each get the text they would get alone; 500 requests on 16 slots
// with a queue of 400 are each served or refused at once; the waiting rules hold on every connection;
// 400 parked requests cost at most 1 kB each beyond their bodies.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { startFaulty } from '../tools/faulty.mjs';
import { BUILD, KEY, MODEL, SLOW, anonymousBytes, needDoor, needEngine, startDoor, startPacer, waitFor, within } from './lib.mjs';
import { ask, dishonest, parseSse } from './client.mjs';

const question = (i) => `What is ${100 + i * 7} + ${900 - i * 11}?`;

async function sdkStream(client, model, i) {
  const s = await client.chat.completions.create({ model, stream: true, temperature: 0.7, seed: i, max_tokens: 48,
    messages: [{ role: 'user', content: question(i) }] });
  let text = '';
  for await (const ch of s) text += (ch.choices[0]?.delta?.reasoning_content ?? '') + (ch.choices[0]?.delta?.content ?? '');
  return text;
}

test('64 SDK streams at once on our engine: each text equals that of the same request alone', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  const client = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, maxRetries: 0, timeout: 120000 });
  const model = (await client.models.list()).data[0].id;
  const alone = [];
  for (let i = 0; i < 64; i++) alone.push(await sdkStream(client, model, i));
  const together = await Promise.all(alone.map((_, i) => sdkStream(client, model, i)));
  assert.deepEqual(together, alone);
  assert.ok(new Set(alone).size > 32, 'the texts differ among themselves');
});

// Waiting rules on one connection: a comment at once, a legal shape, no silence beyond the limit, and
// positions that make sense. Times are those of the options given to the door.
function checkComments(r, { first_ms, silence_ms }) {
  const { comments } = parseSse(r.text);
  const queue = comments.filter((c) => c.startsWith(': queue '));
  if (queue.length === 0) return 0; // it never waited
  for (const c of queue) {
    const q = JSON.parse(c.slice(8));
    assert.ok(Number.isInteger(q.position) && q.position >= 0, c);
    assert.ok(q.eta_ms === undefined || q.eta_ms === null || q.eta_ms >= 0, c);
    if (q.eta_ms != null && q.eta_p90_ms != null) assert.ok(q.eta_p90_ms >= q.eta_ms, c);
    assert.equal(typeof q.reason, 'string', c);
  }
  const places = queue.map((c) => JSON.parse(c.slice(8)).position);
  for (let i = 1; i < places.length; i++) assert.ok(places[i] <= places[i - 1], `the place grew: ${places}`);
  assert.ok(r.head_ms <= first_ms && r.marks[0].ms <= first_ms, `first byte after ${r.marks[0]?.ms} ms`);
  let last = 0;
  for (const m of r.marks) {
    assert.ok(m.ms - last <= silence_ms, `${m.ms - last} ms of silence`);
    last = m.ms;
  }
  return queue.length;
}

// A whole answer: no byte before the hold is over unless it is the answer itself; then newlines.
function checkWhole(r, { hold_ms, silence_ms }) {
  const newlines = /^\n*/.exec(r.text)[0].length;
  if (newlines === 0) return 0;
  assert.ok(r.head_ms >= hold_ms - 50 && r.head_ms <= hold_ms + silence_ms, `the status came after ${r.head_ms} ms`);
  let last = r.head_ms;
  for (const m of r.marks) {
    assert.ok(m.ms - last <= silence_ms, `${m.ms - last} ms of silence`);
    last = m.ms;
  }
  return newlines;
}

const waiting = { comment: '1s', comment_min: '100ms', hold: '1200ms', newline: '1s' };

test('500 at once on 16 slots with a queue of 400', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '120']);
  const door = await startDoor({ upstream: [{ url: pacer.url, slots: 16 }], config: { queue: { waiting_max: 400 }, waiting,
    limits: { address_connections: 2000 } } });
  t.after(async () => { await door.stop(); await pacer.stop(); });
  const begin = performance.now();
  const all = await within(60000, Promise.all(Array.from({ length: 500 }, (_, i) => ask(door, {
    model: 'paced', seed: i, stream: i % 5 !== 0, max_tokens: 20, pacer_rate: 100, stream_options: i % 5 !== 0 ? { include_usage: true } : undefined,
    messages: [{ role: 'user', content: question(i) }] }))), '500 requests end');
  let served = 0, refused = 0, waited = 0, held = 0;
  const reference = new Map();
  for (const [i, r] of all.entries()) {
    assert.equal(dishonest(r), null);
    if (r.status === 429) {
      refused++;
      assert.equal(r.digest.error.code, 'queue_full');
      assert.ok(r.digest.error.queue.position >= 1, r.text);
      const s = Number(r.headers['retry-after']);
      assert.ok(s >= 1 && s <= 60, `Retry-After ${s}`);
      assert.ok(r.head_ms < 5000 * SLOW, `refused only after ${r.head_ms} ms`);
      continue;
    }
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    served++;
    reference.set(i, r.digest.text);
    if (i % 5 !== 0) waited += checkComments(r, { first_ms: 3000 * SLOW, silence_ms: 2500 * SLOW }) > 0;
    else held += checkWhole(r, { hold_ms: 1200, silence_ms: 2500 * SLOW }) > 0;
  }
  t.diagnostic(`${served} served, ${refused} refused, ${waited} streams waited, ${held} whole answers were held, ${Math.round(performance.now() - begin)} ms`);
  assert.equal(served + refused, 500);
  assert.ok(served >= 400 && refused >= 50, `${served} served, ${refused} refused`);
  assert.ok(waited > 200 && held > 20);
  for (const i of [1, 33, 222, 377]) {
    if (!reference.has(i)) continue;
    const direct = await ask(pacer, { model: 'paced', seed: i, stream: true, max_tokens: 20 });
    assert.equal(reference.get(i), direct.digest.text);
  }
});

test('a whole answer that waits: the status stays open, then 200 and newlines, then JSON', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: [{ url: up.url, slots: 1 }], config: { waiting: { ...waiting, hold: '500ms', newline: '200ms' } } });
  t.after(async () => { await door.stop(); await up.close(); });
  const stop = new AbortController();
  const blockers = [0, 1].map(() => ask(door, { model: 'faulty', stream: true, messages: [{ role: 'user', content: 'x' }], fault: 'stall' }, { signal: stop.signal }));
  await door.waitMetric('evenkeel_running', (v) => v >= 1);
  let newlines = 0;
  const r = await ask(door, { model: 'faulty', seed: 4, messages: [{ role: 'user', content: 'y' }] }, {
    onBytes: (d) => { if (/^\n+$/.test(d) && ++newlines === 3) stop.abort(); } });
  await Promise.all(blockers);
  assert.equal(r.status, 200);
  assert.ok(r.head_ms >= 450, `the status came after ${r.head_ms} ms`);
  assert.ok(newlines >= 3);
  assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
});

test('400 parked requests cost at most 1 kB each beyond their bodies', { skip: needDoor || (/san/.test(BUILD) && 'memory is not measured under a sanitizer') }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: [{ url: up.url, slots: 1 }], config: { queue: { waiting_max: 1000 },
    limits: { address_connections: 2000 }, tiers: [{ name: 'default', return_grace: '0s' }] } }); // who leaves is let go
  t.after(async () => { await door.stop(); await up.close(); });
  const body = { model: 'faulty', stream: true, fault: 'stall', messages: [{ role: 'user', content: 'x'.repeat(2048) }] };
  const bytes = Buffer.byteLength(JSON.stringify(body));
  const peaks = [];
  let each;
  for (let round = 0; round < 3; round++) {
    const stop = new AbortController();
    const gone = [];
    const park = async (count) => { // the first two run: a slot and its backstop
      for (let i = 0; i < count; i++) gone.push(ask(door, body, { signal: stop.signal }));
      await door.waitMetric('evenkeel_waiting', (v) => v >= gone.length - 2);
    };
    await park(50); // what is there once and for all is paid before the measurement
    const base = anonymousBytes(door.pid);
    await park(400);
    peaks.push(anonymousBytes(door.pid));
    each ??= (peaks[0] - base) / 400 - bytes;
    stop.abort();
    await Promise.all(gone);
    await waitFor('all to be let go', async () => (await door.metric('evenkeel_waiting')) === 0);
  }
  t.diagnostic(`${Math.round(each)} bytes beyond the body of ${bytes} per parked request; peaks ${peaks.join(', ')}`);
  assert.ok(each <= 1024, `${each} bytes a request`);
  assert.ok(peaks[2] <= peaks[0] * 1.1, 'a third crowd costs no more than the first');
});
