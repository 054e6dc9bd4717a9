// SPDX-License-Identifier: MIT
// s68: SDKs that give up and ask again at once. The real `openai` SDK, with a timeout far shorter than the
// line, must be served in the end without ever losing its place: places given out per request at most 1.1,
// and no attempt beyond the served ones reaches the engine. And what a repeat costs the door.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import OpenAI from 'openai';
import { BUILD, KEY, needDoor, startDoor, startPacer, waitFor, within } from './lib.mjs';
import { ask, post } from './client.mjs';

const SANITIZED = /san/.test(BUILD);
const keys = [{ name: 'scenario', key: KEY }];

function cpuMicroseconds(pid) {
  const f = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /, '').split(' ');
  return (Number(f[11]) + Number(f[12])) * 10000; // ticks of 10 ms
}

test('the openai SDK with a short timeout keeps its place', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '120', '--model', 'm']);
  const door = await startDoor({ upstream: [{ url: pacer.url, slots: 2, models: ['m'], dialect: 'openai' }], config: { keys } });
  t.after(async () => { await door.stop(); await pacer.stop(); });
  const requests = 30;
  let attempts = 0;
  const client = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, timeout: 4000, maxRetries: 30,
                              fetch: (url, init) => { attempts++; return fetch(url, init); } });
  const one = (i) => client.chat.completions.create({ model: 'm', seed: i, max_tokens: 10, pacer_rate: 15,
    messages: [{ role: 'user', content: `question ${i}` }] });
  const all = await within(110000, Promise.all(Array.from({ length: requests }, (_, i) => one(i))), 'all are served');
  assert.equal(all.filter((r) => r.choices[0].message.content.length > 0).length, requests);
  const entries = await door.metric('evenkeel_queue_entries_total');
  const started = await door.metric('evenkeel_wait_seconds_count');
  const rejoined = await door.metric('evenkeel_rejoined_total');
  t.diagnostic(`${requests} requests, ${attempts} attempts: ${entries} places (${(entries / requests).toFixed(3)} each), ` +
    `${rejoined} got back, ${started} sent to the engine`);
  assert.ok(attempts > requests * 1.1, 'the test is one: some had to ask again');
  assert.ok(entries / requests <= 1.1, `${entries} places for ${requests} requests`);
});

test('a repeat that waits costs the door little and no engine anything', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '120', '--model', 'm']);
  const door = await startDoor({ upstream: [{ url: pacer.url, slots: 1, models: ['m'], dialect: 'openai' }],
    config: { keys, queue: { waiting_max: 1000 } } });
  const stop = new AbortController();
  t.after(async () => { stop.abort(); await door.stop(); await pacer.stop(); });
  const long = { model: 'm', stream: true, max_tokens: 100000, pacer_rate: 2, messages: [{ role: 'user', content: 'long' }] };
  const busy = [1, 2].map((seed) => ask(door, { ...long, seed }, { signal: stop.signal }));
  await door.waitMetric('evenkeel_running', (v) => v === 2);
  const started = await door.metric('evenkeel_wait_seconds_count');
  const text = JSON.stringify({ ...long, seed: 3, messages: [{ role: 'user', content: 'x'.repeat(4000) }] });
  const attempt = (n, more = '') => `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${KEY}\r\n` +
    `X-Stainless-Retry-Count: ${n}\r\n${more}Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
  // Each attempt is heard of (its first comment), then gives up; the next one gets its place.
  const once = (n) => new Promise((resolve, reject) => {
    const s = net.connect({ port: door.port, host: '127.0.0.1' }, () => s.write(attempt(n)));
    let got = '';
    s.on('data', (d) => {
      got += d;
      if (got.includes(': queue ')) { s.destroy(); resolve(); }
    });
    s.on('error', reject);
  });
  const repeats = SANITIZED ? 100 : 400;
  await once(0);
  const before = cpuMicroseconds(door.pid);
  for (let i = 1; i <= repeats; i++) await once(Math.min(i, 200));
  const each = (cpuMicroseconds(door.pid) - before) / repeats;
  const entries = await door.metric('evenkeel_queue_entries_total');
  t.diagnostic(`${repeats} repeats of ${text.length} bytes: ${each.toFixed(0)} us of CPU each (connection included), ${entries} places in all`);
  assert.equal(entries, 3, 'two that run and one that waits');
  assert.equal(await door.metric('evenkeel_wait_seconds_count'), started, 'no engine heard of them');
  assert.equal(await door.metric('evenkeel_rejoined_total'), repeats);
  stop.abort();
  await Promise.all(busy);
});

test('a repeat while its first connection still seems open takes it over', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '60', '--model', 'm']);
  const door = await startDoor({ upstream: [{ url: pacer.url, slots: 1, models: ['m'], dialect: 'openai' }], config: { keys } });
  const stop = new AbortController();
  t.after(async () => { stop.abort(); await door.stop(); await pacer.stop(); });
  const body = (seed) => ({ model: 'm', stream: true, seed, max_tokens: 40, pacer_rate: 20, messages: [{ role: 'user', content: 'a' }] });
  const busy = [1, 2].map((seed) => ask(door, body(seed), { signal: stop.signal }));
  await door.waitMetric('evenkeel_running', (v) => v === 2);
  const first = post(door, '/v1/chat/completions', body(3));
  await waitFor('it waits', async () => (await door.metric('evenkeel_waiting')) === 1);
  const second = post(door, '/v1/chat/completions', body(3), { headers: { 'X-Stainless-Retry-Count': '1' } });
  const a = await within(20000, first, 'the first one ends');
  assert.match(a.text, /"code":"superseded"/);
  assert.match(a.text, /data: \[DONE\]/);
  const b = await within(30000, second, 'the second one ends');
  assert.equal(b.headers['x-queue-position'], '1');
  assert.match(b.text, /"finish_reason":"/);
  await Promise.all(busy);
});
