// SPDX-License-Identifier: MIT
// s35: the engine by itself, by the wire contract (docs/wire.md, part 2): exact counts and ids on every
// chunk, continuation from an exact prefix as if it had never stopped, /load, cancellation by closing,
// and the same request giving the same tokens alone, again and in a crowd.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { EVENKEEL, MODEL, Door, freePort, needEngine, waitFor, within } from './lib.mjs';
import { ask, parseSse } from './client.mjs';

async function startEngine(args = []) {
  const port = await freePort();
  const engine = new Door(['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`, ...args], port);
  await waitFor('the engine to be healthy', async () => {
    if (engine.exit) throw new Error(`it ended: ${engine.err}`);
    return (await fetch(`${engine.url}/health`)).status === 200;
  });
  return engine;
}

const loadOf = async (e) => (await fetch(`${e.url}/load`)).json();
const request = (model, extra = {}) => ({ model, stream: true, max_tokens: 40, temperature: 0.8, seed: 7,
  stream_options: { include_usage: true }, messages: [{ role: 'user', content: 'What is 12 + 30?' }], ...extra });

// The stream as steps: {n, ids, text, thought} of each chunk that carries `ek`.
function steps(r) {
  return parseSse(r.text).events.filter((e) => e.data !== '[DONE]').map((e) => JSON.parse(e.data))
    .filter((c) => c.ek).map((c) => ({ ...c.ek, text: c.choices[0]?.delta?.content ?? '',
                                       thought: c.choices[0]?.delta?.reasoning_content ?? '' }));
}
const joined = (list, k) => list.map((s) => s[k]).join('');

test('the engine by itself', { skip: needEngine }, async (t) => {
  const engine = await startEngine();
  t.after(() => engine.stop());
  const model = (await (await fetch(`${engine.url}/v1/models`)).json()).data[0].id;

  await t.test('/load says what it can hold', async () => {
    const l = await loadOf(engine);
    for (const k of ['slots', 'running', 'waiting', 'kv_total', 'kv_free', 'page', 'prefill_tps']) {
      assert.equal(typeof l[k], 'number', `${k} in ${JSON.stringify(l)}`);
    }
    assert.ok(Array.isArray(l.decode_tps));
    assert.ok(l.slots >= 1 && l.running === 0 && l.kv_free <= l.kv_total && l.page === 64, JSON.stringify(l));
  });

  const whole = await ask(engine, request(model));
  const all = steps(whole);
  await t.test('counts and ids are exact', () => {
    assert.equal(whole.digest.complete, true, JSON.stringify(whole.digest));
    let n = 0;
    for (const s of all) {
      n += s.ids?.length ?? 0;
      assert.ok(s.n >= n, JSON.stringify(s));
    }
    assert.equal(n, whole.digest.usage.completion_tokens);
    assert.equal(all.at(-1).n, n);
    assert.equal(joined(all, 'text'), whole.digest.text);
  });

  await t.test('the same again, whole, and in a crowd of 16', async () => {
    const again = await ask(engine, request(model));
    assert.equal(again.digest.text, whole.digest.text);
    const doc = await ask(engine, request(model, { stream: false, stream_options: undefined }));
    assert.equal(doc.digest.text, whole.digest.text);
    assert.deepEqual(doc.digest.usage.completion_tokens, whole.digest.usage.completion_tokens);
    const crowd = await Promise.all(Array.from({ length: 16 }, (_, i) => ask(engine, request(model, { seed: i }))));
    assert.equal(crowd[7].digest.text, whole.digest.text);
    assert.equal(crowd[7].digest.thought, whole.digest.thought);
  });

  await t.test('it goes on from any prefix as if it had never stopped', async () => {
    for (const cut of [1, 2, Math.floor(all.length / 3), Math.floor(all.length / 2), all.length - 2]) {
      const before = all.slice(0, cut);
      const prefix = before.flatMap((s) => s.ids ?? []);
      const rest = await ask(engine, request(model, { ek: { request_id: 'ab12', prefix } }));
      assert.equal(rest.digest.complete, true, `cut ${cut}: ${JSON.stringify(rest.digest)}`);
      assert.equal(joined(before, 'text') + rest.digest.text, whole.digest.text, `cut ${cut}`);
      assert.equal(joined(before, 'thought') + rest.digest.thought, whole.digest.thought, `cut ${cut}`);
      assert.deepEqual(rest.digest.usage, whole.digest.usage, `cut ${cut}`);
    }
  });

  await t.test('closing cancels', async () => {
    const stop = new AbortController();
    const gone = ask(engine, request(model, { max_tokens: 4000 }), { signal: stop.signal, onBytes: () => stop.abort() });
    await within(10000, gone, 'the client leaves');
    await waitFor('the slot to be free', async () => (await loadOf(engine)).running === 0);
    const l = await loadOf(engine);
    await waitFor('the cache to be free again', async () => (await loadOf(engine)).kv_free === l.kv_total, { timeout_ms: 3000 });
  });

  await t.test('stop, max_tokens and greedy', async () => {
    const greedy = await ask(engine, request(model, { temperature: 0, seed: undefined }));
    const other = await ask(engine, request(model, { temperature: 0, seed: 99 }));
    assert.equal(greedy.digest.text + greedy.digest.thought, other.digest.text + other.digest.thought);
    const short = await ask(engine, request(model, { max_tokens: 3 }));
    assert.equal(short.digest.usage.completion_tokens, 3);
    assert.equal(short.digest.finish, 'length');
  });
});
