// SPDX-License-Identifier: MIT
// s37: answers of a given form, by real SDKs unchanged: JSON schemas, tools called and answered, straight
// at the engine and through the door. The demo model knows nothing of tools; that its calls are whole and
// fulfil their schemas is the mask's doing.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { generateText, streamText, tool, jsonSchema } from 'ai';
import { createDeepSeek } from '@ai-sdk/deepseek';
import { KEY, MODEL, Door, freePort, needEngine, startDoor, waitFor, within } from './lib.mjs';

globalThis.AI_SDK_LOG_WARNINGS = false;
const messages = [{ role: 'user', content: 'What is 12 + 30?' }];
const parameters = { type: 'object', additionalProperties: false, required: ['a', 'b'],
  properties: { a: { type: 'integer', minimum: 0, maximum: 99 }, b: { type: 'integer', minimum: 0, maximum: 99 } } };
const add = { type: 'function', function: { name: 'add', description: 'The sum of two numbers', strict: true, parameters } };
const say = { type: 'function', function: { name: 'say', description: 'Says a word', strict: true,
  parameters: { type: 'object', properties: { word: { enum: ['yes', 'no'] } }, required: ['word'] } } };

function isAdd(name, text) {
  assert.equal(name, 'add');
  const v = JSON.parse(text);
  assert.deepEqual(Object.keys(v).sort(), ['a', 'b']);
  for (const x of Object.values(v)) assert.ok(Number.isInteger(x) && x >= 0 && x <= 99, text);
}

const checks = {
  async 'openai: a schema, whole and streamed'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const ask = { model: t.model, messages, seed: 3, max_tokens: 400, response_format: { type: 'json_schema',
      json_schema: { name: 'sum', strict: true, schema: { type: 'object', additionalProperties: false,
        properties: { sum: { type: 'integer', minimum: 0, maximum: 999 }, unit: { enum: ['apples', 'pears'] } },
        required: ['sum', 'unit'] } } } };
    const whole = await c.chat.completions.create(ask);
    assert.equal(whole.choices[0].finish_reason, 'stop');
    const v = JSON.parse(whole.choices[0].message.content);
    assert.ok(Number.isInteger(v.sum) && ['apples', 'pears'].includes(v.unit), JSON.stringify(v));
    let text = '';
    for await (const ch of await c.chat.completions.create({ ...ask, stream: true })) text += ch.choices[0]?.delta?.content ?? '';
    assert.equal(text, whole.choices[0].message.content);
  },
  async 'openai: a schema that cannot be enforced is refused'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const refused = await c.chat.completions.create({ model: t.model, messages, response_format: { type: 'json_schema',
      json_schema: { name: 'x', schema: { properties: { a: { not: {} } } } } } }).then(() => null, (e) => e);
    assert.equal(refused?.status, 400);
    assert.equal(refused.code, 'unsupported');
    assert.match(refused.message, /'not' at #\/properties\/a/);
  },
  async 'openai: a tool is called, and its answer is heard'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const ask = { model: t.model, messages, tools: [add, say], seed: 4, max_tokens: 600,
      tool_choice: { type: 'function', function: { name: 'add' } } };
    const r = await c.chat.completions.create(ask);
    const m = r.choices[0].message;
    assert.equal(r.choices[0].finish_reason, 'tool_calls');
    assert.equal(m.tool_calls.length, 1);
    isAdd(m.tool_calls[0].function.name, m.tool_calls[0].function.arguments);
    const next = await c.chat.completions.create({ model: t.model, tools: [add], seed: 4, max_tokens: 60, messages: [...messages,
      { role: 'assistant', content: null, tool_calls: m.tool_calls },
      { role: 'tool', tool_call_id: m.tool_calls[0].id, content: '42' }] });
    assert.match(next.choices[0].finish_reason, /stop|length|tool_calls/);
    const runner = c.chat.completions.stream(ask);
    const streamed = (await runner.finalChatCompletion()).choices[0];
    assert.equal(streamed.finish_reason, 'tool_calls');
    assert.equal(streamed.message.tool_calls[0].function.arguments, m.tool_calls[0].function.arguments);
  },
  async 'openai: where a call is required there is nothing else, cut or not'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const ask = { model: t.model, messages, tools: [add], tool_choice: 'required', seed: 5 };
    for (const max_tokens of [1, 5, 15, 30]) {
      const r = (await c.chat.completions.create({ ...ask, max_tokens, thinking: { type: 'disabled' } })).choices[0];
      assert.equal(r.message.content || '', '', `${max_tokens} tokens`);
      assert.equal(r.finish_reason, 'length');
    }
    const stopped = (await c.chat.completions.create({ ...ask, max_tokens: 600, stop: ['{', '"a"'] })).choices[0];
    assert.equal(stopped.finish_reason, 'tool_calls');
    isAdd(stopped.message.tool_calls[0].function.name, stopped.message.tool_calls[0].function.arguments);
    const odd = (schema) => c.chat.completions.create({ ...ask, max_tokens: 400, tools: [{ type: 'function', function: { name: 'f', strict: true, parameters: schema } }] });
    await assert.rejects(odd({ type: 'integer' }), (e) => e.status === 400 && /object/.test(e.message));
    await assert.rejects(odd({ type: ['integer', 'null'] }), (e) => e.status === 400 && /object/.test(e.message));
    for (const schema of [{ type: ['integer', 'object'], maxProperties: 1 }, { maxProperties: 1 }]) {
      const f = (await odd(schema)).choices[0].message.tool_calls?.[0]?.function;
      assert.equal(typeof JSON.parse(f.arguments), 'object', JSON.stringify(schema));
    }
  },
  async 'openai: one of several, once'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const r = await c.chat.completions.create({ model: t.model, messages, tools: [add, say], tool_choice: 'required',
      parallel_tool_calls: false, seed: 5, max_tokens: 600 });
    assert.equal(r.choices[0].message.tool_calls.length, 1);
    const f = r.choices[0].message.tool_calls[0].function;
    if (f.name === 'add') isAdd(f.name, f.arguments);
    else assert.ok(['yes', 'no'].includes(JSON.parse(f.arguments).word), f.arguments);
  },
  async 'ai-sdk: deepseek calls a tool'(t) {
    const model = createDeepSeek({ baseURL: t.baseURL.replace(/v1$/, 'beta'), apiKey: t.key })(t.model);
    const tools = { add: tool({ description: 'The sum', inputSchema: jsonSchema(parameters), strict: true }) };
    const toolChoice = { type: 'tool', toolName: 'add' }; // one call: a tiny model does not stop calling where it need not
    const ask = { model, prompt: messages[0].content, tools, toolChoice, seed: 6, maxRetries: 0, maxOutputTokens: 600 };
    const r = await generateText(ask);
    assert.equal(r.finishReason, 'tool-calls');
    isAdd(r.toolCalls[0].toolName, JSON.stringify(r.toolCalls[0].input));
    const s = streamText(ask);
    const calls = await s.toolCalls;
    isAdd(calls[0].toolName, JSON.stringify(calls[0].input));
  },
  async 'logit_bias forbids and forces'(t) {
    const c = new OpenAI({ baseURL: t.baseURL, apiKey: t.key, maxRetries: 0 });
    const ask = { model: t.model, messages, seed: 7, temperature: 0, max_tokens: 5, logprobs: true, top_logprobs: 1 };
    const plain = await c.chat.completions.create({ ...ask, stream: true });
    const ids = [];
    for await (const ch of plain) ids.push(...(ch.ek?.ids ?? []));
    if (ids.length === 0) return; // a door keeps the ids to itself
    const other = await c.chat.completions.create({ ...ask, stream: true, logit_bias: { [ids[0]]: -100 } });
    const ids2 = [];
    for await (const ch of other) ids2.push(...(ch.ek?.ids ?? []));
    assert.ok(!ids2.includes(ids[0]), `${ids2} without ${ids[0]}`);
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
  await t.test('one caller with many slow schemas makes another wait for one of them', async () => {
    const order = [];
    const ask = async (who, schema) => {
      const r = await fetch(`${engine.url}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ messages, ek: { cache_salt: who }, response_format: { type: 'json_schema', json_schema: { name: 'x', schema } } }) });
      assert.equal((await r.json()).error.code, 'unsupported');
      order.push(who);
    };
    const slow = { type: 'string', pattern: '(a|b)*a(a|b){300}' };
    const all = Array.from({ length: 6 }, () => ask('many', slow));
    await within(120000, Promise.all([...all, ask('one', { not: {} })]), 'all are refused');
    assert.ok(order.indexOf('one') <= 2, order.join(' '));
  });
});

test('through the door', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { keys: [{ name: 'scenario', key: KEY }], access: { open_on_loopback: false } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`, { headers: { Authorization: `Bearer ${KEY}` } })).json()).data[0].id;
  await runAll(t, { baseURL: `${door.url}/v1`, key: KEY, model });
});
