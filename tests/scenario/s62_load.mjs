// SPDX-License-Identifier: MIT
// s62: `evenkeel load` and `evenkeel sim` from the command line: the same scenario through both. Live, a
// paced upstream of 8 slots behind a door gets twice what it can do from three tiers: everybody is counted
// once, nothing breaks off, who pays is served, estimates are scored. Simulated: the same bytes twice.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { EVENKEEL, Program, ROOT, SLOW, needDoor, startDoor, startPacer, tmp, within } from './lib.mjs';

const LIVE = path.join(ROOT, 'tests/sim/live.yaml');
const TIERS = { paid: 8, standard: 3, free: 1 };

async function evenkeel(...args) {
  const p = new Program(EVENKEEL, args);
  await within(120000 * SLOW, p.exited, `evenkeel ${args[0]} ends`);
  p.checkHealth();
  return p;
}

function rows(file) {
  const [head, ...lines] = fs.readFileSync(file, 'utf8').trim().split('\n').map((l) => l.split(','));
  return Object.fromEntries(lines.map((l) => [l[2], Object.fromEntries(head.map((h, i) => [h, +l[i]]))]));
}

test('a minute of clients, live and simulated', { skip: needDoor }, async (t) => {
  await t.test('simulated: the same bytes twice, others with another seed', async () => {
    const a = await evenkeel('sim', LIVE);
    const b = await evenkeel('sim', LIVE);
    const c = await evenkeel('sim', LIVE, '--set', 'seed=5');
    assert.equal(a.exit.code, 0, a.err);
    assert.equal(a.out, b.out);
    assert.notEqual(a.out, c.out);
  });

  await t.test('mistakes are named', async () => {
    for (const [args, wanted] of [[['sim'], /which scenario/], [['sim', LIVE, '--policy', 'magic'], /magic/],
      [['sim', LIVE, '--set', 'slots=0'], /out of range/], [['load', LIVE, '--url', 'gopher://x'], /load: /],
      [['sim', path.join(tmp, 'none.yaml')], /none\.yaml/]]) {
      const p = await evenkeel(...args);
      assert.equal(p.exit.code, 64, `${args}: ${p.err}`);
      assert.match(p.err, wanted);
    }
  });

  await t.test('live: twice the capacity, three tiers', async (t) => {
    const pacer = await startPacer(['--rate', '50', '--seconds', '300', '--model', 'pacer']);
    t.after(() => pacer.killNow());
    const keys = Object.keys(TIERS).flatMap((tier) => [0, 1, 2].map((i) => ({ tier, key: `sk-load-${tier}-${i}-0123456789` })));
    const door = await startDoor({
      upstream: [{ name: 'pacer', url: pacer.url, slots: 8, models: ['pacer'] }],
      config: {
        tiers: Object.entries(TIERS).map(([name, weight]) => ({ name, weight })),
        keys: keys.map(({ tier, key }, i) => ({ name: `${tier}-${i}`, tier,
          sha256: crypto.createHash('sha256').update(key).digest('hex') })),
      },
    });
    t.after(() => door.stop());
    const keyFile = path.join(tmp, 'keys.txt');
    const csv = path.join(tmp, 'load.csv');
    fs.writeFileSync(keyFile, keys.map(({ tier, key }) => `${tier} ${key}\n`).join(''));
    const p = await evenkeel('load', LIVE, '--set', 'until_s=12', '--url', door.url, '--keys', keyFile,
      '--drain', '60', '--csv', csv);
    assert.equal(p.exit.code, 0, p.err);
    assert.match(p.out, / 0 answers broke off/);
    const r = rows(csv);
    for (const [tier, x] of Object.entries(r)) {
      assert.equal(x.arrived, x.finished + x.refused + x.left, `${tier}: ${JSON.stringify(x)}`);
      assert.ok(x.arrived > 10);
    }
    assert.ok(r.all.estimates > 20, JSON.stringify(r.all));
    assert.equal(r.paid.refused, 0);
    assert.ok(r.paid.finished / r.paid.arrived > 0.9, JSON.stringify(r.paid));
    assert.ok(r.paid.ttft_p50_s < r.free.ttft_p50_s, `${r.paid.ttft_p50_s} ${r.free.ttft_p50_s}`);
  });

  await t.test('an upstream of 6 slots that nobody was told of is sent 7', async (t) => {
    const pacer = await startPacer(['--rate', '100', '--slots', '6', '--seconds', '300', '--model', 'pacer']);
    t.after(() => pacer.killNow());
    const door = await startDoor({ upstream: [{ name: 'pacer', url: pacer.url, slots: 'auto', models: ['pacer'] }] });
    t.after(() => door.stop());
    const load = evenkeel('load', LIVE, '--set', 'until_s=20', '--set', 'rate=25', '--url', door.url, '--model', 'pacer',
      '--no-retries', '--drain', '2');
    await door.waitMetric('evenkeel_upstream_slots', (v) => v === 8); // it is tried
    await door.waitMetric('evenkeel_upstream_slots', (v) => v === 7); // and found
    const p = await load;
    assert.equal(p.exit.code, 0, p.err);
    const slots = await door.metric('evenkeel_upstream_slots');
    assert.ok(slots >= 6 && slots <= 8, `${slots}`);
  });
});

test('load against nobody says so, and fails', { skip: needDoor }, async () => {
  const p = await evenkeel('load', LIVE, '--url', 'http://127.0.0.1:1', '--set', 'until_s=1', '--drain', '1');
  assert.equal((await p.exited).code, 1);
  assert.match(p.err, /nobody answers at http:\/\/127\.0\.0\.1:1/);
  assert.equal(p.out, '');
});
