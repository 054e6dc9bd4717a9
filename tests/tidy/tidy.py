#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The house rules that a machine can check. Prints one line a breach, exits 1 if there is any.

  - who may include whom (DESIGN: cli → all; door → office, guard, ...; kernel → base/must.h only)
  - a licence line and a head comment in every C file; files of at most 600 lines, functions of at most
    60, unless a comment gives a reason that begins with "long:"
  - no tabs, no trailing blanks, lines of at most 110 columns (aim at 100)
  - no function that cannot bound what it writes; no FIXME or TODO left over
  - no path of somebody's machine, no download address in a lock file
  - two MUSTs in every long function that changes state are asked for by reviewers, not here
"""
import os
import re
import subprocess
import sys

ROOMS = {
    'base': set(),
    'kernel': set(),  # and base/must.h, below
    'http': {'base'},
    'chat': {'base'},
    'policy': {'base'},
    'journal': {'base'},
    'ledger': {'base'},
    'config': {'base'},  # and every room's options.h, below
    'swap': {'base'},
    'guard': {'config', 'http', 'base'},
    'office': {'guard', 'ledger', 'chat', 'http', 'base'},
    'upstream': {'chat', 'http', 'base'},
    'engine': {'kernel', 'chat', 'http', 'base'},
    'door': {'office', 'guard', 'swap', 'upstream', 'ledger', 'journal', 'policy', 'config', 'chat', 'http',
             'base'},
    'sim': {'policy', 'base'},  # and ledger/book.h, below
    'cli': None,  # all
}
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
COLUMNS_MAX = 110
BANNED = re.compile(r'\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca)\s*\(')
LEFT_OVER = re.compile(r'\b(FIXME|TODO|XXX)\b')
MACHINE_PATH = re.compile(r'/(?:work|farm)/[a-z]|/home/[a-z]')
breaches = []


def breach(path, line, text):
    breaches.append(f'{path}:{line}: {text}')


def may_include(room, target):
    if '/' not in target:
        return True  # a header of the compiler's or of a library
    other = target.split('/')[0]
    if other not in ROOMS or other == room:
        return True
    allowed = ROOMS[room]
    if allowed is None or other in allowed:
        if room == 'sim' and other == 'ledger':
            return target == 'ledger/book.h'
        return True
    if room == 'kernel':
        return target == 'base/must.h'
    if room == 'config':
        return target.endswith('/options.h')
    return room == 'sim' and target == 'ledger/book.h'


def check_includes(path, lines):
    room = path.split('/')[1]
    if room not in ROOMS:
        breach(path, 1, f'no room is called {room}')
        return
    for number, line in enumerate(lines, 1):
        m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if m and not may_include(room, m.group(1)):
            breach(path, number, f'{room} may not include {m.group(1)}')


def check_functions(path, lines):
    """A function begins at a line `{` in column 0 and ends at `}` in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith('{') and start is None:
            start = number
        elif line.startswith('}') and start is not None:
            length = number - start - 1
            if length > FUNCTION_LINES_MAX:
                around = '\n'.join(lines[max(0, start - 16):start + 4])
                if 'long:' not in around:
                    breach(path, start, f'function of {length} lines; at most {FUNCTION_LINES_MAX}')
            start = None


def check_c(path, lines):
    in_src = path.startswith('src/')
    if not lines or 'SPDX-License-Identifier: MIT' not in lines[0]:
        breach(path, 1, 'the first line is not the licence line')
    elif len(lines) > 1 and not lines[1].startswith('/*'):
        breach(path, 2, 'no comment says what this file is for')
    if len(lines) > FILE_LINES_MAX and 'long:' not in '\n'.join(lines[:25]):
        breach(path, 1, f'{len(lines)} lines; at most {FILE_LINES_MAX}')
    for number, line in enumerate(lines, 1):
        if BANNED.search(line):
            breach(path, number, 'a function that cannot bound what it writes or reads')
        if '\t' in line:
            breach(path, number, 'a tab')
        if len(line) > COLUMNS_MAX and not line.startswith('    X('):  # rows of a table stay whole
            breach(path, number, f'{len(line)} columns; at most {COLUMNS_MAX}')
    if in_src:
        check_includes(path, lines)
    check_functions(path, lines)


def check_any(path, lines):
    lock = path.endswith('package-lock.json')
    for number, line in enumerate(lines, 1):
        if line != line.rstrip() and not path.endswith('.md'):
            breach(path, number, 'blanks at the end of the line')
        if MACHINE_PATH.search(line) and not path.startswith('tests/tidy/'):
            breach(path, number, 'a path of somebody\'s machine')
        if LEFT_OVER.search(line) and not path.startswith('tests/tidy/') and not lock:
            breach(path, number, 'something left over')
        if lock and '"resolved"' in line:
            breach(path, number, 'a download address in a lock file')


def main():
    listed = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
                            capture_output=True, text=True)
    if listed.returncode != 0:
        print('tidy: not a git checkout; nothing checked', file=sys.stderr)
        return 0
    files = 0
    for path in listed.stdout.splitlines():
        if not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
            continue
        try:
            text = open(path, encoding='utf-8').read()
        except UnicodeDecodeError:
            continue  # a picture, a model
        if '/corpus/' in path or path.startswith('tests/golden/data') or path.endswith(('.csv', '.jsonl')):
            continue
        files += 1
        lines = text.split('\n')
        check_any(path, lines)
        if path.endswith(('.c', '.h')):
            check_c(path, lines)
    for line in breaches:
        print(line)
    print(f'tidy: {files} files, {len(breaches)} breaches')
    return 1 if breaches else 0


sys.exit(main())
