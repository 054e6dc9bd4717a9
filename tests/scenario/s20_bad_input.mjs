// SPDX-License-Identifier: MIT
// s20: what people and attackers send by mistake or on purpose. Each ends in a clear error or a close,
// within the caps, and the upstream never sees it. Deadlines are scaled down by options.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { startFaulty } from '../tools/faulty.mjs';
import { KEY, MODEL, anonymousBytes, needDoor, needEngine, startDoor, waitFor, within } from './lib.mjs';
import { ask, post, raw } from './client.mjs';

const config = {
  limits: { head_deadline: '600ms', body_grace: '600ms', body_rate: '100KiB', head_bytes: '16KiB' },
};
const user = '[{"role":"user","content":"hi"}]';
const HEAD = (n, more = '') => `POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${KEY}\r\n` +
  `Content-Type: application/json\r\n${n === null ? '' : `Content-Length: ${n}\r\n`}${more}\r\n`;
const request = (body, more) => HEAD(Buffer.byteLength(body), more) + body;
const OK = `{"model":"faulty","messages":${user}}`;

// body -> statuses that are right
const BODIES = {
  'empty body': ['', [400, 411]],
  'not JSON': ['hello', [400]],
  'cut JSON': ['{"model":"faulty","messages":[', [400]],
  'two documents': [`${OK}${OK}`, [400]],
  'rubbish behind the document': [`${OK} x`, [400]],
  'an array': ['[]', [400]],
  'single quotes': ["{'model':'faulty'}", [400]],
  'trailing comma': [`{"model":"faulty","messages":${user},}`, [400]],
  'a comment': [`{/* hi */"model":"faulty","messages":${user}}`, [400]],
  'NaN': [`{"model":"faulty","messages":${user},"temperature":NaN}`, [400]],
  'Infinity': [`{"model":"faulty","messages":${user},"temperature":Infinity}`, [400]],
  'leading zero': [`{"model":"faulty","messages":${user},"max_tokens":010}`, [400]],
  'a control byte in a string': ['{"model":"faulty","messages":[{"role":"user","content":"a\u0001b"}]}', [400]],
  'a lone surrogate': ['{"model":"faulty","messages":[{"role":"user","content":"\\ud800"}]}', [400]],
  'duplicate model': [`{"model":"faulty","model":"other","messages":${user}}`, [400]],
  'duplicate model, escaped': [`{"model":"faulty","mod\\u0065l":"other","messages":${user}}`, [400]],
  'duplicate messages': [`{"model":"faulty","messages":${user},"messages":[]}`, [400]],
  'duplicate key the door does not know': [`{"model":"faulty","messages":${user},"x":1,"x":2}`, [400]],
  'model a number': [`{"model":7,"messages":${user}}`, [400]],
  'messages a string': ['{"model":"faulty","messages":"hi"}', [400]],
  'messages missing': ['{"model":"faulty"}', [400]],
  'messages empty': ['{"model":"faulty","messages":[]}', [400]],
  'stream a string': [`{"model":"faulty","messages":${user},"stream":"yes"}`, [400]],
  'max_tokens a string': [`{"model":"faulty","messages":${user},"max_tokens":"many"}`, [400]],
  'max_tokens negative': [`{"model":"faulty","messages":${user},"max_tokens":-1}`, [400]],
  'unknown model': [`{"model":"gpt-17","messages":${user}}`, [404]],
  'deep nesting': [`{"model":"faulty","messages":${user},"x":${'['.repeat(100000)}${']'.repeat(100000)}}`, [400]],
  'deep nesting, never closed': [`{"model":"faulty","messages":${'['.repeat(500000)}`, [400]],
};
const UTF8 = {
  'invalid UTF-8 (lone continuation)': [0x80],
  'invalid UTF-8 (overlong)': [0xc0, 0xaf],
  'invalid UTF-8 (surrogate)': [0xed, 0xa0, 0x80],
  'invalid UTF-8 (beyond U+10FFFF)': [0xf4, 0x90, 0x80, 0x80],
  'invalid UTF-8 (cut)': [0xe5, 0xb8],
};

async function world(t, more = {}) {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url, config: { ...config, ...more } });
  t.after(async () => { await door.stop(); await up.close(); });
  return { up, door };
}

function assertRefused(r, statuses) {
  assert.ok(statuses.includes(r.status), `status ${r.status}: ${r.text.slice(0, 300)}`);
  const e = JSON.parse(r.text).error;
  assert.equal(typeof e.message, 'string');
  assert.equal(typeof e.code, 'string');
}

test('bodies that are wrong', { skip: needDoor }, async (t) => {
  const { up, door } = await world(t);
  for (const [name, [body, statuses]] of Object.entries(BODIES)) {
    await t.test(name, async () => assertRefused(await post(door, '/v1/chat/completions', body), statuses));
  }
  for (const [name, bytes] of Object.entries(UTF8)) {
    await t.test(name, async () => {
      const body = Buffer.concat([Buffer.from('{"model":"faulty","messages":[{"role":"user","content":"'), Buffer.from(bytes), Buffer.from('"}]}')]);
      assertRefused(await post(door, '/v1/chat/completions', body), [400]);
    });
  }
  assert.equal(up.completions().length, 0, 'the upstream saw a wrong body');
  assert.equal((await ask(door, OK)).digest.complete, true);
});

test('paths and methods', { skip: needDoor }, async (t) => {
  const { door } = await world(t);
  const status = async (method, path) => (await raw(door.port, `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).statuses[0];
  assert.equal(await status('GET', '/v1/chat/completions'), 405);
  assert.equal(await status('GET', '/nothing/here'), 404);
  assert.equal(await status('GET', '/../../etc/passwd'), 404);
  assert.equal(await status('GET', '/health'), 200);
  assert.equal(await status('GET', '/v1/models'), 200);
  assert.equal(await status('GET', '/models'), 200);
  assert.equal(await status('HEAD', '/health'), 200);
});

test('sizes', { skip: needDoor }, async (t) => {
  const { up, door } = await world(t);
  await t.test('100 MB by Content-Length is refused on the head alone', async () => {
    const r = await raw(door.port, HEAD(100 << 20));
    assert.deepEqual(r.statuses, [413]);
    assert.ok(r.closed);
  });
  await t.test('100 MB in chunks is cut off at the cap, and memory stays bounded', async () => {
    const before = anonymousBytes(door.pid);
    const { sent, text } = await floodChunks(door.port, 100 << 20);
    assert.match(text, /^HTTP\/1\.1 413 |^$/);
    assert.ok(sent < 64 << 20, `${sent} bytes were taken`);
    const grown = anonymousBytes(door.pid) - before;
    assert.ok(grown < 80 << 20, `memory grew by ${grown}`);
  });
  await t.test('1 MB of headers', async () => {
    const r = await raw(door.port, `GET /health HTTP/1.1\r\nHost: a\r\nX-Big: ${'x'.repeat(1 << 20)}\r\n\r\n`);
    assert.deepEqual(r.statuses, [431]);
    assert.ok(r.closed);
  });
  await t.test('10,000 small headers', async () => {
    const r = await raw(door.port, `GET /health HTTP/1.1\r\nHost: a\r\n${'X: y\r\n'.repeat(10000)}\r\n`);
    assert.deepEqual(r.statuses, [431]);
  });
  await t.test('a request line without end', async () => {
    const r = await raw(door.port, `GET /${'a'.repeat(100000)}`);
    assert.ok([414, 431].includes(r.statuses[0]), String(r.statuses));
  });
  assert.equal(up.completions().length, 0);
});

function floodChunks(port, bytes) {
  return within(30000, new Promise((resolve) => {
    const s = net.connect({ port, host: '127.0.0.1' });
    const piece = Buffer.from(`10000\r\n${' '.repeat(65536)}\r\n`);
    let sent = 0;
    let text = '';
    const pump = () => {
      while (sent < bytes && !s.destroyed) {
        sent += piece.length;
        if (!s.write(piece)) return s.once('drain', pump);
      }
    };
    s.on('data', (d) => { text += d; });
    s.on('error', () => {});
    s.on('close', () => resolve({ sent, text }));
    s.write(HEAD(null, 'Transfer-Encoding: chunked\r\n'));
    pump();
  }), 'the flood ends');
}

// Writes one byte every few ms until the peer closes; a deadline that every byte restarts never would.
function drip(port, start, ms = 20) {
  return within(20000, new Promise((resolve) => {
    const begin = performance.now();
    const s = net.connect({ port, host: '127.0.0.1' });
    let text = '';
    s.write(start);
    const timer = setInterval(() => s.write('a'), ms);
    s.on('data', (d) => { text += d; });
    s.on('error', () => {});
    s.on('close', () => { clearInterval(timer); resolve({ ms: performance.now() - begin, text }); });
  }), 'the slow one is cut off');
}

test('slowness', { skip: needDoor }, async (t) => {
  const { up, door } = await world(t);
  await t.test('a head that never ends meets an absolute deadline', async () => {
    const r = await drip(door.port, 'GET /health HTTP/1.1\r\nHost: a\r\nX: ');
    assert.ok(r.ms > 400 && r.ms < 5000, `${r.ms} ms`);
    assert.match(r.text, /^HTTP\/1\.1 408 |^$/);
  });
  await t.test('a body that never ends meets one too', async () => {
    const r = await drip(door.port, HEAD(5000) + '{"model":"');
    assert.ok(r.ms > 400 && r.ms < 8000, `${r.ms} ms`);
    assert.match(r.text, /^HTTP\/1\.1 408 |^$/);
  });
  assert.equal(up.completions().length, 0);
});

test('half-closed sockets, Expect and pipelining', { skip: needDoor }, async (t) => {
  const { up, door } = await world(t);
  await t.test('a client that closes its sending side after the request', async () => {
    const r = await raw(door.port, request(OK), { halfClose: true });
    assert.ok(r.closed && (r.statuses.length === 0 || r.statuses[0] === 200), String(r.statuses));
  });
  await t.test('one that closes it in mid-body', async () => {
    // The request of the test before may still be on its way to the upstream: this one has a mark.
    const r = await raw(door.port, HEAD(500) + OK.replace('{', '{"mark":"mid-body",'), { halfClose: true });
    assert.ok(r.closed && r.statuses.every((s) => s >= 400), String(r.statuses));
    assert.ok(!up.completions().some((c) => c.body.includes('mid-body')), 'the upstream saw half a body');
  });
  await t.test('Expect: 100-continue', async () => {
    const r = await raw(door.port, [HEAD(OK.length, 'Expect: 100-continue\r\n'), OK], { gap: () => new Promise((ok) => setTimeout(ok, 50)) });
    assert.equal(r.statuses.at(-1), 200);
  });
  await t.test('two requests at once are answered in order, or the second is closed upon', async () => {
    const r = await raw(door.port, request(OK) + 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.equal(r.statuses[0], 200);
    assert.ok(r.statuses.length === 2 || r.closed, r.text);
  });
  await t.test('1,000 pipelined requests stay within the caps', async () => {
    const r = await raw(door.port, 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(1000));
    assert.ok(r.statuses.every((s) => s === 200), 'an odd status');
    assert.ok(r.statuses.length === 1000 || r.closed, `${r.statuses.length} answers and still open`);
  });
  await t.test('connections that say nothing are let go', async () => {
    const socks = Array.from({ length: 50 }, () => net.connect({ port: door.port, host: '127.0.0.1' }).on('error', () => {}));
    await Promise.all(socks.map((s) => new Promise((ok) => s.once('connect', ok))));
    for (const s of socks) s.destroy();
    assert.equal((await ask(door, OK)).digest.complete, true);
    await waitFor('the connections to be let go', async () => (await door.metric('evenkeel_connections')) <= 2);
  });
});

test('a prompt longer than the context', { skip: needEngine }, async (t) => {
  const door = await startDoor({ model: MODEL });
  t.after(() => door.stop());
  const model = (await (await fetch(`${door.url}/v1/models`)).json()).data[0].id;
  const r = await post(door, '/v1/chat/completions', { model, messages: [{ role: 'user', content: '12 + 30 = ? '.repeat(40000) }] });
  assertRefused(r, [400]);
  assert.equal(JSON.parse(r.text).error.code, 'context_length_exceeded');
});
