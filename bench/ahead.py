#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What guessing is worth on the model that ships: the questions of models/unseen.jsonl, greedy and thinking, by
CLIENTS at once, with --speculation off and auto in turn, an engine of its own for each run. Prints tokens a
second of both (median and range of ROUNDS runs), their ratio, and the part of the guesses that held, by source;
checks that the answers are the same.

  bench/ahead.py build-bench/evenkeel [--model models/demo.gguf] [--clients 1] [--questions 100] [--rounds 5]
                 [--threads 1] [--csv FILE]

CPU seconds of the engine are counted too: on a machine that has other work, tokens a CPU second say more."""
import argparse
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('engine')
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def fetch(path, method, url, body=None):
    c = Unix(path)
    c.request(method, url, body, {'Content-Type': 'application/json'})
    answer = c.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    c.close()
    return text


def cpu_s(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as f:
        fields = f.read().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def ask_all(path, questions, clients):
    said, left, lock = [None] * len(questions), list(range(len(questions))), threading.Lock()

    def client():
        while True:
            with lock:
                if not left:
                    return
                i = left.pop(0)
            body = {'model': 'x', 'temperature': 0, 'thinking': {'type': 'enabled'}, 'max_tokens': 500, 'seed': 1,
                    'messages': [{'role': 'user', 'content': questions[i]}]}
            answer = json.loads(fetch(path, 'POST', '/v1/chat/completions', json.dumps(body)))
            said[i] = (answer['choices'][0]['message'], answer['usage']['completion_tokens'])

    crowd = [threading.Thread(target=client) for _ in range(clients)]
    for t in crowd:
        t.start()
    for t in crowd:
        t.join()
    return said


def run(args, how, questions):
    with tempfile.TemporaryDirectory() as folder:
        path = folder + '/socket'
        engine = subprocess.Popen([args.evenkeel, 'engine', '--model', args.model, '--listen', 'unix:' + path,
                                   '--model-name', 'x', '--slots', str(max(args.clients, 2)), '--threads', str(args.threads),
                                   '--speculation', how], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not os.path.exists(path):
                time.sleep(0.05)
            ask_all(path, questions[:8], args.clients)  # warm
            cpu, began = cpu_s(engine.pid), time.monotonic()
            said = ask_all(path, questions, args.clients)
            wall, cpu = time.monotonic() - began, cpu_s(engine.pid) - cpu
            metrics = fetch(path, 'GET', '/metrics').decode()
        finally:
            engine.terminate()
            engine.wait()
    tokens = sum(n for _, n in said)
    count = {(k, s): int(n) for k, s, n in re.findall(
        r'evenkeel_engine_(guessed_tokens|guesses_held)_total\{source="(\w+)"\} (\d+)', metrics)}
    return [m for m, _ in said], tokens / wall, tokens / max(cpu, 1e-3), count


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('evenkeel')
    ap.add_argument('--model', default='models/demo.gguf')
    ap.add_argument('--questions', type=int, default=100)
    for name, value in (('clients', 1), ('rounds', 5), ('threads', 1)):
        ap.add_argument('--' + name, type=int, default=value)
    ap.add_argument('--csv')
    args = ap.parse_args()
    with open(os.path.dirname(args.model) + '/unseen.jsonl', encoding='utf-8') as f:
        questions = [json.loads(line)['question'] for line in f][:args.questions]
    rates, first, counts = {'off': [], 'auto': []}, None, {}
    for _ in range(args.rounds):
        for how in ('off', 'auto'):
            said, wall, cpu, count = run(args, how, questions)
            first = first or said
            assert said == first, 'guessing changed an answer'
            rates[how].append((wall, cpu))
            for k, n in count.items():
                counts[k] = counts.get(k, 0) + n
    for at, what in ((0, 'second'), (1, 'CPU second')):
        ratio = [on[at] / off[at] for off, on in zip(rates['off'], rates['auto'])]
        line = ['%s %.0f (%.0f to %.0f)' % (how, statistics.median(r[at] for r in rates[how]),
                                            min(r[at] for r in rates[how]), max(r[at] for r in rates[how]))
                for how in rates]
        print('tokens a %s: %s; ratio %.2f (%.2f to %.2f)' % (
            what, ', '.join(line), statistics.median(ratio), min(ratio), max(ratio)))
        if args.csv and at == 0:
            with open(args.csv, 'a', encoding='ascii') as f:
                f.write('%s,%d,%d,%d,%.3f\n' % (time.strftime('%Y-%m-%d'), args.clients, args.threads,
                                               args.questions, statistics.median(ratio)))
    for source in ('lookup', 'ahead'):
        guessed, held = (counts.get((k, source), 0) for k in ('guessed_tokens', 'guesses_held'))
        print('%s: %d guessed, %d held (%.1f %%)' % (source, guessed, held, 100 * held / max(guessed, 1)))


if __name__ == '__main__':
    main()
