// SPDX-License-Identifier: MIT
// s30: real SDKs, unchanged: first straight at the mock (which proves the checks), then through the door
// before the mock, then through the door with our own engine.
import { test } from 'node:test';
import { answerOf, startFaulty } from '../tools/faulty.mjs';
import { KEY, MODEL, needDoor, needEngine, startDoor, within } from './lib.mjs';
import { allChecks } from './sdk_checks.mjs';

const exact = (seed) => {
  const { text, thought } = answerOf(seed);
  return { text: text.join(''), thought: thought.join('') };
};
const keys = [{ name: 'scenario', key: KEY }];

async function runAll(t, target) {
  for (const [name, check] of Object.entries(allChecks)) {
    await t.test(name, () => within(30000, check(target), name));
  }
}

test('SDKs at the mock itself', async (t) => {
  const up = await startFaulty();
  t.after(() => up.close());
  await runAll(t, { baseURL: `${up.url}/v1`, key: KEY, model: 'faulty', exact, reasoning: true, faults: true });
});

test('SDKs through the door before the mock', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { keys, access: { open_on_loopback: false } } });
  t.after(async () => { await door.stop(); await up.close(); });
  await runAll(t, { baseURL: `${door.url}/v1`, key: KEY, model: 'faulty', exact, reasoning: true, faults: true,
                    door: true, keys: true });
});

test('SDKs through the door with our own engine', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { keys, access: { open_on_loopback: false } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`, { headers: { Authorization: `Bearer ${KEY}` } })).json()).data[0].id;
  await runAll(t, { baseURL: `${door.url}/v1`, key: KEY, model, reasoning: /demo/.test(MODEL), door: true, keys: true });
});
