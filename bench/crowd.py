#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A crowd before one model: CLIENTS streaming at once on SLOTS, each client one request after the other until
REQUESTS are answered. Prints, and appends to a CSV, what people would notice: the gaps between the tokens of a
stream (median, p99, largest, p99 in medians), the time to a first token, how fast /health answers meanwhile
(p50, p99, p99.9, largest), and the memory of all its processes after a tenth of the requests and at the end.

  bench/crowd.py build-bench/evenkeel MODEL.gguf [--clients 100] [--slots 8] [--prompt 32] [--answer 16]
                 [--requests 100] [--seconds 900] [--csv FILE] [--alone] [--leak] [-- FLAGS OF EVENKEEL]

--leak prints the memory after each tenth of the requests and judges it: in their second half, when every cache has
been full for long, a least-squares line through it may rise by LEAK_BYTES a request and no more (else exit 1).
--alone asks the engine without a door before it. What is still running after --seconds is given up, and said."""
import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time

LEAK_BYTES = 64  # the least thing that could be forgotten of each request; malloc's own noise is below


def slope_bytes(points):
    """Of (requests, KiB), by least squares."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return 1024 * sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def judge_leak(crowd, args, given_up):
    points = crowd.memory
    for requests, kib in points:
        print(f'{requests:8} requests  {kib:8} KiB')
    late = [p for p in points if p[0] >= args.requests // 2]
    if given_up or crowd.failed or len(late) < 3:
        sys.exit(f'no verdict: {given_up} given up, {crowd.failed} cut, {len(late)} points')
    rise = slope_bytes(late)
    print(f'second half: {rise:.1f} bytes a request; at most {LEAK_BYTES} may be')
    if args.csv:
        with open(args.csv, 'a', encoding='ascii') as f:
            print(f'# leak,{args.requests},{rise:.1f},' + ' '.join(str(kib) for _, kib in points), file=f)
    if rise > LEAK_BYTES:
        sys.exit('it leaks')


def quantile(values, q):
    if not values:
        return float('nan')
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))]


def resident_kib(pid):
    """Of a process and its children, without what belongs to mapped files."""
    total = 0
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/status', encoding='ascii', errors='replace') as f:
                fields = dict(line.split(':', 1) for line in f if ':' in line)
        except OSError:
            continue
        if int(entry) == pid or int(fields.get('PPid', '0')) == pid:
            total += int(fields.get('RssAnon', '0').split()[0])
    return total


class Crowd:
    def __init__(self, args, path):
        self.args, self.path = args, path
        self.left, self.done, self.failed = args.requests, 0, 0
        self.gaps, self.firsts, self.health = [], [], []
        self.random = random.Random(1)
        self.quiet = asyncio.Event()
        self.early_kib = 0
        self.memory = []  # (requests, KiB) after each tenth

    async def connect(self):
        return await asyncio.open_unix_connection(self.path)

    def body(self):
        words = ' '.join(str(self.random.randrange(10)) for _ in range(self.args.prompt // 2))
        return json.dumps({'model': 'deepseek-chat', 'stream': True, 'max_tokens': self.args.answer,
                           'ignore_eos': True, 'messages': [{'role': 'user', 'content': words}]}).encode()

    async def ask(self):
        reader, writer = await self.connect()
        body = self.body()
        began, last = time.monotonic(), None
        writer.write(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n'
                     b'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n' % len(body) + body)
        whole = False
        while line := await reader.readline():
            if line.startswith(b'data: [DONE]'):
                whole = True
            elif line.startswith(b'data: '):
                choices = json.loads(line[6:]).get('choices') or [{}]
                delta = choices[0].get('delta', {})
                if not (delta.get('content') or delta.get('reasoning_content')):
                    continue
                now = time.monotonic()
                if last is None:
                    self.firsts.append(now - began)
                else:
                    self.gaps.append(now - last)
                last = now
        writer.close()
        self.failed += not whole

    async def client(self, server):
        while self.left > 0:
            self.left -= 1
            await self.ask()
            self.done += 1
            if self.done % max(self.args.requests // 10, 1) == 0:
                self.memory.append((self.done, resident_kib(server.pid)))
                self.early_kib = self.early_kib or self.memory[0][1]

    async def doctor(self):
        reader, writer = await self.connect()
        while not self.quiet.is_set():
            began = time.monotonic()
            writer.write(b'GET /health HTTP/1.1\r\nHost: x\r\n\r\n')
            head = await reader.readuntil(b'\r\n\r\n')
            length = next(int(h.split(b':')[1]) for h in head.split(b'\r\n')
                          if h.lower().startswith(b'content-length:'))
            await reader.readexactly(length)
            self.health.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        writer.close()

    async def run(self, server):
        doctor = asyncio.create_task(self.doctor())
        clients = [asyncio.create_task(self.client(server)) for _ in range(self.args.clients)]
        _, pending = await asyncio.wait(clients, timeout=self.args.seconds)
        for task in pending:
            task.cancel()
        self.quiet.set()
        await doctor
        for task in clients:
            if task.done() and not task.cancelled() and task.exception():
                raise task.exception()
        return len(pending)


def start(args, path):
    command = [args.evenkeel, 'engine' if args.alone else 'serve', '--model', args.model, '--listen', f'unix:{path}',
               '--slots', str(args.slots)] + args.flags
    command += ['--engine-waiting', str(args.clients)] if args.alone else ['--queue', str(2 * args.clients)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    return server


async def ready(path, server):
    while True:
        if server.poll() is not None:
            sys.exit('evenkeel did not start')
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b'GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
            line = await reader.readline()
            writer.close()
            if b' 200 ' in line:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)


def report(crowd, args, seconds, given_up, last_kib):
    ms = 1000
    median = quantile(crowd.gaps, 0.5)
    row = {
        'model': os.path.basename(args.model), 'clients': args.clients, 'slots': args.slots, 'answered': crowd.done,
        'cut': crowd.failed, 'given_up': given_up, 'seconds': round(seconds, 1),
        'gap_p50_ms': round(median * ms, 1), 'gap_p99_ms': round(quantile(crowd.gaps, 0.99) * ms, 1),
        'gap_max_ms': round(max(crowd.gaps, default=float('nan')) * ms, 1),
        'gap_p99_in_medians': round(quantile(crowd.gaps, 0.99) / median, 2) if median else 'nan',
        'first_p50_s': round(quantile(crowd.firsts, 0.5), 2), 'first_max_s': round(max(crowd.firsts, default=0), 2),
        'health_asked': len(crowd.health), 'health_p50_ms': round(quantile(crowd.health, 0.5) * ms, 2),
        'health_p99_ms': round(quantile(crowd.health, 0.99) * ms, 2),
        'health_p999_ms': round(quantile(crowd.health, 0.999) * ms, 2),
        'health_max_ms': round(max(crowd.health) * ms, 2),
        'early_kib': crowd.early_kib, 'last_kib': last_kib, 'load_average': round(os.getloadavg()[0], 1),
    }
    for name, value in row.items():
        print(f'{name:20} {value}')
    if args.csv:
        new = not os.path.exists(args.csv)
        with open(args.csv, 'a', encoding='ascii') as f:
            if new:
                print(','.join(row), file=f)
            print(','.join(str(v) for v in row.values()), file=f)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('evenkeel')
    parser.add_argument('model')
    for name, value in (('clients', 100), ('slots', 8), ('prompt', 32), ('answer', 16), ('requests', 100),
                        ('seconds', 900)):
        parser.add_argument('--' + name, type=int, default=value)
    parser.add_argument('--csv')
    parser.add_argument('--alone', action='store_true')
    parser.add_argument('--leak', action='store_true')
    own, flags = sys.argv[1:], []
    if '--' in own:
        own, flags = own[:own.index('--')], own[own.index('--') + 1:]
    args = parser.parse_args(own, argparse.Namespace(flags=flags))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 's')
        server = start(args, path)
        try:
            asyncio.run(ready(path, server))
            crowd = Crowd(args, path)
            began = time.monotonic()
            given_up = asyncio.run(crowd.run(server))
            report(crowd, args, time.monotonic() - began, given_up, resident_kib(server.pid))
            if args.leak:
                judge_leak(crowd, args, given_up)
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()


if __name__ == '__main__':
    main()
