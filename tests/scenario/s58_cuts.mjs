// SPDX-License-Identifier: MIT
// s58: two engines of our own, each behind a proxy that cuts connections after a random number of bytes. Every
// stream must give exactly the text, thought and usage of the uncut one: continuation is by token ids.
// EK_CASES streams: 40 by default, 1,000 in `make prove-cuts`.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { EVENKEEL, MODEL, Program, SEED, freePort, needEngine, rng, startDoor, waitFor, within } from './lib.mjs';
import { ask } from './client.mjs';
import { startCutter } from './cutter.mjs';

const CASES = Number(process.env.EK_CASES ?? 40);
const KINDS = 20; // different requests
const AT_ONCE = 4;

async function startEngine() {
  const port = await freePort();
  const engine = new Program(EVENKEEL, ['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`, '--slots', '4', '--threads', '1']);
  await waitFor('the engine', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  return { engine, port };
}

// The engines behind their cutters, a door before them, and what each of the requests gives uncut.
async function setUp(t) {
  const random = rng(SEED);
  const engines = [await startEngine(), await startEngine()];
  const cutters = await Promise.all(engines.map((e) => startCutter(e.port, random)));
  const upstream = cutters.map((c, i) => ({ url: c.url, name: `e${i}`, dialect: 'evenkeel' }));
  const door = await startDoor({ upstream, config: { relay: { attempts: 16, probe: '200ms' } } });
  t.after(async () => { for (const c of cutters) c.close(); });
  const bodyOf = (k) => ({
    model: '', stream: true, stream_options: { include_usage: true }, seed: 700 + k, temperature: k % 2 ? 0 : 0.8,
    max_tokens: 24 + k, messages: [{ role: 'user', content: `What is ${100 + 37 * k} + ${900 - 11 * k}?` }] });
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const run = async (k) => within(120000, ask(door, { ...bodyOf(k), model }), `stream of kind ${k}`);
  const whole = [];
  for (let k = 0; k < KINDS; k++) {
    const r = await run(k);
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    whole.push(r.digest);
  }
  const check = async (k) => {
    const r = await run(k);
    const said = `kind ${k}, seed ${SEED}: ${JSON.stringify(r.digest)}`;
    assert.equal(r.digest.complete, true, said);
    for (const part of ['text', 'thought', 'finish']) assert.equal(r.digest[part], whole[k][part], said);
    for (const part of ['prompt_tokens', 'completion_tokens'])
      assert.equal(r.digest.usage[part], whole[k].usage[part], said);
    assert.equal(r.digest.usage.estimated, undefined, said);
  };
  return { engines, cutters, door, check, cuts: () => cutters.reduce((a, c) => a + c.state.cuts, 0) };
}

test('cut behind its last finish_reason, an answer is whole and its tokens are counted', { skip: needEngine }, async (t) => {
  const { engines, cutters, door, check, cuts } = await setUp(t);
  for (const c of cutters) Object.assign(c.state, { on: true, behind: /"finish_reason":"/ });
  for (let k = 0; k < KINDS; k++) await check(k);
  assert.equal(cuts(), KINDS);
  assert.equal(await door.metric('evenkeel_continued_total'), 0);
  await door.stop();
  for (const e of engines) await e.engine.stop();
});

test('cut anywhere, between two engines', { skip: needEngine }, async (t) => {
  const { engines, cutters, door, check, cuts: countCuts } = await setUp(t);
  for (const c of cutters) c.state.on = true;
  let n = 0;
  const worker = async () => {
    while (n < CASES) await check(n++ % KINDS);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const cuts = countCuts();
  const continued = await door.metric('evenkeel_continued_total');
  console.log(`${CASES} streams, ${cuts} cuts, ${continued} went on`);
  assert.ok(cuts > 0 && continued > 0, 'something was cut');
  await door.stop();
  for (const e of engines) await e.engine.stop();
});
