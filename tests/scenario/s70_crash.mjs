// SPDX-License-Identifier: MIT
// s70: processes die. kill -9 of the engine in mid-stream: streams go on and end as if nothing had been,
// waiting requests survive, the engine is back within 2 s. kill -9 of the door leaves no orphan. SIGTERM
// drains. SIGHUP reloads.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { startFaulty } from '../tools/faulty.mjs';
import { MODEL, SLOW, alive, needDoor, needEngine, startDoor, startPacer, waitFor, within } from './lib.mjs';
import { ask, dishonest } from './client.mjs';

const prompt = (i) => [{ role: 'user', content: `What is ${321 + i} + ${478 - i}?` }];
// Long enough to be killed in the middle.
const long = (model, i) => ({ model, stream: true, seed: i, temperature: 0.8, max_tokens: 160,
  stream_options: { include_usage: true }, messages: prompt(i) });

test('kill -9 of the engine in mid-stream', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { queue: { waiting_max: 100 } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const count = 24; // more than the slots, so that some wait
  const uncut = await Promise.all(Array.from({ length: count }, (_, i) => ask(door, long(model, i))));
  for (const r of uncut) assert.equal(r.digest.complete, true, JSON.stringify(r.digest));

  const [engine] = door.engines();
  assert.ok(engine, 'the engine is a child of the door');
  let bytes = 0;
  let killed = 0;
  const running = Array.from({ length: count }, (_, i) => ask(door, long(model, i), { onBytes: (d) => {
    bytes += d.length;
    if (!killed && bytes > 30000) {
      killed = performance.now();
      process.kill(engine, 'SIGKILL');
    }
  } }));
  const cut = await within(60000, Promise.all(running), 'all streams end');
  assert.ok(killed, `the engine was never killed: only ${bytes} bytes`);
  for (const [i, r] of cut.entries()) {
    assert.equal(r.digest.complete, true, `stream ${i}: ${JSON.stringify(r.digest).slice(-400)}`);
    assert.equal(r.digest.thought, uncut[i].digest.thought, `stream ${i}`);
    assert.equal(r.digest.text, uncut[i].digest.text, `stream ${i}`);
    assert.deepEqual(r.digest.usage, uncut[i].digest.usage, `stream ${i}`);
  }
  const [next] = door.engines();
  assert.ok(next && next !== engine, 'a new engine');
  const continued = await door.metric('evenkeel_continued_total');
  t.diagnostic(`${continued} of ${count} streams went on in mid-answer`);
  assert.ok(continued >= 4, `only ${continued} were cut in mid-stream`);
});

test('the engine dies again and again', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { relay: { attempts: 16, restart_min: '10ms', restart_max: '50ms' } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const ways = (i) => ({ ...long(model, i), ...(i % 3 === 0 ? { stream: false, stream_options: undefined } : {}) });
  const count = SLOW > 1 ? 12 : 24;
  const uncut = await Promise.all(Array.from({ length: count }, (_, i) => ask(door, ways(i))));
  let tokens = 0;
  let kills = 0;
  const onBytes = (d) => { // a death every few hundred tokens, wherever that falls
    tokens += d.length / 250;
    const [engine] = kills < 5 ? door.engines() : [];
    if (engine && tokens > (kills + 1) * 150) {
      kills++;
      process.kill(engine, 'SIGKILL');
    }
  };
  const cut = await within(90000, Promise.all(Array.from({ length: count }, (_, i) => ask(door, ways(i), { onBytes }))), 'all end');
  t.diagnostic(`${kills} deaths, ${await door.metric('evenkeel_continued_total')} answers continued`);
  assert.ok(kills >= 2, `only ${kills} deaths`);
  for (const [i, r] of cut.entries()) {
    assert.equal(r.digest.complete, true, `${i}: ${JSON.stringify(r.digest).slice(-400)}`);
    assert.equal(r.digest.thought + '|' + r.digest.text, uncut[i].digest.thought + '|' + uncut[i].digest.text, `request ${i}`);
  }
});

test('the engine is back within 2 s of its death', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  for (let round = 0; round < 3; round++) {
    const [engine] = door.engines();
    const begin = performance.now();
    process.kill(engine, 'SIGKILL');
    await waitFor('another engine', () => door.engines().some((pid) => pid !== engine) && !alive(engine));
    await waitFor('the door to be ready again', async () => (await fetch(`${door.url}/ready`)).status === 200);
    const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
    const r = await ask(door, { model, max_tokens: 4, messages: prompt(0) });
    assert.equal(r.digest.complete, true, r.text);
    const ms = performance.now() - begin;
    t.diagnostic(`death to next answer: ${Math.round(ms)} ms`);
    assert.ok(ms < 2000 * SLOW, `${ms} ms`);
  }
});

test('kill -9 of the door leaves no orphan', { skip: needEngine }, async () => {
  const door = await startDoor({ model: MODEL });
  const engines = door.engines();
  assert.equal(engines.length, 1);
  door.killNow('SIGKILL');
  await door.exited;
  await waitFor('the engine to end', () => !alive(engines[0]), { timeout_ms: 5000 });
});

test('SIGTERM drains: what runs is finished, what comes is refused, then it ends', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '60']);
  const door = await startDoor({ upstream: pacer.url });
  t.after(() => pacer.stop());
  let began;
  const first = new Promise((ok) => { began = ok; });
  const running = ask(door, { model: 'paced', stream: true, max_tokens: 60, pacer_rate: 40, seed: 1, messages: prompt(0),
    stream_options: { include_usage: true } }, { onBytes: (d) => /"content"/.test(d) && began() });
  await first;
  door.killNow('SIGTERM');
  await waitFor('the door to say it is not ready', async () => {
    try { return (await fetch(`${door.url}/ready`)).status === 503; } catch { return true; }
  });
  const late = await ask(door, { model: 'paced', messages: prompt(1) });
  assert.ok(late.status === 503 || late.end === 'refused', `status ${late.status}`);
  const r = await running;
  assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
  const { code } = await within(10000, door.exited, 'the door ends');
  assert.equal(code, 0, door.err);
  door.checkHealth();
});

test('SIGTERM: those who wait were accepted, so they are served', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--seconds', '60']);
  const door = await startDoor({ upstream: [{ url: pacer.url, slots: 1 }] });
  t.after(() => pacer.stop());
  const all = Array.from({ length: 5 }, (_, i) => ask(door, { model: 'paced', stream: i > 0, max_tokens: 15, pacer_rate: 60, seed: i, messages: prompt(i) }));
  await door.waitMetric('evenkeel_waiting', (v) => v >= 3);
  door.killNow('SIGTERM');
  for (const r of await within(20000, Promise.all(all), 'all are served')) {
    assert.equal(r.digest.complete, true, JSON.stringify(r.digest));
  }
  assert.equal((await within(10000, door.exited, 'the door ends')).code, 0);
});

test('an engine that hangs is noticed: honest ends, and service again', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL, config: { relay: { first_token: '1s', stall: '500ms', probe: '100ms', attempts: 3 } } });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const [engine] = door.engines();
  let stopped = false;
  const onBytes = () => {
    if (!stopped) process.kill(engine, 'SIGSTOP');
    stopped = true;
  };
  const all = await within(60000, Promise.all(Array.from({ length: 8 }, (_, i) => ask(door, long(model, i), { onBytes }))), 'all end');
  for (const r of all) assert.equal(dishonest(r), null);
  t.diagnostic(`${all.filter((r) => r.digest.complete).length} of 8 whole after the hang`);
  await waitFor('service again', async () => (await ask(door, { model, max_tokens: 4, messages: prompt(0) })).digest.complete,
    { timeout_ms: 30000 });
});

test('SIGTERM with a short deadline ends what runs honestly', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { drain: { deadline: '500ms' } } });
  t.after(() => up.close());
  const running = ask(door, { model: 'faulty', stream: true, fault: 'stall', messages: prompt(0) });
  await waitFor('the request to run', () => up.state.open === 1);
  door.killNow('SIGTERM');
  const r = await within(10000, running, 'the stream ends');
  assert.equal(r.digest.complete, false);
  assert.ok(r.digest.error, 'an error event');
  assert.equal((await within(10000, door.exited, 'the door ends')).code, 0);
  door.checkHealth();
});

test('SIGHUP swaps the configuration; a wrong file changes nothing', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const key = (k) => ({ keys: [{ name: 'one', key: k }], access: { open_on_loopback: false } });
  const door = await startDoor({ upstream: up.url, config: key('sk-old-12345678') });
  t.after(async () => { await door.stop(); await up.close(); });
  const status = async (k) => (await ask(door, { model: 'faulty', messages: prompt(0) }, { headers: { Authorization: `Bearer ${k}` } })).status;
  assert.equal(await status('sk-old-12345678'), 200);
  assert.equal(await status('sk-new-12345678'), 401);
  const old = fs.readFileSync(door.configPath, 'utf8');
  fs.writeFileSync(door.configPath, old.replace('sk-old-12345678', 'sk-new-12345678'));
  door.killNow('SIGHUP');
  await waitFor('the new key to count', async () => (await status('sk-new-12345678')) === 200);
  assert.equal(await status('sk-old-12345678'), 401);
  fs.writeFileSync(door.configPath, 'keys: [[[');
  door.killNow('SIGHUP');
  await waitFor('the refusal in the log', () => /reload|line 1|config/i.test(door.err.slice(-2000)));
  assert.equal(await status('sk-new-12345678'), 200);
});
