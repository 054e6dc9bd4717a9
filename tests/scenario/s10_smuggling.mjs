// SPDX-License-Identifier: MIT
// s10: malformed and ambiguous requests. None is accepted, the connection closes, and the upstream
// never sees a request. nginx, when installed, is the oracle: nothing passes here that it refuses.
// The list is the one of the survey of HTTP stacks (RFC 9112 sections 2.2, 3.2, 5.1, 6.1, 7.1).
import { test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { Program, freePort, needDoor, startDoor, tmp, waitFor, KEY } from './lib.mjs';
import { raw } from './client.mjs';

const BODY = JSON.stringify({ model: 'faulty', messages: [{ role: 'user', content: 'hi' }] });
const N = Buffer.byteLength(BODY);
const CHUNKED = `${N.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;
const LINE = 'POST /v1/chat/completions HTTP/1.1\r\n';
const HOST = `Host: a\r\nAuthorization: Bearer ${KEY}\r\nContent-Type: application/json\r\n`;

const CASES = {
  'Content-Length and Transfer-Encoding': `${LINE}${HOST}Content-Length: ${N}\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED}`,
  'Content-Length twice, the same': `${LINE}${HOST}Content-Length: ${N}\r\nContent-Length: ${N}\r\n\r\n${BODY}`,
  'Content-Length twice, different': `${LINE}${HOST}Content-Length: ${N}\r\nContent-Length: 3\r\n\r\n${BODY}`,
  'Content-Length with a plus': `${LINE}${HOST}Content-Length: +${N}\r\n\r\n${BODY}`,
  'Content-Length as a list': `${LINE}${HOST}Content-Length: ${N}, ${N}\r\n\r\n${BODY}`,
  'blank before the colon of Content-Length': `${LINE}${HOST}Content-Length : ${N}\r\n\r\n${BODY}`,
  'blank before the colon of Transfer-Encoding': `${LINE}${HOST}Transfer-Encoding : chunked\r\n\r\n${CHUNKED}`,
  'Transfer-Encoding: xchunked': `${LINE}${HOST}Transfer-Encoding: xchunked\r\n\r\n${CHUNKED}`,
  'Transfer-Encoding: chunked, identity': `${LINE}${HOST}Transfer-Encoding: chunked, identity\r\n\r\n${CHUNKED}`,
  'Transfer-Encoding: identity, chunked': `${LINE}${HOST}Transfer-Encoding: identity, chunked\r\n\r\n${CHUNKED}`,
  'Transfer-Encoding twice': `${LINE}${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKED}`,
  'bare LF as line end': `${LINE}${HOST}Content-Length: ${N}\r\n\r\n${BODY}`.replace(/\r\n/g, '\n'),
  'bare CR in a value': `${LINE}${HOST}X-A: b\rc\r\nContent-Length: ${N}\r\n\r\n${BODY}`,
  'NUL in a value': `${LINE}${HOST}X-A: b\0c\r\nContent-Length: ${N}\r\n\r\n${BODY}`,
  'folded header': `${LINE}${HOST}X-A: b\r\n c\r\nContent-Length: ${N}\r\n\r\n${BODY}`,
  'no Host': `${LINE}${HOST.replace('Host: a\r\n', '')}Content-Length: ${N}\r\n\r\n${BODY}`,
  'two Hosts': `${LINE}Host: b\r\n${HOST}Content-Length: ${N}\r\n\r\n${BODY}`,
  'LF in a chunk extension': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\n${N.toString(16)};a=b\nc\r\n${BODY}\r\n0\r\n\r\n`,
  'chunk size with 0x': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\n0x${CHUNKED}`,
  'huge chunk size': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n${BODY}\r\n0\r\n\r\n`,
  'chunk data without CRLF': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\n${N.toString(16)}\r\n${BODY}0\r\n\r\n`,
  'HTTP/1.0 with Transfer-Encoding': `${LINE.replace('1.1', '1.0')}${HOST}Transfer-Encoding: chunked\r\n\r\n${CHUNKED}`,
  'control byte in the method': `PO\x01ST /v1/chat/completions HTTP/1.1\r\n${HOST}Content-Length: ${N}\r\n\r\n${BODY}`,
  'HTTP/9.9': `${LINE.replace('1.1', '9.9')}${HOST}Content-Length: ${N}\r\n\r\n${BODY}`,
  'a lone LF before the body': `${LINE}${HOST}Content-Length: ${N}\n\r\n${BODY}`,
};
const GOOD = {
  'a plain request': `${LINE}${HOST}Content-Length: ${N}\r\n\r\n${BODY}`,
  'a chunked request': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\n${CHUNKED}`,
  'an odd but legal chunk extension': `${LINE}${HOST}Transfer-Encoding: chunked\r\n\r\n${N.toString(16)};a="b"\r\n${BODY}\r\n0\r\n\r\n`,
};

const NGINX = ['/usr/sbin/nginx', '/usr/local/sbin/nginx'].find((p) => fs.existsSync(p));

async function startNginx(upstream) {
  const port = await freePort();
  const dir = fs.mkdtempSync(path.join(tmp, 'nginx-'));
  const file = path.join(dir, 'nginx.conf');
  fs.writeFileSync(file, `daemon off; pid ${dir}/pid; error_log ${dir}/error.log; worker_processes 1;
    events { worker_connections 256; }
    http { access_log off; client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f;
      uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
      server { listen 127.0.0.1:${port}; location / { proxy_pass ${upstream}; proxy_http_version 1.1; } } }\n`);
  if (process.getuid() === 0) fs.chmodSync(tmp, 0o755); // its worker drops to another user
  const p = new Program(NGINX, ['-c', file, '-p', dir, '-e', `${dir}/error.log`]);
  p.port = port;
  await waitFor('nginx', async () => (await fetch(`http://127.0.0.1:${port}/health`)).ok);
  return p;
}

test('the smuggling matrix', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: up.url });
  t.after(async () => { await door.stop(); await up.close(); });

  for (const [name, bytes] of Object.entries(GOOD)) {
    await t.test(`accepted: ${name}`, async () => {
      assert.equal((await raw(door.port, bytes)).statuses[0], 200);
    });
  }
  for (const [name, bytes] of Object.entries(CASES)) {
    await t.test(`refused: ${name}`, async () => {
      up.log.length = 0;
      const r = await raw(door.port, bytes, { quiet_ms: 3000 });
      assert.equal(r.statuses.length, 1, `statuses ${r.statuses}`);
      assert.ok(r.statuses[0] >= 400 && r.statuses[0] <= 505, `status ${r.statuses[0]}`);
      assert.ok(r.closed, 'the connection must close');
      assert.equal(up.completions().length, 0, 'the upstream saw it');
    });
  }
});

// The door refuses every case, so "nothing accepted that nginx refuses" holds by the test above; this
// one shows that the cases are what they claim to be, by the judgement of a second parser.
test('nginx refuses them too, but for line ends', { skip: !NGINX && 'nginx is not installed' }, async (t) => {
  const up = await startFaulty();
  const nginx = await startNginx(up.url);
  t.after(async () => { await nginx.stop(); await up.close(); });
  const passed = [];
  for (const [name, bytes] of Object.entries({ ...GOOD, ...CASES })) {
    const r = await raw(nginx.port, bytes, { quiet_ms: 200 });
    if (r.statuses[0] === 200) passed.push(name);
  }
  assert.deepEqual(passed.slice(0, 3), Object.keys(GOOD));
  assert.deepEqual(passed.slice(3).filter((name) => !/LF/.test(name)), []);
});
