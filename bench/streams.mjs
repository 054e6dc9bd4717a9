// SPDX-License-Identifier: MIT
// bench/streams: what an open stream costs a door in memory. 9,000 streams at 20,000 tokens a second together, paced
// plain upstreams, events kept for readers to come; the door's private memory before and under way, without what
// its metric evenkeel_stream_bytes says is kept of events. Sockets' buffers are the kernel's and not in it.
// Usage: streams.mjs [--streams 9000] [--rate 2.22] [--seconds 20]
// Prints a table; writes bench/results/streams.csv.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { BUILD, ROOT, anonymousBytes, startDoor, startPacer, waitFor } from '../tests/scenario/lib.mjs';

const option = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i > 0 ? process.argv[i + 1] : fallback;
};
const STREAMS = Number(option('streams', 9000));
const RATE = Number(option('rate', 2.22));
const SECONDS = Number(option('seconds', 20));
const EACH = 3000; // streams of one pacer, and of one load client

const pacers = [];
for (let n = 0; n < STREAMS; n += EACH) pacers.push(await startPacer(['--model', 'paced', '--seconds', '600']));
const upstream = pacers.map((p, i) => ({ url: p.url, name: `p${i}`, dialect: 'openai', slots: EACH, models: ['paced'] }));
const door = await startDoor({ upstream, config: {
  limits: { connections: 20000, address_connections: 20000 }, queue: { waiting_max: 20000 },
  relay: { first_token: '300s', stall: '300s' }, streams: { memory: '1GiB' } } });
const base = anonymousBytes(door.pid);
const tokens = Math.ceil(RATE * (SECONDS + 60));
const loads = [];
for (let n = 0; n < STREAMS; n += EACH)
  loads.push(spawn(path.join(BUILD, 'tests/tools/relayload'), ['--mode', 'stream', '--port', String(door.port),
    '--conns', String(Math.min(EACH, STREAMS - n)), '--rate', String(RATE), '--tokens', String(tokens),
    '--seconds', String(SECONDS + 300), '--model', 'paced'], { stdio: ['ignore', 'ignore', 'inherit'] }));
const stop = () => { for (const l of loads) l.kill('SIGKILL'); door.killNow(); for (const p of pacers) p.killNow(); };
process.on('exit', stop);

await waitFor('all streams', async () => (await door.metric('evenkeel_streams', 'state="running"')) >= STREAMS, { timeout_ms: 300000, every_ms: 200 });
const out = () => door.metric('evenkeel_client_bytes_out_total');
const rows = [];
const begun = performance.now();
while (performance.now() - begun < SECONDS * 1000) {
  const from = [performance.now(), await out()];
  await new Promise((ok) => setTimeout(ok, 4000));
  const bytes = ((await out()) - from[1]) / ((performance.now() - from[0]) / 1000);
  const open = await door.metric('evenkeel_streams', 'state="running"');
  const kept = await door.metric('evenkeel_stream_bytes');
  const anonymous = anonymousBytes(door.pid);
  rows.push({ open, kept: Math.round(kept / open), mbit: (bytes * 8e-6).toFixed(0), each: Math.round((anonymous - base - kept) / open) });
  console.log(`${open} open, ${rows.at(-1).mbit} Mbit/s to clients: ${rows.at(-1).each} bytes a stream, and ${rows.at(-1).kept} of events kept`);
}
const worst = Math.max(...rows.map((r) => r.each));
fs.writeFileSync(path.join(ROOT, 'bench/results/streams.csv'), 'open,bytes_each,events_kept_each,mbit_s\n' +
  rows.map((r) => `${r.open},${r.each},${r.kept},${r.mbit}`).join('\n') + '\n');
console.log(`at most ${worst} bytes a stream of ${STREAMS} (target: 4096)`);
stop();
process.exit(0);
