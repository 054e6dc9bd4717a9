// SPDX-License-Identifier: MIT
// bench/money: what the ledger costs the door. The same requests (streams of --tokens tokens from the pacer) through
// two doors, one without a ledger and one with (SQLite, one account of many), in pairs: CPU time of the loop's
// thread a request, and for the second how long the ends of answers were held, from its own histogram.
// Usage: money.mjs [--requests 2000] [--at-once 32] [--tokens 64] [--pairs 5] [--accounts 20] [--rate 0]
// Prints a table and writes bench/results/money.csv. With EVENKEEL=build-bench/bench/evenkeel_timed also what the calls
// of desk, money and counting took of that, and writes bench/results/money-timed.csv.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { EVENKEEL, ROOT, startDoor, startPacer, tmp } from '../tests/scenario/lib.mjs';

const option = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i > 0 ? Number(process.argv[i + 1]) : fallback;
};
const REQUESTS = option('requests', 2000), AT_ONCE = option('at-once', 32), TOKENS = option('tokens', 64);
const PAIRS = option('pairs', 5), ACCOUNTS = option('accounts', 20), RATE = option('rate', 0);

const ledger = path.join(tmp, 'bench.db');
const run = (...words) => execFileSync(EVENKEEL, [...words, '--ledger', ledger], { encoding: 'utf8' });
const keys = Array.from({ length: ACCOUNTS }, (_, i) => {
  run('account', 'add', `a${i}`, '--topup', '100000');
  return run('key', 'add', `a${i}`, 'k').trim().split('\n').at(-1).trim();
});

const loop_ns = (door) => Number(fs.readFileSync(`/proc/${door.pid}/task/${door.pid}/schedstat`, 'utf8').split(' ')[0]);

async function load(door, auth) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
  let next = 0;
  const one = (i) => new Promise((ok, no) => {
    const body = JSON.stringify({ model: 'pacer', stream: true, max_tokens: TOKENS, messages: [{ role: 'user', content: `number ${i}` }] });
    const req = http.request({ host: '127.0.0.1', port: door.port, path: '/v1/chat/completions', method: 'POST', agent,
      headers: { 'Content-Length': Buffer.byteLength(body), ...(auth ? { Authorization: `Bearer ${keys[i % keys.length]}` } : {}) } }, (res) => {
      res.on('data', () => {});
      res.on('end', () => (res.statusCode === 200 ? ok() : no(new Error(`status ${res.statusCode}`))));
    });
    req.on('error', no);
    req.end(body);
  });
  await Promise.all(Array.from({ length: AT_ONCE }, async () => { while (next < REQUESTS) await one(next++); }));
  agent.destroy();
}

// Upper bound of the bucket that holds the quantile, in ms, of the differences of two scrapes.
function quantile(before, after, name, q) {
  const buckets = (text) => [...text.matchAll(new RegExp(`^${name}_bucket\\{le="([^"]+)"\\} (\\d+)`, 'gm'))].map((m) => [m[1], Number(m[2])]);
  const b = new Map(buckets(before)), a = buckets(after).map(([le, n]) => [le, n - (b.get(le) ?? 0)]);
  const total = a.at(-1)[1];
  return Number(a.find(([, n]) => n >= q * total)[0]) * 1000;
}
const scrape = async (door) => (await fetch(`http://127.0.0.1:${door.port}/metrics`)).text();

const pacer = await startPacer(['--tokens', String(TOKENS), '--rate', String(RATE)]);
const common = { limits: { address_connections: 2000 } };
const upstream = [{ url: pacer.url, slots: AT_ONCE, models: ['pacer'], dialect: 'openai' }];
const doors = [await startDoor({ upstream, config: common }),
  await startDoor({ upstream, config: { ...common, ledger: { url: ledger, door: 'bench' } } })];
const cost = [[], []];
for (const i of [0, 1]) await load(doors[i], i === 1); // warm
const before = await scrape(doors[1]);
for (let pair = 0; pair < PAIRS; pair++) {
  for (const i of pair % 2 ? [1, 0] : [0, 1]) {
    const from = loop_ns(doors[i]);
    await load(doors[i], i === 1);
    cost[i].push((loop_ns(doors[i]) - from) / 1000 / REQUESTS);
  }
}
const after = await scrape(doors[1]);
for (const d of doors) await d.stop();
// With evenkeel_timed (bench/timed.c): what of that were calls of the desk, of limits and money, and counting.
const calls = (door) => [...door.err.matchAll(/timed (\w+): (\d+) calls, (-?\d+) ns/g)].map(([, part, n, ns]) =>
  ({ part, calls: Number(n) / REQUESTS / (PAIRS + 1), us: Number(ns) / 1000 / REQUESTS / (PAIRS + 1) }));
const split = doors.map(calls), is_timed = split[1].length > 0;
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const rows = [['us of the loop a request, without a ledger', median(cost[0]), Math.min(...cost[0]), Math.max(...cost[0])],
  ['us of the loop a request, with a ledger', median(cost[1]), Math.min(...cost[1]), Math.max(...cost[1])]];
const more = cost[1].map((c, k) => c - cost[0][k]);
rows.push(['difference of the pairs', median(more), Math.min(...more), Math.max(...more)]);
rows.push(['ms the end was held, bucket of p50 and p99', quantile(before, after, 'evenkeel_ledger_finish_seconds', 0.5), '', quantile(before, after, 'evenkeel_ledger_finish_seconds', 0.99)]);
rows.push(['ms until a settlement was durable, bucket of p50 and p99', quantile(before, after, 'evenkeel_ledger_commit_seconds', 0.5), '', quantile(before, after, 'evenkeel_ledger_commit_seconds', 0.99)]);
for (const [i, name] of [[0, 'without'], [1, 'with']]) {
  for (const c of split[i]) rows.push([`us a request in ${c.part}, ${c.calls.toFixed(1)} calls, ${name} a ledger`, c.us, '', '']);
  if (is_timed) rows.push([`us a request in all of these, ${name} a ledger`, split[i].reduce((sum, c) => sum + c.us, 0), '', '']);
}
const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
const show = (v) => (typeof v === 'number' ? v.toFixed(1) : v);
const csv = [`# commit ${commit}, ${REQUESTS} requests of ${TOKENS} tokens, ${AT_ONCE} at once, ${ACCOUNTS} accounts, ${PAIRS} pairs${RATE ? `, ${RATE} tokens a second each` : ''}`, 'what,median,min,max',
  ...rows.map((r) => r.map(show).join(','))].join('\n') + '\n';
fs.writeFileSync(path.join(ROOT, `bench/results/money${is_timed ? '-timed' : RATE ? '-paced' : ''}.csv`), csv);
console.log(csv);
await pacer.stop();
