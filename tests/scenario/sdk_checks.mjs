// SPDX-License-Identifier: MIT
// What the real SDKs must see, as checks over a target {baseURL, key, model, exact?, reasoning,
// faults?}: run against a mock first (which proves the checks), then through the door.
//   exact      (seed) -> {text, thought} when the target's answers are known beforehand
//   reasoning  the target thinks before it answers
//   faults     the target obeys the body member `fault` (the faulty upstream stands behind it)
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { generateText, streamText } from 'ai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createDeepSeek } from '@ai-sdk/deepseek';
import { ChatOpenAI } from '@langchain/openai';

globalThis.AI_SDK_LOG_WARNINGS = false;
const QUESTION = 'What is 12 + 30?';
const messages = [{ role: 'user', content: QUESTION }];

function same(target, seed, text, thought) {
  assert.ok(text.length > 0, 'no text');
  if (target.exact) {
    assert.equal(text, target.exact(seed).text);
    if (thought !== undefined) assert.equal(thought, target.exact(seed).thought);
  }
  if (target.reasoning && thought !== undefined) assert.ok(thought.length > 0, 'no thought');
}

function usageAdds(u) {
  assert.ok(u.prompt_tokens > 0 && u.completion_tokens > 0, JSON.stringify(u));
  assert.equal(u.total_tokens, u.prompt_tokens + u.completion_tokens);
}

async function rejection(promise) {
  try { await promise; } catch (e) { return e; }
  assert.fail('should have been refused');
}

// A custom fetch that adds members to the body, as users of these SDKs do for private extras.
const adding = (extra) => (url, init) =>
  fetch(url, { ...init, body: JSON.stringify({ ...JSON.parse(init.body), ...extra }) });

export const openaiChecks = {
  async 'openai: stream with usage'(target) {
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const stream = await c.chat.completions.create({ model: target.model, messages, stream: true, seed: 11,
      temperature: 0, max_tokens: 300, stream_options: { include_usage: true } });
    let text = '', thought = '', usage, finish;
    const ids = new Set();
    for await (const ch of stream) {
      ids.add(ch.id);
      text += ch.choices[0]?.delta?.content ?? '';
      thought += ch.choices[0]?.delta?.reasoning_content ?? '';
      finish ??= ch.choices[0]?.finish_reason;
      usage = ch.usage ?? usage;
    }
    same(target, 11, text, thought);
    assert.match(finish, /stop|length/);
    assert.equal(ids.size, 1, 'one id for all chunks');
    usageAdds(usage);
    if (target.reasoning) assert.ok(usage.completion_tokens_details.reasoning_tokens > 0);
  },
  async 'openai: stream without include_usage has no usage chunk'(target) {
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const stream = await c.chat.completions.create({ model: target.model, messages, stream: true, seed: 11, max_tokens: 40 });
    for await (const ch of stream) assert.equal(ch.choices.length, 1, 'a chunk that was not asked for');
  },
  async 'openai: whole answer equals the streamed one'(target) {
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const ask = { model: target.model, messages, seed: 12, temperature: 0, max_tokens: 300 };
    const { data: r, response } = await c.chat.completions.create(ask).withResponse();
    same(target, 12, r.choices[0].message.content, r.choices[0].message.reasoning_content);
    assert.equal(r.object, 'chat.completion');
    assert.match(r.choices[0].finish_reason, /stop|length/);
    usageAdds(r.usage);
    if (target.door) assert.ok(response.headers.get('x-request-id'), 'x-request-id');
    const runner = c.chat.completions.stream({ ...ask });
    assert.equal((await runner.finalChatCompletion()).choices[0].message.content, r.choices[0].message.content);
  },
  async 'openai: models are listed'(target) {
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const ids = [];
    for await (const m of c.models.list()) ids.push(m.id);
    assert.ok(ids.includes(target.model), ids.join());
  },
  async 'openai: abort in mid-stream'(target) {
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const stream = await c.chat.completions.create({ model: target.model, messages, stream: true, seed: 13, max_tokens: 400,
      ...(target.faults ? { fault: 'stall' } : {}) });
    let seen = 0;
    for await (const ch of stream) {
      assert.ok(ch);
      if (++seen === 3) break; // leaving the loop aborts the request
    }
    assert.equal(seen, 3);
    assert.ok(stream.controller.signal.aborted);
  },
  async 'openai: 404 for an unknown model'(target) {
    if (!target.door) return;
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const e = await rejection(c.chat.completions.create({ model: 'no-such-model', messages }));
    assert.ok(e instanceof OpenAI.NotFoundError, String(e));
    assert.equal(e.code, 'model_not_found');
    assert.match(e.message, /no-such-model|does not exist/);
  },
  async 'openai: 401 for an unknown key'(target) {
    if (!target.keys) return;
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: 'sk-wrong', maxRetries: 0 });
    const e = await rejection(c.chat.completions.create({ model: target.model, messages }));
    assert.ok(e instanceof OpenAI.AuthenticationError, String(e));
    assert.equal(e.type, 'authentication_error');
  },
  async 'openai: 400 for wrong types'(target) {
    if (!target.door) return;
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const e = await rejection(c.chat.completions.create({ model: target.model, messages: 'hello' }));
    assert.ok(e instanceof OpenAI.BadRequestError, String(e));
    assert.equal(e.type, 'invalid_request_error');
  },
  async 'openai: an upstream that is always overloaded ends as 429 or 503 with Retry-After'(target) {
    if (!target.faults) return;
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const e = await rejection(c.chat.completions.create({ model: target.model, messages, fault: '429-retry' }));
    assert.ok(e instanceof OpenAI.APIError && [429, 503].includes(e.status), String(e));
    if (target.door) assert.ok(Number(e.headers.get('retry-after')) >= 1, 'Retry-After');
  },
  async 'openai: an error in mid-stream is thrown, not swallowed'(target) {
    if (!target.faults) return;
    const c = new OpenAI({ baseURL: target.baseURL, apiKey: target.key, maxRetries: 0 });
    const e = await rejection((async () => {
      const s = await c.chat.completions.create({ model: target.model, messages, stream: true, fault: 'error-event' });
      for await (const ch of s) assert.ok(ch);
    })());
    assert.ok(e instanceof OpenAI.APIError, String(e));
  },
};

const providers = {
  '@ai-sdk/openai-compatible': (t, f) => createOpenAICompatible({ name: 'ek', baseURL: t.baseURL, apiKey: t.key,
    includeUsage: true, fetch: f })(t.model),
  '@ai-sdk/deepseek': (t, f) => createDeepSeek({ baseURL: t.baseURL, apiKey: t.key, fetch: f })(t.model),
};

async function drain(result) {
  const errors = [];
  for await (const part of result.fullStream) if (part.type === 'error') errors.push(part.error);
  return errors;
}

export const aiChecks = {};
for (const [name, model] of Object.entries(providers)) {
  const set = {
    async 'stream with usage'(target) {
      const r = streamText({ model: model(target, adding({ seed: 21 })), prompt: QUESTION, maxOutputTokens: 300, maxRetries: 0 });
      assert.deepEqual(await drain(r), []);
      same(target, 21, await r.text);
      if (target.reasoning) assert.ok((await r.reasoningText)?.length > 0, 'no reasoning');
      const u = await r.usage;
      assert.ok(u.inputTokens > 0 && u.outputTokens > 0, JSON.stringify(u));
      assert.match(await r.finishReason, /stop|length/);
    },
    async 'whole answer'(target) {
      const r = await generateText({ model: model(target, adding({ seed: 22 })), prompt: QUESTION, maxOutputTokens: 300, maxRetries: 0 });
      same(target, 22, r.text);
      assert.ok(r.usage.outputTokens > 0);
    },
    async 'abort in mid-stream'(target) {
      const stop = new AbortController();
      const extra = target.faults ? { fault: 'stall' } : {};
      const r = streamText({ model: model(target, adding(extra)), prompt: QUESTION, maxOutputTokens: 400, maxRetries: 0,
        abortSignal: stop.signal, onError() {} });
      let parts = 0;
      let aborted = false;
      for await (const part of r.fullStream) {
        if (part.type === 'abort') aborted = true;
        if (/delta/.test(part.type) && ++parts === 3) stop.abort();
      }
      assert.ok(aborted, 'no abort part');
    },
    async 'errors are errors'(target) {
      if (!target.door) return;
      const e = await rejection(generateText({ model: model({ ...target, model: 'no-such-model' }), prompt: QUESTION, maxRetries: 0 }));
      assert.equal(e.statusCode, 404, String(e));
      if (!target.keys) return;
      const k = await rejection(generateText({ model: model({ ...target, key: 'sk-wrong' }), prompt: QUESTION, maxRetries: 0 }));
      assert.equal(k.statusCode, 401, String(k));
    },
    async 'an error in mid-stream is reported'(target) {
      if (!target.faults) return;
      const r = streamText({ model: model(target, adding({ fault: 'error-event' })), prompt: QUESTION, maxRetries: 0, onError() {} });
      const errors = await drain(r);
      assert.ok(errors.length > 0 || (await r.finishReason) === 'error');
    },
  };
  for (const [what, check] of Object.entries(set)) aiChecks[`${name}: ${what}`] = check;
}

const lang = (target, extra = {}) => new ChatOpenAI({ model: target.model, apiKey: target.key, maxRetries: 0, maxTokens: 300,
  temperature: 0, configuration: { baseURL: target.baseURL }, ...extra });

export const langchainChecks = {
  async '@langchain/openai: stream with usage'(target) {
    let text = '', usage;
    for await (const c of await lang(target, { streamUsage: true, modelKwargs: { seed: 31 } }).stream(QUESTION)) {
      text += c.content;
      usage = c.usage_metadata ?? usage;
    }
    same(target, 31, text);
    assert.ok(usage.input_tokens > 0 && usage.output_tokens > 0);
  },
  async '@langchain/openai: whole answer'(target) {
    const r = await lang(target, { modelKwargs: { seed: 32 } }).invoke(QUESTION);
    same(target, 32, r.content);
    assert.ok(r.usage_metadata.total_tokens > 0);
  },
  async '@langchain/openai: abort in mid-stream'(target) {
    const stop = new AbortController();
    let seen = 0;
    const e = await rejection((async () => {
      const s = await lang(target, target.faults ? { modelKwargs: { fault: 'stall' } } : {}).stream(QUESTION, { signal: stop.signal });
      for await (const c of s) {
        assert.ok(c);
        if (++seen === 3) stop.abort();
      }
    })());
    assert.match(String(e), /abort/i);
  },
  async '@langchain/openai: errors are errors'(target) {
    if (!target.door) return;
    const e = await rejection(lang({ ...target, model: 'no-such-model' }).invoke(QUESTION));
    assert.equal(e.status, 404, String(e));
    if (!target.keys) return;
    assert.equal((await rejection(lang({ ...target, key: 'sk-wrong' }).invoke(QUESTION))).status, 401);
  },
};

export const allChecks = { ...openaiChecks, ...aiChecks, ...langchainChecks };
