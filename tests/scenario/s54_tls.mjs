// SPDX-License-Identifier: MIT
// s54: https upstreams are verified. A local authority signs one good certificate; four others are each wrong in
// one way, and nothing of a request may reach them: no key, no prompt.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import { needDoor, startDoor, tmp, waitFor } from './lib.mjs';
import { post, digest } from './client.mjs';

const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe', cwd: tmp });

function authority(name) {
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.pem`,
    '-days', '2', '-subj', `/CN=${name}`, '-addext', 'basicConstraints=critical,CA:TRUE');
}

function certificate(name, ca, { host = 'localhost', days = ['-days', '2'] } = {}) {
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${host}`);
  fs.writeFileSync(path.join(tmp, `${name}.ext`), `subjectAltName=DNS:${host}\n`);
  openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.pem`, '-CAkey', `${ca}.key`, '-CAcreateserial',
    '-out', `${name}.pem`, '-extfile', `${name}.ext`, ...days);
}

// An upstream over TLS that counts what reaches it.
async function startTls(name) {
  const seen = { requests: 0, keys: [] };
  const server = https.createServer({ key: fs.readFileSync(path.join(tmp, `${name}.key`)),
    cert: fs.readFileSync(path.join(tmp, `${name}.pem`)) }, (req, res) => {
    seen.requests++;
    seen.keys.push(req.headers.authorization);
    if (req.method === 'GET') {
      res.writeHead(200, { 'Content-Type': 'application/json' });
      return res.end(JSON.stringify({ object: 'list', data: [{ id: 'm', object: 'model' }] }));
    }
    req.resume();
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    for (const delta of [{ role: 'assistant', content: '' }, { content: 'safe' }])
      res.write(`data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
    res.write(`data: ${JSON.stringify({ id: 'x', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })}\n\n`);
    return res.end('data: [DONE]\n\n');
  });
  server.on('tlsClientError', () => {});
  await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
  return { url: `https://localhost:${server.address().port}`, seen,
           close: () => new Promise((ok) => { server.close(ok); server.closeAllConnections(); }) };
}

test('https upstreams are verified', { skip: needDoor }, async (t) => {
  authority('ca');
  authority('stranger');
  certificate('good', 'ca');
  certificate('name', 'ca', { host: 'elsewhere.example' });
  certificate('expired', 'ca', { days: ['-days', '-1'] });
  certificate('unknown', 'stranger');
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'self.key', '-out', 'self.pem', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost');
  for (const name of ['good', 'name', 'expired', 'unknown', 'self']) {
    await t.test(name, async () => {
      const up = await startTls(name);
      const door = await startDoor({
        upstream: [{ url: up.url, key: 'sk-for-upstream', dialect: 'openai', models: ['m'], slots: 4 }],
        config: { relay: { ca_file: path.join(tmp, 'ca.pem'), probe: '100ms' } }, wait: name === 'good',
      });
      if (name === 'good') {
        const r = await post(door, '/v1/chat/completions', { model: 'm', messages: [{ role: 'user', content: 'secret' }] });
        assert.equal(digest(r).text, 'safe', r.text);
        assert.ok(up.seen.keys.every((k) => k === 'Bearer sk-for-upstream'));
      } else {
        await waitFor('the refusal in the log', () => /does not answer/.test(door.err));
        assert.match(door.err, /certificate/);
        assert.equal(up.seen.requests, 0, 'nothing may be sent to it');
        assert.equal(await door.metric('evenkeel_upstream_up'), 0);
      }
      await door.stop();
      await up.close();
    });
  }
});
