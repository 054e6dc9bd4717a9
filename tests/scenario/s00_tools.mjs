// SPDX-License-Identifier: MIT
// s00: the tools judge rightly. Before any scenario trusts them: the pacer's text is the same twice,
// and for every fault of the faulty upstream the digest says complete exactly when the answer is.
import { test, after } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { FAULTS, answerOf, startFaulty } from '../tools/faulty.mjs';
import { PACER, startPacer, yaml } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const COMPLETE = new Set(['ok', 'slow-first', 'split-utf8', 'crlf', 'glued', 'no-usage', 'vast-usage', 'odd-usage',
  'plain-json', 'empty-data', 'huge-line', 'trickle']);
const HONEST_REFUSALS = new Set(['400', '401', '404', '429', '429-retry', '500', 'error-event', 'error-200']);

const up = await startFaulty();
after(() => up.close());

test('every fault is judged as what it is', async (t) => {
  const whole = answerOf(7);
  for (const kind of Object.keys(FAULTS)) {
    await t.test(kind, async () => {
      const ends = !['mute', 'stall', 'keepalives', 'late-stall'].includes(kind);
      const signal = ends ? undefined : AbortSignal.timeout(150);
      const r = await ask(up, { model: 'faulty', stream: true, seed: 7, messages: [], fault: kind,
                                stream_options: { include_usage: true } }, { signal });
      const d = r.digest;
      assert.equal(d.complete, COMPLETE.has(kind), JSON.stringify(d));
      if (d.complete && kind !== 'huge-line') {
        assert.equal(d.text, whole.text.join(''));
        assert.equal(d.thought, whole.thought.join(''));
      }
      const verdict = dishonest(r);
      if (COMPLETE.has(kind) || HONEST_REFUSALS.has(kind)) assert.equal(verdict, null);
      else assert.notEqual(verdict, null, `${kind} should have been caught`);
    });
  }
});

test('a fault with `times` strikes so often and then heals; bodies are recorded byte for byte', async () => {
  up.reset();
  const body = '{"model":"faulty","seed":3,  "stream":true,"fault":{"kind":"cut-answer","times":1,"key":"a"},"x":1e2}';
  assert.equal((await ask(up, body)).digest.complete, false);
  assert.equal((await ask(up, body)).digest.complete, true);
  assert.deepEqual(up.completions().map((r) => r.body.toString()), [body, body]);
});

test('the pacer keeps its text and its beat', { skip: !fs.existsSync(PACER) && 'the pacer is not built' }, async () => {
  const pacer = await startPacer(['--seconds', '20']);
  const body = { model: 'paced', stream: true, seed: 5, max_tokens: 30, pacer_rate: 100, pacer_think: 4, messages: [] };
  const [a, b] = await Promise.all([ask(pacer, body), ask(pacer, body)]);
  assert.equal(a.digest.complete, true);
  assert.equal(a.digest.text, b.digest.text);
  assert.notEqual(a.digest.thought, '');
  assert.ok(a.ms > 280, `30 tokens at 100 a second took ${a.ms} ms`);
  const other = await ask(pacer, { ...body, seed: 6 });
  assert.notEqual(other.digest.text, a.digest.text);
  await pacer.stop();
});

test('the YAML writer nests lists and maps', () => {
  assert.equal(yaml({ a: { b: 1, c: ['x', 'y'] }, l: [{ url: 'u', slots: 2 }, { url: 'v' }] }).trimStart(),
    'a:\n  b: 1\n  c: ["x", "y"]\nl:\n  - url: "u"\n    slots: 2\n  - url: "v"\n');
});
