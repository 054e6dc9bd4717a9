// SPDX-License-Identifier: MIT
// s91: docs/admin.md followed to the letter: its files, its commands, in its order, in folders and at ports of our own.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { BUILD, Program, ROOT, freePort, needDoor, startPacer, tmp, waitFor } from './lib.mjs';

const SECRET = 'whsec_0123456789abcdefghijklmnop';
const guide = fs.readFileSync(path.join(ROOT, 'docs/admin.md'), 'utf8');
const section = (name) => {
  const found = guide.split(/^## /m).find((s) => s.startsWith(`${name}\n`));
  assert.ok(found, `no section "${name}" in docs/admin.md`);
  return found;
};
const blocks = (text) => [...text.matchAll(/^```(yaml|sh)\n([^]*?)^```$/gm)].map(([, kind, body]) => ({ kind, body }));

test('the guide to payments, step by step', { skip: needDoor }, async (t) => {
  const pacer = await startPacer(['--tokens', '5', '--rate', '1000']);
  const [port, admin] = [await freePort(), await freePort()];
  const here = (text) => text.replaceAll('/etc/evenkeel', path.join(tmp, 'etc')).replaceAll('/var/lib/evenkeel', path.join(tmp, 'var'))
    .replaceAll('127.0.0.1:8080', `127.0.0.1:${port}`).replaceAll('127.0.0.1:8081', `127.0.0.1:${admin}`)
    .replaceAll('http://127.0.0.1:8000', pacer.url).replaceAll('whsec_...', SECRET).replaceAll('https://example.org', `http://127.0.0.1:${port}`);
  const env = { ...process.env, PATH: `${BUILD}:${process.env.PATH}` };
  for (const name of ['EVENKEEL_ADMIN', 'EVENKEEL_ADMIN_KEY', 'EVENKEEL_LEDGER', 'EVENKEEL_SECRET']) delete env[name];
  let login = ''; // what step 4 exports, for the commands after it
  const shell = (text) => {
    const r = spawnSync('bash', ['-ec', here(login + text)], { env, encoding: 'utf8' });
    assert.equal(r.status, 0, `${here(text)}\n${r.stdout}${r.stderr}`);
    return r.stdout;
  };

  const steps = blocks(section('Take payment in ten minutes'));
  assert.deepEqual(steps.map((s) => s.kind), ['sh', 'yaml', 'sh', 'sh', 'sh'], 'folders, file, secret, serve, somebody to pay');
  shell(steps[0].body);
  fs.writeFileSync(path.join(tmp, 'etc/evenkeel.yaml'), here(steps[1].body));
  shell(steps[2].body);
  const serve = here(steps[3].body).trim().split(' ');
  assert.equal(serve.shift(), 'evenkeel');
  const door = new Program(path.join(BUILD, 'evenkeel'), serve);
  t.after(async () => { await door.stop(); await pacer.stop(); });
  const url = `http://127.0.0.1:${port}`;
  await waitFor('the door', async () => {
    if (door.child.exitCode !== null) assert.fail(door.err);
    return (await fetch(`${url}/health`).catch(() => null))?.ok;
  });
  assert.doesNotMatch(door.err, /needs no key/);
  const key = shell(steps[4].body).trim().split('\n').at(-1).trim();
  login = `${steps[4].body.split('\n').filter((l) => l.startsWith('export')).join('\n')}\n`;

  const event = JSON.stringify({ id: 'evt_1', object: 'event', type: 'checkout.session.completed', created: 1, livemode: true,
    data: { object: { id: 'cs_1', object: 'checkout.session', amount_total: 1000, currency: 'usd', client_reference_id: 'ann',
      payment_status: 'paid', metadata: {} } } });
  const at = Math.floor(Date.now() / 1000);
  const signature = `t=${at},v1=${createHmac('sha256', SECRET).update(`${at}.${event}`).digest('hex')}`;
  const proxied = { 'X-Forwarded-For': '8.8.8.8', 'Content-Type': 'application/json' };
  const paid = await fetch(`${url}/hooks/stripe`, { method: 'POST', body: event, headers: { ...proxied, 'Stripe-Signature': signature } });
  assert.equal(paid.status, 201, await paid.text());
  assert.match(shell('evenkeel account show ann'), /balance 10 /);
  const chat = (headers) => fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { ...proxied, ...headers },
    body: JSON.stringify({ messages: [{ role: 'user', content: 'hello' }] }) });
  const answered = await chat({ Authorization: `Bearer ${key}` });
  assert.equal(answered.status, 200, await answered.text());
  assert.equal((await chat({})).status, 401);

  // Codes: each command of the table, then its two requests with the codes that came of it.
  const codes = section('Letting people in by themselves');
  const made = [...codes.matchAll(/^\| [^|]+ \| `(account [^`]+)` \|/gm)].map(([, command]) => shell(`evenkeel ${command}`));
  assert.equal(made.length, 3);
  const code = (text) => /ek-(invite|voucher)-[\w.-]+/.exec(text)[0];
  let redeem = blocks(codes)[0].body.replace('ek-invite-...', code(made[0])).replace('ek-voucher-...', code(made[2]));
  const said = shell(`KEY=${key}\n${redeem}`);
  assert.match(said, /"key":"sk-ek-/);
  assert.match(shell('evenkeel account show dan'), /tier free/);
  assert.match(shell('evenkeel account show ann'), /balance (19\.99|20)/);

  const [, limit] = /`(account limit ann [^`]+)`/.exec(section('Limits').replaceAll('\n', ' '));
  shell(`evenkeel ${limit}`);
  assert.match(shell('evenkeel account show ann'), /models: r1 demo\*;/);
  for (const [, command] of section('Looking at the books').matchAll(/^\| `(account [^`]+)` \|/gm)) shell(`evenkeel ${command}`);
  shell('cd "$(mktemp -d)"; evenkeel account export > accounts.jsonl; test -s accounts.jsonl');
});
