// SPDX-License-Identifier: MIT
// s45: SIGHUP reads the configuration again. What can change is in force at once, what cannot is named, a
// wrong file changes nothing, and a running stream notices none of it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { MODEL, needDoor, needEngine, startDoor, startPacer, waitFor, yaml } from './lib.mjs';

const KEYS = ['sk-reload-alice-1', 'sk-reload-bob-22'];

test('reload', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--tokens', '600', '--rate', '100']);
  const config = {
    upstreams: [{ url: pacer.url, slots: 4 }],
    access: { open_on_loopback: false },
    keys: [{ name: 'alice', key: KEYS[0] }],
    limits: { body_bytes: '1MiB' },
  };
  const door = await startDoor({ config });
  const ask = (key, content = 'hello') => fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'x', stream: true, messages: [{ role: 'user', content }] }),
  });
  const status = async (...args) => {
    const r = await ask(...args);
    await r.body.cancel();
    return r.status;
  };
  const reload = async (text, says) => {
    const from = door.err.length;
    fs.writeFileSync(door.configPath, text);
    door.killNow('SIGHUP');
    await waitFor(`the log to say ${says}`, () => says.test(door.err.slice(from)));
    return door.err.slice(from);
  };
  const model = (await (await fetch(`${door.url}/v1/models`, { headers: { authorization: `Bearer ${KEYS[0]}` } })).json())
    .data[0].id;
  const stream = await fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEYS[0]}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model, stream: true, messages: [{ role: 'user', content: 'go on' }] }),
  });
  assert.equal(stream.status, 200);
  const whole = stream.text();

  await t.test('a key comes and a key goes, a limit shrinks', async () => {
    assert.equal(await status(KEYS[1]), 401);
    await reload(yaml({
      ...config, keys: [{ name: 'bob', key: KEYS[1] }], limits: { body_bytes: '2KiB' },
    }).trimStart(), /in force/);
    assert.equal(await status(KEYS[0]), 401);
    assert.notEqual(await status(KEYS[1]), 401);
    assert.equal(await status(KEYS[1], 'x'.repeat(4000)), 413);
  });
  await t.test('a wrong file changes nothing and is named with its line', async () => {
    const log = await reload('keys:\n  - name: eve\n    key: sk-reload-eve-333\nlimits:\n  idle: 10\n', /stays in force/);
    assert.match(log, /:5:9: limits\.idle: "10" needs a unit/);
    assert.notEqual(await status(KEYS[1]), 401);
    assert.doesNotMatch(log, /sk-reload/);
  });
  await t.test('what needs a restart is named, the rest is taken', async () => {
    const log = await reload(yaml({
      ...config, queue: { accounts: 2048 }, keys: [{ name: 'alice', key: KEYS[0] }],
    }).trimStart(), /in force/);
    assert.match(log, /queue\.accounts needs a restart/);
    assert.notEqual(await status(KEYS[0]), 401);
    assert.equal(await status(KEYS[1]), 401);
  });
  await t.test('an upstream leaves: it gets nothing new, and one that comes serves', async () => {
    const other = await startPacer(['--model', 'other']);
    const log = await reload(yaml({
      ...config, upstreams: [{ url: other.url, name: 'second' }], keys: [{ name: 'alice', key: KEYS[0] }],
    }).trimStart(), /in force/);
    assert.match(log, /leaves; [01] requests there may end/);
    const asked = async (name) => {
      const r = await fetch(`${door.url}/v1/chat/completions`, {
        method: 'POST', headers: { authorization: `Bearer ${KEYS[0]}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: name, stream: true, messages: [{ role: 'user', content: 'x' }] }),
      });
      await r.body.cancel();
      return r.status;
    };
    await waitFor('the new one', async () => (await asked('other')) === 200);
    assert.equal(await asked(model), 404, 'the model went with its upstream');
    await other.stop();
  });
  await t.test('the stream that ran all the while is whole', async () => {
    assert.match((await whole).slice(-40), /data: \[DONE\]\n\n$/);
  });
  await door.stop();
  await pacer.stop();
});

// What the child was started with must outlive the configuration it was read from.
test('an engine that dies after reloads is started as before', { skip: needEngine }, async () => {
  const door = await startDoor({ model: MODEL });
  for (let i = 0; i < 3; i++) {
    const from = door.err.length;
    door.killNow('SIGHUP');
    await waitFor('the reload', () => /in force/.test(door.err.slice(from)));
  }
  const restarts = () => door.metric('evenkeel_engine_restarts_total');
  process.kill(door.engines()[0], 'SIGKILL');
  await waitFor('the restart', async () => (await restarts()) === 1);
  const r = await fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ max_tokens: 4, messages: [{ role: 'user', content: 'hello' }] }),
  });
  assert.equal(r.status, 200, await r.text());
  assert.equal(await restarts(), 1);
  await door.stop();
});
