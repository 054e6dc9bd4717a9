// SPDX-License-Identifier: MIT
// s78: a new program takes over (SIGUSR2), three times, with streams on every generation: no client sees an
// error, every answer is whole, what rests moves on, both together never have more at the upstream than one
// may, and a program that cannot start changes nothing. EK_CASES streams (30; 200: `make prove-swap`).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import OpenAI from 'openai';
import { Door, EVENKEEL, KEY, SLOW, Program, alive, children, freePort, getText, needDoor, startDoor, tmp, waitFor, within } from './lib.mjs';
import { post } from './client.mjs';

const COUNT = Number(process.env.EK_CASES ?? 30);
const LONG = 4000; // words: minutes, unless there is a hurry
const words = (seed, n) => Array.from({ length: n }, (_, i) => `${(seed * 7919 + i * 104729) % 9973} `);
const textOf = (seed, n) => words(seed, n).join('');

// An engine that knows how many it works on. Streams go on word by word; with `hurry` to their end at once.
async function startMock({ pace_ms = 50 } = {}) {
  const m = { running: 0, peak: 0, total: 0, live: new Set(), hurry: false, slow_ms: 0 };
  m.server = http.createServer((req, res) => {
    if (req.method === 'GET') {
      res.setHeader('Content-Type', 'application/json');
      setTimeout(() => res.end(JSON.stringify({ object: 'list', data: [{ id: 'mock', object: 'model', owned_by: 'mock' }] })), m.slow_ms);
      return;
    }
    let body = '';
    req.on('data', (d) => { body += d; });
    req.on('end', () => {
      const q = JSON.parse(body);
      const list = words(q.seed, q.max_tokens);
      const s = { at: 0 };
      m.running++;
      m.total++;
      m.peak = Math.max(m.peak, m.running);
      m.live.add(s);
      res.writeHead(200, { 'Content-Type': 'text/event-stream' });
      const say = (v) => res.write(`data: ${JSON.stringify({ id: 'chatcmpl-m', object: 'chat.completion.chunk', created: 1, model: 'mock', ...v })}\n\n`);
      const end = () => {
        if (!m.live.delete(s)) return;
        clearInterval(s.timer);
        m.running--;
      };
      s.timer = setInterval(() => {
        if (s.at < list.length) {
          do say({ choices: [{ index: 0, delta: { content: list[s.at++] }, finish_reason: null }] });
          while (m.hurry && s.at < list.length);
          return;
        }
        say({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] });
        say({ choices: [], usage: { prompt_tokens: 5, completion_tokens: list.length, total_tokens: 5 + list.length } });
        end();
        res.end('data: [DONE]\n\n');
      }, pace_ms);
      res.on('close', end);
    });
  });
  await new Promise((ok) => m.server.listen(0, '127.0.0.1', ok));
  m.url = `http://127.0.0.1:${m.server.address().port}`;
  m.close = () => new Promise((ok) => { m.server.close(ok); m.server.closeAllConnections(); });
  return m;
}

const config = { keys: [{ name: 'scenario', key: KEY }], queue: { waiting_max: 1000 },
  streams: { retention: '1s' } };
const start = (mock, slots, more = {}) => startDoor({
  upstream: [{ name: 'mock', url: mock.url, dialect: 'openai', slots }], config: { ...config, ...more } });
const clientOf = (door) => new OpenAI({ baseURL: `${door.url}/v1`, apiKey: KEY, maxRetries: 0, timeout: 600000 * SLOW });
const question = (seed, tokens, stream) => ({ model: 'mock', seed, max_tokens: tokens, stream, messages: [{ role: 'user', content: 'Count.' }] });

async function askStream(client, seed, tokens) {
  let text = '';
  let finish = null;
  for await (const chunk of await client.chat.completions.create(question(seed, tokens, true))) {
    text += chunk.choices[0]?.delta?.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  assert.equal(text, textOf(seed, tokens), `stream ${seed}`);
  assert.equal(finish, 'stop', `stream ${seed}`);
}

const taken = (door) => door.metric('evenkeel_swaps_total', 'result="taken"');
async function swap(door, number) {
  process.kill(door.pid, 'SIGUSR2');
  await waitFor(`swap ${number}`, async () => (await taken(door)) === number, { timeout_ms: 30000 * SLOW })
    .catch((e) => { throw new Error(`${e.message}\n${door.err}`); });
}

// A connection that rests, and goes on resting: is it the same one when it is used again?
class Resting {
  constructor(door) {
    this.door = door;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    this.ports = new Set();
  }
  get(path = '/v1/models') {
    return new Promise((ok, no) => {
      const req = http.get({ host: '127.0.0.1', port: this.door.port, path, agent: this.agent,
                             headers: { Authorization: `Bearer ${KEY}` } }, (res) => {
        this.ports.add(res.socket.localPort);
        res.resume();
        res.on('end', () => ok(res.statusCode));
      });
      req.on('error', no);
    });
  }
}

test(`${COUNT} streams, three swaps, no error at any client`, { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const slots = Math.max(4, Math.floor(COUNT / 2));
  const door = await start(mock, slots);
  t.after(async () => { await door.stop(); await mock.close(); });
  const resting = Array.from({ length: 10 }, () => new Resting(door));
  for (const r of resting) assert.equal(await r.get(), 200);

  let swapping = true;
  let answers = 0;
  const people = Array.from({ length: COUNT }, async (_, i) => {
    const client = clientOf(door);
    for (let round = 0; swapping || round < 2; round++) {
      const seed = i * 1000 + round;
      if ((i + round) % 5 === 4) {
        const whole = await client.chat.completions.create(question(seed, 20, false));
        assert.equal(whole.choices[0].message.content, textOf(seed, 20), `answer ${seed}`);
      } else {
        await askStream(client, seed, 20 + (i % 7) * 10);
      }
      answers++;
    }
  });
  const all = Promise.all(people);
  all.catch(() => {}); // told below
  for (let number = 1; number <= 3; number++) {
    const before = mock.total;
    await Promise.race([all, waitFor('streams to run', () => mock.running >= slots && mock.total > before, { timeout_ms: 60000 * SLOW })]);
    await swap(door, number);
    for (const r of resting) assert.equal(await r.get(), 200, 'a connection that rested');
  }
  swapping = false;
  await within(300000, all, 'all answers');
  for (const r of resting) assert.equal(r.ports.size, 1, 'the connection is the same all along');
  t.diagnostic(`${answers} answers, ${mock.total} at the upstream, ${mock.peak} there at once of ${slots} + 1`);
  assert.equal(mock.total, answers, 'nothing was sent twice');
  assert.ok(mock.peak <= slots + 1, `${mock.peak} at once`);
  // Only the one that serves, and the first one, which whoever watches knows, are left.
  await waitFor('the others to end', async () => (await door.metric('evenkeel_swap_leaving')) === 0);
  await waitFor('one child', () => children(door.pid).length === 1);
  const serving = children(door.pid)[0];
  await door.stop();
  assert.equal(door.exit.code, 0);
  assert.equal(alive(serving), false, 'the one that serves ended with it');
});

test('who is told to end after swaps ends in order, whoever is done first', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  t.after(() => mock.close());
  for (const swaps of [1, 2, 1, 2]) {
    const door = await start(mock, 4, { streams: { retention: '5min' } });
    t.after(() => door.killNow());
    for (let i = 1; i <= swaps; i++) {
      await askStream(clientOf(door), i, 5); // its kept events keep its process
      await swap(door, i);
    }
    const [before, told] = [door.err.length, await door.stop()];
    assert.equal(told.code, 0, `${swaps} swaps\n${door.err}`);
    assert.doesNotMatch(door.err.slice(before), /serves on|is gone|exit code/);
  }
});

// Names are looked up by threads beside the loop's: a signal must not be theirs.
test('the first one passes signals on, whatever threads it has', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start({ ...mock, url: mock.url.replace('127.0.0.1', 'localhost') }, 4);
  t.after(async () => { door.killNow(); await mock.close(); });
  const client = clientOf(door);
  const newest = () => [...door.err.matchAll(/process (\d+) has taken over/g)].at(-1)?.[1]; // others may still be ending
  await askStream(client, 1, 5);
  for (let i = 1; i <= 3; i++) { // from the second on, the first is nothing but who passes it on
    await swap(door, i);
    await waitFor('the others to end', async () => (await door.metric('evenkeel_swap_leaving')) === 0);
    await waitFor('the new one to be its child', () => String(children(door.pid)) === newest());
  }
  process.kill(door.pid, 'SIGHUP');
  await waitFor('the configuration to be read again', () => door.err.includes('was read again and is in force'));
  const last = askStream(client, 2, LONG);
  await waitFor('a stream', () => mock.running === 1);
  const serving = Number(newest());
  process.kill(door.pid, 'SIGTERM');
  await waitFor('nobody else to be let in', () => getText(`${door.url}/ready`).then((r) => r.status !== 200, () => true));
  assert.ok(alive(door.pid) && alive(serving), `it ends last: ${door.err.slice(-1500)}`);
  mock.hurry = true;
  await last;
  await door.exited;
  assert.equal(door.exit.code, 0, door.err);
});

// What the first process has ended it says to whoever serves then; that one may be gone a moment later.
test('the newest is killed after the first has ended: the one between serves, with all slots', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 4);
  t.after(async () => { door.killNow(); await mock.close(); });
  const client = clientOf(door);
  const first = askStream(client, 1, LONG).catch(() => null);
  await waitFor('a stream at the first', () => mock.running === 1);
  await swap(door, 1);
  const between = children(door.pid)[0];
  const second = askStream(client, 2, LONG).catch(() => null);
  await waitFor('a stream at the second', () => mock.running === 2);
  await swap(door, 2);
  [...mock.live][0].at = LONG; // the first one's is over
  await first;
  await waitFor('the first to have ended', () => /process \d+ has ended all it had/.test(door.err));
  process.kill(children(between)[0], 'SIGKILL');
  await waitFor('the one between', () => door.err.includes('this process serves on'));
  await within(20000, askStream(client, 3, 5), 'an answer');
  mock.hurry = true;
  await second;
});

test('a signal to end while a new program starts ends both', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 4);
  t.after(async () => { door.killNow(); await mock.close(); });
  const running = askStream(clientOf(door), 1, LONG);
  await waitFor('a stream', () => mock.running === 1);
  mock.slow_ms = 3000;
  process.kill(door.pid, 'SIGUSR2');
  await waitFor('the new one to start', () => door.err.includes('taking over from process'));
  process.kill(door.pid, 'SIGTERM');
  await waitFor('the swap to be given up', () => door.err.includes('does not take over: the door is closing'));
  await waitFor('the new one to end', () => children(door.pid).length === 0);
  mock.hurry = true;
  await running;
  await door.exited;
  assert.equal(door.exit.code, 0, door.err);
  await assert.rejects(getText(`${door.url}/ready`));
});

test('a program that cannot start changes nothing', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 4);
  t.after(async () => { await door.stop(); await mock.close(); });
  const client = clientOf(door);
  const good = fs.readFileSync(door.configPath);
  fs.writeFileSync(door.configPath, 'queue:\n  waiting_max: much\n');
  const running = askStream(client, 1, 60);
  await waitFor('a stream', () => mock.running === 1);
  process.kill(door.pid, 'SIGUSR2');
  await door.waitMetric('evenkeel_swaps_total', (v) => v === 1, 'result="failed"');
  assert.match(door.err, /does not take over/);
  fs.writeFileSync(door.configPath, good);
  await askStream(client, 2, 5);
  await swap(door, 1); // and now it can
  await Promise.all([running, askStream(client, 3, 5)]);
});

test('an address that the configuration has no longer is given up, and that is said', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const ports = [await freePort(), await freePort()];
  const file = path.join(tmp, 'addresses.yaml');
  const write = (n) => fs.writeFileSync(file, `listen: [${ports.slice(0, n).map((p) => `"127.0.0.1:${p}"`)}]\n` +
    `upstreams: [{name: mock, url: "${mock.url}", dialect: openai, slots: 4}]\n`);
  write(2);
  const door = new Door(['serve', '--config', file], ports[0], file);
  t.after(async () => { await door.stop(); await mock.close(); });
  await door.ready();
  assert.equal((await getText(`http://127.0.0.1:${ports[1]}/ready`)).status, 200);
  write(1);
  await swap(door, 1);
  await waitFor('the other to be given up', () => door.err.includes(`nobody listens on 127.0.0.1:${ports[1]} any more`));
  await waitFor('it to be refused', () => getText(`http://127.0.0.1:${ports[1]}/ready`)
    .then(() => false, (e) => (e.cause ?? e).code === 'ECONNREFUSED'));
  assert.equal((await getText(`${door.url}/ready`)).status, 200);
});

test('the new one dies: the old one, while it is there, serves again', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 4);
  t.after(async () => { await door.stop(); await mock.close(); });
  const client = clientOf(door);
  const running = askStream(client, 1, LONG);
  await waitFor('a stream', () => mock.running === 1);
  await swap(door, 1);
  await askStream(client, 2, 5);
  process.kill(children(door.pid)[0], 'SIGKILL');
  await door.waitMetric('evenkeel_swaps_total', (v) => v === 1, 'result="returned"');
  await askStream(client, 3, 5);
  mock.hurry = true;
  await running;
  await swap(door, 1);
  await askStream(client, 4, 5);
});

test('the first one, whom a supervisor watches, is killed: the others end what they have, the port is free', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 4, { drain: { deadline: '10min' } });
  const doors = [door];
  t.after(async () => { for (const d of doors) d.killNow(); await mock.close(); });
  const client = clientOf(door);
  const kept = [];
  const streams = [];
  for (let number = 1; number <= 2; number++) { // the first has nothing left, the second a stream, so has the third
    await swap(door, number);
    for (const pid of children(door.pid)) if (!kept.includes(pid)) kept.push(pid);
    streams.push(askStream(client, number, LONG));
    await waitFor('a stream', () => mock.running === number);
  }
  const all = [...new Set([...kept, ...kept.flatMap((pid) => (alive(pid) ? children(pid) : []))])];
  door.killNow('SIGKILL');
  await waitFor('its death to be seen', () => !alive(door.pid));
  await waitFor('the port to be free', () => getText(`${door.url}/ready`)
    .then(() => false, (e) => (e.cause ?? e).code === 'ECONNREFUSED')); // a reset: somebody listens still
  const again = new Program(EVENKEEL, ['serve', '--config', door.configPath, '--listen', `127.0.0.1:${door.port}`]);
  doors.push(again);
  await waitFor('the next start', async () => again.exit || (await getText(`${door.url}/ready`)).status === 200);
  assert.equal(again.exit, undefined, again.err);
  assert.equal(await taken(door), 0, 'it is the new start that answers');
  assert.ok(all.some(alive), 'streams go on meanwhile');
  mock.hurry = true;
  await within(60000, Promise.all(streams), 'both streams');
  await waitFor('the others to end', () => !all.some(alive));
  again.killNow('SIGTERM');
  await again.exited;
});

test('what only the old one knows is answered by it', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const door = await start(mock, 1);
  t.after(async () => { await door.stop(); await mock.close(); });
  const headers = { Authorization: `Bearer ${KEY}` };
  const body = (seed, n) => question(seed, n, true);
  let id;
  const running = post(door, '/v1/chat/completions', body(1, LONG), { onBytes: (_, r) => { id = r.headers['x-request-id']; } });
  await waitFor('a stream', () => mock.running === 1 && id);
  const queued = Array.from({ length: 3 }, (_, i) => post(door, '/v1/chat/completions', body(2 + i, LONG)));
  await door.waitMetric('evenkeel_waiting', (v) => v >= 2);
  await swap(door, 1);
  const told = await getText(`${door.url}/v1/requests/${id}`, headers);
  assert.equal(told.status, 200, told.text);
  assert.equal(JSON.parse(told.text).id, id);
  const again = await fetch(`${door.url}/v1/streams/${id}`, { headers });
  assert.equal(again.status, 200);
  mock.hurry = true;
  const first = (await running).text;
  assert.ok((await again.text()).includes('[DONE]'));
  assert.ok(first.includes('[DONE]'));
  for (const r of await Promise.all(queued)) assert.ok(r.text.includes('[DONE]'), r.text);
  assert.ok(mock.peak <= 2, `${mock.peak} at once`);
});

test('what lenders may cost, and have at once, is one for all processes', { skip: needDoor }, async (t) => {
  const own = await startMock();
  const cloud = await startMock();
  const PRICE = { model: 'cloud', cached: 0.1, prompt: 0.5, output: 2 };
  const cost = (tokens) => (5 * PRICE.prompt + tokens * PRICE.output) / 1e6;
  const budget = 40.5 * cost(100);
  const wall = 8;
  const upstream = [{ name: 'own', url: own.url, dialect: 'openai', slots: 1 },
    { name: 'cloud', url: cloud.url, dialect: 'openai', slots: wall, borrowed: true, price: 'cloud', budget_hour: budget }];
  const door = await startDoor({ upstream, config: { ...config, prices: [PRICE], keys: [{ name: 'scenario', key: KEY, tier: 'paid' }],
    tiers: [{ name: 'paid', weight: 1, overflow_after: '1s' }] } });
  t.after(async () => { door.killNow(); await own.close(); await cloud.close(); });
  const said = (what) => door.metric(`evenkeel_borrowed_${what}`, 'upstream="cloud"');
  const ask = (n) => Array.from({ length: n }, (_, i) => post(door, '/v1/chat/completions', question(++seed, 100, true)).then((r) => ({ ...r, i })));
  let seed = 0;
  const all = ask(30);
  await waitFor('the cloud to be full', () => cloud.running === wall, { timeout_ms: 60000 * SLOW });
  for (let number = 1; number <= 2; number++) {
    await swap(door, number);
    all.push(...ask(30));
    await door.waitMetric('evenkeel_waiting', (v) => v >= 29);
  }
  assert.ok(await said('reserved') > 0, 'what an earlier process reserved is seen');
  own.hurry = cloud.hurry = true;
  for (const r of await within(300000, Promise.all(all), 'all answers')) assert.ok(r.text.includes('[DONE]'), r.text);
  const spent = cloud.total * cost(100);
  t.diagnostic(`${cloud.total} of ${all.length} at the cloud, ${(spent / budget).toFixed(3)} of its budget, ${cloud.peak} of ${wall} at once`);
  assert.ok(cloud.peak <= wall, `${cloud.peak} at once`);
  assert.ok(spent <= budget + cost(100), `${spent} of ${budget}`);
  assert.ok(spent > budget * 0.8, `${spent} of ${budget}: nobody was kept from what was left`);
  await waitFor('one count', async () => Math.abs(await said('hour_spent') - spent) < cost(1));
  assert.ok(await said('reserved') < 1e-9);
});

test('what one reserved that is killed counts as spent', { skip: needDoor }, async (t) => {
  const own = await startMock();
  const cloud = await startMock();
  const PRICE = { model: 'cloud', cached: 0.1, prompt: 0.5, output: 2 };
  const upstream = [{ name: 'own', url: own.url, dialect: 'openai', slots: 1 },
    { name: 'cloud', url: cloud.url, dialect: 'openai', slots: 4, borrowed: true, price: 'cloud', budget_hour: 1 }];
  const door = await startDoor({ upstream, config: { ...config, prices: [PRICE], keys: [{ name: 'scenario', key: KEY, tier: 'paid' }],
    journal: { dir: path.join(tmp, 'journal-purse') }, tiers: [{ name: 'paid', weight: 1, overflow_after: '1s' }] } });
  const doors = [door];
  t.after(async () => { for (const d of doors) d.killNow(); await own.close(); await cloud.close(); });
  const said = (what) => door.metric(`evenkeel_borrowed_${what}`, 'upstream="cloud"');
  const ask = (n, from) => Array.from({ length: n }, (_, i) => post(door, '/v1/chat/completions', question(from + i, 300, true)));
  const first = ask(2, 1); // two of ours, in the first process
  await waitFor('our own', () => own.running === 2);
  await swap(door, 1);
  const second = children(door.pid)[0];
  const lent = ask(3, 10); // in the second
  await waitFor('the cloud', () => cloud.running >= 2, { timeout_ms: 60000 * SLOW });
  await swap(door, 2);
  const before = await said('reserved');
  assert.ok(before > 0 && await said('hour_spent') === 0);
  process.kill(second, 'SIGKILL');
  await waitFor('its death to be known', async () => (await said('hour_spent')) >= before * 0.99);
  assert.ok(await said('reserved') < 1e-9);
  for (const pid of [...children(door.pid), door.pid]) try { process.kill(pid, 'SIGKILL'); } catch { /* it is gone */ }
  await door.exited;
  await Promise.all([...first, ...lent]);
  const again = new Program(EVENKEEL, ['serve', '--config', door.configPath, '--listen', `127.0.0.1:${door.port}`]);
  doors.push(again);
  await waitFor('the door', async () => (await getText(`${door.url}/ready`)).status === 200).catch(() => { throw new Error(again.err); });
  assert.ok(await said('hour_spent') >= before * 0.99, 'and after a start the file says so');
  again.killNow('SIGTERM');
  await again.exited;
});

test('journal and books: each process has its own, and a start after kill -9 takes in both', { skip: needDoor }, async (t) => {
  const mock = await startMock();
  const dir = path.join(tmp, 'journal-swap');
  const file = path.join(tmp, 'books-swap.db');
  const port = await freePort();
  const door = await start(mock, 1, { journal: { dir }, ledger: { url: file, door: 'a' }, admin: { listen: `127.0.0.1:${port}` } });
  const doors = [door];
  t.after(async () => { for (const d of doors) d.killNow(); await mock.close(); });
  const ask = (seed, n, headers) => post(door, '/v1/chat/completions', question(seed, n, true), { headers, signal: AbortSignal.timeout(300000 * SLOW) });
  const endless = 100000; // none of them ends by itself: two run, two wait in the old one, three in the new one
  const running = [ask(1, endless), ask(2, endless)];
  await waitFor('both to run', () => mock.running === 2);
  const first = [ask(3, endless), ask(4, endless)];
  await door.waitMetric('evenkeel_journal_live', (v) => v === 2);
  await swap(door, 1);
  assert.ok(fs.existsSync(path.join(dir, 'berth1')));
  assert.notEqual((await getText(`http://127.0.0.1:${port}/admin/v1/accounts`)).status, 0, 'the admin API listens');
  const second = [ask(5, endless), ask(6, endless), ask(7, endless)];
  await door.waitMetric('evenkeel_journal_live', (v) => v === 3);
  assert.equal(mock.running, 2);
  for (const pid of [...children(door.pid), door.pid]) process.kill(pid, 'SIGKILL');
  await Promise.all([...running, ...first, ...second]);
  const again = new Program(EVENKEEL, ['serve', '--config', door.configPath, '--listen', `127.0.0.1:${door.port}`]);
  doors.push(again);
  await waitFor('the door', async () => (await getText(`${door.url}/ready`)).status === 200).catch(() => { throw new Error(again.err); });
  assert.equal(await door.metric('evenkeel_places_total', 'what="restored"'), 5, again.err);
  assert.equal(fs.existsSync(path.join(dir, 'berth1')), false, 'its folder is gone');
  assert.equal(fs.existsSync(`${file}.spool.berth1`), false, 'and its spool');
  const audit = execFileSync(EVENKEEL, ['account', 'audit', '--ledger', file], { encoding: 'utf8' });
  assert.match(audit, /every account follows from its rows/);
  again.killNow('SIGTERM');
  await again.exited;
});
