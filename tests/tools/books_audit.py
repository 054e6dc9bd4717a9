#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The audit from outside: reads the raw rows of a ledger by itself (SQLite's file, or PostgreSQL through psql), adds
them up with its own arithmetic, and compares them with what the upstream says it made and what callers say they
received and paid. It shares no code with the program whose books it judges, and believes no sum in them.

Usage: books_audit.py LEDGER --prices FILE [--upstream LOG]... [--callers LOG]... [--running] [--partial]

LEDGER    a SQLite file, or postgresql://...
prices    JSON: {MODEL: {"prompt": pico-units a token, "cached": ..., "output": ...}}
upstream  JSON lines of tests/tools/paced.py: every attempt at every request, by its id
callers   JSON lines: {"id":..., "account": name, "got": "whole" | "part" | "refused", "tokens": received,
          "usage": {...} or null} of requests, {"paid": name, "account": name, "nano": n, "sure": bool} of payments
--running doors still hold leases; else none may be left
--partial an answer of which something was received must have a row even if it did not end (no door was killed)

Exit 0 and one line of figures, or 1 and a line for each thing that is wrong."""
import argparse, collections, json, sqlite3, subprocess, sys

NANO_FLOOR_TOKENS = 16  # how many tokens of output a chunk may be worth: as far below zero may an account fall


TABLES = {
    'account': ('id', 'name', 'granted_nano', 'topped_nano', 'paid_nano', 'spent_nano', 'forgiven_nano'),
    'lease': ('account', 'door', 'fence', 'granted_nano', 'topped_nano'),
    'entry': ('account', 'kind', 'granted_nano', 'topped_nano'),
    'settlement': ('request', 'account', 'model', 'granted_nano', 'topped_nano', 'forgiven_nano', 'late',
                   'prompt_tokens', 'cached_tokens', 'output_tokens', 'ending', 'at_ns', 'key'),
    'usage_day': ('account', 'day', 'key', 'model', 'requests', 'prompt_tokens', 'output_tokens', 'charged_nano'),
}


def raw_rows(url):
    """{table: [{column: value}]}; an id as hex text."""
    found = {table: [] for table in TABLES}
    if url.startswith(('postgres://', 'postgresql://')):
        ask = ' UNION ALL '.join(
            f"SELECT json_build_array('{table}', " +
            ', '.join("encode(request, 'hex')" if c == 'request' else c for c in columns) + f')::text FROM {table}'
            for table, columns in TABLES.items())
        done = subprocess.run(['psql', '-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-d', url, '-c', ask],
                              capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            table, *values = json.loads(line)
            found[table].append(dict(zip(TABLES[table], values)))
        return found
    con = sqlite3.connect(url.removeprefix('sqlite:'), isolation_level=None)
    con.execute('BEGIN')  # all tables of one moment
    for table, columns in TABLES.items():
        for row in con.execute(f'SELECT {", ".join(columns)} FROM {table}'):
            found[table].append({c: v.hex() if isinstance(v, bytes) else v for c, v in zip(columns, row)})
    con.close()
    return found


def lines_of(files):
    for name in files:
        with open(name) as f:
            for line in f:
                if line.endswith('\n'):  # a last line without an end was being written
                    yield json.loads(line)


def cost_nano(price, prompt, cached, output):
    pico = (prompt - cached) * price['prompt'] + cached * price['cached'] + output * price['output']
    return -(-pico // 1000)


class Audit:
    def __init__(self, args):
        self.args, self.wrong = args, []
        self.prices = json.load(open(args.prices))
        rows = raw_rows(args.ledger)
        self.accounts = {a['id']: a for a in rows['account']}
        self.leases, self.entries, self.settled, self.usage = (rows[t] for t in ('lease', 'entry', 'settlement',
                                                                                 'usage_day'))
        self.made = collections.defaultdict(list)
        for line in lines_of(args.upstream):
            self.made[line['id']].append(line)
        self.asked, self.payments = [], []
        for line in lines_of(args.callers):
            (self.payments if 'paid' in line else self.asked).append(line)

    def say(self, text):
        self.wrong.append(text)

    def check(self, ok, text):
        if not ok:
            self.say(text)

    def sums(self):
        """Every account's numbers follow from rows that are only ever added."""
        total = lambda rows, of: sum(r['granted_nano'] + r['topped_nano'] for r in rows if r['account'] == of)
        for number, a in self.accounts.items():
            mine = [e for e in self.entries if e['account'] == number]
            kind = lambda *k: total([e for e in mine if e['kind'] in k], number)
            free = a['granted_nano'] + a['topped_nano']
            leased, settled = total(self.leases, number), total(self.settled, number)
            intime = total([s for s in self.settled if not s['late']], number)
            forgiven = sum(s['forgiven_nano'] for s in self.settled if s['account'] == number)
            paid, spent = kind('pay'), settled - kind('refund')
            who = f"account {a['name']}"
            self.check(paid == a['paid_nano'], f"{who}: paid in {a['paid_nano']}, its payments are {paid}")
            self.check(spent == a['spent_nano'], f"{who}: spent {a['spent_nano']}, its settlements are {spent}")
            self.check(forgiven == a['forgiven_nano'], f"{who}: forgiven {a['forgiven_nano']}, rows say {forgiven}")
            self.check(free + leased + spent == paid, f'{who}: {free} + {leased} + {spent} is not {paid}')
            flow = kind('lease') - kind('return', 'reclaim')
            self.check(leased == flow - intime, f'{who}: leased {leased}, rows say {flow - intime}')
            floor = min(-cost_nano(p, 0, 0, NANO_FLOOR_TOKENS) for p in self.prices.values())
            self.check(free + leased >= floor, f'{who}: {free + leased} is below one chunk under zero')
        if not self.args.running:
            self.check(not self.leases, f'{len(self.leases)} leases are left')

    def days(self):
        counted = collections.Counter()
        for s in self.settled:
            where = (s['account'], s['at_ns'] // 86400000000000, s['key'], s['model'])
            counted[where + ('requests',)] += 1
            for of in ('prompt_tokens', 'output_tokens'):
                counted[where + (of,)] += s[of]
            counted[where + ('charged_nano',)] += s['granted_nano'] + s['topped_nano']
        stored = collections.Counter()
        for u in self.usage:
            for of in ('requests', 'prompt_tokens', 'output_tokens', 'charged_nano'):
                stored[(u['account'], u['day'], u['key'], u['model'], of)] += u[of]
        for where in set(counted) | set(stored):
            self.check(counted[where] == stored[where], f'usage {where}: {stored[where]}, rows {counted[where]}')

    def requests(self):
        """Each settlement against what the upstream made of that request."""
        seen = collections.Counter(s['request'] for s in self.settled)
        for request, times in seen.items():
            self.check(times == 1, f'request {request} is settled {times} times')
        for s in self.settled:
            charged = s['granted_nano'] + s['topped_nano']
            who, made = f"request {s['request']} ({s['ending']})", self.made.get(s['request'], [])
            self.check(min(s['granted_nano'], s['topped_nano'], s['forgiven_nano']) >= 0, f'{who}: less than nothing')
            self.check(made, f'{who}: the upstream never saw it')
            if not made:
                continue
            price = self.prices.get(s['model']) or self.prices['*']
            cost = cost_nano(price, s['prompt_tokens'], s['cached_tokens'], s['output_tokens'])
            self.check(charged + s['forgiven_nano'] == cost, f'{who}: charged {charged}, forgiven '
                       f"{s['forgiven_nano']}, but it cost {cost}")
            sent, told = max(m['sent'] for m in made), [m for m in made if m['how'] == 'whole']
            self.check(s['output_tokens'] <= sent, f"{who}: {s['output_tokens']} tokens of {sent} that were made")
            if s['ending'] in ('none', 'stop', 'ok', '') and told:
                self.check(any((m['prompt'], m['sent']) == (s['prompt_tokens'], s['output_tokens']) for m in told),
                           f"{who}: {s['prompt_tokens']}+{s['output_tokens']} tokens, the upstream made "
                           f"{[(m['prompt'], m['sent']) for m in told]}")

    def callers(self):
        """Each answer that was received, and each payment that was confirmed."""
        row = {s['request']: s for s in self.settled}
        name = {number: a['name'] for number, a in self.accounts.items()}
        for q in self.asked:
            s = row.get(q['id'])
            if q['got'] == 'whole':
                self.check(s, f"request {q['id']}: answered whole, and not settled")
            elif q['got'] == 'part' and self.args.partial and q['tokens'] > 0:
                self.check(s, f"request {q['id']}: {q['tokens']} tokens delivered, and not settled")
            elif q['got'] == 'refused':
                self.check(not s or s['output_tokens'] == 0 or s['ending'] not in ('none', 'stop'),
                           f"request {q['id']}: refused, and settled as whole")
            if not s:
                continue
            self.check(name.get(s['account']) == q['account'], f"request {q['id']}: charged to another account")
            self.check(s['output_tokens'] >= q['tokens'] or q['got'] == 'refused',
                       f"request {q['id']}: {q['tokens']} tokens received, {s['output_tokens']} settled")
            if q.get('usage'):
                told = (q['usage']['prompt_tokens'], q['usage']['completion_tokens'])
                self.check(told == (s['prompt_tokens'], s['output_tokens']),
                           f"request {q['id']}: told {told}, settled {s['prompt_tokens'], s['output_tokens']}")
        for number, a in self.accounts.items():
            paid = {}
            for p in self.payments:
                if p['account'] == a['name']:
                    at = paid.setdefault(p['paid'], [0, p['nano']])
                    at[0] |= p['sure']
            sure = sum(nano for is_sure, nano in paid.values() if is_sure)
            most = sum(nano for _, nano in paid.values())
            self.check(sure <= a['paid_nano'] <= most or not self.payments,
                       f"account {a['name']}: paid in {a['paid_nano']}, confirmed {sure}, asked for {most}")

    def run(self):
        self.sums()
        self.days()
        if self.args.upstream:
            self.requests()
        if self.args.callers:
            self.callers()
        for text in self.wrong[:40]:
            print('WRONG:', text)
        whole = sum(q['got'] == 'whole' for q in self.asked)
        print(f'{len(self.accounts)} accounts, {len(self.settled)} settlements, {len(self.made)} requests upstream, '
              f'{whole} whole answers, {len(self.payments)} payments, '
              f'{sum(s["late"] for s in self.settled)} late: {len(self.wrong)} wrong')
        return 1 if self.wrong else 0


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument('ledger')
    p.add_argument('--prices', required=True)
    p.add_argument('--upstream', action='append', default=[])
    p.add_argument('--callers', action='append', default=[])
    p.add_argument('--running', action='store_true')
    p.add_argument('--partial', action='store_true')
    sys.exit(Audit(p.parse_args()).run())


if __name__ == '__main__':
    main()
