// SPDX-License-Identifier: MIT
// s76: the Responses API with the real SDK: create, stream, background, retrieve, read on behind an event, cancel,
// delete; and a background response that outlives a killed door.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import path from 'node:path';
import { Door, EVENKEEL, KEY, MODEL, Program, SLOW, freePort, needEngine, startDoor, tmp, waitFor, within } from './lib.mjs';

const input = [{ role: 'user', content: [{ type: 'input_text', text: 'What is 12 + 30?' }] }];

async function setUp(t) {
  const port = await freePort();
  const engine = new Program(EVENKEEL, ['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`, '--slots', '4', '--threads', '1']);
  await waitFor('the engine', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  const config = { journal: { dir: path.join(tmp, `responses-${port}`) }, keys: [{ name: 'scenario', key: KEY }], access: { open_on_loopback: false },
    relay: { attempts: 16, probe: '200ms' } };
  const door = await startDoor({ upstream: [{ url: `http://127.0.0.1:${port}`, name: 'e', dialect: 'evenkeel' }], config });
  const state = { door, engine };
  t.after(async () => { state.door.killNow(); engine.killNow(); });
  const client = new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, maxRetries: 0 });
  const model = (await client.models.list()).data[0].id;
  return { state, client, model };
}

async function finished(client, id) {
  return waitFor(`the end of ${id}`, async () => {
    const r = await client.responses.retrieve(id);
    return ['queued', 'in_progress'].includes(r.status) ? null : r;
  }, { timeout_ms: 60000 * SLOW, every_ms: 50 });
}

test('responses by the SDK', { skip: needEngine }, async (t) => {
  const { state, client, model } = await setUp(t);
  const ask = { model, input, instructions: 'Be short.', max_output_tokens: 40, temperature: 0 };
  const whole = await within(60000, client.responses.create(ask), 'a whole response');
  assert.equal(whole.object, 'response');
  assert.ok(['completed', 'incomplete'].includes(whole.status), JSON.stringify(whole));
  assert.ok(whole.usage.input_tokens > 0 && whole.usage.output_tokens > 0);
  assert.equal(whole.instructions, 'Be short.');
  const thoughtOf = (r) => r.output.filter((o) => o.type === 'reasoning').map((o) => o.content[0].text).join('');
  assert.ok(whole.output_text.length + thoughtOf(whole).length > 0, JSON.stringify(whole.output));

  await t.test('streamed', async () => {
    const stream = await client.responses.create({ ...ask, stream: true });
    let text = '';
    let last = -1;
    let end;
    for await (const e of stream) {
      assert.equal(e.sequence_number, last + 1);
      last = e.sequence_number;
      if (e.type === 'response.output_text.delta') text += e.delta;
      if (/^response\.(completed|incomplete|failed)$/.test(e.type)) end = e.response;
    }
    assert.equal(text, whole.output_text);
    assert.equal(end.status, whole.status);
    assert.deepEqual(end.usage.output_tokens, whole.usage.output_tokens);
  });

  await t.test('in the background, polled and erased', async () => {
    const r = await client.responses.create({ ...ask, background: true });
    assert.ok(['queued', 'in_progress', 'completed', 'incomplete'].includes(r.status), r.status); /* as it stands */
    const done = await finished(client, r.id);
    assert.equal(done.output_text, whole.output_text);
    assert.equal(thoughtOf(done), thoughtOf(whole));
    await client.responses.delete(r.id);
    await assert.rejects(client.responses.retrieve(r.id), (e) => e.status === 404);
  });

  await t.test('in the background, streamed, left and read on', async () => {
    const stream = await client.responses.create({ ...ask, background: true, stream: true });
    let id, last, text = '';
    for await (const e of stream) {
      if (e.type === 'response.created') id = e.response.id;
      if (e.type === 'response.output_text.delta') text += e.delta;
      last = e.sequence_number;
      if (last === 7) break;
    }
    const again = await client.responses.retrieve(id, { stream: true, starting_after: last });
    for await (const e of again) {
      assert.equal(e.sequence_number, ++last);
      if (e.type === 'response.output_text.delta') text += e.delta;
    }
    assert.equal(text, whole.output_text);
  });

  await t.test('cancelled', async () => {
    const r = await client.responses.create({ ...ask, max_output_tokens: 400, background: true });
    const c = await client.responses.cancel(r.id);
    assert.equal(c.status, 'cancelled');
    assert.equal((await client.responses.retrieve(r.id)).status, 'cancelled');
    await state.door.waitMetric('evenkeel_running', (v) => v === 0);
  });

  await t.test('refused by its name', async () => {
    await assert.rejects(client.responses.create({ ...ask, tools: [{ type: 'web_search' }] }), (e) => e.status === 400 && e.param === 'tools');
    await assert.rejects(client.responses.create({ ...ask, previous_response_id: 'resp_1' }), (e) => e.status === 400);
    const many = Object.fromEntries(Array.from({ length: 40000 }, (_, i) => [`a,"${i}`, 'one, two']));
    await assert.rejects(client.responses.create({ ...ask, metadata: many }), (e) => e.status === 400 && /more values/.test(e.message));
    const words = 'one, two, '.repeat(20000);
    await assert.rejects(client.responses.create({ ...ask, input: words }), (e) => e.status === 400 && !/more values/.test(e.message));
    await assert.rejects(client.responses.create({ ...ask, model: 'nobody' }), (e) => e.status === 404);
  });

  await t.test('asked for later, by the chat API', async () => {
    const r = await fetch(`${state.door.url}/v1/chat/completions`, { method: 'POST',
      headers: { Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json', Prefer: 'respond-async' },
      body: JSON.stringify({ model, max_tokens: 20, temperature: 0, messages: [{ role: 'user', content: 'What is 12 + 30?' }] }) });
    assert.equal(r.status, 202);
    const where = r.headers.get('location');
    const done = await waitFor('the answer', async () => {
      const a = await fetch(`${state.door.url}${where}`, { headers: { Authorization: `Bearer ${KEY}` } });
      return a.status === 200 ? a.json() : null;
    }, { timeout_ms: 60000 * SLOW });
    assert.equal(done.object, 'chat.completion');
    assert.ok(done.usage.completion_tokens > 0);
  });
  await state.door.stop();
});

async function killed(state) {
  state.door.killNow();
  await state.door.exited;
  const { port, configPath } = state.door;
  state.door = new Door(['serve', '--config', configPath, '--listen', `127.0.0.1:${port}`], port, configPath);
  await state.door.ready();
}

test('what is erased, cancelled or taken on stays so when the door is killed at once', { skip: needEngine }, async (t) => {
  const { state, client, model } = await setUp(t);
  const ask = { model, input: 'What is 345 + 678?', max_output_tokens: 200, temperature: 0, background: true };
  for (let round = 0; round < 3; round++) {
    const [erased, cancelled] = [await client.responses.create(ask), await client.responses.create(ask)];
    const [, , taken] = await Promise.all([client.responses.delete(erased.id), client.responses.cancel(cancelled.id), client.responses.create(ask)]);
    await killed(state);
    await assert.rejects(client.responses.retrieve(erased.id), (e) => e.status === 404);
    assert.equal((await client.responses.retrieve(cancelled.id)).status, 'cancelled');
    assert.ok((await client.responses.retrieve(taken.id)).id);
    await client.responses.delete(cancelled.id);
    await waitFor('its model', () => client.responses.delete(taken.id).catch((e) => { if (e.status !== 503) throw e; }), { timeout_ms: 60000 * SLOW });
    await state.door.waitMetric('evenkeel_running', (v) => v === 0);
  }
  assert.equal(await state.door.metric('evenkeel_stream_disk_bytes'), 0);
  await state.door.stop();
});

test('a background response outlives a killed door', { skip: needEngine }, async (t) => {
  const { state, client, model } = await setUp(t);
  const ask = { model, input: 'What is 345 + 678?', max_output_tokens: 120, temperature: 0 };
  const whole = await within(120000, client.responses.create(ask), 'the uncut one');
  const running = await client.responses.create({ ...ask, background: true });
  const waiting = [];
  for (let i = 0; i < 8; i++) waiting.push(await client.responses.create({ ...ask, background: true }));
  await waitFor('a few words', async () => (await client.responses.retrieve(running.id)).output.length > 0, { timeout_ms: 60000 * SLOW });
  await killed(state);
  for (const r of [running, ...waiting]) {
    const done = await finished(client, r.id);
    assert.equal(done.status, whole.status, JSON.stringify(done));
    assert.equal(done.output_text, whole.output_text);
  }
  assert.ok((await state.door.metric('evenkeel_streams_total', 'what="resumed"')) > 0);
  await state.door.stop();
});
