// SPDX-License-Identifier: MIT
// A ledger in SQLite with one account and its key, made as people make them, and what its audit says.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { EVENKEEL, tmp } from './lib.mjs';

// A nano-unit a token of prompt, ten a token of output.
export const prices = [{ model: '*', prompt: '0.001', cached: '0.001', output: '0.01' }];
let made = 0;

export class Bank {
  constructor(units) {
    this.file = path.join(tmp, `ledger-${process.pid}-${++made}.db`);
    this.key = this.add('acme', units);
  }
  add(name, units) { // its key
    this.run('account', 'add', name, ...(units ? ['--topup', units] : []));
    return this.run('key', 'add', name, 'first').trim().split('\n').at(-1).trim();
  }
  run(...words) {
    const env = { ...process.env };
    delete env.EVENKEEL_SECRET;
    return execFileSync(EVENKEEL, [...words, '--ledger', this.file], { encoding: 'utf8', env });
  }
  config(more = {}) {
    return { ledger: { url: this.file, door: 'a' }, prices, limits: { address_connections: 4000 }, ...more };
  }
  get headers() { return { Authorization: `Bearer ${this.key}` }; }
  audit() { // settlements, spent in nano-units; fails when the books are wrong
    const text = this.run('account', 'audit');
    assert.match(text, /every account follows from its rows/);
    const nano = (t) => { const [a, b = ''] = t.split('.'); return BigInt(a) * 1000000000n + BigInt(b.padEnd(9, '0')); };
    return { settlements: Number(/(\d+) settlements/.exec(text)[1]), spent: nano(/spent ([\d.]+)/.exec(text)[1]),
      free: /free (-?[\d.]+)/.exec(text)[1], leased: nano(/leased ([\d.]+)/.exec(text)[1]) };
  }
}
