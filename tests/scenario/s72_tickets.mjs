// SPDX-License-Identifier: MIT
// s72: places outlive the door. kill -9 with 200 waiting: every holder of a ticket that comes back, in whatever
// order, with its body or without, is served once and in the old order; so is an SDK that only tries again. What
// an engine has had is not served twice. A drained door says the ticket. A client that drops keeps its place.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { startFaulty } from '../tools/faulty.mjs';
import { needDoor, rng, startDoor, tmp, waitFor, within } from './lib.mjs';
import { ask, parseSse } from './client.mjs';

const PEOPLE = 200;
const body = (i, more = {}) => ({ model: 'faulty', stream: true, fault_tokens: 4, fault_think: 0,
  messages: [{ role: 'user', content: `the secret of number ${i}.` }], ...more });
const numberOf = (call) => {
  const m = /the secret of number (\d+)\./.exec(call.body.toString('utf8'));
  return m ? Number(m[1]) : -1;
};
const firstWord = (r) => JSON.parse(parseSse(r.text ?? '').comments.find((c) => c.startsWith(': queue '))?.slice(8) ?? 'null');

// A caller who waits: resolves with its ticket once it has heard of its place; `end` is the whole exchange.
async function queue(door, what, headers = {}) {
  const stop = new AbortController();
  let heard;
  const first = new Promise((ok) => { heard = ok; });
  let text = '';
  const end = ask(door, what, { headers, signal: stop.signal, onBytes: (d, r) => {
    text += d.toString('utf8');
    if (text.includes(': queue ') && text.includes('\n\n')) heard({ header: r.headers['x-queue-ticket'], word: firstWord({ text }) });
  } });
  const place = await within(20000, Promise.race([first, end.then((r) => { throw new Error(`it never waited: ${r.status} ${r.text}`); })]), 'a place');
  return { ...place, ticket: place.word.ticket, end, drop: () => stop.abort() };
}

// The number in the middle of a ticket is of the door's life; the rest is the same for ever.
const bits = (ticket) => ticket?.replace(/-[0-9a-f]{8}-/, '-');

function shuffled(list) {
  const { int } = rng();
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const k = int(i + 1);
    [out[i], out[k]] = [out[k], out[i]];
  }
  return out;
}

const config = (dir, more = {}) => ({ journal: { dir }, queue: { waiting_max: 1000 }, limits: { address_connections: 2000 },
  waiting: { gather: '40s', comment: '2s' }, ...more });

test('kill -9 of the door with 200 waiting', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const dir = path.join(tmp, 'journal-kill');
  const upstream = [{ url: up.url, slots: 1, models: ['faulty'], dialect: 'openai' }];
  const door = await startDoor({ upstream, config: config(dir) });
  t.after(() => up.close());
  const stop = new AbortController();
  const blockers = [0, 1].map((i) => ask(door, body(9000 + i, { fault: 'stall' }), i ? {} : { signal: stop.signal }));
  await waitFor('both blockers to run', () => up.state.open === 2);
  const people = [];
  for (let i = 0; i < PEOPLE; i++) {
    people.push(await queue(door, body(i, i === 0 ? { fault: 'stall' } : {})));
    assert.equal(people[i].word.position, i + 1);
    assert.equal(people[i].header, `${people[i].ticket}; durable=1`);
    assert.equal(people[i].word.durable, true);
  }
  stop.abort(); // a slot comes free: number 0 is handed over, and stays there
  await waitFor('number 0 to reach the engine', () => up.completions().some((c) => numberOf(c) === 0));
  door.killNow('SIGKILL');
  await within(10000, Promise.all([...people.map((p) => p.end), ...blockers]), 'all are cut');
  up.reset();

  const again = await startDoor({ upstream, config: config(dir) });
  t.after(() => again.stop());
  assert.equal(await again.metric('evenkeel_places_kept'), PEOPLE - 1);
  const used = await ask(again, '', { headers: { 'X-Queue-Ticket': people[0].ticket } });
  assert.equal(used.status, 410, used.text);
  assert.equal(used.digest.error.code, 'ticket_used');
  const begin = performance.now();
  const back = new Map(shuffled(people.keys()).filter((i) => i > 0).map((i) => {
    const how = i % 3; // no body; the body again; a retry that knows of no ticket
    const headers = how < 2 ? { 'X-Queue-Ticket': people[i].header } : { 'X-Stainless-Retry-Count': '1' };
    return [i, ask(again, how === 0 ? '' : body(i), { headers })];
  }));
  const answers = await within(60000, Promise.all([...back].map(async ([i, p]) => [i, await p])), 'all are served');
  t.diagnostic(`${answers.length} came back and were served in ${Math.round(performance.now() - begin)} ms`);
  for (const [i, r] of answers) assert.equal(r.digest.complete, true, `number ${i}: ${r.status} ${r.text.slice(-300)}`);
  const served = up.completions().map(numberOf);
  assert.deepEqual([...served].sort((a, b) => a - b), Array.from({ length: PEOPLE - 1 }, (_, i) => i + 1), 'each once');
  // Two are under way at a time, on connections of their own, so neighbours may change places on the wire.
  served.forEach((n, at) => assert.ok(Math.abs(n - 1 - at) <= 1, `number ${n} was served as ${at + 1}th: ${served}`));
  t.diagnostic(`${served.filter((n, at) => n !== at + 1).length} of them changed places with a neighbour`);
  for (const i of [1, 2, 3]) { // and not again
    const r = await ask(again, '', { headers: { 'X-Queue-Ticket': people[i].ticket } });
    assert.equal(r.digest.error?.code, 'ticket_used', r.text);
  }
  await waitFor('the journal to be empty', async () => (await again.metric('evenkeel_journal_live')) === 0);
  await waitFor('what was said to be gone from the disk', () => {
    try { execFileSync('grep', ['-rqF', 'the secret of', dir]); return false; } catch { return true; }
  });
  assert.equal(await again.metric('evenkeel_places_total', 'what="lost"'), 0);
});

test('a client that drops keeps its place, and is passed by while it is away', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const door = await startDoor({ upstream: [{ url: up.url, slots: 1, models: ['faulty'] }], config: { queue: { waiting_max: 100 } } });
  t.after(async () => { await door.stop(); await up.close(); });
  const stop = new AbortController();
  const blockers = [0, 1].map((i) => ask(door, body(9000 + i, { fault: 'stall' }), { signal: stop.signal }));
  await waitFor('both blockers to run', () => up.state.open === 2);
  const people = [];
  for (let i = 0; i < 6; i++) people.push(await queue(door, body(i)));
  assert.match(people[0].header, /; durable=0$/);
  people[1].drop();
  await door.waitMetric('evenkeel_places_kept', (v) => v === 1);
  const wrong = await ask(door, body(77), { headers: { 'X-Queue-Ticket': people[1].ticket } });
  assert.equal(wrong.status, 409, wrong.text);
  const one = await queue(door, '', { 'X-Queue-Ticket': people[1].ticket });
  assert.equal(one.word.position, 2);
  people[2].drop();
  await door.waitMetric('evenkeel_places_kept', (v) => v === 1);
  stop.abort();
  await Promise.all(blockers);
  for (const i of [0, 3, 4, 5]) assert.equal((await people[i].end).digest.complete, true);
  assert.equal((await one.end).digest.complete, true);
  assert.ok(!up.completions().map(numberOf).includes(2), 'nobody listened, so no engine heard of it');
  const late = await ask(door, '', { headers: { 'X-Queue-Ticket': people[2].ticket } });
  assert.equal(late.digest.complete, true, late.text);
});

test('SIGTERM says the ticket to those it cannot serve, and the next door serves them', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const dir = path.join(tmp, 'journal-drain');
  const upstream = [{ url: up.url, slots: 1, models: ['faulty'] }];
  const door = await startDoor({ upstream, config: config(dir, { drain: { deadline: '300ms' } }) });
  t.after(() => up.close());
  const blockers = [0, 1].map((i) => ask(door, body(9000 + i, { fault: 'stall' })));
  await waitFor('both blockers to run', () => up.state.open === 2);
  const people = [];
  for (let i = 0; i < 20; i++) people.push(await queue(door, body(i)));
  const whole = ask(door, body(20, { stream: false }));
  await door.waitMetric('evenkeel_waiting', (v) => v === 21);
  door.killNow('SIGTERM');
  for (const p of people) {
    const r = await p.end;
    assert.equal(bits(r.digest.error?.ticket), bits(p.ticket), r.text.slice(-400));
    assert.match(r.digest.error.message, /come back with this ticket/);
  }
  const w = await whole;
  assert.equal(w.status, 503);
  assert.equal(w.headers['x-queue-ticket'], `${w.digest.error.ticket}; durable=1`);
  await Promise.all(blockers);
  assert.equal((await within(10000, door.exited, 'the door ends')).code, 0, door.err);
  door.checkHealth();
  up.reset();
  const next = await startDoor({ upstream, config: config(dir) });
  t.after(() => next.stop());
  const tickets = [...people.map((p) => p.ticket), w.digest.error.ticket];
  const answers = await within(30000, Promise.all(shuffled(tickets.keys()).map((i) => ask(next, '', { headers: { 'X-Queue-Ticket': tickets[i] } }))), 'all are served');
  for (const r of answers) assert.equal(r.digest.complete, true, r.text);
  assert.deepEqual(up.completions().map(numberOf).sort((a, b) => a - b), Array.from({ length: 21 }, (_, i) => i));
});

test('a damaged journal: the door starts, says one sentence, and serves what can be read', { skip: needDoor }, async (t) => {
  const up = await startFaulty();
  const dir = path.join(tmp, 'journal-damage');
  const upstream = [{ url: up.url, slots: 1, models: ['faulty'] }];
  const door = await startDoor({ upstream, config: config(dir) });
  t.after(() => up.close());
  const blockers = [0, 1].map((i) => ask(door, body(9000 + i, { fault: 'stall' })));
  await waitFor('both blockers to run', () => up.state.open === 2);
  const people = [];
  for (let i = 0; i < 30; i++) people.push(await queue(door, body(i)));
  door.killNow('SIGKILL');
  await Promise.all([...people.map((p) => p.end), ...blockers]);
  const [file] = fs.readdirSync(dir).filter((n) => n.endsWith('.journal'));
  const at = path.join(dir, file);
  const bytes = fs.readFileSync(at);
  const tenth = bytes.indexOf('the secret of number 10.');
  bytes.fill(0x2a, tenth, tenth + 10);
  fs.writeFileSync(at, bytes.subarray(0, bytes.length - 50));
  const next = await startDoor({ upstream, config: config(dir) });
  t.after(() => next.stop());
  assert.equal((next.err.match(/is damaged/g) ?? []).length, 1, next.err);
  assert.equal(await next.metric('evenkeel_journal_records_total', 'what="damaged"'), 2);
  assert.equal(await next.metric('evenkeel_places_kept'), 28);
  const answers = await Promise.all(people.map((p) => ask(next, '', { headers: { 'X-Queue-Ticket': p.ticket } })));
  for (const [i, r] of answers.entries()) {
    if (i === 10 || i === 29) assert.equal(r.digest.error?.code, 'ticket_unknown', r.text);
    else assert.equal(r.digest.complete, true, r.text);
  }
});
