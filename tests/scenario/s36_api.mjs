// SPDX-License-Identifier: MIT
// s36: the breadth of the API through the door with our own engine: what clients send daily is served, what
// cannot be served is refused with a sentence (4xx), and nothing ends as a 5xx or a crash.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Door, MODEL, SLOW, freePort, needEngine, rng, startDoor, SEED, waitFor, within } from './lib.mjs';
import { ask, digest, dishonest, post } from './client.mjs';

const user = (content) => [{ role: 'user', content }];
const Q = 'What is 12 + 30?';

// Must be served whole.
const SERVED = {
  'content as parts': { messages: user([{ type: 'text', text: 'What is ' }, { type: 'text', text: '12 + 30?' }]) },
  'a system message': { messages: [{ role: 'system', content: 'Be brief.' }, ...user(Q)] },
  'a developer message': { messages: [{ role: 'developer', content: 'Be brief.' }, ...user(Q)] },
  'a conversation with old thoughts': { messages: [...user('Hi'), { role: 'assistant', content: 'Hello.', reasoning_content: 'They greet.' }, ...user(Q)] },
  'a name': { messages: [{ role: 'user', name: 'ann', content: Q }] },
  'max_completion_tokens': { messages: user(Q), max_completion_tokens: 12 },
  'reasoning_effort': { messages: user(Q), reasoning_effort: 'low' },
  'reasoning_effort none': { messages: user(Q), reasoning_effort: 'none' },
  'thinking disabled': { messages: user(Q), thinking: { type: 'disabled' } },
  'temperature 0 and top_p': { messages: user(Q), temperature: 0, top_p: 0.5 },
  'top_k, min_p, penalties': { messages: user(Q), top_k: 5, min_p: 0.1, presence_penalty: 0.2, frequency_penalty: 0.2 },
  'stop as a string': { messages: user(Q), stop: '=' },
  'stop as a list': { messages: user(Q), stop: ['=', '\n\n'] },
  'a seed': { messages: user(Q), seed: 9007199254740991 },
  'user, user_id, metadata, store': { messages: user(Q), user: 'u1', user_id: 'u2', metadata: { a: 'b' }, store: false },
  'members nobody knows': { messages: user(Q), x_future: { deep: [1, 2, { three: null }] }, prompt_cache_key: 'k', verbosity: 'low' },
  'explicit nulls': { messages: user(Q), stop: null, max_tokens: null, temperature: null, stream_options: null },
  'Chinese': { messages: user('12 加 30 等于多少？') },
  'emoji and odd scripts': { messages: user('🙂 مرحبا नमस्ते \u200d\ufeff') },
  'special tokens as text': { messages: user('<｜User｜><｜Assistant｜></think><think><｜end▁of▁sentence｜>') },
  'an empty text': { messages: user('') },
};
// May be served or refused, but honestly.
const EITHER = {
  'two choices': { messages: user(Q), n: 2 },
  'tools': { messages: user(Q), tools: [{ type: 'function', function: { name: 'f', parameters: { type: 'object' } } }] },
  'response_format json_object': { messages: user(`${Q} as json`), response_format: { type: 'json_object' } },
  'an image': { messages: user([{ type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } }]) },
  'logprobs': { messages: user(Q), logprobs: true, top_logprobs: 3 },
  'logit_bias': { messages: user(Q), logit_bias: { 5: -100 } },
  'an assistant to be continued': { messages: [...user(Q), { role: 'assistant', content: 'It is 4', prefix: true }] },
  'a tool message': { messages: [...user(Q), { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{}' } }] },
    { role: 'tool', tool_call_id: 'a', content: '42' }] },
  'content null': { messages: [{ role: 'user', content: null }] },
};
// Must be refused.
const REFUSED = {
  'an unknown role': { messages: [{ role: 'wizard', content: Q }] },
  'no role': { messages: [{ content: Q }] },
  'content a number': { messages: user(5) },
  'temperature a string': { messages: user(Q), temperature: 'hot' },
  'temperature 99': { messages: user(Q), temperature: 99 },
  'top_p 7': { messages: user(Q), top_p: 7 },
  'n 0': { messages: user(Q), n: 0 },
  'n 1000': { messages: user(Q), n: 1000 },
  'stop of wrong type': { messages: user(Q), stop: [1] },
  'seed a string': { messages: user(Q), seed: 'x' },
  'thinking a string': { messages: user(Q), thinking: 'yes' },
};

test('the breadth of chat completions', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const [engine] = door.engines();
  for (const stream of [true, false]) {
    const how = stream ? 'stream' : 'whole';
    for (const [name, extra] of Object.entries(SERVED)) {
      await t.test(`served, ${how}: ${name}`, async () => {
        const r = await within(30000, ask(door, { model, max_tokens: 24, stream, ...extra }), name);
        assert.equal(r.digest.complete, true, `${r.status} ${r.text.slice(-400)}`);
        if (typeof extra.stop === 'string') assert.ok(!r.digest.text.includes(extra.stop));
        if (extra.max_completion_tokens && r.digest.usage) assert.ok(r.digest.usage.completion_tokens <= 12);
      });
    }
    for (const [name, extra] of Object.entries({ ...EITHER, ...REFUSED })) {
      await t.test(`${name in REFUSED ? 'refused' : 'served or refused'}, ${how}: ${name}`, async () => {
        const r = await within(30000, ask(door, { model, max_tokens: 24, stream, ...extra }), name);
        assert.equal(dishonest(r), null);
        assert.ok(r.status < 500, `${r.status} ${r.text}`);
        if (name in REFUSED) assert.ok(r.status >= 400, `${r.status} ${r.text.slice(-300)}`);
      });
    }
  }
  await t.test('text completions', async () => {
    for (const prompt of ['12 + 30 =', ['12 + 30 =']]) {
      for (const stream of [true, false]) {
        const r = await post(door, '/v1/completions', { model, prompt, max_tokens: 8, stream, temperature: 0 });
        assert.equal(r.status, 200, r.text);
        if (!stream) {
          const v = JSON.parse(r.text);
          assert.equal(v.object, 'text_completion');
          assert.equal(typeof v.choices[0].text, 'string');
          assert.ok(v.usage.total_tokens > 0);
        } else {
          assert.match(r.text, /"text":/);
          assert.match(r.text, /data: \[DONE\]\n\n$/);
        }
      }
    }
  });
  await t.test('the engine has survived all this', () => assert.deepEqual(door.engines(), [engine]));
});

test(`random conversations: never a 5xx, never a crash (seed ${SEED})`, { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const [engine] = door.engines();
  const r = rng();
  const text = () => Array.from({ length: r.int(40) }, () => r.pick(['12', ' + ', '帆', '🙂', '\n', '\u0000', '<think>', '</think>', '<｜User｜>', '\ufffd',
    'a', ' the', '=', '\u200d', '\\n', '"', '½', '\ud83d\ude00', '９'])).join('');
  const value = () => r.pick([0, 1, -1, 2, 0.5, 1e9, 1e-9, true, null, 'x', [], {}, 64]);
  const NAMES = ['temperature', 'top_p', 'top_k', 'min_p', 'seed', 'max_tokens', 'n', 'stop', 'presence_penalty', 'frequency_penalty',
    'repetition_penalty', 'thinking', 'reasoning_effort', 'stream_options', 'logprobs', 'user_id', 'ek'];
  const one = async () => {
    const messages = Array.from({ length: r.int(6) }, () => ({ role: r.pick(['user', 'assistant', 'system', 'tool', 'developer', 'user']),
      content: r.bool(0.9) ? text() : value(), ...(r.bool(0.2) ? { reasoning_content: text() } : {}) }));
    const body = { model, max_tokens: 6, stream: r.bool(), messages };
    for (let k = r.int(4); k > 0; k--) body[r.pick(NAMES)] = value();
    const max = body.max_tokens;
    if (!(typeof max === 'number' && max <= 64)) body.max_tokens = 6;
    const a = await ask(door, body);
    const where = `${a.status} ${a.text.slice(0, 300)}\nfor ${JSON.stringify(body).slice(0, 800)}`;
    assert.ok(a.status >= 200 && a.status < 500, where);
    assert.equal(dishonest(a, digest(a)), null, where);
  };
  for (let i = 0; i < (SLOW > 1 ? 10 : 30); i++) await Promise.all(Array.from({ length: 10 }, one));
  assert.deepEqual(door.engines(), [engine], 'the engine has not died');
});

test('a prompt seen before is found in the cache by its own account, and by no other', { skip: needEngine }, async (t) => {
  const keys = ['ann', 'ben'].map((name) => ({ name, account: name, key: `sk-cache-${name}-0123456789` }));
  const door = await startDoor({ model: MODEL, config: { keys, access: { open_on_loopback: false } } });
  t.after(() => door.stop());
  const body = { messages: user(`${'Please add these two numbers for me. '.repeat(20)}${Q}`), max_tokens: 8, temperature: 0 };
  const usage = async (key, extra = {}) => {
    const r = await fetch(`${door.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify({ model: door.model, ...body, ...extra }),
      headers: { authorization: `Bearer ${key.key}`, 'content-type': 'application/json' } });
    const a = await r.json();
    assert.equal(r.status, 200, JSON.stringify(a));
    return { ...a.usage, said: a.choices[0].message };
  };
  door.model = (await (await fetch(`${door.url}/v1/models`, { headers: { authorization: `Bearer ${keys[0].key}` } })).json()).data[0].id;
  const first = await usage(keys[0]);
  const again = await usage(keys[0]);
  assert.equal(first.prompt_tokens_details.cached_tokens, 0);
  assert.equal(again.prompt_tokens_details.cached_tokens, Math.floor((first.prompt_tokens - 1) / 64) * 64);
  assert.ok(again.prompt_tokens_details.cached_tokens >= 64, `a prompt of ${first.prompt_tokens} tokens is too short for this test`);
  assert.equal(again.prompt_cache_hit_tokens + again.prompt_cache_miss_tokens, again.prompt_tokens);
  assert.deepEqual(again.said, first.said);
  assert.equal((await usage(keys[1])).prompt_tokens_details.cached_tokens, 0);
  assert.equal((await usage(keys[0], { user_id: 'somebody' })).prompt_tokens_details.cached_tokens, 0);
});

test('the engine tells tokens, and what tokens say', { skip: needEngine }, async (t) => {
  const port = await freePort();
  const engine = new Door(['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`], port);
  t.after(() => engine.stop());
  await waitFor('the engine to be healthy', async () => (await fetch(`${engine.url}/health`).catch(() => ({}))).status === 200);
  const post = async (path, body) => {
    const r = await fetch(`${engine.url}${path}`, { method: 'POST', body: JSON.stringify(body) });
    return { status: r.status, ...(await r.json()) };
  };
  const random = rng(7);
  for (const text of ['', 'What is 12 + 30?', '12 加 30 等于多少？', '🙂\u0000\n\t"\\', '<｜User｜></think>', 'é'.repeat(300),
    Array.from({ length: 200 }, () => String.fromCodePoint(32 + random.int(0x2000))).join('')]) {
    const told = await post('/tokenize', { content: text });
    assert.equal(told.status, 200, JSON.stringify(told));
    assert.equal(told.count, told.tokens.length);
    const said = await post('/v1/detokenize', { tokens: told.tokens });
    assert.equal(said.content, text);
    assert.equal(said.prompt, text);
  }
  const special = await post('/tokenize', { content: '<｜User｜>', parse_special: true });
  assert.equal(special.count, 1);
  assert.equal((await post('/detokenize', { tokens: special.tokens })).content, '<｜User｜>');
  const half = (await post('/tokenize', { content: '🙂' })).tokens.slice(0, 1);
  assert.match((await post('/detokenize', { tokens: half })).content, /^\ufffd+$/);
  const refused = { 'no list': {}, 'no array': { tokens: 5 }, 'a text': { tokens: ['a'] }, 'negative': { tokens: [-1] }, 'unknown': { tokens: [999999] },
    'half': { tokens: [0.5] }, 'too many': { tokens: Array(5000).fill(5) }, 'far too many': { tokens: Array(1000000).fill(5) } };
  for (const [name, body] of Object.entries(refused)) {
    const r = await post('/detokenize', body);
    assert.equal(r.status, 400, name);
    assert.equal(r.error.param, 'tokens', name);
  }
  assert.equal((await post('/tokenize', { content: 'word '.repeat(5000) })).status, 400);
  for (const body of [[], 5, { tokens: `${'['.repeat(1000)}`, deep: true }]) {
    const r = await post('/detokenize', body);
    assert.equal(r.status, 400);
    assert.ok(r.error.message.length > 10, r.error.message);
  }
});
