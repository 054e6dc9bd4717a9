#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two doors on one PostgreSQL and one Redis. One is frozen past its lease while it streams, wakes, is later killed
while it streams. Money and limits hold within one lease:

    rates    what one door admits counts at the other, also while that one is frozen
    frozen   all money of an account lies with the frozen door; the other has it when the lease is over
    woken    the stream of then ends, and what it cost is at most its reserve
    killed   the same with a door that does not come back
    books    exact, by the audit from outside

Usage: books_doors.py EVENKEEL"""
import asyncio, os, shutil, signal, sys, tempfile, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tools'))
import books_rig as rig

LEASE_S = 5
MONEY = 3000      # nano-units of ann: less than one door leases ahead
PER_MINUTE = 25   # requests of ben
checks = 0


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise RuntimeError(f'FAILED: {what}')


def body(tokens, rate):
    return {'model': 'demo', 'messages': [{'role': 'user', 'content': 'hello there'}], 'max_tokens': tokens,
            'stream': True, 'paced_tokens': tokens, 'paced_prompt': 3, 'paced_rate': rate, 'paced_usage': 'each'}


class Stage:
    async def up(self, folder):
        self.folder = folder
        self.postgres, self.redis, self.upstream = rig.Postgres(folder), rig.Redis(folder), rig.Upstream(folder)
        if not self.postgres.bin or not self.redis.program:
            return False
        await self.upstream.start()
        self.postgres.make()
        self.postgres.start()
        self.redis.start()
        await self.postgres.ready()
        self.a, self.b = (rig.Door(sys.argv[1], name, folder, self.postgres.url, self.upstream.port,
                                   self.redis.socket, lease=f'{LEASE_S}s') for name in ('a', 'b'))
        self.said = open(os.path.join(folder, 'callers.jsonl'), 'a')
        self.ann, self.ben = await rig.make_accounts(self.a, self.said, ('ann', 'ben'), MONEY)
        await rig.top_up(self.a, self.said, 'ben', 'more', 100000)
        run = await self.a.cli('account', 'limit', 'ben', '--minute-requests', str(PER_MINUTE))
        await run.communicate()
        for door in (self.a, self.b):
            door.start()
        for door in (self.a, self.b):
            await door.ready()
        return True

    def down(self):
        for name in ('a', 'b', 'upstream', 'postgres', 'redis'):
            if getattr(self, name, None):
                getattr(self, name).kill()

    async def exchanged(self, *doors):
        """What was counted until now has reached the others: two whole exchanges of each."""
        name = 'evenkeel_windows_exchanges_total'
        for _ in range(2):
            for door in doors:
                before = (await door.metrics())[name]

                async def probe():
                    return (await door.metrics())[name] >= before + 2
                await rig.until(f'an exchange of door {door.name}', probe)

    async def volley(self, door, count):
        """So many requests of ben, one after the other. How many were let in; the others must be 429."""
        let_in = 0
        for _ in range(count):
            _, status = await self.ben.ask(door.port, body(2, 1000))
            check(status in (200, 429), f'200 or 429, not {status}')
            let_in += status == 200
        return let_in

    async def rates_until_frozen(self):
        self.began = time.monotonic()
        self.let_in = await self.volley(self.a, 10)
        await self.exchanged(self.a, self.b)
        self.let_in += await self.volley(self.b, 10)
        await self.exchanged(self.b, self.a)
        check(self.let_in == 20, f'20 of {PER_MINUTE} are let in, {self.let_in}')

    async def rates_while_frozen(self):
        # A door hears of an account's others when it has something to say of it itself: what it admits until then
        # is the error that is allowed, and not what is judged here.
        self.let_in += await self.volley(self.a, 1)
        await self.exchanged(self.a)
        self.let_in += await self.volley(self.a, 11)
        passed = 20 * (time.monotonic() - self.began) / 60 + 1  # so much of the window may have slid away
        check(PER_MINUTE - 1 <= self.let_in <= PER_MINUTE + passed,
              f'{self.let_in} were let in of {PER_MINUTE} a minute, with {passed:.1f} passed')

    async def stream_on_b(self):
        """A slow stream of ann, and with it all her money."""
        async def nobody_has_it():
            return (await self.a.metrics())['evenkeel_ledger_accounts'] == 0
        await rig.until('the other door to have given back', nobody_has_it)
        seen = {}
        task = asyncio.create_task(self.ann.ask(self.b.port, body(60, 2), seen=seen))
        await rig.until('three tokens', lambda: seen.get('tokens', 0) >= 3 or task.done())
        check(not task.done(), f'it streams, {seen}')
        m = await self.b.metrics()
        check(m['evenkeel_ledger_reserved'] > 0, 'something is reserved')
        return task, seen

    async def other_door_gets_it(self, what):
        began = time.monotonic()
        got, status = await self.ann.ask(self.a.port, body(20, 1000))
        took = time.monotonic() - began
        check(got == 'whole', f'{what}: the other door serves, got {got} {status}')
        print(f'{what}: the other door has the money after {took:.1f} s (lease {LEASE_S} s)')

    async def frozen(self):
        task, seen = await self.stream_on_b()
        self.b.signal(signal.SIGSTOP)
        await self.rates_while_frozen()
        await self.other_door_gets_it('frozen')
        self.b.signal(signal.SIGCONT)
        got, _ = await task
        m = await self.b.metrics()
        print(f'woken: its stream of {seen["tokens"]} tokens was {got}, {seen["error"]}')
        check(got == 'whole' or seen['error'], 'it ends with a reason, or was whole')
        lost = 'evenkeel_ledger_leases_total{what="lost"}'
        await rig.until('the lease to be known as lost', lambda: self.b.count(lost))

    async def killed(self):
        await rig.top_up(self.a, self.said, 'ann', 'again', MONEY)
        task, seen = await self.stream_on_b()
        self.b.kill()
        await self.other_door_gets_it('killed')
        got, _ = await task
        check(got == 'part', f'a killed door ends its streams, {got}')

    async def books(self):
        self.b.start() # comes back, and takes what it left behind
        await self.b.ready()
        for door in (self.a, self.b):
            await door.at_rest()
            await door.leave()
        code, said = rig.audit(self.postgres.url, self.folder, '--upstream', self.upstream.account, '--callers',
                               self.said.name)
        print(said, end='')
        check(code == 0, 'the books are exact')


async def main():
    folder, stage, failed = tempfile.mkdtemp(prefix='ek-doors-'), Stage(), True
    try:
        if not await stage.up(folder):
            print('SKIPPED: PostgreSQL or Redis is not installed here')
            failed = False
            sys.exit(77)
        await stage.rates_until_frozen()
        await stage.frozen()
        await stage.killed()
        await stage.books()
        failed = False
        print(f'{checks} checks passed')
    finally:
        if failed:
            for door in (stage.a, stage.b):
                print(f'--- {door.name} ---\n{door.tail()}')
        stage.down()
        shutil.rmtree(folder)


asyncio.run(main())
