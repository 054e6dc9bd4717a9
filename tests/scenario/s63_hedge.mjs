// SPDX-License-Identifier: MIT
// s63: a machine that is slow to its first token now and then (one request in ten of all) beside a good one. The
// same questions through a door that hedges and one that does not: what a reader waits for the first token, that
// every answer is the right one and paid once, and that no more second attempts are made than the budget allows.
// EK_CASES questions are asked of each (200).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { answerOf, startFaulty } from '../tools/faulty.mjs';
import { SLOW, needDoor, startDoor, within } from './lib.mjs';
import { ask } from './client.mjs';

const CASES = Number(process.env.EK_CASES ?? 200);
const SLOW_MS = 2500 * SLOW, LATE_MS = 400 * SLOW, BUDGET = 0.3;

const quantile = (list, part) => [...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(part * list.length))];

function firstToken(r) {
  for (const m of r.marks) if (/"(content|reasoning_content)":"[^"]/.test(m.bytes.toString())) return m.ms;
  return NaN;
}

async function run(hedge) {
  const bad = await startFaulty(), good = await startFaulty({ immune: true });
  const door = await startDoor({
    upstream: [bad, good].map((u, i) => ({ url: u.url, name: i ? 'good' : 'bad', dialect: 'openai', models: ['faulty'], slots: 16 })),
    config: { queue: { hedge_after: `${LATE_MS}ms`, hedge_budget: `${100 * BUDGET}%` }, tiers: [{ name: 'default', hedge }] } });
  const firsts = [], ids = [];
  let n = 0;
  const worker = async () => {
    while (n < CASES) {
      const k = n++;
      const body = { model: 'faulty', stream: true, stream_options: { include_usage: true }, seed: 500 + k,
                     messages: [{ role: 'user', content: `case ${k}` }] };
      if (k % 5 === 0) body.fault = { kind: 'slow-first', ms: SLOW_MS }; // the bad one has half of all
      const r = await within(60000 * SLOW, ask(door, body), `question ${k}`);
      const whole = answerOf(body.seed);
      assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
      assert.equal(r.digest.text, whole.text.join(''), `question ${k}`);
      assert.equal(r.digest.thought, whole.thought.join(''), `question ${k}`);
      assert.ok(r.digest.usage.completion_tokens > 0);
      firsts.push(firstToken(r));
      ids.push(r.headers['x-request-id']);
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  const posts = bad.completions().length + good.completions().length;
  const metrics = await (await fetch(`${door.url}/metrics`)).text();
  const ended = (end) => Number(new RegExp(`evenkeel_hedged_total\\{end="${end}"\\} (\\d+)`).exec(metrics)[1]);
  const result = { firsts, posts, won: ended('won'), lost: ended('lost'),
                   failed: ended('failed'), saved: ended('saved'), records: [] };
  for (const id of ids) result.records.push(await (await fetch(`${door.url}/v1/requests/${id}`)).json());
  await door.stop();
  await bad.close();
  await good.close();
  return result;
}

test('one first token in ten is late', { skip: needDoor }, async () => {
  const without = await run(false), hedged = await run(true);
  const row = (name, r) => console.log(`${name.padEnd(8)} ${CASES} questions, ${r.posts} attempts; first token p50 ` +
    `${quantile(r.firsts, 0.5).toFixed(0)} ms, p90 ${quantile(r.firsts, 0.9).toFixed(0)} ms, ` +
    `p99 ${quantile(r.firsts, 0.99).toFixed(0)} ms; second attempts: ${r.won} won, ${r.lost} lost`);
  row('without', without);
  row('hedged', hedged);
  assert.equal(without.posts, CASES);
  assert.ok(quantile(without.firsts, 0.99) >= SLOW_MS * 0.9, 'the fault is there');
  const second = hedged.won + hedged.lost + hedged.failed + hedged.saved;
  assert.equal(hedged.posts, CASES + second);
  assert.ok(second <= BUDGET * CASES, `${second} second attempts`);
  assert.ok(hedged.won > 0);
  assert.ok(quantile(hedged.firsts, 0.99) < quantile(without.firsts, 0.99), 'it is no cure');
  const told = hedged.records.filter((r) => r.hedge);
  assert.equal(told.length, second);
  assert.equal(told.filter((r) => r.hedge.won).length, hedged.won + hedged.saved);
  for (const r of told) assert.ok(r.hedge.after_ms >= LATE_MS && r.attempts === 1, JSON.stringify(r));
  for (const r of without.records) assert.equal(r.hedge, null);
});
