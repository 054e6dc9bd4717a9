// SPDX-License-Identifier: MIT
// s56: two upstreams serve one model, and one of them does everything wrong that an upstream can do. Not one
// caller may notice: every answer is the text of the request alone, whole, once, with the usage of the whole.
// EK_CASES requests under each fault: 20 by default, 1,000 in `make prove-faults`.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { FAULTS, answerOf, startFaulty } from '../tools/faulty.mjs';
import { SEED, SLOW, needDoor, rng, startDoor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const CASES = Number(process.env.EK_CASES ?? 20);
const AT_ONCE = 12;
// What an upstream refuses for the request's own sake is the caller's to hear, so it is no case here; and
// an event of 4 MB is an answer of its own.
const NOT_HERE = new Set(['400', '404', 'huge-line']);
const UNTOLD = new Set(['no-usage', 'no-finish']); // the usage may be the door's own count

const config = {
  relay: { connect: '2s', first_token: `${2 * SLOW}s`, stall: `${1 * SLOW}s`, attempts: 16 },
  waiting: { hold: '10s' }, limits: { address_connections: 1000 },
};

async function one(door, kind, n, random) {
  const seed = 5000 + n;
  const stream = random.bool(0.75);
  const body = { model: 'faulty', stream, seed, messages: [{ role: 'user', content: `case ${n}` }] };
  if (stream) body.stream_options = { include_usage: true };
  // A third is struck: the breaker stays shut most of the time, so that the fault goes on being met.
  if (kind !== 'flap' ? random.bool(0.35) : (n >> 1) % 2) {
    body.fault = { kind: kind === 'flap' ? 'reset-before-head' : kind, at: random.int(8), ms: kind === 'slow-first' ? 20000 : 3 };
  }
  const r = await within(60000, ask(door, body), `${kind} ${n} ends`);
  const said = `${kind}, case ${n}, seed ${SEED}: ${JSON.stringify(r.digest).slice(0, 600)}`;
  assert.equal(dishonest(r), null, said);
  assert.equal(r.digest.complete, true, said);
  const whole = answerOf(seed);
  assert.equal(r.digest.text, whole.text.join(''), said);
  assert.equal(r.digest.thought, whole.thought.join(''), said);
  if (stream) assert.deepEqual(r.digest.ids, r.digest.ids.map((_, i) => String(i + 1)), said);
  if (UNTOLD.has(kind)) return;
  assert.equal(r.digest.usage.prompt_tokens, 10, said);
  assert.equal(r.digest.usage.completion_tokens, 32, said);
}

test('a bad upstream beside a good one', { skip: needDoor }, async (t) => {
  const bad = await startFaulty();
  const good = await startFaulty({ immune: true });
  const upstream = [bad, good].map((u, i) => ({
    url: u.url, name: i ? 'good' : 'bad', dialect: 'deepseek', models: ['faulty'], slots: 16 }));
  t.after(async () => { await bad.close(); await good.close(); });
  const table = [];
  for (const kind of [...Object.keys(FAULTS), 'flap']) {
    if (NOT_HERE.has(kind)) continue;
    await t.test(`${kind}: ${CASES} requests`, async () => {
      const door = await startDoor({ upstream, config }); // a new one: breakers are shut
      const random = rng(SEED + kind.length * 1000 + kind.charCodeAt(0));
      const begin = performance.now();
      bad.reset();
      let n = 0;
      const worker = async () => { while (n < CASES) await one(door, kind, n++, random); };
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, CASES) }, worker));
      const row = { kind, requests: CASES, s: ((performance.now() - begin) / 1000).toFixed(1),
        retried: await door.metric('evenkeel_retried_total'), continued: await door.metric('evenkeel_continued_total'),
        opened: await door.metric('evenkeel_upstream_breaker_opened_total', 'upstream="bad"') };
      assert.equal(await door.metric('evenkeel_running'), 0, 'nothing is left running');
      await door.stop();
      table.push(row);
    });
  }
  console.log(table.map((r) => `${r.kind},${r.requests},${r.s},${r.retried},${r.continued},${r.opened}`)
    .join('\n').replace(/^/, 'fault,requests,seconds,retried,continued,breaker_opened\n'));
});
