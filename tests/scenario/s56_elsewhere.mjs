// SPDX-License-Identifier: MIT
// s56: two upstreams serve one model, and one of them does everything wrong that an upstream can do. Not one
// caller may notice: every answer is the text of the request alone, whole, once, with the usage of the whole.
// EK_CASES requests under each fault: 20 by default, 1,000 in `make prove-faults`. EK_KINDS_AT_ONCE faults run side
// by side, each with a door and upstreams of its own. EK_CSV: a row a fault, written when it is through; what stands
// there of this EK_TAG is not done again. EK_FAULTS: a list of names; only those.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { FAULTS, answerOf, startFaulty } from '../tools/faulty.mjs';
import { SEED, SLOW, needDoor, rng, startDoor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const CASES = Number(process.env.EK_CASES ?? 20);
const AT_ONCE = 12;
const KINDS_AT_ONCE = Number(process.env.EK_KINDS_AT_ONCE ?? 1);
const CSV = process.env.EK_CSV;
const TAG = process.env.EK_TAG ?? '';
const ONLY = process.env.EK_FAULTS?.split(',');
// What an upstream refuses for the request's own sake is the caller's to hear, so it is no case here; and
// an event of 4 MB is an answer of its own.
const NOT_HERE = new Set(['400', '404', 'huge-line']);
const UNTOLD = new Set(['no-usage', 'vast-usage', 'odd-usage', 'no-finish', 'late-stall', 'late-garbage', 'late-error',
  'late-reset']); // the usage may be the door's own count

const config = {
  relay: { connect: `${2 * SLOW}s`, first_token: `${2 * SLOW}s`, stall: `${1 * SLOW}s`, attempts: 16 },
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
  const said = `${kind}, case ${n}, seed ${SEED}: ${JSON.stringify(r.digest).slice(0, 600)} ${r.error ?? ''}` +
    (door.exit ? ` the door ended: ${JSON.stringify(door.exit)} ${door.err.slice(-1000)}` : '');
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

const COLUMNS = ['fault', 'requests', 'seconds', 'retried', 'continued', 'breaker_opened', 'seed', 'commit'];
const readRows = () => (CSV && fs.existsSync(CSV) ? fs.readFileSync(CSV, 'utf8').trim().split('\n').slice(1) : [])
  .map((line) => Object.fromEntries(line.split(',').map((v, i) => [COLUMNS[i], v])));
const isDone = (r) => Number(r.requests) >= CASES && r.seed === String(SEED) && r.commit === TAG;

function writeRow(row) {
  const rows = [...readRows().filter((r) => r.fault !== row.fault), row].sort((a, b) => (a.fault < b.fault ? -1 : 1));
  fs.writeFileSync(`${CSV}.new`, [COLUMNS, ...rows.map((r) => COLUMNS.map((c) => r[c]))].join('\n') + '\n');
  fs.renameSync(`${CSV}.new`, CSV);
}

async function underFault(kind) {
  const bad = await startFaulty();
  const good = await startFaulty({ immune: true });
  const upstream = [bad, good].map((u, i) => ({
    url: u.url, name: i ? 'good' : 'bad', dialect: 'deepseek', models: ['faulty'], slots: 16 }));
  try {
    const door = await startDoor({ upstream, config }); // a new one: breakers are shut
    const random = rng(SEED + kind.length * 1000 + kind.charCodeAt(0));
    const begin = performance.now();
    let n = 0;
    const worker = async () => { while (n < CASES) await one(door, kind, n++, random); };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, CASES) }, worker));
    const row = { fault: kind, requests: CASES, seconds: ((performance.now() - begin) / 1000).toFixed(1),
      retried: await door.metric('evenkeel_retried_total'), continued: await door.metric('evenkeel_continued_total'),
      breaker_opened: await door.metric('evenkeel_upstream_breaker_opened_total', 'upstream="bad"'),
      seed: SEED, commit: TAG };
    assert.equal(await door.metric('evenkeel_running'), 0, 'nothing is left running');
    await door.stop();
    console.log(COLUMNS.map((c) => `${c}=${row[c]}`).join(' '));
    if (CSV) writeRow(row);
  } finally {
    await Promise.all([bad.close(), good.close()]);
  }
}

test('a bad upstream beside a good one', { skip: needDoor, concurrency: KINDS_AT_ONCE }, async (t) => {
  const done = new Set(readRows().filter(isDone).map((r) => r.fault));
  await Promise.all([...Object.keys(FAULTS), 'flap'].filter((kind) => !NOT_HERE.has(kind) && !done.has(kind) && (!ONLY || ONLY.includes(kind)))
    .map((kind) => t.test(`${kind}: ${CASES} requests`, () => underFault(kind))));
});
