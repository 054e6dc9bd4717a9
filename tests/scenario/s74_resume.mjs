// SPDX-License-Identifier: MIT
// s74: clients cut at random instants, five times each, and the door killed (-9) and started again once in the
// middle: everybody ends with the whole answer, in order, nothing twice, equal to the uncut text. EK_CASES
// clients: 20 by default, 500 in `make prove-resume`.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { Door, EVENKEEL, MODEL, Program, SEED, SLOW, freePort, needEngine, rng, startDoor, tmp, waitFor, within } from './lib.mjs';
import { ask, parseSse } from './client.mjs';

const CLIENTS = Number(process.env.EK_CASES ?? 20);
const CUTS = 5;
const KINDS = 10; // different requests

// One connection: everything until its end, or the first `cut` characters of the body: what was under way
// behind them is lost.
function leg(door, { method, path: where, headers, body, cut }) {
  return new Promise((ok) => {
    const r = { status: 0, headers: {}, text: '', cut: false };
    const req = http.request({ host: '127.0.0.1', port: door.port, method, path: where, agent: false,
      headers: { ...headers, ...(body ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } : {}) } },
    (res) => {
      r.status = res.statusCode;
      r.headers = res.headers;
      res.setEncoding('utf8');
      res.on('data', (d) => {
        r.text += d;
        if (r.text.length < cut) return;
        r.text = r.text.slice(0, cut);
        r.cut = true;
        res.destroy();
      });
      res.on('error', () => ok(r));
      res.on('close', () => ok(r));
    });
    req.on('error', () => ok(r));
    req.end(body);
  });
}

class Reader {
  constructor(door, body, random) {
    Object.assign(this, { door, body, random, id: null, last: 0, text: '', thought: '', finish: null, usage: null, done: false, cuts: 0, legs: 0, fault: null });
  }
  // What came whole before the cut counts; the rest is asked for again.
  take(text) {
    for (const { id, data } of parseSse(text).events) {
      if (data === '[DONE]') { this.done = true; continue; }
      const v = JSON.parse(data);
      if (id === undefined) { this.fault = data; continue; }
      if (Number(id) !== this.last + 1) throw new Error(`event ${id} behind ${this.last}`);
      this.last = Number(id);
      if (v.error) throw new Error(data);
      if (v.usage) this.usage = v.usage;
      for (const c of v.choices) {
        this.text += c.delta.content ?? '';
        this.thought += c.delta.reasoning_content ?? '';
        if (c.finish_reason) {
          if (this.finish) throw new Error('a second finish_reason');
          this.finish = c.finish_reason;
        }
      }
    }
  }
  async run(onCut) {
    while (!this.done) {
      this.legs++;
      const cut = this.cuts < CUTS ? 1 + this.random.int(900) : Infinity;
      const byHeader = this.random.bool();
      const r = this.id === null
        ? await leg(this.door, { method: 'POST', path: '/v1/chat/completions', headers: {}, body: this.body, cut })
        : await leg(this.door, { method: 'GET', path: `/v1/streams/${this.id}${byHeader ? '' : `?starting_after=${this.last}`}`,
          headers: byHeader ? { 'last-event-id': String(this.last) } : {}, cut });
      if (r.status === 404 && this.last === 0) this.id = null; // it had not begun: asked again
      else if (r.status === 200) {
        this.id ??= r.headers['x-stream-id'];
        this.take(r.text);
      } else if (r.status !== 0 && r.status !== 503) throw new Error(`${r.status} ${r.text}`);
      if (r.cut) { this.cuts++; onCut(); }
      if (!r.cut && !this.done) await new Promise((ok) => setTimeout(ok, 20)); // the door is away
    }
    return this;
  }
}

test('read again after cuts and a kill', { skip: needEngine }, async (t) => {
  const random = rng(SEED);
  const port = await freePort();
  const engine = new Program(EVENKEEL, ['engine', '--model', MODEL, '--listen', `127.0.0.1:${port}`, '--slots', '4', '--threads', '1']);
  await waitFor('the engine', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  const journal = path.join(tmp, 'resume-journal');
  const config = { journal: { dir: journal }, tiers: [{ name: 'default', linger: '600s' }],
    queue: { waiting_max: 10 * CLIENTS + 100 }, limits: { address_connections: 5000, connections: 5000 }, relay: { attempts: 16, probe: '200ms' } };
  const first = await startDoor({ upstream: [{ url: `http://127.0.0.1:${port}`, name: 'e', dialect: 'evenkeel' }], config });
  const at = { port: first.port, door: first };
  t.after(() => at.door.killNow());
  const model = (await (await fetch(`${first.url}/v1/models`)).json()).data[0].id;
  const bodyOf = (k) => ({ model, stream: true, stream_options: { include_usage: true }, seed: 700 + k, temperature: k % 2 ? 0 : 0.8,
    max_tokens: 24 + k, messages: [{ role: 'user', content: `What is ${100 + 37 * k} + ${900 - 11 * k}?` }] });
  const whole = [];
  for (let k = 0; k < KINDS; k++) {
    const r = await within(60000, ask(first, bodyOf(k)), `uncut ${k}`);
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
    whole.push(r.digest);
  }
  let cuts = 0;
  let killed = false;
  const killAt = Math.floor(CLIENTS * CUTS * 0.4);
  const kill = async () => {
    killed = true;
    at.door.killNow();
    await at.door.exited;
    at.door = new Door(['serve', '--config', first.configPath, '--listen', `127.0.0.1:${at.port}`], at.port, first.configPath);
    await at.door.ready();
  };
  let again;
  const onCut = () => {
    if (++cuts >= killAt && !killed) again = kill();
  };
  const clients = Array.from({ length: CLIENTS }, (_, i) =>
    new Reader(at, JSON.stringify(bodyOf(i % KINDS)), rng(SEED + i)));
  await within(60000 + 2000 * CLIENTS, Promise.all(clients.map((c, i) => c.run(onCut).catch((e) => {
    throw new Error(`client ${i}, seed ${SEED}: ${e.message}\n${at.door.err.slice(-2000)}`);
  }))), 'all clients');
  await again;
  for (const [i, c] of clients.entries()) {
    const w = whole[i % KINDS];
    const said = `client ${i}, seed ${SEED}: ${JSON.stringify({ ...c, door: undefined, random: undefined })}`;
    for (const part of ['text', 'thought', 'finish']) assert.equal(c[part], w[part], said);
    for (const part of ['prompt_tokens', 'completion_tokens']) assert.equal(c.usage[part], w.usage[part], said);
  }
  const resumed = await at.door.metric('evenkeel_streams_total', 'what="resumed"');
  const restored = await at.door.metric('evenkeel_places_total', 'what="restored"');
  console.log(`${CLIENTS} clients, ${cuts} cuts, ${clients.reduce((a, c) => a + c.legs, 0)} connections; at the kill ` +
    `${resumed} answers ran and went on, ${restored} waited`);
  assert.ok(killed);
  assert.equal(cuts, CLIENTS * CUTS);
  assert.ok(resumed > 0, 'something ran when the door was killed');
  if (process.env.EK_CSV) fs.writeFileSync(process.env.EK_CSV, 'clients,cuts,connections,resumed,restored\n' +
    `${CLIENTS},${cuts},${clients.reduce((a, c) => a + c.legs, 0)},${resumed},${restored}\n`);
  await at.door.stop({ timeout_ms: 30000 * SLOW });
  await engine.stop();
});
