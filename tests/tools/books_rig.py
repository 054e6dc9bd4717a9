#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the proofs of the books stand on: a door, an upstream with its own account (paced.py), a private PostgreSQL
and Redis, each a process that can be killed and started again; callers that write down what they received; and
the audit. Everything on loopback or a Unix socket in a fresh folder. Nothing here waits on a guess of time: it
waits on counters, with a limit that only says "it hangs"."""
import asyncio, ctypes, glob, json, os, pwd, random, shutil, signal, socket, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
HANGS_S = 300
PRICES = {'demo': {'prompt': 1000, 'cached': 1000, 'output': 10000}, '*': {'prompt': 1000, 'cached': 1000, 'output': 10000}}


def die_with_parent():
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def free_port():
    """One the system lends to nobody meanwhile: its own for connections begin at 32768."""
    mine = 10000 + os.getpid() % 220 * 100
    for port in random.sample(range(mine, mine + 100), 100):
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
            except OSError:
                continue
            return port
    raise SystemExit(f'no port is free from {mine} on')


async def until(what, probe, every_s=0.02):
    end = time.monotonic() + HANGS_S
    while True:
        value = probe()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise RuntimeError(f'it hangs: {what}')
        await asyncio.sleep(every_s)


class Process:
    """A program, its output in a file of its folder; start() and kill() as often as one likes."""

    def __init__(self, name, folder):
        self.name, self.folder, self.proc, self.log = name, folder, None, os.path.join(folder, name + '.log')

    def spawn(self, command, **more):
        with open(self.log, 'ab') as log:
            self.proc = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                         preexec_fn=die_with_parent, **more)

    @property
    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def signal(self, number):
        self.proc.send_signal(number)

    def kill(self):
        if self.proc:
            self.proc.kill()
            self.proc.wait()
            self.proc = None

    def tail(self):
        if not os.path.exists(self.log):
            return ''
        with open(self.log, errors='replace') as f:
            return f.read()[-3000:]


class Postgres(Process):
    def __init__(self, folder):
        super().__init__('postgres', folder)
        found = sorted(glob.glob('/usr/lib/postgresql/*/bin/initdb'))
        self.bin = os.path.dirname(found[-1]) if found and shutil.which('psql') else None
        self.data = os.path.join(folder, 'pg')
        self.url = f'postgresql://ek@/postgres?host={self.data}'
        self.who = {}
        if os.getuid() == 0:  # the server refuses to be root
            nobody = pwd.getpwnam('nobody')
            self.who = {'user': nobody.pw_uid, 'group': nobody.pw_gid, 'extra_groups': []}

    def make(self):
        os.mkdir(self.data, 0o700)
        if self.who:
            os.chown(self.data, self.who['user'], self.who['group'])
            os.chmod(self.folder, 0o711)
        subprocess.run([self.bin + '/initdb', '-D', self.data, '-U', 'ek', '-A', 'trust', '-E', 'UTF8', '--locale=C',
                        '--no-sync'], check=True, stdout=subprocess.DEVNULL, cwd=self.data, **self.who)

    def start(self):
        self.spawn([self.bin + '/postgres', '-D', self.data, '-k', self.data, '-c', 'listen_addresses=', '-c',
                    'max_connections=20', '-c', 'shared_buffers=16MB'], cwd=self.data, **self.who)

    async def ready(self):
        def probe():
            if not self.alive:  # children of a killed one may still have its memory: again
                self.start()
            return self.answers()
        await until('PostgreSQL to be ready', probe)

    def answers(self):
        """What pg_isready asks, without a process a question: does it take a start-up message (protocol 3.0) and ask
        for a password or none ('R'), or is it still recovering ('E')?"""
        words = b'user\0ek\0database\0postgres\0\0'
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(HANGS_S)
                s.connect(os.path.join(self.data, '.s.PGSQL.5432'))
                s.sendall(struct.pack('!ii', 8 + len(words), 3 << 16) + words)
                return s.recv(1) == b'R'
        except OSError:
            return False

    def kill(self):
        """With its children: one that lives on for a moment may still commit."""
        if not self.alive:
            return
        pid = self.proc.pid
        with open(f'/proc/{pid}/task/{pid}/children') as f:
            children = [int(c) for c in f.read().split()]
        super().kill()
        for c in children:
            try:
                os.kill(c, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Redis(Process):
    def __init__(self, folder):
        super().__init__('redis', folder)
        self.program = shutil.which('redis-server') or shutil.which('valkey-server')
        self.socket = os.path.join(folder, 'redis.sock')

    def start(self):
        self.spawn([self.program, '--port', '0', '--unixsocket', self.socket, '--save', '', '--appendonly', 'no',
                    '--dir', self.folder])


class Upstream(Process):
    def __init__(self, folder):
        super().__init__('upstream', folder)
        self.account = os.path.join(folder, 'upstream.jsonl')
        self.port = None

    async def start(self):
        with open(self.log, 'ab') as log:
            self.proc = subprocess.Popen([sys.executable, os.path.join(HERE, 'paced.py'), self.account],
                                         stdin=subprocess.PIPE, stdout=log, stderr=log, preexec_fn=die_with_parent)
        self.port = int(await until('the upstream to listen', lambda: self.tail().partition('listening ')[2].strip()))


class Door(Process):
    def __init__(self, program, name, folder, url, upstream_port, redis=None, lease='60s', slots=8, more=''):
        super().__init__(name, folder)
        self.program, self.ledger, self.port = program, url, free_port()
        self.config = os.path.join(folder, name + '.yaml')
        self.env = {**os.environ, 'EVENKEEL_SECRET': 'ab' * 32, 'EVENKEEL_LEDGER': url}
        with open(self.config, 'w') as f:
            f.write(f'listen: 127.0.0.1:{self.port}\n'
                    f'upstreams:\n  - url: http://127.0.0.1:{upstream_port}\n    dialect: openai\n'
                    f'    slots: {slots}\n    models: [demo]\n'
                    'prices:\n  - model: "*"\n    prompt: 0.001\n    cached: 0.001\n    output: 0.01\n'
                    f'ledger:\n  url: "{url}"\n  door: {name}\n  lease: {lease}\n'
                    f'  spool: {os.path.join(folder, name + ".spool")}\n' +
                    (f'  redis: "unix:{redis}"\n' if redis else '') + more)

    def start(self):
        self.spawn([self.program, 'serve', '--config', self.config], env=self.env)

    async def ready(self):
        async def probe():
            if not self.alive:
                raise RuntimeError(f'the door ended: {self.tail()}')
            return await self.get('/ready') is not None
        await until('the door to be ready', probe)

    async def get(self, path):
        """The body of a 200, else None."""
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', self.port)
            writer.write(f'GET {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\n\r\n'.encode())
            text = (await reader.read()).decode()
            writer.close()
            return text.partition('\r\n\r\n')[2] if text.startswith('HTTP/1.1 200') else None
        except OSError:
            return None

    async def metrics(self):
        found = {}
        for line in (await self.get('/metrics') or '').splitlines():
            name, _, value = line.partition(' ')
            if not line.startswith('#'):
                found[name.partition('{')[0]] = found.get(name.partition('{')[0], 0) + float(value)
        return found

    async def count(self, line):
        """One metric with its labels as it stands in the text; 0 when it is not there."""
        for text in (await self.get('/metrics') or '').splitlines():
            if text.startswith(line + ' '):
                return float(text.rpartition(' ')[2])
        return 0

    async def at_rest(self):
        """Until nothing is reserved, under way or in the spool; how many seconds that took."""
        began = time.monotonic()

        async def probe():
            m = await self.metrics()
            return m and m['evenkeel_ledger_up'] == 1 and not (m['evenkeel_ledger_reserved'] or
                m['evenkeel_ledger_queued'] or m['evenkeel_ledger_spool_records'])
        await until('reserves and settlements to come to rest', probe)
        return time.monotonic() - began

    async def leave(self):
        """An orderly end: it drains, and gives its leases back."""
        self.signal(signal.SIGTERM)
        await until('the door to leave', lambda: not self.alive)
        code, self.proc = self.proc.returncode, None
        if code != 0:
            raise RuntimeError(f'the door ended with {code}: {self.tail()}')

    def cli(self, *args):
        return asyncio.create_subprocess_exec(self.program, *args, env=self.env, stdout=subprocess.PIPE,
                                              stderr=subprocess.PIPE)


class Caller:
    """Asks, and writes down what it received: only what it has seen with its own eyes."""

    def __init__(self, log, account, key):
        self.log, self.account, self.key = log, account, key

    def note(self, **line):
        self.log.write(json.dumps({**line, 'account': self.account}) + '\n')
        self.log.flush()

    async def ask(self, port, body, leave_after=None, seen=None):
        """One question. leave_after: hang up after so many tokens. seen: a dict to watch. Returns got, status."""
        seen = {} if seen is None else seen
        seen |= {'id': None, 'status': 0, 'tokens': 0, 'usage': None, 'error': None, 'done': False}
        try:
            reader, writer = await asyncio.open_connection('127.0.0.1', port)
        except OSError:
            return 'nobody', 0
        try:
            data = json.dumps(body).encode()
            writer.write((f'POST /v1/chat/completions HTTP/1.1\r\nHost: door\r\nAuthorization: Bearer {self.key}\r\n'
                          f'Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n').encode() + data)
            await self.listen(reader, body.get('stream'), seen, leave_after)
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.transport.abort() if leave_after is not None else writer.close()
        whole = seen['status'] == 200 and seen['done'] and not seen['error']
        got = 'whole' if whole else 'refused' if seen['status'] >= 400 else 'part'
        if seen['id'] and (got != 'part' or seen['tokens']):
            self.note(id=seen['id'], got=got, tokens=seen['tokens'], usage=seen['usage'] if whole else None)
        return got, seen['status']

    async def listen(self, reader, stream, seen, leave_after):
        head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(':') for line in head[1:])}
        seen['status'] = int(head[0].split(' ')[1])
        seen['id'] = headers.get('x-request-id')
        if 'content-length' in headers:
            self.whole(await reader.readexactly(int(headers['content-length'])), seen)
            return
        rest = b''
        while True:
            size = int((await reader.readuntil(b'\r\n')).split(b';')[0], 16)
            piece = (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                break
            rest += piece
            while stream and b'\n' in rest:
                line, _, rest = rest.partition(b'\n')
                self.event(line, seen)
                if leave_after is not None and seen['tokens'] >= leave_after:
                    return
        if not stream:
            self.whole(rest, seen)

    def event(self, line, seen):
        if line == b'data: [DONE]':
            seen['done'] = True
        elif line.startswith(b'data: '):
            e = json.loads(line[6:])
            seen['error'] = seen['error'] or e.get('error')
            for choice in e.get('choices') or []:
                seen['tokens'] += len((choice.get('delta', {}).get('content') or '').split())
            seen['usage'] = e.get('usage') or seen['usage']

    def whole(self, text, seen):
        e = json.loads(text)
        seen['error'], seen['usage'] = e.get('error'), e.get('usage')
        for choice in e.get('choices') or []:
            seen['tokens'] += len((choice.get('message', {}).get('content') or '').split())
        seen['done'] = True


async def top_up(door, callers_log, account, name, nano):
    """Through the program, as a person or a cron job would. True: it says that it is paid."""
    name = f'{account} {name}'
    run = await door.cli('account', 'topup', account, f'{nano / 1e9:.9f}', '--name', name)
    await run.communicate()
    callers_log.write(json.dumps({'paid': name, 'account': account, 'nano': nano, 'sure': run.returncode == 0}) + '\n')
    callers_log.flush()
    return run.returncode == 0


async def make_accounts(door, callers_log, names, nano):
    """Accounts with so much money each, and a caller of each."""
    async def one(name):
        for args in (('account', 'add', name), ('key', 'add', name, 'k')):
            run = await door.cli(*args)
            out, err = await run.communicate()
            if run.returncode:
                raise RuntimeError(f'{args}: {err.decode()}')
        if not await top_up(door, callers_log, name, 'first', nano):
            raise RuntimeError('the first payment failed')
        return Caller(callers_log, name, out.decode().strip())
    first = await one(names[0])  # makes the tables: on a slow disk nobody else should be waiting for their lock
    return [first, *await asyncio.gather(*(one(name) for name in names[1:]))]


def question(rng, stream=None):
    """A body at random: how long, how fast, how its upstream fails."""
    body = {'model': 'demo', 'messages': [{'role': 'user', 'content': 'word ' * rng.randint(1, 30)}],
            'max_tokens': rng.randint(4, 60), 'stream': rng.random() < 0.7 if stream is None else stream,
            'paced_tokens': rng.randint(1, 60), 'paced_prompt': rng.randint(1, 40),
            'paced_rate': rng.choice([100, 300, 1000]), 'paced_usage': rng.choice(['end', 'each'])}
    if body['stream'] and rng.random() < 0.7:
        body['stream_options'] = {'include_usage': True}
    if rng.random() < 0.2:
        body['paced_fail'] = {'after': rng.randint(0, 20), 'how': rng.choice(['reset', 'status']),
                              'times': rng.randint(1, 5)}
    return body


def audit(url, folder, *more):
    """The program that believes nothing. Returns its exit code and what it said."""
    with tempfile.NamedTemporaryFile('w', dir=folder, suffix='.json') as f:  # audits run side by side
        json.dump(PRICES, f)
        f.flush()
        done = subprocess.run([sys.executable, os.path.join(HERE, 'books_audit.py'), url, '--prices', f.name, *more],
                              capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr
