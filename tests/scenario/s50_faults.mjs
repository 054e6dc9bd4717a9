// SPDX-License-Identifier: MIT
// s50: `serve --upstream` before a server that misbehaves in every way we know. Each fault must end as a
// whole and right answer or as an error the caller can see; nothing that looks complete but is not.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { FAULTS, answerOf, startFaulty } from '../tools/faulty.mjs';
import { needDoor, startDoor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

// What the answer has to be. `either`: whole or an honest error, both are fine.
const WHOLE = new Set(['ok', 'slow-first', 'split-utf8', 'crlf', 'glued', 'no-usage', 'vast-usage', 'odd-usage',
  'late-stall', 'late-garbage', 'late-error', 'late-reset']);
const ERROR = new Set(['400', '401', '404', '429', '429-retry', '500', '500-html', '503', 'reset-before-head',
  'close-before-head', 'reset-in-head', 'close-after-head', 'cut-thought', 'cut-answer', 'fin-answer', 'clean-cut',
  'mute', 'stall', 'keepalives', 'malformed-chunk', 'wrong-shape', 'alien-choice', 'bad-coding', 'error-event', 'no-finish', 'empty-200',
  'empty-stream', 'only-done', 'wrong-type', 'error-200', 'short-length']);
const STATUS = { 400: [400], 404: [404], 401: [502, 503], 429: [429, 503], '429-retry': [429, 503], 503: [429, 502, 503] };

// Deadlines scaled down, so that a stall is noticed in a second and not in minutes; two attempts.
const config = { relay: { connect: '500ms', first_token: '2s', stall: '1s', attempts: 2 },
                 waiting: { hold: '10s' } };

async function strike(door, kind, stream, extra) {
  const seed = 100 + Object.keys(FAULTS).indexOf(kind);
  const body = { model: 'faulty', stream, seed, messages: [{ role: 'user', content: 'hi' }], ...extra };
  if (stream) body.stream_options = { include_usage: true };
  const r = await within(20000, ask(door, body), `${kind} ends`);
  const whole = answerOf(seed);
  if (r.digest.complete && kind !== 'huge-line') {
    assert.equal(r.digest.text, whole.text.join(''), 'looks complete but is not');
    assert.equal(r.digest.thought, whole.thought.join(''), 'the thought is not whole');
  }
  assert.equal(dishonest(r), null);
  return r;
}

test('who will not have our key is named in the log, once', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config });
  t.after(async () => { await door.stop(); await up.close(); });
  for (let i = 0; i < 3; i++) await strike(door, '401', true, { fault: '401' });
  assert.equal(door.err.match(/answers 401: it wants a `key`/g)?.length, 1, door.err);
});

test('each fault, always', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config });
  t.after(async () => { await door.stop(); await up.close(); });
  for (const kind of Object.keys(FAULTS)) {
    for (const stream of [true, false]) {
      await t.test(`${kind}, ${stream ? 'stream' : 'whole'}: ${FAULTS[kind]}`, async () => {
        const r = await strike(door, kind, stream, { fault: kind });
        if (WHOLE.has(kind)) assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
        if (ERROR.has(kind)) assert.equal(r.digest.complete, false, JSON.stringify(r.digest));
        if (r.digest.complete && stream) {
          assert.ok(r.digest.usage?.completion_tokens < 1000, 'include_usage was asked for');
          assert.deepEqual(r.digest.ids, r.digest.ids.map((_, i) => String(i + 1)), 'events are numbered from 1');
          assert.ok(r.digest.ids.length > 0 && r.headers['x-stream-id'] === r.headers['x-request-id']);
        }
        if (STATUS[kind] && r.status !== 200) assert.ok(STATUS[kind].includes(r.status), `status ${r.status}`);
        if (r.status === 429 || r.status === 503) {
          assert.ok(Number(r.headers['retry-after']) >= 1, `Retry-After: ${r.headers['retry-after']}`);
        }
        if (/-usage$|^late-/.test(kind)) assert.ok(r.digest.usage.estimated, JSON.stringify(r.digest.usage));
        if (kind === 'ok') return;
        const after = await strike(door, 'ok', stream, {}); // one bad answer must not poison the next
        assert.equal(after.digest.complete, true, JSON.stringify(after.digest));
      });
    }
  }
  assert.equal(door.err.match(/for one request\): not believed/g)?.length, 1, 'named, once');
});

test('nobody waits for what does not come behind a whole answer', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { relay: { stall: '10min' } } });
  t.after(async () => { await door.stop(); await up.close(); });
  for (const r of await Promise.all([true, false].map((stream) => strike(door, 'late-stall', stream, { fault: 'late-stall' })))) {
    assert.equal(r.digest.complete, true);
    assert.ok(r.digest.usage.estimated);
  }
});

test('a fault that strikes once is mended or admitted', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config });
  t.after(async () => { await door.stop(); await up.close(); });
  // Before the first token nothing was delivered, so another attempt costs nobody anything.
  const early = new Set(['reset-before-head', 'close-before-head', 'reset-in-head', 'close-after-head', '503', '429',
    '500', 'empty-stream']);
  for (const kind of ERROR) {
    if (kind === '400' || kind === '404') continue;
    await t.test(`${kind}, once`, async () => {
      const r = await strike(door, kind, true, { fault: { kind, times: 1, key: kind } });
      if (early.has(kind)) assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    });
  }
});

test('a stall is noticed by its own clock, not by that of the first token', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { relay: { first_token: '60s', stall: '500ms', attempts: 1 } } });
  t.after(async () => { await door.stop(); await up.close(); });
  for (const fault of ['stall', 'keepalives']) {
    const r = await within(8000, ask(door, { model: 'faulty', stream: true, fault, messages: [{ role: 'user', content: 'x' }] }), fault);
    assert.equal(r.digest.error?.code, 'upstream_stall', JSON.stringify(r.digest));
    assert.ok(r.ms > 400, `${r.ms} ms`);
  }
});

test('a caller who leaves frees the upstream at once', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { relay: { stall: '60s' } } });
  t.after(async () => { await door.stop(); await up.close(); });
  for (const stream of [true, false]) {
    up.reset();
    const stop = new AbortController();
    const gone = ask(door, { model: 'faulty', stream, messages: [{ role: 'user', content: 'x' }], fault: 'stall' },
      { signal: stop.signal });
    await within(5000, (async () => { while (up.state.open === 0) await new Promise(setImmediate); })(), 'the upstream is asked');
    stop.abort();
    await gone;
    await within(5000, (async () => { while (up.state.open > 0) await new Promise(setImmediate); })(), 'the upstream is freed');
  }
});
