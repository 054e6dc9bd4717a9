#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`evenkeel account` and `evenkeel key` as a person uses them, on a SQLite ledger in a fresh folder.
Usage: books_cli.py EVENKEEL"""
import os, re, sqlite3, subprocess, sys, tempfile

PROGRAM = sys.argv[1]
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        sys.exit(f'FAILED: {what}')


with tempfile.TemporaryDirectory() as folder:
    db = os.path.join(folder, 'l.db')
    env = {**os.environ, 'EVENKEEL_LEDGER': db}
    env.pop('EVENKEEL_SECRET', None)

    def run(*args, code=0, stdin=''):
        done = subprocess.run([PROGRAM, *args], env=env, capture_output=True, text=True, input=stdin)
        check(done.returncode == code, f'{args}: {done.returncode}, {done.stdout}{done.stderr}')
        return done.stdout if code == 0 else done.stderr

    said = run('account', 'audit', code=64)
    check('there is no database' in said and not os.path.exists(db), said)
    run('account', 'add', 'ann', '--tier', 'gold', '--grant', '1', '--topup', '12.5', '--budget-day', '3')
    shown = run('account', 'show', 'ann')
    check('balance 13.5 (granted 1, topped up 12.5)' in shown, shown)
    check('budget 3 a day' in shown, shown)
    check('exists already' in run('account', 'add', 'ann', code=1), 'a name twice')
    run('account', 'add', "bo'b", code=1)
    run('account', 'show', "x' OR '1'='1", code=1)
    run('account', 'topup', 'ann', '0.000000001', '--name', 'invoice 7')
    check('paid before' in run('account', 'topup', 'ann', '0.000000001', '--name', 'invoice 7'), 'idempotent')
    run('account', 'topup', 'ann', '2', '--name', 'invoice 7', code=1)
    run('account', 'topup', 'ann', '1.0000000001', code=64)
    run('account', 'topup', 'ann', '9999999999999999999', code=64)
    run('account', 'topup', 'ann', '-100', code=1)
    run('account', 'limit', 'ann', '--running', '4', '--models', 'demo r1*', '--expires', '30d', '--borrow', 'no')
    shown = run('account', 'show', 'ann')
    check('4 at once' in shown and 'models: demo r1*' in shown and 'borrowed upstreams: no' in shown, shown)
    run('account', 'limit', 'ann', '--expires', '30 days', code=64)
    run('account', 'suspend', 'ann')
    check('SUSPENDED' in run('account', 'show', 'ann'), 'suspended')
    run('account', 'resume', 'ann')
    run('account', 'frob', code=64)
    run('account', 'show', 'ann', '--frob', '1', code=64)

    key = run('key', 'add', 'ann', 'laptop').strip()
    check(re.fullmatch(r'sk-ek-[A-Za-z0-9_-]{32}', key), key)
    ids = re.findall(r'^(\d+)', run('key', 'list', 'ann'), re.M)
    check(len(ids) == 1, 'one key')
    fresh = run('key', 'rotate', 'ann', ids[0], '--overlap', '1h').strip()
    check(fresh != key and len(fresh) == len(key), 'another key')
    run('key', 'revoke', 'ann', ids[0])
    run('key', 'revoke', 'ann', ids[0], code=1)
    run('account', 'add', 'cleo')
    run('key', 'revoke', 'cleo', ids[0], code=1)
    listed = run('key', 'list', 'ann')
    check(listed.count('laptop') == 2 and listed.count('REVOKED') == 1, listed)

    code = run('account', 'invite', '--tier', 'free', '--grant', '0.5', '--uses', '1').strip()
    first = run('account', 'redeem', '-', 'dan', stdin=code + '\n').strip()
    check(first.startswith('sk-ek-'), first)
    run('account', 'redeem', '-', 'eve', stdin=code, code=1)
    check('balance 0.5 (granted 0.5' in run('account', 'show', 'dan'), 'the gift')

    voucher = run('account', 'voucher', '3', '--uses', '2', '--note', 'for the class').strip()
    check(voucher.startswith('ek-voucher-'), voucher)
    listed = run('account', 'codes')
    check('for the class' in listed and 'uses left 2' in listed and 'ek-' not in listed, listed)
    ids = re.findall(r'^(\d+) +voucher', listed, re.M)
    run('account', 'withdraw', ids[0])
    run('account', 'withdraw', ids[0], code=1)
    ticket = run('account', 'invite', '--signed', 'yes', '--expires', '1h', '--tier', 'free').strip()
    run('account', 'invite', '--signed', 'yes', code=1)
    check(run('account', 'redeem', '-', 'eve', stdin=ticket).startswith('sk-ek-'), 'a signed invitation')
    acts = run('account', 'acts')
    check('command line, ' in acts and 'key rotate laptop, of ann' in acts, acts)
    check('of cleo' in run('account', 'acts', 'cleo') and 'of ann' not in run('account', 'acts', 'cleo'), 'acts of one')
    check('invoice' not in run('account', 'topups', 'ann') and 'paid 12.5' in run('account', 'topups', 'ann'), 'topups')
    check(run('account', 'usage', 'ann', '--by', 'day,model', '--from', '2026-01-01') == '', 'nothing was used')
    run('account', 'usage', 'ann', '--by', 'colour', code=1)
    lines = run('account', 'export')
    check(lines.count('\n') == 4, lines)
    env['EVENKEEL_LEDGER'] = os.path.join(folder, 'other.db')
    check('4 accounts came in' in run('account', 'import', stdin=lines), 'import')
    check('4 were here already' in run('account', 'import', stdin=lines), 'import again')
    check(run('account', 'export') == lines, 'the same text')
    run('account', 'import', stdin='{"v":1}\n', code=1)
    env['EVENKEEL_LEDGER'] = db

    audit = run('account', 'audit')
    check('paid in 14.000000001' in audit and 'follows from its rows' in audit, audit)
    con = sqlite3.connect(db)
    con.execute("UPDATE account SET topped_nano = topped_nano + 1 WHERE name = 'ann'")
    con.commit()
    check('WRONG: 1 accounts' in subprocess.run([PROGRAM, 'account', 'audit'], env=env, capture_output=True,
                                                text=True).stdout, 'a nano too much is noticed')
    con.close()
    stored = b''.join(open(os.path.join(folder, f), 'rb').read() for f in os.listdir(folder))
    for secret in (key, fresh, code, first, voucher, ticket):
        check(secret.encode() not in stored, 'no token is stored')
    for f in os.listdir(folder):
        check(os.stat(os.path.join(folder, f)).st_mode & 0o77 == 0, f'{f} is private')
    check('name: "shop"' in run('key', 'shop'), 'a key for a configuration file')

print(f'{checks} checks passed')
