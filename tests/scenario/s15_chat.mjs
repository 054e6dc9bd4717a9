// SPDX-License-Identifier: MIT
// s15: `evenkeel chat` before a scripted server: one question, a conversation, the place in line, refusals,
// retries, cut answers, Ctrl-C, and what reaches a terminal and what a pipe.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import http from 'node:http';
import { EVENKEEL, freePort, needProgram, waitFor, within } from './lib.mjs';

const commands = needProgram ? '' : execFileSync(EVENKEEL, ['help'], { encoding: 'utf8' });
const skip = needProgram || (/evenkeel chat/.test(commands) ? false : 'the program has no `chat` yet');

const chunk = (delta, finish = null) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
const ANSWER = [
  ': queue {"position":3,"eta_ms":2100,"eta_p90_ms":65000,"reason":"busy"}\n\n',
  chunk({ role: 'assistant', content: null, reasoning_content: '' }),
  chunk({ reasoning_content: '8 + 4' }), chunk({ reasoning_content: ' is 12' }),
  chunk({ content: '14' }), chunk({ content: '42' }), chunk({}, 'stop'), 'data: [DONE]\n\n',
].join('');

// What the server does next, in order; then it answers.
let script = [];
const asked = [];
let closed = 0;
let server;
let url;

before(async () => {
  server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (d) => { body += d; });
    request.on('end', () => {
      if (request.method === 'GET') {
        response.setHeader('content-type', 'application/json');
        response.end('{"object":"list","data":[{"id":"little"},{"id":"large"}]}');
        return;
      }
      asked.push({ path: request.url, headers: request.headers, body: JSON.parse(body) });
      response.on('close', () => { closed += !response.writableFinished; });
      const step = script.shift() ?? {};
      const headers = { 'content-type': 'text/event-stream', ...step.headers };
      response.writeHead(step.status ?? 200, headers);
      response.write(step.text ?? ANSWER);
      if (step.cut) response.socket.end();
      else if (!step.hang) response.end();
    });
  });
  await new Promise((ok) => { server.listen(0, '127.0.0.1', ok); });
  url = `http://127.0.0.1:${server.address().port}`;
});
after(() => { server.closeAllConnections(); server.close(); });

async function chat(args, { input = '', env = {}, tty = false, during } = {}) {
  asked.length = 0;
  const own = { ...process.env, NO_COLOR: '', EVENKEEL_KEY: '', ...env };
  const all = ['chat', '--url', url, ...args];
  const quoted = [EVENKEEL, ...all].map((a) => `'${a}'`).join(' ');
  const child = tty ? spawn('script', ['-qefc', quoted, '/dev/null'], { env: own })
    : spawn(EVENKEEL, all, { env: own });
  const seen = { out: '', err: '' };
  child.stdout.on('data', (d) => { seen.out += d; });
  child.stderr.on('data', (d) => { seen.err += d; });
  child.stdin.on('error', () => {}); // it may leave without reading
  if (!tty) child.stdin.end(input);
  const ended = new Promise((ok) => { child.on('close', (code, signal) => ok(code ?? signal)); });
  if (during) await during(child, seen);
  seen.code = await within(20000, ended, 'chat ends');
  return seen;
}

test('chat', { skip }, async (t) => {
  await t.test('one question: a pipe gets the answer and nothing else', async () => {
    const r = await chat(['What is 478 + 964?'], { env: { EVENKEEL_KEY: 'sk-env' } });
    assert.deepEqual([r.code, r.out, r.err], [0, '1442\n', '']);
    assert.equal(asked[0].path, '/v1/chat/completions');
    assert.equal(asked[0].headers.authorization, 'Bearer sk-env');
    assert.deepEqual(asked[0].body, {
      model: 'little', messages: [{ role: 'user', content: 'What is 478 + 964?' }], stream: true,
      stream_options: { include_usage: true },
    });
  });

  await t.test('flags, standard input as the question, a base path', async () => {
    const r = await chat(['--url', `${url}/v1`, '--model=large', '--key', 'k', '--no-think'], { input: 'two\nlines\n' });
    assert.deepEqual([r.code, r.out], [0, '1442\n']);
    assert.equal(asked[0].path, '/v1/chat/completions');
    assert.equal(asked[0].headers.authorization, 'Bearer k');
    assert.equal(asked[0].body.model, 'large');
    assert.deepEqual(asked[0].body.thinking, { type: 'disabled' });
    assert.equal(asked[0].body.messages[0].content, 'two\nlines');
  });

  await t.test('a terminal sees the place, the dimmed thought and the answer', async () => {
    const r = await chat(['q'], { tty: true });
    const place = 'place 3 in line, about 3 s, very likely within 1 min 5 s';
    assert.equal(r.code, 0);
    assert.equal(r.out, `\x1b[2m${place}\x1b[0m\r\x1b[K\x1b[2m8 + 4\x1b[0m\x1b[2m is 12\x1b[0m\r\n\r\n1442\r\n`);
    const plain = await chat(['q'], { tty: true, env: { NO_COLOR: '1' } });
    assert.equal(plain.out, `${place}\r\x1b[K(thinking) 8 + 4 is 12\r\n\r\n1442\r\n`);
  });

  await t.test('a model cannot speak to the terminal', async () => {
    script = [{ text: chunk({ content: 'a\x1b]0;x\x07\u009b2Jb' }) + chunk({}, 'stop') + 'data: [DONE]\n\n' }];
    assert.equal((await chat(['q'], { tty: true })).out, 'a?]0;x??2Jb\r\n');
  });

  const busy = {
    status: 429, headers: { 'content-type': 'application/json', 'retry-after': '1' },
    text: '{"error":{"message":"The line is full.","code":"queue_full"}}',
  };
  await t.test('a refusal is one sentence, with the time to come back', async () => {
    script = [busy];
    const r = await chat(['q']);
    assert.deepEqual([r.code, r.out, r.err], [75, '', 'evenkeel chat: The line is full (queue_full); try again in 1 s\n']);
  });
  await t.test('--retry comes back then', async () => {
    script = [busy, busy];
    const r = await chat(['--retry', 'q']);
    assert.deepEqual([r.code, r.out, r.err], [0, '1442\n', '']);
    assert.equal(asked.length, 3);
  });

  await t.test('what is not whole is no answer', async () => {
    script = [{ text: chunk({ content: 'half' }), cut: true }];
    const r = await chat(['q']);
    assert.equal(r.code, 1);
    assert.equal(r.out, 'half\n');
    assert.match(r.err, /^evenkeel chat: [^\n]+\n$/);
    script = [{ text: chunk({ content: 'half' }) + 'data: {"error":{"message":"It broke."}}\n\ndata: [DONE]\n\n' }];
    assert.equal((await chat(['q'])).err, 'evenkeel chat: It broke\n');
  });

  await t.test('nobody there; a wrong address; a wrong flag', async () => {
    const nobody = await chat(['--url', `http://127.0.0.1:${await freePort()}`, 'q']);
    assert.equal(nobody.code, 1);
    assert.match(nobody.err, /^evenkeel chat: no connection[^\n]*\n$/);
    assert.equal((await chat(['--url', 'gopher://x', 'q'])).code, 64);
    const flag = await chat(['--modle', 'x', 'q']);
    assert.deepEqual([flag.code, flag.err], [64, 'evenkeel chat: --modle is no flag, did you mean --model?\n']);
  });

  await t.test('a conversation keeps its history, and orders are obeyed', async () => {
    script = [{}, { status: 500, headers: { 'content-type': 'text/plain' }, text: 'oh' }];
    const r = await chat(['--interactive'], {
      input: 'one\nlost\n/think off\ntwo\n/new\n/thnk on\nthree\n/quit\nnever\n',
    });
    const said = asked.map((a) => a.body.messages.map((m) => m.content));
    assert.deepEqual(said, [['one'], ['one', '1442', 'lost'], ['one', '1442', 'two'], ['three']]);
    assert.equal(asked[0].body.thinking, undefined);
    assert.deepEqual(asked[2].body.thinking, { type: 'disabled' });
    assert.match(r.err, /status 500/);
    assert.match(r.err, /did you mean \/think\?/);
  });

  await t.test('Ctrl-C stops the answer, and the server sees it', async () => {
    script = [{ text: chunk({ content: 'and' }), hang: true }];
    const before = closed;
    const r = await chat(['q'], {
      during: async (child, seen) => {
        await waitFor('the first word', () => seen.out.includes('and'));
        child.kill('SIGINT');
      },
    });
    assert.equal(r.code, 130);
    assert.equal(r.out, 'and\n');
    await waitFor('the server sees the close', () => closed > before);
  });

  await t.test('in a conversation Ctrl-C stops the answer, and again leaves', async () => {
    script = [{ text: chunk({ content: 'and' }), hang: true }];
    const r = await chat([], {
      tty: true,
      during: async (child, seen) => {
        await waitFor('the prompt', () => seen.out.includes('> '));
        child.stdin.write('first\n');
        await waitFor('the first word', () => seen.out.includes('and'));
        child.stdin.write('\x03');
        await waitFor('the prompt again', () => seen.out.includes('(stopped)') && seen.out.endsWith('> '));
        child.stdin.write('second\n');
        await waitFor('an answer', () => seen.out.includes('1442') && seen.out.endsWith('> '));
        child.stdin.write('\x03');
      },
    });
    assert.notEqual(r.code, 0);
    assert.deepEqual(asked[1].body.messages.map((m) => m.content), ['first', 'and', 'second']);
  });
});
