// SPDX-License-Identifier: MIT
// s40: what the door does not understand passes through untouched. Random JSON requests (seeded; tools,
// images, response_format, fields nobody knows, odd but legal spellings of numbers and strings) go
// through the door to a recording upstream; every member the door may not change arrives byte for byte.
// The same question is put to an independent mock (@copilotkit/aimock), whose judgement of tools,
// images and structured output must not change when the door stands before it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { LLMock } from '@copilotkit/aimock';
import OpenAI from 'openai';
import { startFaulty } from '../tools/faulty.mjs';
import { KEY, SEED, needDoor, rng, startDoor } from './lib.mjs';
import { post } from './client.mjs';

const CASES = Number(process.env.EK_CASES ?? 300);
// Members the door may add or change (docs/wire.md); everything else is the caller's.
const MAY_CHANGE = new Set(['model', 'stream', 'stream_options']);

// ---- random JSON text, with the spelling kept ------------------------------------------------------
function randomText(r, depth = 0) {
  const ws = () => r.pick(['', '', '', ' ', '\n', '\t ', '  ']);
  const string = () => JSON.stringify(r.pick(['', 'plain', 'Fähre 帆船 🙂', 'quote " back \\ slash /', 'data: [DONE]\n\n',
    '\u0000\u001f', 'a'.repeat(r.int(200)), '</think>', '{"model":"x"}']));
  const escaped = () => r.pick(['"\\u0041\\u00e9\\ud83d\\ude00"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"\\uD834\\uDD1E"']);
  const number = () => r.pick(['0', '-0', '1', '-17', '1e5', '1E+2', '0.10', '1.0', '12345678901234567890', '1e-7', '3.14159265358979']);
  if (depth > 5 || r.bool(0.5)) return r.pick([string, escaped, number, () => r.pick(['true', 'false', 'null'])])();
  const n = r.int(4);
  if (r.bool()) return `[${ws()}${Array.from({ length: n }, () => randomText(r, depth + 1)).join(`${ws()},${ws()}`)}${ws()}]`;
  return `{${ws()}${Array.from({ length: n }, (_, i) => `"k${i}"${ws()}:${ws()}${randomText(r, depth + 1)}`).join(`,${ws()}`)}${ws()}}`;
}

const KNOWN = {
  tools: '[{"type":"function","function":{"name":"get_weather","strict":true,"parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}]',
  tool_choice: '{"type":"function","function":{"name":"get_weather"}}',
  response_format: '{"type":"json_schema","json_schema":{"name":"a","schema":{"type":"object","properties":{"n":{"type":"number"}}}}}',
  logit_bias: '{"50256":-100,"7":1.50}',
  metadata: '{"a":"1"}',
  web_search_options: '{"search_context_size":"low"}',
  parallel_tool_calls: 'false',
  temperature: '0.70', top_p: '0.9e0', stop: '["\\n\\n","END"]', presence_penalty: '0.0',
};
const PARTS = ['"plain"', '[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"}}]',
  '[{"type":"text","text":"a"},{"type":"input_audio","input_audio":{"data":"AAAA","format":"wav"}}]'];

// A request as an ordered list of [name, text] of its members.
function randomRequest(r) {
  const m = [['model', '"faulty"'], ['stream', String(r.bool())]];
  const turns = [];
  if (r.bool()) turns.push(`{"role":"system","content":${r.pick(PARTS)}}`);
  if (r.bool(0.3)) {
    turns.push('{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"get_weather","arguments":"{\\"city\\":\\"Łódź\\"}"}}]}',
      '{"role":"tool","tool_call_id":"c1","content":"12 °C"}');
  }
  turns.push(`{"role":"user","content":${r.pick(PARTS)},"x_note":${randomText(r, 3)}}`);
  m.push(['messages', `[${turns.join(r.pick([',', ', ', ',\n  ']))}]`]);
  for (const [k, v] of Object.entries(KNOWN)) if (r.bool(0.3)) m.push([k, v]);
  for (let i = r.int(5); i > 0; i--) m.push([`x_unknown_${i}`, randomText(r)]);
  for (let i = m.length - 1; i > 0; i--) { // any order
    const j = r.int(i + 1);
    [m[i], m[j]] = [m[j], m[i]];
  }
  const ws = () => r.pick(['', ' ', '\n']);
  return { members: m, text: `{${m.map(([k, v]) => `${ws()}"${k}"${ws()}:${ws()}${v}`).join(`${ws()},`)}${ws()}}` };
}

// Top-level members of a JSON object as [name, exact text of the value].
function topMembers(text) {
  const out = new Map();
  let i = text.indexOf('{') + 1;
  const skip = () => { while (/[\s,]/.test(text[i])) i++; };
  const value = () => {
    const begin = i;
    let depth = 0;
    for (; i < text.length; i++) {
      const c = text[i];
      if (c === '"') { for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++; }
      else if (c === '{' || c === '[') depth++;
      else if (c === '}' || c === ']') { if (depth-- === 0) break; }
      else if (c === ',' && depth === 0) break;
    }
    return text.slice(begin, i).trim();
  };
  for (skip(); text[i] === '"'; skip()) {
    const begin = i;
    for (i++; text[i] !== '"'; i++) if (text[i] === '\\') i++;
    const name = JSON.parse(text.slice(begin, ++i));
    while (text[i] !== ':') i++;
    i++;
    while (/\s/.test(text[i])) i++;
    assert.ok(!out.has(name), `member ${name} twice`);
    out.set(name, value());
  }
  return out;
}

test('the helper reads members exactly', () => {
  const m = topMembers('{ "a" : [1, {"b":"}"}] ,"c\\"":"x\\\\", "d":1.0 }');
  assert.deepEqual([...m], [['a', '[1, {"b":"}"}]'], ['c"', '"x\\\\"'], ['d', '1.0']]);
});

test(`random requests arrive byte for byte (seed ${SEED}, ${CASES} cases)`, { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url });
  t.after(async () => { await door.stop(); await up.close(); });
  const r = rng();
  for (let i = 0; i < CASES; i++) {
    const { members, text } = randomRequest(r);
    JSON.parse(text); // the generator itself must write JSON
    up.reset();
    const answer = await post(door, '/v1/chat/completions', text);
    const where = `case ${i}, seed ${SEED}: ${text.slice(0, 600)}`;
    assert.equal(answer.status, 200, `${where}\n${answer.text.slice(0, 300)}`);
    assert.equal(up.completions().length, 1, where);
    const got = topMembers(up.completions()[0].body.toString('utf8'));
    for (const [name, value] of members) {
      if (MAY_CHANGE.has(name)) continue;
      assert.equal(got.get(name), value.trim(), `member ${name} of ${where}`);
    }
    for (const name of got.keys()) {
      assert.ok(MAY_CHANGE.has(name) || members.some(([k]) => k === name), `the door added ${name}; ${where}`);
    }
  }
});

// What an SDK user sees of an independent mock, with and without the door in between.
async function impressions(baseURL, model) {
  const c = new OpenAI({ baseURL, apiKey: KEY, maxRetries: 0 });
  const seen = {};
  const tool = await c.chat.completions.create({ model, messages: [{ role: 'user', content: 'weather in Oslo' }],
    tools: JSON.parse(KNOWN.tools) });
  seen.tool = tool.choices[0].message.tool_calls?.map((x) => [x.type, x.function]);
  seen.toolFinish = tool.choices[0].finish_reason;
  const parts = [];
  for await (const ch of await c.chat.completions.create({ model, stream: true, messages: [{ role: 'user', content: 'weather in Oslo' }],
    tools: JSON.parse(KNOWN.tools) })) {
    for (const x of ch.choices[0]?.delta?.tool_calls ?? []) parts.push(x.function?.name ?? '', x.function?.arguments ?? '');
  }
  seen.toolStream = parts.join('');
  const image = await c.chat.completions.create({ model, messages: [{ role: 'user', content: JSON.parse(PARTS[1]) }] });
  seen.image = image.choices[0].message.content;
  const structured = await c.chat.completions.create({ model, messages: [{ role: 'user', content: 'as json please' }],
    response_format: { type: 'json_object' } });
  seen.structured = structured.choices[0].message.content;
  return seen;
}

test('an independent mock answers the same through the door', { skip: needDoor }, async (t) => {
  const mock = new LLMock({ port: 0, host: '127.0.0.1' });
  mock.onMessage(/weather/, { toolCalls: [{ name: 'get_weather', arguments: '{"city":"Oslo"}' }] });
  mock.onMessage(/What is this/, { content: 'A very small picture.' });
  mock.onMessage(/as json/, { content: '{"ok":true}' });
  const url = await mock.start();
  const door = await startDoor({ upstream: [{ url, models: ['mock-model'] }] });
  t.after(async () => { await door.stop(); await mock.stop(); });
  const direct = await impressions(`${url}/v1`, 'mock-model');
  assert.ok(direct.tool?.length === 1 && direct.toolStream.includes('Oslo'), JSON.stringify(direct));
  assert.deepEqual(await impressions(`${door.url}/v1`, 'mock-model'), direct);
});
