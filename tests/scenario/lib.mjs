// SPDX-License-Identifier: MIT
// What every scenario stands on: start and stop programs on loopback, wait on a counter (never on a
// guess of time), look into /proc, and clean up whatever a failed test leaves behind.
// Clients are in client.mjs. Nothing here may listen or connect beyond 127.0.0.1.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const EVENKEEL = path.resolve(ROOT, process.env.EVENKEEL ?? 'build/evenkeel');
export const BUILD = path.dirname(EVENKEEL);
export const SHARED = process.env.EK_SHARED ?? path.resolve(ROOT, '../shared');
export const PACER = path.join(BUILD, 'tests/tools/pacer');
export const SEED = Number(process.env.EK_SEED ?? 20261121);
export const KEY = 'sk-scenario-0123456789';
// Sanitizers cost two to five times the time; deadlines of tests stretch with them.
export const SLOW = Number(process.env.EK_SLOW ?? (/asan|tsan|clang-san/.test(BUILD) ? 4 : 1));

const demo = path.join(ROOT, 'models/demo.gguf');
const micro = path.join(SHARED, 'golden/models/micro-v3-f32.gguf');
export const DEMO = fs.existsSync(demo) ? demo : null;
export const MODEL = process.env.EK_TEST_MODEL ?? DEMO ?? (fs.existsSync(micro) ? micro : null);

// `skip` values for node:test: false, or the reason as a sentence.
export const needProgram = fs.existsSync(EVENKEEL) ? false : `no ${EVENKEEL}: the program is not built`;
const commands = needProgram ? '' : execFileSync(EVENKEEL, ['help'], { encoding: 'utf8' });
export const needDoor = needProgram || (/evenkeel serve/.test(commands) ? false : 'the program has no `serve` yet');
export const needEngine = needDoor || (MODEL ? false : 'no model: neither models/demo.gguf nor ../shared/golden');
export const needDemo = needDoor || (DEMO ? false : 'models/demo.gguf is not there yet');

// ---- seeded randomness: a failing property prints SEED and the case -------------------------------
export function rng(seed = SEED) {
  let s = seed >>> 0;
  const next = () => { // mulberry32
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const int = (n) => Math.floor(next() * n);
  return { next, int, pick: (list) => list[int(list.length)], bool: (p = 0.5) => next() < p };
}

// ---- waiting -------------------------------------------------------------------------------------
export async function waitFor(what, probe, { timeout_ms = 10000 * SLOW, every_ms = 10 } = {}) {
  const end = performance.now() + timeout_ms;
  let last;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
      last = value;
    } catch (e) {
      if (e.final) throw e; // it cannot come true any more
      last = e.message;
    }
    if (performance.now() > end) throw new Error(`waited ${timeout_ms} ms in vain for ${what}; last: ${last}`);
    await new Promise((ok) => setTimeout(ok, every_ms));
  }
}

export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, no) => {
    timer = setTimeout(() => no(new Error(`${what}: not within ${ms * SLOW} ms`)), ms * SLOW);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Ports for those who will listen in a moment: never ones the system would lend to a connection meanwhile (those
// begin at 32768). Files run side by side, so each process has a hundred of its own, and listens on the first of
// them as long as it lives: by its number alone, two would sometimes share.
const listens = (s, port) => new Promise((ok) => s.once('error', () => ok(false)).listen(port, '127.0.0.1', () => ok(true)));

async function claimPorts() {
  for (let i = 0; i < 220; i++) {
    const first = 10000 + ((process.pid + i) % 220) * 100, guard = net.createServer().unref();
    if (await listens(guard, first)) return first;
  }
  throw new Error('no hundred ports are free from 10000 on');
}

const mine = await claimPorts();
let asked = 0;

export async function freePort() {
  for (let i = 0; i < 100; i++) {
    const port = mine + 1 + asked++ % 99, s = net.createServer();
    if (!await listens(s, port)) continue;
    await new Promise((ok) => s.close(ok));
    return port;
  }
  throw new Error(`no port is free from ${mine} on`);
}

// ---- processes -----------------------------------------------------------------------------------
const living = new Set();
process.on('exit', () => { for (const p of living) p.killNow(); });

export class Program {
  constructor(command, args, { env = {}, name = path.basename(command) } = {}) {
    this.name = name;
    this.out = '';
    this.err = '';
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.pid = this.child.pid;
    living.add(this);
    const keep = (old, d) => (old + d).slice(-65536);
    this.child.stdout.on('data', (d) => { this.out = keep(this.out, d); });
    this.child.stderr.on('data', (d) => { this.err = keep(this.err, d); });
    this.exited = new Promise((ok) => {
      this.child.on('error', (e) => { this.err += String(e); living.delete(this); ok({ code: -1, signal: null }); });
      this.child.on('close', (code, signal) => { living.delete(this); ok({ code, signal }); });
    });
    this.exited.then((r) => { this.exit = r; });
  }
  killNow(signal = 'SIGKILL') {
    try { process.kill(this.pid, signal); } catch { /* it is gone already */ }
  }
  // An orderly stop; a sanitizer's report or a crash is an error, so that no test passes over one.
  async stop({ signal = 'SIGTERM', timeout_ms = 15000 } = {}) {
    if (!this.exit) this.killNow(signal);
    await within(timeout_ms, this.exited, `${this.name} ends after ${signal}`).catch((e) => {
      this.killNow();
      throw new Error(`${e.message}\n${this.err}`);
    });
    this.checkHealth();
    return this.exit;
  }
  checkHealth() {
    if (/(Address|Undefined|Thread|Leak)Sanitizer|runtime error:|evenkeel: bug at/.test(this.err)) {
      throw new Error(`${this.name} reported:\n${this.err}`);
    }
  }
}

export function alive(pid) {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch { return false; }
}

export function children(pid) {
  const found = [];
  for (const tid of fs.readdirSync(`/proc/${pid}/task`)) {
    const text = fs.readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').trim();
    if (text) found.push(...text.split(/\s+/).map(Number));
  }
  return found;
}

// Bytes of private memory the process has written: what a parked request really costs.
export function anonymousBytes(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Anonymous:\s+(\d+) kB/m.exec(text)[1]) * 1024;
}

// ---- the door ------------------------------------------------------------------------------------
export async function getText(url, headers = {}) {
  const r = await fetch(url, { headers });
  return { status: r.status, text: await r.text() };
}

export class Door extends Program {
  constructor(args, port, configPath) {
    super(EVENKEEL, args, { name: 'evenkeel serve' });
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.configPath = configPath;
  }
  async ready(timeout_ms = 20000) {
    await waitFor('the door to be ready', async () => {
      if (this.exit) throw Object.assign(new Error('the door ended'), { final: true });
      return (await getText(`${this.url}/ready`)).status === 200;
    }, { timeout_ms: timeout_ms * SLOW }).catch((e) => {
      throw new Error(`${e.message}\nexit: ${JSON.stringify(this.exit)}\n${this.err}`);
    });
    return this;
  }
  // Sum of a metric over all label sets that contain every given `name="value"` text.
  async metric(name, ...labels) {
    const { text } = await getText(`${this.url}/metrics`);
    let sum = 0;
    let found = false;
    for (const line of text.split('\n')) {
      const m = /^([a-zA-Z0-9_:]+)(\{[^}]*\})?\s+(\S+)/.exec(line);
      if (m && m[1] === name && labels.every((l) => (m[2] ?? '').includes(l))) {
        sum += Number(m[3]);
        found = true;
      }
    }
    return found ? sum : undefined;
  }
  async waitMetric(name, test, ...labels) {
    return waitFor(`${name}{${labels}}`, async () => {
      const v = await this.metric(name, ...labels);
      return test(v) ? { value: v } : undefined;
    });
  }
  engines() {
    return children(this.pid).filter((pid) => {
      try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('engine');
      } catch { return false; }
    });
  }
}

export const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'evenkeel-scenario-'));
process.on('exit', () => fs.rmSync(tmp, { recursive: true, force: true }));

// Sections of options as plain objects -> YAML (scalars quoted as JSON, which YAML reads).
export function yaml(value, indent = '') {
  if (Array.isArray(value)) {
    if (value.every((v) => typeof v !== 'object')) return ` [${value.map((v) => JSON.stringify(v)).join(', ')}]\n`;
    return '\n' + value.map((v) => `${indent}-${yaml(v, indent + '  ').replace(/^\n\s*/, ' ')}`).join('');
  }
  if (value && typeof value === 'object') {
    return '\n' + Object.entries(value).map(([k, v]) => `${indent}${k}:${yaml(v, indent + '  ')}`).join('');
  }
  return ` ${JSON.stringify(value)}\n`;
}

let configCount = 0;

// Starts `evenkeel serve` with a configuration file written from `config` and waits until it is ready.
//   upstream: URL, or a list of upstream entries; model: GGUF path; config: further YAML sections.
export async function startDoor({ upstream, model, config = {}, args = [], wait = true } = {}) {
  const port = await freePort();
  const file = path.join(tmp, `door-${++configCount}.yaml`);
  const all = { ...config };
  if (Array.isArray(upstream)) all.upstreams = upstream;
  else if (upstream) all.upstreams = [{ url: upstream }];
  if (model) all.model = { file: model, ...config.model };
  fs.writeFileSync(file, yaml(all).trimStart());
  const door = new Door(['serve', '--config', file, '--listen', `127.0.0.1:${port}`, ...args], port, file);
  return wait ? door.ready() : door;
}

export async function startPacer(args = []) {
  const p = new Program(PACER, args);
  await waitFor('the pacer to listen', () => /listening (\d+)/.test(p.out));
  p.port = Number(/listening (\d+)/.exec(p.out)[1]);
  p.url = `http://127.0.0.1:${p.port}`;
  return p;
}
