// SPDX-License-Identifier: MIT
// s80: the one command answers a real question. The demo model thinks, then says 1442; without thinking it
// answers at once; a thinking budget is kept; the aliases of DeepSeek's API switch thinking.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { DEMO, KEY, needDemo, startDoor } from './lib.mjs';

const messages = [{ role: 'user', content: 'What is 478 + 964?' }];

test('What is 478 + 964?', { skip: needDemo }, async (t) => {
  const door = await startDoor({ model: DEMO });
  t.after(() => door.stop());
  const c = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, maxRetries: 0 });
  const model = (await c.models.list()).data[0].id;
  const ask = async (extra) => (await c.chat.completions.create({ model, messages, temperature: 0, ...extra }));

  await t.test('it thinks, then answers 1442', async () => {
    const order = [];
    let text = '', thought = '';
    for await (const ch of await ask({ stream: true })) {
      const d = ch.choices[0]?.delta ?? {};
      if (d.reasoning_content) { order.push('thought'); thought += d.reasoning_content; }
      if (d.content) { order.push('text'); text += d.content; }
    }
    t.diagnostic(`thought: ${thought.replace(/\s+/g, ' ')} | answer: ${text}`);
    assert.ok(thought.length > 0);
    assert.match(text, /\b1442\b/);
    assert.doesNotMatch(thought + text, /<\/?think>/);
    assert.ok(order.lastIndexOf('thought') < order.indexOf('text'), 'thought before text');
  });
  await t.test('thinking off', async () => {
    const r = await ask({ thinking: { type: 'disabled' } });
    assert.ok(!r.choices[0].message.reasoning_content);
    assert.match(r.choices[0].message.content, /\d/);
    assert.equal(r.usage.completion_tokens_details?.reasoning_tokens ?? 0, 0);
  });
  await t.test('deepseek-chat is off, deepseek-reasoner is on', async () => {
    assert.ok(!(await ask({ model: 'deepseek-chat' })).choices[0].message.reasoning_content);
    const r = await ask({ model: 'deepseek-reasoner' });
    assert.ok(r.choices[0].message.reasoning_content);
    assert.ok(r.usage.completion_tokens_details.reasoning_tokens > 0);
  });
  await t.test('a thinking budget closes the thought and goes on to an answer', async () => {
    const r = await ask({ thinking: { type: 'enabled', budget_tokens: 8 } });
    assert.ok(r.usage.completion_tokens_details.reasoning_tokens <= 8 + 1, JSON.stringify(r.usage));
    assert.ok(r.choices[0].message.content.length > 0);
  });
});
