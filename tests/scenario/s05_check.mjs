// SPDX-License-Identifier: MIT
// s05: a configuration file is read strictly. `evenkeel check` names every error with its line and column,
// suggests what was meant, and never prints a secret; `serve` refuses the same files.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { EVENKEEL, MODEL, needDoor, needEngine, needProgram, tmp } from './lib.mjs';

let count = 0;
function file(text) {
  const name = path.join(tmp, `check-${++count}.yaml`);
  fs.writeFileSync(name, text);
  return name;
}
function run(...args) {
  const r = spawnSync(EVENKEEL, args, { encoding: 'utf8', timeout: 20000 });
  return { code: r.status, text: r.stdout + r.stderr };
}

const GOOD = `listen: 127.0.0.1:0
upstreams:
  - url: http://127.0.0.1:1
    slots: 4
keys:
  - name: me
    key: sk-very-secret-1
waiting:
  hold: 12s
`;
// text -> [line, what the complaint must say]
const BAD = {
  'an unknown option': [GOOD.replace('hold:', 'hodl:'), 9, /hodl.*hold/s],
  'an unknown section': [GOOD.replace('waiting:', 'wating:'), 8, /wating/],
  'a number with a tail': [GOOD.replace('slots: 4', 'slots: 4x'), 4, /slots|4x/],
  'a duration without unit': [GOOD.replace('12s', '12'), 9, /hold|12/],
  'beyond the range': [GOOD.replace('12s', '12000h'), 9, /hold/],
  'the same option twice': [`${GOOD}  hold: 3s\n`, 10, /hold/],
  'a missing URL': [GOOD.replace('url: http://127.0.0.1:1\n    ', ''), 3, /url/],
  'broken YAML': [`${GOOD}a: [1\n`, null, /./],
  'a list instead of a map': ['- 1\n', null, /./],
};

test('check', { skip: needProgram }, async (t) => {
  assert.equal(run('check', file(GOOD)).code, 0);
  for (const [name, [text, line, says]] of Object.entries(BAD)) {
    await t.test(name, () => {
      const r = run('check', file(text));
      assert.notEqual(r.code, 0, r.text);
      if (line) assert.match(r.text, new RegExp(`:${line}:`), r.text);
      assert.match(r.text, says);
    });
  }
  await t.test('bytes that are no text are told with their place', () => {
    const r = run('check', file(Buffer.concat([Buffer.from('listen: 127.0.0.1:0\nkeys:\n  - name: a'), Buffer.from([0xff, 0x0a])])));
    assert.notEqual(r.code, 0);
    assert.match(r.text, /:3:12: this is not YAML/);
  });
  await t.test('who has neither a model nor an upstream hears it', () => {
    const r = run('check', file('listen: 127.0.0.1:0\n'));
    assert.equal(r.code, 0);
    assert.match(r.text, /warning: there is neither a model nor an upstream/);
    assert.doesNotMatch(run('check', file(GOOD)).text, /warning/);
  });
  await t.test('--show prints what is in force, without the secret', () => {
    const r = run('check', file(GOOD), '--show');
    assert.equal(r.code, 0);
    assert.match(r.text, /slots: *4/);
    assert.doesNotMatch(r.text, /sk-very-secret/);
  });
});

test('check looks whether the model file is there', { skip: needProgram }, () => {
  const r = run('check', file('model: {file: nobody-has-this.gguf}\n'));
  assert.equal(r.code, 1);
  assert.match(r.err ?? r.text, /model\.file: .*nobody-has-this\.gguf: No such file/);
});

test('check warns of a door that serve would not open to everybody', { skip: needDoor }, () => {
  const open = 'listen: ["0.0.0.0:0"]\nupstreams: [{url: "http://127.0.0.1:9/v1"}]\n';
  const r = run('check', file(open));
  assert.equal(r.code, 0, r.text);
  assert.match(r.text, /0\.0\.0\.0:0 can be reached from other machines, and there are no keys/);
  assert.match(run('serve', '--config', file(open)).text, /0\.0\.0\.0:0 can be reached/);
  assert.doesNotMatch(run('check', file(`${open}access: {open_to_all: true}\n`)).text, /can be reached/);
});

test('a file of brackets is refused at once, and as wrong as the manual says', { skip: needProgram }, () => {
  const r = run('check', file('['.repeat(100000)));
  assert.equal(r.code, 64, r.text);
  assert.match(r.text, /:1:17: nested more than 16 deep/);
});

test('serve refuses what check refuses', { skip: needDoor }, () => {
  const r = run('serve', '--config', file(BAD['an unknown option'][0]));
  assert.notEqual(r.code, 0);
  assert.match(r.text, /hodl/);
  assert.notEqual(run('serve', '--no-such-flag').code, 0);
});

test('a key is made, and the file that knows it is good', { skip: needProgram }, () => {
  const r = run('key', 'alice');
  assert.equal(r.code, 0, r.text);
  const key = /#\s+(sk-ek-[\w-]{32})\n/.exec(r.text)[1];
  assert.match(r.text, new RegExp(`sha256: ${createHash('sha256').update(key).digest('hex')}\n`));
  assert.notEqual(run('key', 'alice').text, r.text);
  assert.equal(run('check', file(r.text)).code, 0);
  assert.equal(run('key').code, 64);
  assert.equal(run('key', 'a\nb: c').code, 64);
});

test('a model file is told apart by its contents, and described', { skip: needEngine }, () => {
  const good = run('check', MODEL);
  assert.equal(good.code, 0, good.text);
  assert.match(good.text, /kind +deepseek2/);
  assert.match(run('check', MODEL, '--tokens', '100').text, /KV cache .* for 128 tokens/); // whole pages
  assert.equal(run('check', MODEL, '--tokens', 'many').code, 64);
  const cut = path.join(tmp, 'cut.yaml'); // whatever it is called
  fs.writeFileSync(cut, fs.readFileSync(MODEL).subarray(0, 5000));
  const bad = run('check', cut);
  assert.equal(bad.code, 1);
  assert.match(bad.text, /cut\.yaml: [^\n]*5000[^\n]*\n$/);
});
