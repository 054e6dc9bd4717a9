#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Usage: results.py meson BUILD-DIR FAILED-DIR | results.py tap FILE FAILED-DIR
Reads what a level of `make test` left behind, prints "PASSED FAILED SKIPPED", and writes for each failure a file into
FAILED-DIR: its name in the first line, then the last of what it said. Failures that only follow from others below
them (a file of scenarios, a test of several parts) count, and get no file."""
import glob, json, os, re, sys

LINES, WIDTH = 40, 400


def blame(folder, name, text):
    os.makedirs(folder, exist_ok=True)
    lines = [line[:WIDTH] for line in text.rstrip().split('\n')]
    path = os.path.join(folder, re.sub(r'[^\w.-]+', '-', name)[:80])
    with open(path, 'w') as f:
        f.write('\n'.join([name] + lines[-LINES:]) + '\n')


def meson(build, folder):
    (log,) = glob.glob(build + '/meson-logs/testlog*.json')  # its name depends on the wrapper
    with open(log) as f:
        results = [json.loads(line) for line in f]
    ok = skip = 0
    for r in results:
        ok += r['result'] in ('OK', 'EXPECTEDFAIL')
        skip += r['result'] == 'SKIP'
        if r['result'] in ('OK', 'EXPECTEDFAIL', 'SKIP'):
            continue
        name = r['name'].split(' / ')[-1]
        blame(folder, f'{name} ({os.path.basename(build)}): {r["result"]} after {r["duration"]:.0f} s',
              (r.get('stdout') or '') + '\n' + (r.get('stderr') or ''))
    return ok, len(results) - ok - skip, skip


def tap(path, folder):
    """Node's TAP: `not ok N - name`, then a block of YAML between `---` and `...`, each level four further in."""
    count = {'pass': 0, 'fail': 0, 'cancelled': 0, 'skipped': 0}
    with open(path, errors='replace') as f:
        lines = f.read().split('\n')
    for i, line in enumerate(lines):
        m = re.match(r'# (\w+) (\d+)$', line)
        if m and m[1] in count:
            count[m[1]] = int(m[2])
        m = re.match(r'( *)not ok \d+ - (.*)', line)
        if not m:
            continue
        block = []
        for said in lines[i + 1:]:
            if said.strip() == '...' or (block and re.match(r' *(not )?ok \d', said)):
                break
            block.append(said[len(m[1]):])
        text = '\n'.join(block)
        if 'subtestsFailed' in text:
            continue
        where = re.search(r'(s\d\d\w*\.mjs:\d+)', text)
        blame(folder, f'scenario {where[1] if where else ""}: {m[2]}', text)
    return count['pass'], count['fail'] + count['cancelled'], count['skipped']


print(*{'meson': meson, 'tap': tap}[sys.argv[1]](sys.argv[2], sys.argv[3]))
