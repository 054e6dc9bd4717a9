// SPDX-License-Identifier: MIT
// bench/live: the crowd of tests/sim/live-crowd.yaml against a real engine behind a door.
//   (1) our engine with models/demo.gguf    (2) llama-server in its chroot, which reports no load: its slots
//   are learned                             (3) a paced upstream of known rates, and the same in `evenkeel sim`
// The engine runs in a CPU group of its own (cgroup v1 or v2; else it is stopped half of the time): one core, and
// half a core in the second half of the run. How many requests a second it can do is measured first, by clients
// that ask one after the other; the crowd brings --factor times that. Afterwards each different question is asked
// again alone, at the thinking budget it was answered at, and must give the same text.
// Usage: live.mjs [--only ours,llama,paced] [--seconds 180] [--factor 4] [--rate R]   LLAMA_CHROOT=DIR for (2)
// Writes bench/results/live-NAME.csv, -series.csv and .svg, prints tables and checks.
import { execFileSync, spawn } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { DEMO, EVENKEEL, Program, ROOT, freePort, startDoor, startPacer, tmp, waitFor } from '../tests/scenario/lib.mjs';

const option = (name, fallback) => {
  const i = process.argv.indexOf(`--${name}`);
  return i > 0 ? process.argv[i + 1] : fallback;
};
const SECONDS = Number(option('seconds', 180));
const FACTOR = Number(option('factor', 4));
const ONLY = option('only', 'ours,llama,paced').split(',');
const TIERS = { paid: { weight: 8, delay_target: '2s' }, standard: { weight: 3, delay_target: '5s', waiting_max: 100 },
  free: { weight: 1, delay_target: '10s', waiting_max: 100 } };
const CROWD = path.join(ROOT, 'tests/sim/live-crowd.yaml');
const QUESTIONS = path.join(ROOT, 'models/unseen.jsonl');
const OUT = option('out', path.join(ROOT, 'bench/results'));
const keys = Object.keys(TIERS).flatMap((tier) => Array.from({ length: 100 }, (_, i) => ({ tier, key: `sk-live-${tier}-${i}-0123456789` })));
const PROBE_KEY = 'sk-live-probe-0123456789';

// ---- the engine's share of the CPU ----------------------------------------------------------------
class Share {
  constructor(name) {
    this.dir = null;
    for (const [root, kind] of [['/sys/fs/cgroup/cpu', 1], ['/sys/fs/cgroup', 2]]) {
      const dir = path.join(root, `evenkeel-live-${name}-${process.pid}`);
      try {
        fs.mkdirSync(dir);
        if (fs.existsSync(path.join(dir, kind === 1 ? 'cpu.cfs_quota_us' : 'cpu.max'))) {
          this.dir = dir;
          this.kind = kind;
          // Its quota is to bind, not what else runs on the machine.
          fs.writeFileSync(path.join(dir, kind === 1 ? 'cpu.shares' : 'cpu.weight'), kind === 1 ? '32768' : '5000');
          break;
        }
        fs.rmdirSync(dir);
      } catch { /* not ours to write: try the next way */ }
    }
  }
  how() { return this.dir ? `cgroup v${this.kind}` : 'SIGSTOP half of the time'; }
  async add(pid) {
    this.pid = pid;
    const threads = this.dir ? fs.readdirSync(`/proc/${pid}/task`) : [];
    for (const tid of this.kind === 1 ? threads : this.dir ? [pid] : []) {
      fs.writeFileSync(path.join(this.dir, this.kind === 1 ? 'tasks' : 'cgroup.procs'), String(tid));
    }
  }
  set(cores) { // periods of 10 ms, so that a throttled engine stutters little
    if (this.dir && this.kind === 1) {
      fs.writeFileSync(path.join(this.dir, 'cpu.cfs_period_us'), '10000');
      fs.writeFileSync(path.join(this.dir, 'cpu.cfs_quota_us'), String(Math.round(cores * 10000)));
    } else if (this.dir) {
      fs.writeFileSync(path.join(this.dir, 'cpu.max'), `${Math.round(cores * 10000)} 10000`);
    } else {
      clearInterval(this.timer);
      process.kill(this.pid, 'SIGCONT');
      let on = true;
      if (cores < 1) this.timer = setInterval(() => { on = !on; process.kill(this.pid, on ? 'SIGCONT' : 'SIGSTOP'); }, 20);
    }
  }
  end() {
    clearInterval(this.timer);
    if (!this.dir) return;
    const parent = path.join(path.dirname(this.dir), this.kind === 1 ? 'tasks' : 'cgroup.procs');
    try {
      for (const tid of fs.readFileSync(path.join(this.dir, this.kind === 1 ? 'tasks' : 'cgroup.procs'), 'utf8').split('\n'))
        if (tid) try { fs.writeFileSync(parent, tid); } catch { /* it has ended */ }
      fs.rmdirSync(this.dir);
    } catch (e) { console.error(`the CPU group stays: ${e.message}`); }
  }
}

// ---- one question alone --------------------------------------------------------------------------
const questions = fs.readFileSync(QUESTIONS, 'utf8').trim().split('\n').map((l) => JSON.parse(l));

async function ask(url, key, model, { question, thinks, budget = -1 }) {
  const q = questions[question];
  const messages = [...(q.system ? [{ role: 'system', content: q.system }] : []), { role: 'user', content: q.question }];
  const thinking = budget >= 0 ? { type: 'enabled', budget_tokens: budget } : { type: thinks ? 'enabled' : 'disabled' };
  const r = await fetch(`${url}/v1/chat/completions`, { method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, temperature: 0, seed: 1, thinking, max_tokens: 2048, messages }) });
  const j = await r.json();
  if (r.status !== 200) throw new Error(`${r.status} ${JSON.stringify(j)}`);
  const m = j.choices[0].message;
  return { thought: m.reasoning_content ?? '', answer: m.content ?? '', tokens: j.usage?.completion_tokens ?? 0 };
}

// Requests a second that it can do: clients that ask one after the other, several at once.
async function capacity(url, model, seconds, clients) {
  let done = 0;
  let tokens = 0;
  let next = 0;
  const begin = performance.now();
  const end = begin + seconds * 1000;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (performance.now() < end) {
      const question = next++ % questions.length;
      const a = await ask(url, PROBE_KEY, model, { question, thinks: true });
      done++;
      tokens += a.tokens;
    }
  }));
  const s = (performance.now() - begin) / 1000;
  return { rate: done / s, tokens: tokens / s };
}

// ---- a run ---------------------------------------------------------------------------------------
const config = () => ({
  tiers: [...Object.entries(TIERS).map(([name, t]) => ({ name, ...t })), { name: 'probe', weight: 1 }],
  keys: [...keys, { tier: 'probe', key: PROBE_KEY }].map(({ tier, key }, i) => ({ name: `${tier}-${i}`, tier,
    sha256: crypto.createHash('sha256').update(key).digest('hex') })),
  queue: { waiting_max: 300 },
});

function rows(file) {
  const [head, ...lines] = fs.readFileSync(file, 'utf8').trim().split('\n').map((l) => l.split(','));
  return Object.fromEntries(lines.map((l) => [l[2], Object.fromEntries(head.map((h, i) => [h, +l[i]]))]));
}

async function run(args) {
  const p = spawn(EVENKEEL, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  const code = await new Promise((ok) => p.on('close', ok));
  if (code !== 0) throw new Error(`evenkeel ${args[0]} ended with ${code}`);
}

const commit = () => execFileSync('git', ['-C', ROOT, 'rev-parse', '--short=12', 'HEAD'], { encoding: 'utf8' }).trim();

async function crowd(name, door, model, share) {
  const can = option('rate') ? { rate: Number(option('rate')) / FACTOR, tokens: 0 } : await capacity(door.url, model, Math.min(15, SECONDS / 4), 24);
  console.log(`\n== ${name}: ${can.rate.toFixed(2)} requests a second, ${can.tokens.toFixed(0)} tokens a second with one core; `
    + `the crowd brings ${FACTOR} times that for ${SECONDS} s; share by ${share.how()}; commit ${commit()}`);
  const keyFile = path.join(tmp, 'live-keys.txt');
  const answers = path.join(tmp, `answers-${name}.jsonl`);
  const csv = path.join(OUT, `live-${name}.csv`);
  fs.writeFileSync(keyFile, keys.map(({ tier, key }) => `${tier} ${key}\n`).join(''));
  const before = { shown: await door.metric('evenkeel_estimates_total') };
  const learned = [];
  const watch = setInterval(async () => {
    try { learned.push(await door.metric('evenkeel_upstream_slots')); } catch { /* busy */ }
  }, 2000);
  const halve = setTimeout(() => { share.set(0.5); console.log('-- half the share'); }, SECONDS * 500);
  await run(['load', CROWD, '--url', door.url, '--model', model, '--keys', keyFile, '--questions', QUESTIONS, '--answers', answers,
    '--set', `until_s=${SECONDS}`, '--set', `rate=${(can.rate * FACTOR).toFixed(3)}`, '--drain', '60', '--csv', csv,
    '--series', path.join(OUT, `live-${name}-series.csv`), '--plot', path.join(OUT, `live-${name}.svg`)]);
  clearTimeout(halve);
  clearInterval(watch);
  share.set(1);
  console.log(`slots sent at once, every 2 s: ${learned.join(' ')}`);
  const shown = (await door.metric('evenkeel_estimates_total')) - before.shown;
  console.log(`estimates by the door's own count: ${shown} shown, p50 held ${(await door.metric('evenkeel_estimates_within_p50_total')
    / await door.metric('evenkeel_estimates_total')).toFixed(3)}, p90 held ${(await door.metric('evenkeel_estimates_within_p90_total')
    / await door.metric('evenkeel_estimates_total')).toFixed(3)}`);
  return { csv, answers };
}

// Every answer against the same question alone, at its budget.
async function compare(name, door, model, file, ours) {
  const got = fs.readFileSync(file, 'utf8').trim().split('\n').filter(Boolean).map((l) => JSON.parse(l));
  const alone = new Map();
  const once = async (what) => {
    const key = JSON.stringify(what);
    if (!alone.has(key)) alone.set(key, await ask(door.url, PROBE_KEY, model, what));
    return alone.get(key);
  };
  const same = (a, b) => a.thought === b.thought && a.answer === b.answer;
  let equal = 0;
  let atBudget = 0;
  const other = [];
  for (const a of got) {
    const { question, thinks } = a;
    if (same(a, await once({ question, thinks }))) { equal++; continue; }
    const { budget } = a; // as the server disclosed it
    if (ours && budget >= 0 && same(a, await once({ question, thinks, budget }))) { equal++; atBudget++; continue; }
    other.push(a);
  }
  console.log(`${name}: ${equal} of ${got.length} answers equal to the same request alone (${atBudget} of them at a lowered thinking `
    + `budget), ${other.length} differ; ${alone.size} different ones asked alone`);
  for (const a of other.slice(0, 3)) console.log(`  differs: ${JSON.stringify(a)}`);
  return { answers: got.length, equal, atBudget, differ: other.length };
}

async function ours() {
  const share = new Share('ours');
  const door = await startDoor({ model: DEMO, config: config(), args: ['--engine-threads', '1', '--slots', '16'] });
  try {
    const [engine] = await waitFor('the engine', () => door.engines());
    await share.add(engine);
    share.set(1);
    const model = (await (await fetch(`${door.url}/v1/models`, { headers: { authorization: `Bearer ${PROBE_KEY}` } })).json()).data[0].id;
    const r = await crowd('ours', door, model, share);
    const c = await compare('ours', door, model, r.answers, true);
    note('ours', r.csv, c);
  } finally {
    await door.stop({ timeout_ms: 30000 });
    share.end();
  }
}

async function llama() {
  const root = process.env.LLAMA_CHROOT;
  if (!root || !fs.existsSync(path.join(root, 'usr/bin/llama-server'))) {
    console.log('llama: skipped, LLAMA_CHROOT names no chroot with llama-server in it');
    return;
  }
  fs.mkdirSync(path.join(root, 'models'), { recursive: true });
  fs.copyFileSync(DEMO, path.join(root, 'models/demo.gguf'));
  const port = await freePort();
  const share = new Share('llama');
  const server = new Program('chroot', [root, '/usr/bin/llama-server', '-m', '/models/demo.gguf', '-t', '1', '-np', '4', '-c', '16384',
    '--no-repack', '--no-ui', '--jinja', '--host', '127.0.0.1', '--port', String(port)], { name: 'llama-server' });
  await waitFor('llama-server', async () => (await fetch(`http://127.0.0.1:${port}/health`)).status === 200, { timeout_ms: 60000 });
  const door = await startDoor({ upstream: [{ name: 'llama', url: `http://127.0.0.1:${port}`, models: ['demo'] }], config: config() });
  try {
    await share.add(server.pid);
    share.set(1);
    const r = await crowd('llama', door, 'demo', share);
    const c = await compare('llama', door, 'demo', r.answers, false);
    note('llama', r.csv, c);
  } finally {
    await door.stop({ timeout_ms: 30000 });
    server.killNow('SIGTERM');
    await server.exited;
    share.end();
  }
}

function note(name, csv, c) {
  const r = rows(csv);
  for (const [tier, x] of Object.entries(r)) {
    if (x.arrived !== x.finished + x.refused + x.left) throw new Error(`${name} ${tier}: not everybody is accounted for`);
  }
  const file = path.join(OUT, `live-${name}-checks.csv`);
  fs.writeFileSync(file, `commit,seconds,factor,answers,equal_alone,at_budget,differ\n${commit()},${SECONDS},${FACTOR},${c.answers},`
    + `${c.equal},${c.atBudget},${c.differ}\n`);
  if (name === 'ours' && c.differ) throw new Error(`${c.differ} answers differ from those of the same request alone`);
}

// The same arrivals, live before a paced upstream and on virtual time.
async function paced() {
  const scenario = path.join(ROOT, 'tests/sim/live.yaml');
  const pacer = await startPacer(['--rate', '50', '--seconds', '900', '--model', 'pacer']);
  const door = await startDoor({ upstream: [{ name: 'pacer', url: pacer.url, slots: 8, models: ['pacer'] }], config: config() });
  const seconds = Math.min(SECONDS, 120);
  const keyFile = path.join(tmp, 'live-keys.txt');
  fs.writeFileSync(keyFile, keys.map(({ tier, key }) => `${tier} ${key}\n`).join(''));
  const out = { live: path.join(OUT, 'live-paced.csv'), sim: path.join(OUT, 'live-paced-sim.csv') };
  // Everybody claims a huge max_tokens: an honest one would tell the door the true length, which the
  // simulator's clients do not (the pacer is told it apart).
  const set = ['--set', `until_s=${seconds}`, '--set', 'liars=1'];
  try {
    await run(['load', scenario, ...set, '--url', door.url, '--model', 'pacer', '--keys', keyFile, '--drain', '60', '--csv', out.live]);
  } finally {
    await door.stop();
    pacer.killNow('SIGTERM');
  }
  await run(['sim', scenario, ...set, '--policy', 'desk', '--csv', out.sim]);
  const live = rows(out.live);
  const sim = rows(out.sim);
  console.log('\n== paced: time to the first token, live and simulated, s');
  let worst = 0;
  for (const tier of ['all', 'paid', 'standard', 'free']) {
    for (const q of ['ttft_p50_s', 'ttft_p90_s', 'answer_p50_s', 'answer_p90_s']) {
      const a = live[tier][q];
      const b = sim[tier][q];
      const off = Math.abs(a - b) / Math.max(a, b, 0.1); // below a tenth of a second it is noise
      if (/ttft/.test(q) && tier === 'all') worst = Math.max(worst, off);
      console.log(`  ${tier.padEnd(9)} ${q.padEnd(13)} live ${a.toFixed(3)}  sim ${b.toFixed(3)}  ${(100 * off).toFixed(1)} %`);
    }
  }
  console.log(`paced: all tiers differ by ${(100 * worst).toFixed(1)} % at most (aim: 10 %)`);
}

for (const name of ONLY) await { ours, llama, paced }[name]();
