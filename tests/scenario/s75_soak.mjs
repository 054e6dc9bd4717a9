// SPDX-License-Identifier: MIT
// s75: a few thousand mixed requests (whole answers, faults, callers who leave at any moment, wrong input;
// seeded), many at once. Afterwards nothing is left: nobody waits or runs, no body is held, no connection
// or descriptor is forgotten, and memory stands where it stood.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { FAULTS, answerOf, startFaulty } from '../tools/faulty.mjs';
import { BUILD, SEED, anonymousBytes, needDoor, rng, startDoor, waitFor } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const SANITIZED = /san/.test(BUILD);
const ROUND = Number(process.env.EK_SOAK ?? (SANITIZED ? 300 : 700));
const KINDS = Object.keys(FAULTS).filter((k) => !['mute', 'stall', 'keepalives', 'huge-line'].includes(k));
const descriptors = (pid) => fs.readdirSync(`/proc/${pid}/fd`).length;

async function one(door, r) {
  const seed = r.int(1e6);
  const stream = r.bool(0.7);
  const body = { model: 'faulty', stream, seed, messages: [{ role: 'user', content: 'x'.repeat(r.int(3000)) }] };
  const dice = r.next();
  const stop = new AbortController();
  const options = { signal: stop.signal };
  let leaves = false;
  if (dice < 0.25) body.fault = { kind: r.pick(KINDS) };
  else if (dice < 0.35) body.fault = { kind: r.pick(KINDS), times: 1, key: `k${seed}` };
  else if (dice < 0.45) body.messages = 'wrong';
  else if (dice < 0.6) {
    leaves = true;
    body.fault = r.pick(['ok', 'stall', 'slow-first', 'mute']);
    const after = r.int(30);
    setTimeout(() => stop.abort(), after); // a moment like any other, not a wait for something
  }
  const a = await ask(door, body, options);
  if (leaves) return;
  assert.equal(dishonest(a), null, `seed ${SEED}: ${JSON.stringify(body).slice(0, 300)}`);
  if (a.digest.complete) assert.equal(a.digest.text, answerOf(seed).text.join(''));
}

test(`${ROUND} mixed requests, three times (seed ${SEED})`, { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: [{ url: up.url, slots: 24 }], config: { relay: { first_token: '2s', stall: '1s', attempts: 2 },
    queue: { waiting_max: 40 }, tiers: [{ name: 'default', return_grace: '0s' }] } }); // who leaves is let go
  t.after(async () => { await door.stop(); await up.close(); });
  const r = rng();
  const seen = [];
  for (let round = 0; round < 3; round++) {
    let left = ROUND;
    await Promise.all(Array.from({ length: 60 }, async () => { while (left-- > 0) await one(door, r); }));
    up.reset();
    await waitFor('all to be over', async () => (await door.metric('evenkeel_waiting')) === 0 &&
      (await door.metric('evenkeel_running')) === 0 && (await door.metric('evenkeel_body_bytes')) === 0);
    await waitFor('the connections to be gone', async () => (await door.metric('evenkeel_connections')) <= 2);
    seen.push({ memory: anonymousBytes(door.pid), descriptors: descriptors(door.pid) });
  }
  t.diagnostic(JSON.stringify(seen));
  await waitFor('no forgotten caller at the upstream', () => up.state.open === 0);
  assert.ok(seen[2].descriptors <= seen[0].descriptors + 40, 'descriptors'); // idle upstream connections may differ
  if (!SANITIZED) assert.ok(seen[2].memory <= seen[0].memory + (1 << 20), 'memory');
  const text = await (await fetch(`${door.url}/metrics`)).text();
  t.diagnostic(text.split('\n').filter((l) => /^evenkeel_(requests|refusals)_total.* [1-9]/.test(l)).join(' '));
});
