// SPDX-License-Identifier: MIT
// bench/relay: what one relayed token and one short request cost, against haproxy and nginx in one run.
// All relays stand before the same paced fake engine and run all the time, each pinned to core 0 with one
// thread of work; pacer and load client share core 1. Every repetition measures every target once, in an
// order that rotates, so that drift of a shared machine hits all alike; what counts are the ratios of a
// repetition. CPU = run time of all threads of a relay from /proc/PID/task/*/schedstat.
//   typ  400 streams of 50 tokens a second     sat  400 streams of 250     req  50 connections, 1.5 kB in
// Usage: relay.mjs [--reps 9] [--seconds 6] [--modes typ,sat,req] [--targets haproxy,nginx,evenkeel,direct]
//        [--priority 'chrt -f 5'] [--before PROGRAM: another build of evenkeel, measured beside it]
// Writes bench/results/relay-COMMIT.csv and prints medians, spreads and ratios to haproxy.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { BUILD, EVENKEEL, PACER, ROOT, freePort, tmp, waitFor, yaml } from '../tests/scenario/lib.mjs';

const option = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i > 0 ? process.argv[i + 1] : fallback;
};
const REPS = Number(option('reps', 9));
const SECONDS = Number(option('seconds', 6));
const MODES = option('modes', 'typ,sat,req').split(',');
const TARGETS = option('targets', `haproxy,nginx,evenkeel,direct${option('before', '') && ',before'}`).split(',');
const BEFORE = option('before', '');
const PRIORITY = option('priority', ''); // 'chrt -f 5' (as root) keeps whatever else runs out of the figures
const LOAD = path.join(BUILD, 'tests/tools/relayload');
const MODE = {
  typ: (s) => ['--mode', 'stream', '--conns', '400', '--rate', '50', '--tokens', String(50 * s), '--seconds', String(s + 5)],
  sat: (s) => ['--mode', 'stream', '--conns', '400', '--rate', '250', '--tokens', String(250 * s), '--seconds', String(s + 5)],
  req: (s) => ['--mode', 'req', '--conns', '50', '--rate', '0', '--tokens', '8', '--body-bytes', '1500', '--seconds', String(s)],
};

const pinned = [];
process.on('exit', () => { for (const p of pinned) p.kill('SIGKILL'); });
function pin(core, command, args, env = {}) {
  const [first, ...rest] = [...PRIORITY.split(' ').filter(Boolean), 'taskset', '-c', String(core), command, ...args];
  const p = spawn(first, rest, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  pinned.push(p);
  return p;
}

// All processes of a relay: the one started (taskset execs it) and its children.
function family(pid) {
  const list = [pid];
  for (const tid of fs.readdirSync(`/proc/${pid}/task`)) {
    const text = fs.readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').trim();
    for (const child of text ? text.split(/\s+/) : []) list.push(...family(Number(child)));
  }
  return list;
}
function cpuSeconds(pid) {
  let ns = 0;
  for (const p of family(pid)) {
    for (const tid of fs.readdirSync(`/proc/${p}/task`)) {
      ns += Number(fs.readFileSync(`/proc/${p}/task/${tid}/schedstat`, 'utf8').split(' ')[0]);
    }
  }
  return ns / 1e9;
}

async function up(port) {
  await waitFor(`port ${port} to relay`, async () => (await fetch(`http://127.0.0.1:${port}/v1/models`)).ok);
}

const STARTERS = {
  async haproxy(pacerPort) {
    const port = await freePort();
    const p = pin(0, 'haproxy', ['-db', '-f', path.join(ROOT, 'bench/haproxy.cfg')], { FRONT_PORT: port, PACER_PORT: pacerPort });
    return { port, pid: p.pid };
  },
  async nginx(pacerPort) {
    const port = await freePort();
    const dir = fs.mkdtempSync(path.join(tmp, 'nginx-'));
    fs.chmodSync(tmp, 0o755);
    const text = fs.readFileSync(path.join(ROOT, 'bench/nginx.conf.in'), 'utf8').replaceAll('@DIR@', dir)
      .replaceAll('@FRONT_PORT@', port).replaceAll('@PACER_PORT@', pacerPort);
    fs.writeFileSync(path.join(dir, 'nginx.conf'), text);
    const p = pin(0, 'nginx', ['-c', path.join(dir, 'nginx.conf'), '-p', dir, '-e', path.join(dir, 'start.error')]);
    return { port, pid: p.pid };
  },
  async evenkeel(pacerPort, program = EVENKEEL) { // counting, metrics and resume are on, as they always are
    const port = await freePort();
    const file = path.join(tmp, `relay-${port}.yaml`);
    fs.writeFileSync(file, yaml({ upstreams: [{ url: `http://127.0.0.1:${pacerPort}`, slots: 1000 }],
      limits: { address_connections: 5000 } }).trimStart());
    const p = pin(0, program, ['serve', '--config', file, '--listen', `127.0.0.1:${port}`]);
    return { port, pid: p.pid };
  },
  async before(pacerPort) { return this.evenkeel(pacerPort, path.resolve(BEFORE)); },
  async direct(pacerPort) { return { port: pacerPort, pid: null }; },
};

function load(port, args) {
  const text = (() => {
    const [first, ...rest] = [...PRIORITY.split(' ').filter(Boolean), 'taskset', '-c', '1', LOAD, '--port', String(port), ...args];
    try { return execFileSync(first, rest, { encoding: 'utf8' }); } catch (e) { return e.stdout; }
  })();
  return JSON.parse(text);
}

const median = (list) => {
  const s = [...list].sort((a, b) => a - b);
  return s.length % 2 ? s[(s.length - 1) / 2] : (s[s.length / 2 - 1] + s[s.length / 2]) / 2;
};
const spread = (list) => `${Math.min(...list).toPrecision(3)}..${Math.max(...list).toPrecision(3)}`;

const has = (command) => ['/usr/sbin', '/usr/bin', '/usr/local/sbin', '/usr/local/bin'].some((d) => fs.existsSync(path.join(d, command)));
const targets = TARGETS.filter((name) => {
  const there = name === 'direct' || (name === 'before' && fs.existsSync(BEFORE)) || (name === 'evenkeel' ? fs.existsSync(EVENKEEL) : has(name));
  if (!there) console.log(`# ${name} is not there: left out`);
  return there;
});
if (os.cpus().length < 2) throw new Error('the bench pins to cores 0 and 1: it needs two');

const commit = execFileSync('git', ['-C', ROOT, 'rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' }).trim();
const machine = `${os.cpus()[0].model.trim()} x${os.cpus().length} Linux ${os.release()}`;
const pacer = pin(1, PACER, ['--seconds', '3600']);
let banner = '';
pacer.stdout.on('data', (d) => { banner += d; });
await waitFor('the pacer', () => /listening (\d+)/.test(banner));
const pacerPort = Number(/listening (\d+)/.exec(banner)[1]);
const relays = {};
for (const name of targets) {
  relays[name] = await STARTERS[name](pacerPort);
  await up(relays[name].port);
}

const rows = [];
const file = path.join(ROOT, 'bench/results', `relay-${commit}.csv`);
const columns = ['time', 'machine', 'commit', 'mode', 'rep', 'target', 'seconds', 'requests', 'tokens', 'failed', 'cpu_s',
  'cpu_us_per_token', 'cpu_us_per_request', 'requests_per_core_s', 'p50_us', 'p90_us', 'p99_us', 'max_us'];
fs.mkdirSync(path.dirname(file), { recursive: true });
fs.writeFileSync(file, columns.join(',') + '\n');
for (const mode of MODES) {
  for (let rep = 1; rep <= REPS; rep++) {
    for (let k = 0; k < targets.length; k++) {
      const name = targets[(k + rep) % targets.length];
      const relay = relays[name];
      const before = relay.pid ? cpuSeconds(relay.pid) : 0;
      const r = load(relay.port, MODE[mode](SECONDS));
      const cpu = relay.pid ? cpuSeconds(relay.pid) - before : 0;
      const row = { time: new Date().toISOString(), machine: `"${machine}"`, commit, ...r, mode, rep, target: name,
        cpu_s: cpu.toFixed(4), cpu_us_per_token: (cpu / r.tokens * 1e6).toFixed(3),
        cpu_us_per_request: (cpu / r.requests * 1e6).toFixed(3), requests_per_core_s: cpu ? (r.requests / cpu).toFixed(0) : '' };
      rows.push(row);
      fs.appendFileSync(file, columns.map((c) => row[c]).join(',') + '\n');
      if (r.failed) console.log(`# ${mode} ${name} rep ${rep}: ${JSON.stringify(r)}`);
    }
  }
}

const MEASURES = { typ: ['cpu_us_per_token', 'p50_us', 'p99_us'], sat: ['cpu_us_per_token', 'p50_us', 'p99_us'],
  req: ['cpu_us_per_request', 'requests_per_core_s', 'p50_us'] };
console.log(`\n${machine}, commit ${commit}, ${REPS} repetitions of ${SECONDS} s; median (min..max); x = ratio to haproxy in the same repetition`);
for (const mode of MODES) {
  for (const measure of MEASURES[mode]) {
    for (const name of targets) {
      const mine = rows.filter((r) => r.mode === mode && r.target === name).map((r) => Number(r[measure]));
      const peer = rows.filter((r) => r.mode === mode && r.target === 'haproxy');
      const ratio = rows.filter((r) => r.mode === mode && r.target === name)
        .map((r) => Number(r[measure]) / Number(peer.find((q) => q.rep === r.rep)?.[measure]));
      if (name === 'direct' && !/_us$/.test(measure)) continue;
      const x = peer.length && name !== 'haproxy' ? `  x ${median(ratio).toFixed(2)} (${spread(ratio)})` : '';
      console.log(`${mode.padEnd(4)} ${measure.padEnd(20)} ${name.padEnd(9)} ${median(mine).toFixed(2).padStart(10)} (${spread(mine)})${x}`);
    }
  }
}
const failed = rows.reduce((n, r) => n + r.failed, 0);
console.log(`answers that were not whole and right: ${failed}`);
console.log(`written: ${path.relative(ROOT, file)}`);
process.exit(failed ? 1 : 0);
