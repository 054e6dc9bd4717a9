#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The books under kill -9. Each run is a door under random load (streams, whole answers, callers that hang up,
upstreams that fail, top-ups, repeats) in which something is killed at a random point:

    kind    ledger                  killed
    away    PostgreSQL, and Redis   PostgreSQL; then, while it is away and answers go to the spool, the door
    door    SQLite                  the door
    store   PostgreSQL, and Redis   PostgreSQL; the door goes on, and meets it again
    redis   PostgreSQL, and Redis   Redis; and in every other run the door after it

Then everything is started again, the load goes on for a while, ends, the door comes to rest and leaves, and an audit
of raw rows (tests/tools/books_audit.py) compares the books with the account of the upstream and of the callers, for
this run and all before it.

Usage: books_kills.py EVENKEEL [RUNS] [CSV]    with a CSV runs that are in it are not repeated (resumable)
Environment: EK_SEED"""
import asyncio, concurrent.futures, csv, os, random, shutil, sqlite3, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))
import books_rig as rig

PROGRAM = sys.argv[1]
RUNS = int(sys.argv[2]) if len(sys.argv) > 2 else 10
CSV = sys.argv[3] if len(sys.argv) > 3 else None
SEED = int(os.environ.get('EK_SEED', '20261122'))
KINDS = ('away', 'door', 'store', 'redis')
COLUMNS = ('run', 'seed', 'kind', 'asked', 'whole', 'part', 'refused', 'nobody', 'top_ups', 'spooled', 'replayed',
           'rest_s', 'run_s', 'audit')
CALLERS = 10
ACCOUNTS = ('ann', 'ben', 'cleo', 'dan')


class Bank:
    """One ledger, and everything that is said about it, over all runs."""

    def __init__(self, name, folder, url, upstream, redis):
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        self.said = open(os.path.join(self.folder, 'callers.jsonl'), 'a')
        self.door = rig.Door(PROGRAM, 'door', self.folder, url(self.folder), upstream.port, redis)
        self.callers, self.killed_doors = [], False


class Run:
    def __init__(self, number, kind, bank, world):
        self.number, self.kind, self.bank, self.world = number, kind, bank, world
        self.door, self.rng = bank.door, random.Random(SEED * 100003 + number)
        self.count = dict.fromkeys(('asked', 'whole', 'part', 'refused', 'nobody', 'top_ups'), 0)
        self.spool = {'spooled': 0, 'replayed': 0}
        self.stop, self.tasks = False, []

    async def one(self, rng):
        caller = rng.choice(self.bank.callers)
        if rng.random() < 0.03:
            which = rng.randint(1, 4)  # drawn twice: paid once
            self.count['top_ups'] += await rig.top_up(self.door, self.bank.said, caller.account,
                                                      f'{self.number}-{which}', 2000 + which * 500)
            return
        body = rig.question(rng)
        leave = rng.randint(1, 20) if body['stream'] and rng.random() < 0.2 else None
        got, _ = await caller.ask(self.door.port, body, leave)
        self.count['asked'] += 1
        self.count[got] += 1
        if got in ('nobody', 'refused'):
            await asyncio.sleep(0.1)

    async def load(self, number):
        rng = random.Random(self.rng.getrandbits(64) ^ number)
        while not self.stop:
            await self.one(rng)

    def broken(self):
        """A caller that fell over is a mistake of this program, or worse."""
        for task in self.tasks:
            if task.done():
                task.result()

    def answered(self):
        return self.count['whole'] + self.count['part'] + self.count['refused']

    async def more(self, least, most):
        """So many more answers, and a moment that falls anywhere."""
        goal = self.answered() + self.rng.randint(least, most)
        await rig.until('answers', lambda: self.answered() >= goal or self.broken(), 0.005)
        await asyncio.sleep(self.rng.random() * 0.05)

    async def kill_door(self):
        for name in self.spool:  # what this life of the door has done with its spool
            self.spool[name] += int((await self.door.metrics()).get(f'evenkeel_ledger_{name}_total', 0))
        self.door.kill()
        self.bank.killed_doors = True

    async def trouble(self):
        w, early = self.world, self.rng.random() < 0.5
        if self.kind == 'door':
            await self.kill_door()
        elif self.kind == 'store':
            w.postgres.kill()
            await self.more(0, 25)
            await w.postgres.ready()
        elif self.kind == 'redis':
            w.redis.kill()
            await self.more(0, 15)
            if self.number // 4 % 2:
                await self.kill_door()
            w.redis.start()
        else:
            w.postgres.kill()
            await self.more(0, 25)
            await self.kill_door()
            if early:
                await w.postgres.ready()
        if not self.door.alive:
            self.door.start()
            if self.rng.random() < 0.3:  # killed again, while it starts: in the replay of its spool, maybe
                await asyncio.sleep(self.rng.random() * 0.4)
                self.door.kill()
                self.door.start()
            await self.door.ready()
        if self.kind == 'away' and not early:  # it has begun without its database
            await self.more(0, 10)
            await w.postgres.ready()

    async def go(self):
        began = time.monotonic()
        self.door.start()
        for account in self.rng.sample(ACCOUNTS, 2):  # the others may come to the end of their money
            self.count['top_ups'] += await rig.top_up(self.door, self.bank.said, account, f'{self.number}-0',
                                                      self.rng.randint(4000, 16000))
        await self.door.ready()
        self.tasks = [asyncio.create_task(self.load(n)) for n in range(CALLERS)]
        await self.more(5, 40)
        await self.trouble()
        await self.more(5, 20)
        self.stop = True
        await asyncio.wait_for(asyncio.gather(*self.tasks), rig.HANGS_S)
        rest_s = await self.door.at_rest()
        m = await self.door.metrics()
        await self.door.leave()
        code, said = rig.audit(self.door.ledger, self.bank.folder, '--upstream', self.world.upstream.account,
                               '--callers', self.bank.said.name,
                               *([] if self.bank.killed_doors else ['--partial']))
        ok = code == 0 and rest_s < 60
        return {**self.count, 'run': self.number, 'seed': SEED, 'kind': self.kind,
                **{k: v + int(m[f'evenkeel_ledger_{k}_total']) for k, v in self.spool.items()},
                'rest_s': f'{rest_s:.2f}',
                'run_s': f'{time.monotonic() - began:.1f}', 'audit': 'exact' if ok else 'WRONG'}, said


class World:
    def __init__(self, folder):
        self.folder = folder
        self.postgres, self.redis = rig.Postgres(folder), rig.Redis(folder)
        self.upstream = rig.Upstream(folder)
        self.banks = {}

    async def start(self):
        await self.upstream.start()
        if self.postgres.bin:
            self.postgres.make()
            self.postgres.start()
            await self.postgres.ready()
        if self.redis.program:
            self.redis.start()

    async def bank(self, kind):
        """The ledger this kind of run works on; without a PostgreSQL or Redis to kill it is the door that is."""
        if not self.postgres.bin or not self.redis.program:
            kind = 'door'
        name = 'sqlite' if kind == 'door' else 'postgres'
        if name not in self.banks:
            url = (lambda f: os.path.join(f, 'ledger.db')) if kind == 'door' else (lambda f: self.postgres.url)
            b = self.banks[name] = Bank(name, self.folder, url, self.upstream,
                                        None if kind == 'door' else self.redis.socket)
            b.callers = await rig.make_accounts(b.door, b.said, ACCOUNTS, 40000)
        return kind, self.banks[name]

    def end(self):
        for p in [b.door for b in self.banks.values()] + [self.upstream, self.postgres, self.redis]:
            p.kill()


TAMPER = (
    "DELETE FROM settlement WHERE rowid = (SELECT MAX(rowid) FROM settlement WHERE ending = 'none')",
    "UPDATE settlement SET output_tokens = output_tokens + 1 WHERE rowid = (SELECT MAX(rowid) FROM settlement)",
    "UPDATE account SET topped_nano = topped_nano + 1 WHERE name = 'ann'",
    "UPDATE entry SET topped_nano = topped_nano + 5 WHERE rowid = (SELECT MAX(rowid) FROM entry WHERE kind = 'pay')",
    "UPDATE usage_day SET charged_nano = charged_nano - 1 WHERE rowid = (SELECT MAX(rowid) FROM usage_day)",
    "INSERT INTO lease SELECT id, 'ghost', 1, 0, 0, 1 FROM account WHERE name = 'ben'",
    "INSERT INTO settlement SELECT randomblob(16), account, fence, door, key, user_hash, model, 0, 0, 0, 0, at_ns, 0,"
    " 0, 0, 0, 0, 0, ending FROM settlement LIMIT 1",
    # a theft that leaves every sum in order: one answer is charged a nano-unit less
    "UPDATE settlement SET topped_nano = topped_nano - 1 WHERE rowid = (SELECT MIN(rowid) FROM settlement WHERE"
    " topped_nano > 0); UPDATE account SET spent_nano = spent_nano - 1, topped_nano = topped_nano + 1 WHERE id ="
    " (SELECT account FROM settlement WHERE rowid = (SELECT MIN(rowid) FROM settlement WHERE topped_nano > 0));"
    "UPDATE usage_day SET charged_nano = charged_nano - 1 WHERE rowid = (SELECT u.rowid FROM usage_day u,"
    " settlement s WHERE s.rowid = (SELECT MIN(rowid) FROM settlement WHERE topped_nano > 0) AND u.account ="
    " s.account AND u.key = s.key AND u.day = s.at_ns / 86400000000000 AND u.model = s.model);"
    "UPDATE entry SET topped_nano = topped_nano + 1 WHERE rowid = (SELECT MIN(e.rowid) FROM entry e, settlement s"
    " WHERE s.rowid = (SELECT MIN(rowid) FROM settlement WHERE topped_nano > 0) AND e.account = s.account"
    " AND e.kind = 'return')",
)


def the_audit_sees(bank, upstream):
    """Is the auditor awake? A copy of the ledger is falsified in one place after the other."""
    more = ('--upstream', upstream.account, '--callers', bank.said.name)

    def falsified(number):
        copy = os.path.join(bank.folder, f'falsified-{number}.db')
        shutil.copy(bank.door.ledger, copy)
        con = sqlite3.connect(copy)
        con.executescript(TAMPER[number])
        con.commit()
        con.close()
        return rig.audit(copy, bank.folder, *more)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # an audit is a process of its own
        for text, (code, said) in zip(TAMPER, pool.map(falsified, range(len(TAMPER)))):
            if code != 1 or 'WRONG' not in said:
                raise RuntimeError(f'the audit did not see this:\n{text}\n{said}')
    print(f'{len(TAMPER)} falsified copies, all seen')


def done_before():
    if not CSV or not os.path.exists(CSV):
        return set()
    with open(CSV) as f:
        return {int(r['run']) for r in csv.DictReader(f) if int(r['seed']) == SEED and r['audit'] == 'exact'}


async def main():
    before = done_before()
    folder = tempfile.mkdtemp(prefix='ek-books-')
    world, failed, table = World(folder), 0, None
    if CSV:
        fresh = not os.path.exists(CSV)
        table = csv.DictWriter(open(CSV, 'a', newline='', buffering=1), COLUMNS)
        if fresh:
            table.writeheader()
    try:
        await world.start()
        if not world.postgres.bin or not world.redis.program:
            print('SKIPPED: PostgreSQL or Redis is not installed here; every run kills a door on SQLite')
        print(' '.join(f'{c:>8}' for c in COLUMNS))
        for number in range(RUNS):
            if number in before:
                continue
            kind, bank = await world.bank(KINDS[number % len(KINDS)])
            row, said = await Run(number, kind, bank, world).go()
            print(' '.join(f'{row[c]:>8}' for c in COLUMNS), flush=True)
            if table:
                table.writerow(row)
            if row['audit'] != 'exact':
                failed += 1
                print(said, end='')
        if 'sqlite' in world.banks and not failed:
            the_audit_sees(world.banks['sqlite'], world.upstream)
        print(said if RUNS > len(before) else '', end='')
        print(f'{RUNS} runs, {len(before)} of them before, {failed} failed (EK_SEED={SEED})')
    except BaseException:
        failed += 1
        for p in [b.door for b in world.banks.values()]:
            print(f'--- {p.name} ---\n{p.tail()}')
        raise
    finally:
        world.end()
        if not failed:
            shutil.rmtree(folder)
        else:
            print(f'kept: {folder}')
    sys.exit(1 if failed else 0)


asyncio.run(main())
