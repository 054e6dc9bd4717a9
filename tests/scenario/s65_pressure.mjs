// SPDX-License-Identifier: MIT
// s65: pressure from every side. Slow and dead readers, the budget of waiting bodies, connections of one
// address, upstreams that are not there or leave, a door before a door, a model file that is none.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { BUILD, KEY, MODEL, anonymousBytes, freePort, needDoor, needEngine, startDoor, startPacer, tmp,
         waitFor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const messages = [{ role: 'user', content: 'hello' }];
const SANITIZED = /san/.test(BUILD);

// Sends one request and reads nothing until told to.
function sleepyClient(port, body) {
  const text = JSON.stringify(body);
  const s = net.connect({ port, host: '127.0.0.1' });
  s.pause();
  s.on('error', () => {});
  s.write(`POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${KEY}\r\nContent-Type: application/json\r\n` +
    `Connection: close\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  return s;
}

test('a reader who pauses holds back its upstream, not the memory of the door', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '120']);
  const door = await startDoor({ upstream: pacer.url, config: { limits: { write_stall: '60s' } } });
  t.after(async () => { await door.stop(); await pacer.stop(); });
  await ask(door, { model: 'paced', messages, max_tokens: 3 });
  const before = anonymousBytes(door.pid);
  const tokens = 100000; // some 30 MB of events
  const body = { model: 'paced', stream: true, seed: 77, max_tokens: tokens, messages, stream_options: { include_usage: true } };
  const s = sleepyClient(door.port, body);
  await door.waitMetric('evenkeel_pauses_total', (v) => v >= 1);
  const quick = await ask(door, { model: 'paced', stream: true, max_tokens: 50, messages });
  assert.equal(quick.digest.complete, true, 'others are served meanwhile');
  const grown = anonymousBytes(door.pid) - before;
  t.diagnostic(`memory grew by ${grown} bytes while 30 MB waited`);
  if (!SANITIZED) assert.ok(grown < 2 << 20, `${grown} bytes`);
  const whole = new Promise((resolve) => {
    const parts = [];
    s.on('data', (d) => parts.push(d));
    s.on('close', () => resolve(Buffer.concat(parts)));
  });
  s.resume();
  const got = (await within(60000, whole, 'the whole answer')).toString('utf8');
  const count = got.match(/"content":" /g)?.length;
  assert.equal(count, tokens, 'every token arrived');
  assert.match(got, /data: \[DONE\]/);
});

test('a reader who never reads is let go, and its upstream with it', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '60']);
  const door = await startDoor({ upstream: pacer.url, config: { limits: { write_stall: '500ms' } } });
  t.after(async () => { await door.stop(); await pacer.stop(); });
  const s = sleepyClient(door.port, { model: 'paced', stream: true, max_tokens: 500000, messages });
  await door.waitMetric('evenkeel_running', (v) => v === 1);
  await door.waitMetric('evenkeel_running', (v) => v === 0);
  assert.ok(await door.metric('evenkeel_refusals_total', 'write_stall') >= 1 || await door.metric('evenkeel_requests_total', 'gone') >= 1);
  s.destroy();
});

test('the budget of all waiting bodies: beyond it 503 body_budget', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: [{ url: up.url, slots: 1 }], config: { limits: { body_bytes: '128KiB', bodies_bytes: '256KiB' } } });
  t.after(async () => { await door.stop(); await up.close(); });
  const stop = new AbortController();
  const big = { model: 'faulty', stream: true, fault: 'stall', messages: [{ role: 'user', content: 'x'.repeat(60000) }] };
  const parked = Array.from({ length: 4 }, () => ask(door, big, { signal: stop.signal }));
  await waitFor('four to be there', async () =>
    (await door.metric('evenkeel_running')) + (await door.metric('evenkeel_waiting')) >= 4);
  const r = await ask(door, big);
  assert.equal(r.status, 503, r.text);
  assert.equal(r.digest.error.code, 'body_budget');
  assert.ok(Number(r.headers['retry-after']) >= 1);
  stop.abort();
  await Promise.all(parked);
  // One place may be kept, in the quarter of the budget that is for those who are away.
  await waitFor('the budget to be free', async () => (await door.metric('evenkeel_body_bytes')) <= 65536);
  assert.equal((await ask(door, { ...big, fault: 'ok' })).digest.complete, true);
});

test('an upstream that is not there yet: wait, or a true refusal; then served', { skip: needDoor }, async (t) => {
  const port = await freePort();
  const door = await startDoor({ upstream: [{ url: `http://127.0.0.1:${port}`, models: ['faulty'], slots: 4 }],
    config: { relay: { probe: '100ms', connect: '200ms' } }, wait: false });
  await waitFor('the door to be healthy', async () => (await fetch(`${door.url}/health`)).status === 200);
  assert.equal((await fetch(`${door.url}/ready`)).status, 503);
  const early = ask(door, { model: 'faulty', stream: true, messages });
  const up = await startFaulty({ port });
  t.after(async () => { await door.stop(); await up.close(); });
  await door.ready();
  const r = await within(20000, early, 'the early request');
  assert.equal(dishonest(r), null);
  if (r.status === 200) assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
  else assert.ok(r.status === 503 && Number(r.headers['retry-after']) >= 1, `status ${r.status}`);
  assert.equal((await ask(door, { model: 'faulty', messages })).digest.complete, true);
});

test('two upstreams: when one leaves, what had not begun goes to the other', { skip: needDoor }, async (t) => {
  const [a, b] = [await startPacer(['--seconds', '60', '--model', 'same']), await startPacer(['--seconds', '60', '--model', 'same'])];
  const door = await startDoor({ upstream: [{ name: 'a', url: a.url, slots: 4 }, { name: 'b', url: b.url, slots: 4 }],
    config: { relay: { probe: '100ms', connect: '300ms' } } });
  t.after(async () => { await door.stop(); await b.stop(); });
  const body = (i) => ({ model: 'same', stream: true, seed: i, max_tokens: 40, pacer_rate: 40, messages });
  const running = Array.from({ length: 24 }, (_, i) => ask(door, body(i)));
  await door.waitMetric('evenkeel_running', (v) => v >= 8);
  a.killNow('SIGKILL');
  const all = await within(60000, Promise.all(running), 'all end');
  const whole = all.filter((r) => r.digest.complete).length;
  for (const r of all) assert.equal(dishonest(r), null);
  t.diagnostic(`${whole} of 24 whole, ${24 - whole} ended with an error`);
  assert.ok(whole >= 24 - 5, `${whole} whole: only what ran on the dead one may end`);
  for (const [i, r] of all.entries()) {
    if (!r.digest.complete) continue;
    const direct = await ask(b, { ...body(i), pacer_rate: 0 });
    assert.equal(r.digest.text, direct.digest.text);
  }
});

test('a door before a door', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const inner = await startDoor({ upstream: up.url });
  const outer = await startDoor({ upstream: inner.url });
  t.after(async () => { await outer.stop(); await inner.stop(); await up.close(); });
  for (const stream of [true, false]) {
    const r = await ask(outer, { model: 'faulty', stream, seed: 9, messages });
    const direct = await ask(up, { model: 'faulty', stream, seed: 9, messages });
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    assert.equal(r.digest.text, direct.digest.text);
    assert.equal(r.digest.thought, direct.digest.thought);
    const cut = await ask(outer, { model: 'faulty', stream, fault: 'cut-answer', messages });
    assert.equal(dishonest(cut), null);
    assert.equal(cut.digest.complete, false);
  }
});

test('a door before a door with our engine: killed, it still goes on', { skip: needEngine }, async (t) => {
  const inner = await startDoor({ model: MODEL });
  const outer = await startDoor({ upstream: inner.url });
  t.after(async () => { await outer.stop(); await inner.stop(); });
  const model = (await (await fetch(`${outer.url}/v1/models`)).json()).data[0].id;
  const body = { model, stream: true, seed: 3, temperature: 0.7, max_tokens: 300, messages };
  const uncut = await ask(outer, body);
  let bytes = 0;
  let killed = false;
  const cut = await within(60000, ask(outer, body, { onBytes: (d) => {
    bytes += d.length;
    if (!killed && bytes > 4000) {
      killed = true;
      process.kill(inner.engines()[0], 'SIGKILL');
    }
  } }), 'the stream ends');
  assert.equal(cut.digest.complete, true, JSON.stringify(cut.digest));
  assert.equal(cut.digest.thought + cut.digest.text, uncut.digest.thought + uncut.digest.text);
});

test('a model file that is none: a sentence, and no engine left behind', { skip: needDoor }, async () => {
  const file = path.join(tmp, 'not-a-model.gguf');
  fs.writeFileSync(file, 'GGUF\u0003\0\0\0 this is no model');
  const door = await startDoor({ model: file, wait: false });
  const { code } = await within(20000, door.exited, 'the door ends'); // a model that cannot load never will
  assert.equal(code, 1, door.err);
  assert.match(door.err, /engine: the file .*\n/);
  door.checkHealth();
});
