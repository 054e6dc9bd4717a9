// SPDX-License-Identifier: MIT
// s38: several choices of one prompt (`n`), by a real SDK unchanged, straight at the engine and through the
// door: each is what a request for it alone gets. An engine that dies between them ends the stream with an
// error, and the whole answer begins anew; who cannot give several is not asked for them.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import OpenAI from 'openai';
import { KEY, MODEL, Door, freePort, needDoor, needEngine, startDoor, waitFor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

// A question nobody knows by heart, answered without a thought: so what is drawn does differ.
const messages = [{ role: 'user', content: 'What is 478 * 96?' }];
const unthought = { thinking: { type: 'disabled' } };
const client = (t) => new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
const said = (c) => ({ index: c.index, text: c.message.content ?? '', thought: c.message.reasoning_content ?? '', end: c.finish_reason });

const checks = {
  async 'whole: each is what it is alone'(t) {
    const c = client(t);
    const question = { model: t.model, messages, seed: 40, temperature: 2, max_tokens: 24, ...unthought };
    const alone = [];
    for (let i = 0; i < 4; i++) alone.push(await c.chat.completions.create({ ...question, seed: 40 + i }));
    const r = await c.chat.completions.create({ ...question, n: 4 });
    assert.deepEqual(r.choices.map(said), alone.map((a, i) => ({ ...said(a.choices[0]), index: i })));
    assert.ok(new Set(r.choices.map((x) => JSON.stringify([said(x).text, said(x).thought]))).size > 1, 'they differ');
    assert.equal(r.usage.prompt_tokens, alone[0].usage.prompt_tokens, 'the prompt counts once');
    assert.equal(r.usage.completion_tokens, alone.reduce((sum, a) => sum + a.usage.completion_tokens, 0));
    const got = new Map();
    const runner = await c.chat.completions.create({ ...question, n: 4, stream: true, stream_options: { include_usage: true } });
    let usage = null;
    const order = [];
    for await (const chunk of runner) {
      usage ??= chunk.usage ?? null;
      for (const x of chunk.choices) {
        const k = got.get(x.index) ?? { index: x.index, text: '', thought: '', end: null, role: x.delta.role };
        got.set(x.index, k);
        assert.equal(k.end, null, 'nothing behind its end');
        k.text += x.delta.content ?? '';
        k.thought += x.delta.reasoning_content ?? '';
        k.end = x.finish_reason;
        if (order.at(-1) !== x.index) order.push(x.index);
      }
    }
    for (const k of got.values()) assert.equal(k.role, 'assistant', `choice ${k.index} begins with its role`);
    const streamed = [...got.values()].sort((a, b) => a.index - b.index).map(({ role, ...k }) => k);
    assert.deepEqual(streamed, r.choices.map(said));
    assert.deepEqual([usage?.prompt_tokens, usage?.completion_tokens], [r.usage.prompt_tokens, r.usage.completion_tokens]);
    assert.ok(order.length > 4, `they come side by side: ${order}`);
  },
  async 'the SDK puts a stream of several together'(t) {
    const runner = client(t).chat.completions.stream({ model: t.model, messages, seed: 3, temperature: 2, max_tokens: 12, n: 3 });
    const r = await runner.finalChatCompletion();
    assert.deepEqual(r.choices.map((x) => x.index), [0, 1, 2]);
    for (const x of r.choices) assert.equal(x.message.role, 'assistant');
  },
  async 'completions'(t) {
    const r = await client(t).completions.create({ model: t.model, prompt: 'Once upon a time', seed: 5, max_tokens: 8, n: 8, temperature: 2 });
    assert.deepEqual(r.choices.map((x) => x.index), [0, 1, 2, 3, 4, 5, 6, 7]);
    const second = await client(t).completions.create({ model: t.model, prompt: 'Once upon a time', seed: 6, max_tokens: 8, temperature: 2 });
    assert.equal(r.choices[1].text, second.choices[0].text);
  },
  async 'too many are refused'(t) {
    const e = await client(t).chat.completions.create({ model: t.model, messages, n: 9 }).then(() => null, (x) => x);
    assert.equal(e?.status, 400);
    assert.equal(e.param, 'n');
  },
};

async function runAll(t, target) {
  for (const [name, check] of Object.entries(checks)) await t.test(name, () => within(120000, check(target), name));
}

test('straight at the engine', { skip: needEngine }, async (t) => {
  const port = await freePort();
  const engine = new Door(['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`], port);
  t.after(() => engine.stop());
  await waitFor('the engine to be healthy', async () => {
    if (engine.exit) throw new Error(`it ended: ${engine.err}`);
    return (await fetch(`${engine.url}/health`)).status === 200;
  });
  await runAll(t, { baseURL: `${engine.url}/v1`, key: KEY, model: 'deepseek-chat' });
});

test('through the door', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { keys: [{ name: 'scenario', key: KEY }], access: { open_on_loopback: false } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`, { headers: { Authorization: `Bearer ${KEY}` } })).json()).data[0].id;
  await runAll(t, { baseURL: `${door.url}/v1`, key: KEY, model });
});

test('an engine dies between choices', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const question = { model, messages, seed: 9, temperature: 1.5, max_tokens: 120, ignore_eos: true, n: 3 };
  const uncut = await ask(door, question);
  let killed = false;
  const cut = await within(180000, ask(door, { ...question, stream: true }, { onBytes: (d) => {
    if (!killed && d.length > 0) process.kill(door.engines()[0], 'SIGKILL');
    killed = true;
  } }), 'the stream ends');
  assert.ok(killed);
  assert.equal(cut.digest.complete, false, 'several choices cannot go on where they were');
  assert.equal(dishonest(cut), null, cut.text.slice(-500));
  const running = ask(door, question);
  await waitFor('it to run', async () => (await door.metric('evenkeel_running')) > 0 && door.engines().length > 0);
  process.kill(door.engines()[0], 'SIGKILL');
  const again = await within(180000, running, 'the whole answer');
  const choices = (r) => JSON.parse(r.text).choices;
  assert.deepEqual(choices(again), choices(uncut), 'who has heard nothing gets the whole answer, the same');
});

test('who cannot give several is not asked', { skip: needDoor }, async (t) => {
  let asked = 0;
  const server = http.createServer((req, res) => {
    if (req.url.endsWith('/models')) return res.end('{"object":"list","data":[{"id":"m","object":"model"}]}');
    asked++;
    req.resume();
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.end('data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n');
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${server.address().port}`;
  const door = await startDoor({ upstream: [{ url, name: 'one', dialect: 'deepseek', key: 'sk-x', models: ['m'] }] });
  t.after(async () => { await door.stop(); server.close(); });
  const one = await ask(door, { model: 'm', messages, n: 1 });
  assert.equal(one.digest.complete, true, one.text);
  const two = await ask(door, { model: 'm', messages, n: 2 });
  assert.equal(two.status, 400, two.text);
  assert.equal(JSON.parse(two.text).error.param, 'n');
  assert.equal(asked, 1);
});
