// SPDX-License-Identifier: MIT
// s59: a llama-server and an engine of our own serve the same file, and connections to both are cut at random
// bytes. Answers go on from the text, both ways, and read like the uncut ones (greedy). Needs a llama-server that
// serves the demo model: EK_LLAMA_SERVER=http://127.0.0.1:PORT (started with --jinja; --metrics, too, is tried).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { DEMO, EVENKEEL, Program, SEED, freePort, needDemo, rng, startDoor, waitFor, within } from './lib.mjs';
import { ask } from './client.mjs';
import { startCutter } from './cutter.mjs';

const LLAMA = process.env.EK_LLAMA_SERVER;
const CASES = Number(process.env.EK_CASES ?? 40);
const KINDS = 10;

test('llama-server and our engine go on for each other', {
  skip: needDemo || (LLAMA ? false : 'EK_LLAMA_SERVER is not set'),
}, async () => {
  const random = rng(SEED);
  const port = await freePort();
  const engine = new Program(EVENKEEL, ['engine', '--model', DEMO, '--listen', `127.0.0.1:${port}`, '--threads', '1']);
  await waitFor('the engine', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  const theirs = (await (await fetch(`${LLAMA}/v1/models`)).json()).data[0].id;
  const llama = await startCutter(Number(new URL(LLAMA).port), random);
  const ours = await startCutter(port, random);
  const door = await startDoor({
    upstream: [{ url: llama.url, name: 'llama', dialect: 'llamacpp', reasoning: 'begun', models: [`demo=${theirs}`] },
      { url: ours.url, name: 'ours', dialect: 'evenkeel', models: ['demo'] }],
    config: { relay: { attempts: 16, probe: '200ms' } },
  });
  await waitFor('both to be up', async () => (await door.metric('evenkeel_upstream_up')) === 2);
  const run = (k) => within(120000, ask(door, { model: 'demo', stream: true, stream_options: { include_usage: true },
    temperature: 0, max_tokens: 100, messages: [{ role: 'user', content: `What is ${100 + 37 * k} + ${900 - 11 * k}?` }] }), `kind ${k}`);
  const whole = new Map(); // what either of them says of it, uncut
  for (let k = 0; k < KINDS; k++) {
    const said = new Set();
    for (let i = 0; i < 4; i++) {
      const { digest } = await run(k);
      assert.equal(digest.complete, true, JSON.stringify(digest));
      said.add(`${digest.thought.trim()}|${digest.text.trim()}`);
    }
    whole.set(k, said);
  }
  for (const c of [llama, ours]) c.state.on = true;
  let same = 0;
  for (let n = 0; n < CASES; n++) {
    const { digest } = await run(n % KINDS);
    assert.equal(digest.complete, true, JSON.stringify(digest));
    same += whole.get(n % KINDS).has(`${digest.thought.trim()}|${digest.text.trim()}`);
    assert.equal(digest.text.trim(), [...whole.get(n % KINDS)][0].split('|')[1], JSON.stringify(digest));
  }
  const went = await door.metric('evenkeel_continued_total');
  console.log(`${CASES} streams, ${llama.state.cuts} cuts of llama-server, ${ours.state.cuts} of ours, ${went} went on, ${same} read the same`);
  assert.ok(llama.state.cuts > 0 && ours.state.cuts > 0 && went > 0);
  await door.stop();
  await engine.stop();
  for (const c of [llama, ours]) c.close();
});
