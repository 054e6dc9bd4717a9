// SPDX-License-Identifier: MIT
// s51: odd ends. Two attempts race and one of them ends without a word; an end that cannot be handed on; usage that
// was told before the last token. Each with the real binary and an upstream that is scripted event by event.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { startScripted } from '../tools/scripted.mjs';
import { SLOW, needDoor, startDoor, within } from './lib.mjs';
import { ask } from './client.mjs';

const WARM = 4; // the budget of second attempts is a part of the requests there have been
const question = { model: 'faulty', stream: true, messages: [{ role: 'user', content: 'x' }] };
const sleep = (ms) => new Promise((ok) => setTimeout(ok, ms));

// A door that hedges over two upstreams. `first` and `second` are what the two attempts of the one question do; each
// is given its voice, `did` and `closed` of the other, and `done` to tell it. A third attempt says one word.
async function race(t, { first, second, ours = false, ask: more = {} }) {
  let armed = false, attempts = 0;
  const made = () => { const p = {}; p.promise = new Promise((ok) => { p.resolve = ok; }); return p; };
  const came = [made(), made()], did = [made(), made()], voices = [];
  const script = async (say) => {
    const me = armed ? attempts++ : 2;
    if (me > 1) {
      say.role();
      say.text('one', 0, ours ? { ek: { n: 1, ids: [5], prompt: 3, cached: 0 } } : {});
      say.finish(0, ours ? { ek: { n: 2, ids: [2] } } : {});
      say.end();
      return;
    }
    voices[me] = say;
    came[me].resolve();
    await came[1 - me].promise; // from here on there are two
    await (me ? second : first)(say, { did: did[1 - me].promise, closed: () => voices[1 - me].closed, done: did[me].resolve });
    did[me].resolve();
  };
  const ups = [await startScripted(script, { ours }), await startScripted(script, { ours })];
  t.after(() => ups.forEach((u) => u.close()));
  const door = await startDoor({
    upstream: ups.map((u, i) => ({ url: u.url, name: 'ab'[i], dialect: ours ? 'evenkeel' : 'openai', models: ['faulty'], slots: 16 })),
    config: { queue: { hedge_after: `${300 * SLOW}ms`, hedge_budget: '50%' }, tiers: [{ name: 'default', hedge: true }] } });
  for (let i = 0; i < WARM; i++) assert.equal((await ask(door, question)).digest.complete, true);
  armed = true;
  const r = await within(30000, ask(door, { ...question, ...more }), 'the answer');
  assert.equal(door.exit, undefined, door.err.slice(-600));
  await door.stop();
  return r;
}

const finishes = (r) => (r.text.match(/"finish_reason":"/g) ?? []).length;

test('who ends first has won, though it says nothing', { skip: needDoor }, async (t) => {
  const ek = (n) => ({ ek: { n, ids: [2], prompt: 3, cached: 0 } });
  const r = await race(t, { ours: true,
    first: async (say, other) => {
      say.role();
      say.finish(0, ek(1));
      other.done();
      await Promise.race([other.closed(), sleep(1000 * SLOW)]);
      say.end();
    },
    second: async (say, other) => { await other.did; await sleep(100); say.text('hello', 0, ek(1)); await say.closed; } });
  assert.equal(r.digest.complete, true, r.text);
  assert.equal(r.digest.text, '');
  assert.equal(finishes(r), 1);
});

test('one of two choices has ended, and its upstream dies', { skip: needDoor }, async (t) => {
  const r = await race(t, { ours: true, ask: { n: 2 },
    first: async (say, other) => {
      say.role();
      say.finish(0, { ek: { n: 1, ids: [2], prompt: 3, cached: 0 } });
      await Promise.race([other.closed(), sleep(1000 * SLOW)]);
      say.die();
    },
    second: async (say) => { await say.closed; } });
  assert.equal(r.digest.error?.code, 'upstream_cut', r.text);
  assert.equal(finishes(r), 1);
});

test('usage comes late, and the other has a token meanwhile', { skip: needDoor }, async (t) => {
  const r = await race(t, {
    first: async (say, other) => { say.role(); say.finish(); other.done(); await say.closed; },
    second: async (say, other) => { await other.did; await sleep(100); say.text('one'); say.finish(); say.end(); } });
  assert.equal(r.digest.complete, true, r.text);
  assert.equal(finishes(r), 1);
  assert.equal(r.digest.text, '');
});

test('a second attempt that wins says the role of each choice', { skip: needDoor }, async (t) => {
  const r = await race(t, { ask: { n: 2 },
    first: async (say) => { await say.closed; },
    second: async (say) => {
      for (const index of [0, 1])
        say.event({ choices: [{ index, delta: { role: 'assistant', content: '' }, finish_reason: null }] });
      await sleep(50);
      for (const index of [0, 1]) say.text('one', index);
      for (const index of [0, 1]) say.finish(index);
      say.end();
    } });
  assert.equal(r.text.match(/"role":"assistant"/g)?.length, 2, r.text);
  assert.equal(finishes(r), 2);
});

for (const stream of [true, false]) {
  const form = stream ? 'streamed' : 'whole';
  test(`a second attempt that ends without a word is none (${form})`, { skip: needDoor }, async (t) => {
    const r = await race(t, { ask: { stream },
      first: async (say, other) => { await other.did; await sleep(100); say.die(); },
      second: async (say) => { say.event('{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}'); } });
    assert.equal(r.digest.complete, true, r.text);
    assert.equal(r.digest.text, 'one');
    assert.equal(r.digest.finish, 'stop');
  });

  test(`a chunk that ends the answer and is too large (${form})`, { skip: needDoor }, async (t) => {
    const EVENT_BYTES = 4 << 20; // of the reader; what is added to the chunk no longer fits
    const made = (text) => `{"choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":"stop"}]}`;
    const up = await startScripted(async (say) => {
      say.event(made('A'.repeat(EVENT_BYTES - 20 - made('').length)));
      say.end();
    });
    t.after(() => up.close());
    const door = await startDoor({ upstream: [{ url: up.url, name: 'a', dialect: 'openai', models: ['faulty'], reasoning: 'begun' }] });
    const r = await within(60000, ask(door, { ...question, stream }), 'the answer');
    assert.equal(r.digest.error?.code, 'upstream_bad', r.text.slice(-300));
    assert.equal(door.exit, undefined, door.err.slice(-600));
    await door.stop();
  });

  test(`usage told before the last token is not what was used (${form})`, { skip: needDoor }, async (t) => {
    const ends = [(say) => say.event({ choices: [], usage: { prompt_tokens: 10, completion_tokens: 4.5 } }),
      (say) => say.event({ error: { message: 'late', type: 'server_error' } }), (say) => say.die(), () => null];
    let turn = 0;
    const up = await startScripted(async (say) => {
      say.usage(10, 0);
      for (let i = 0; i < 40; i++) say.text(` w${i}`);
      say.finish();
      await sleep(20);
      ends[turn](say);
      await sleep(20);
      say.end();
    });
    t.after(() => up.close());
    const door = await startDoor({ upstream: [{ url: up.url, name: 'a', dialect: 'openai', models: ['faulty'] }] });
    for (; turn < ends.length; turn++) {
      const r = await within(30000, ask(door, { ...question, stream, ...(stream && { stream_options: { include_usage: true } }) }), 'it');
      const { usage } = r.digest;
      assert.equal(r.digest.complete, true, r.text);
      assert.deepEqual([usage.prompt_tokens, usage.completion_tokens, usage.estimated], [10, 40, true], `end ${turn}: ${r.text.slice(-400)}`);
    }
    await door.stop();
  });
}
