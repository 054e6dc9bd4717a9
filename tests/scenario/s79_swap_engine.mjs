// SPDX-License-Identifier: MIT
// s79: a door with an engine of its own is swapped. The new process brings an engine of the new program, which
// serves before anything is taken; the old one's goes on with what it has and ends with it. No error, no token
// that differs, nobody left behind; and whoever is killed in the middle. EK_CASES people (6).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { KEY, MODEL, SLOW, alive, children, needEngine, startDoor, waitFor, within } from './lib.mjs';
import { ask } from './client.mjs';

const COUNT = Number(process.env.EK_CASES ?? 6);
const config = { keys: [{ name: 'scenario', key: KEY }], streams: { retention: '5min' },
                 engine: { slots: 4, ctx_tokens: 1024 } };
const start = (more = {}) => startDoor({ model: MODEL, config: { ...config, ...more } });
const question = (model, seed, extra = {}) => ({ model, seed, stream: true, temperature: 0.8, max_tokens: 120,
  stream_options: { include_usage: true },
  messages: [{ role: 'user', content: `What is ${100 + (seed * 37) % 800} + ${100 + (seed * 91) % 800}?` }], ...extra });
const modelOf = async (door) => (await (await fetch(`${door.url}/v1/models`, { headers: { Authorization: `Bearer ${KEY}` } })).json()).data[0].id;
const said = (r) => ({ text: r.digest.text, thought: r.digest.thought, finish: r.digest.finish,
                       tokens: r.digest.usage?.completion_tokens });

const taken = (door) => door.metric('evenkeel_swaps_total', 'result="taken"');
async function swap(door, number) {
  process.kill(door.pid, 'SIGUSR2');
  await waitFor(`swap ${number}`, async () => (await taken(door)) === number, { timeout_ms: 60000 * SLOW })
    .catch((e) => { throw new Error(`${e.message}\n${door.err}`); });
}

const below = (pid) => children(pid).flatMap((c) => [c, ...below(c)]);
const isEngine = (pid) => {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('engine') && alive(pid);
  } catch { return false; }
};
const engines = (door) => { try { return below(door.pid).filter(isEngine); } catch { return []; } };
const noneLeft = (list) => waitFor('no engine to be left', () => list.every((pid) => !alive(pid)));

// A question whose answer stands still in its middle, as its engine is stopped. Engines are quick: until it does.
async function standing(door, engine, body) {
  for (let attempt = 0; attempt < 50; attempt++) {
    let stopped = false;
    let ended = false;
    const stop = (d) => {
      if (stopped || !/"content"|"reasoning_content"/.test(String(d))) return;
      stopped = true;
      process.kill(engine, 'SIGSTOP');
    };
    const answer = ask(door, body, { onBytes: stop }).finally(() => { ended = true; });
    await waitFor('its first token', () => stopped, { timeout_ms: 60000 * SLOW });
    // What the engine has said is on its way through the door, which answers us behind it.
    let still = 0;
    while (!ended && still < 20) still = (await door.metric('evenkeel_running')) === 1 ? still + 1 : 0;
    if (!ended) return { answer };
    process.kill(engine, 'SIGCONT');
  }
  throw new Error('the engine was always quicker');
}

test(`${COUNT} people, three swaps of door and engine: no error, no token that differs`, { skip: needEngine }, async (t) => {
  const door = await start();
  const seen = new Set();
  t.after(() => door.killNow());
  const model = await modelOf(door);
  const kinds = Array.from({ length: 12 }, (_, i) => question(model, i, i % 4 === 3 ? { stream: false, stream_options: undefined } : {}));
  const alone = [];
  for (const q of kinds) alone.push(said(await ask(door, q)));

  let swapping = true;
  let answers = 0;
  const people = Array.from({ length: COUNT }, async (_, i) => {
    for (let round = 0; swapping || round < 2; round++) {
      const k = (i * 5 + round) % kinds.length;
      const r = await ask(door, kinds[k]);
      assert.equal(r.digest.complete, true, `${JSON.stringify(r.digest)}\n${door.err}`);
      assert.deepEqual(said(r), alone[k], `answer ${k}, round ${round}`);
      answers++;
    }
  });
  const all = Promise.all(people);
  all.catch(() => {}); // told below
  for (let number = 1; number <= 3; number++) {
    const before = answers;
    await Promise.race([all, waitFor('answers', () => answers > before + COUNT, { timeout_ms: 120000 * SLOW })]);
    for (const pid of engines(door)) seen.add(pid);
    await swap(door, number);
  }
  swapping = false;
  await within(300000, all, 'all answers');
  for (const pid of engines(door)) seen.add(pid);
  t.diagnostic(`${answers} answers, ${seen.size} engines`);
  assert.equal(seen.size, 4, 'each program had its own');
  // Kept streams keep processes, but no engine where nothing runs or waits.
  await waitFor('one engine', () => engines(door).length === 1).catch((e) => { throw new Error(`${e.message}\n${door.err}`); });
  const told = await door.stop();
  assert.equal(told.code, 0, door.err);
  await noneLeft([...seen]);
});

test('whoever is killed in the middle', { skip: needEngine }, async (t) => {
  const door = await start();
  const seen = new Set();
  const note = () => { for (const pid of engines(door)) seen.add(pid); };
  t.after(() => door.killNow());
  const model = await modelOf(door);
  const long = question(model, 5);
  const alone = said(await ask(door, long));

  await t.test('the old engine: its stream goes on, token for token', async () => {
    const first = engines(door)[0];
    note();
    const { answer } = await standing(door, first, long);
    await swap(door, 1);
    note();
    assert.equal(engines(door).length, 2, 'one each');
    assert.deepEqual(said(await ask(door, long)), alone, 'the new engine');
    process.kill(first, 'SIGKILL');
    const r = await within(60000, answer, 'the answer');
    assert.equal(r.digest.complete, true, `${JSON.stringify(r.digest)}\n${door.err}`);
    assert.deepEqual(said(r), alone);
    note();
    await waitFor('the old engine to end', () => engines(door).length === 1);
  });

  await t.test('the new engine: the next answer waits for its restart', async () => {
    const [engine] = engines(door);
    process.kill(engine, 'SIGKILL');
    const r = await ask(door, long);
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    assert.deepEqual(said(r), alone);
    note();
  });

  await t.test('the new door: the old one has its engine back', async () => {
    const [serving] = children(door.pid).filter((pid) => !isEngine(pid));
    process.kill(serving, 'SIGKILL');
    await door.waitMetric('evenkeel_swaps_total', (v) => v === 1, 'result="returned"');
    const r = await ask(door, long);
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    assert.deepEqual(said(r), alone);
    note();
    await waitFor('one engine', () => engines(door).length === 1);
  });

  await t.test('the new engine before it serves: nothing has changed', async () => {
    const good = fs.readFileSync(door.configPath, 'utf8');
    const missing = good.replace(JSON.stringify(MODEL), JSON.stringify(`${MODEL}.missing`));
    assert.notEqual(missing, good);
    fs.writeFileSync(door.configPath, missing);
    process.kill(door.pid, 'SIGUSR2');
    await door.waitMetric('evenkeel_swaps_total', (v) => v === 1, 'result="failed"');
    fs.writeFileSync(door.configPath, good);
    assert.deepEqual(said(await ask(door, long)), alone);
    assert.equal(engines(door).length, 1);
  });

  const told = await door.stop();
  assert.equal(told.code, 0, door.err);
  await noneLeft([...seen]);
});

test('all of them at once: no engine is left', { skip: needEngine }, async (t) => {
  const door = await start();
  t.after(() => door.killNow());
  const model = await modelOf(door);
  await ask(door, question(model, 1));
  await swap(door, 1);
  const all = [door.pid, ...below(door.pid)];
  const list = engines(door);
  for (const pid of all.filter((p) => !list.includes(p))) process.kill(pid, 'SIGKILL');
  await door.exited;
  await noneLeft([...all]);
});
