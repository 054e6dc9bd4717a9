// SPDX-License-Identifier: MIT
// s57: an independent mock (@copilotkit/aimock) as upstream of several dialects: its own idea of OpenAI's,
// Azure's and DeepSeek's servers, and with its own chaos: refusals, drops, nonsense and disconnects beside a mock
// that behaves. What looks complete is whole; where there is a second upstream everything is.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { LLMock } from '@copilotkit/aimock';
import { SLOW, needDoor, startDoor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const ANSWER = 'The boat keeps an even keel, 帆船 and all, until the wind has had its say. '.repeat(4).trim();
const THOUGHT = 'A keel is a fin below.';

async function startMock() {
  const mock = new LLMock({ port: 0, host: '127.0.0.1' });
  mock.onMessage(/keel/, { content: ANSWER, reasoning: THOUGHT });
  await mock.start();
  return mock;
}

const bodyOf = (model, stream) => ({ model, stream, ...(stream ? { stream_options: { include_usage: true } } : {}),
  messages: [{ role: 'user', content: 'what is a keel?' }] });

test('one mock, three dialects', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await startDoor({ upstream: [
    { url: mock.url, name: 'plain', dialect: 'openai', models: ['plain=deepseek-reasoner'] },
    { url: mock.url, name: 'azure', dialect: 'azure', key: 'k-azure', models: ['azure=my-deployment'] },
    { url: mock.url, name: 'deepseek', dialect: 'deepseek', key: 'sk-x', models: ['deepseek=deepseek-reasoner'] },
  ] });
  t.after(async () => { await door.stop(); await mock.stop(); });
  for (const model of ['plain', 'azure', 'deepseek']) {
    for (const stream of [true, false]) {
      const r = await within(20000, ask(door, bodyOf(model, stream)), model);
      assert.equal(r.digest.complete, true, `${model}: ${r.text.slice(0, 500)}`);
      assert.equal(r.digest.text, ANSWER);
      if (model !== 'azure') assert.equal(r.digest.thought, THOUGHT);
      assert.equal(dishonest(r), null);
    }
  }
  const paths = mock.getRequests().map((r) => r.path);
  assert.ok(paths.some((p) => p.startsWith('/openai/deployments/my-deployment/chat/completions')), paths.join(' '));
});

for (const [what, chaos] of [['429', { rateLimitRate: 0.5 }], ['drops', { dropRate: 0.5 }], ['nonsense', { malformedRate: 0.5 }],
  ['disconnects', { disconnectRate: 0.5 }]]) {
  test(`chaos beside calm: ${what}`, { skip: needDoor }, async (t) => {
    const [bad, good] = [await startMock(), await startMock()];
    bad.setChaos(chaos);
    const door = await startDoor({
      upstream: [bad, good].map((m, i) => ({ url: m.url, name: i ? 'good' : 'bad', dialect: 'openai', models: ['m=deepseek-reasoner'], slots: 8 })),
      config: { relay: { first_token: `${5 * SLOW}s`, stall: `${5 * SLOW}s`, attempts: 16 } },
    });
    t.after(async () => { await door.stop(); await bad.stop(); await good.stop(); });
    for (let n = 0; n < 24; n++) {
      const r = await within(30000, ask(door, bodyOf('m', n % 3 !== 0)), `${what} ${n}`);
      assert.equal(dishonest(r), null, r.text.slice(0, 500));
      assert.equal(r.digest.complete, true, `${what} ${n}: ${JSON.stringify(r.digest).slice(0, 500)}`);
      assert.equal(r.digest.text, ANSWER);
    }
  });
}
