#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`evenkeel engine` as a program, over a Unix socket: what is on the wire, exactness of continuation,
cancelling, slow and vanishing clients, refusals, leaving.

Usage: engine_serve.py EVENKEEL MODEL.gguf [STRIDE]; the model may be named as shared:PATH, below $EK_SHARED.
Every STRIDE-th cut of an answer is continued (1: all of them).
Exit 77: skipped, because the model is missing.
Nothing here sleeps a fixed time: it waits on /load or on a file, within a deadline."""
import json, os, select, signal, socket, subprocess, sys, tempfile, time

PROGRAM, MODEL = sys.argv[1], sys.argv[2]
CUT_STRIDE = int(sys.argv[3]) if len(sys.argv) > 3 else 1
LIGHT = CUT_STRIDE >= 20  # arithmetic is slow there: every road is walked, but not every way that it can be walked
if MODEL.startswith('shared:'):
    MODEL = os.path.join(os.environ.get('EK_SHARED', '/nowhere'), MODEL[len('shared:'):])
DEADLINE = 300  # only says that it hangs
checks = 0
SLOW_TOKENS = 300 if LIGHT else 600  # more than a socket holds


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        raise AssertionError(what)


class Engine:
    def __init__(self, work, *flags, pass_fds=()):
        self.path = os.path.join(work, 'engine.sock')
        self.child = subprocess.Popen([PROGRAM, 'engine', '--model', MODEL, '--listen', 'unix:' + self.path,
                                       '--limits-write-stall', '1h', *flags],  # a slow machine is no slow client
                                      stdout=subprocess.PIPE, stderr=sys.stderr, pass_fds=pass_fds)
        ready = select.select([self.child.stdout], [], [], DEADLINE)[0]
        line = self.child.stdout.readline().decode() if ready else ''
        check(' on unix:' in line, f'the engine did not come up: {line!r}')
        self.model = line.split()[0]

    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(DEADLINE)
        s.connect(self.path)
        return s

    def send(self, path, body=None, method=None, more=''):
        s = self.connect()
        data = b'' if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        method = method or ('GET' if body is None else 'POST')
        s.sendall(f'{method} {path} HTTP/1.1\r\nHost: e\r\nConnection: close\r\n'
                  f'{more}Content-Length: {len(data)}\r\n\r\n'.encode() + data)
        return s

    def ask(self, path, body=None, method=None, more=''):
        return Answer(read_all(self.send(path, body, method, more)))

    def load(self):
        return self.ask('/load').json()

    def wait(self, what, ready):
        end = time.monotonic() + DEADLINE
        while not ready(self.load()):
            check(time.monotonic() < end, f'waited in vain for {what}: {self.load()}')

    def wait_closed(self):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            try:
                self.connect().close()
            except (ConnectionRefusedError, FileNotFoundError):
                return
            except BlockingIOError:
                pass  # still listening, and its line of new connections is full: Linux says EAGAIN
        check(False, 'it still takes connections')

    def end(self, signo=signal.SIGTERM):
        self.child.send_signal(signo)
        return self.child.wait(DEADLINE)


def used(usage):
    """What was asked and said; what of it was found in the cache depends on who was here before."""
    return {k: v for k, v in usage.items() if k not in ('prompt_cache_hit_tokens', 'prompt_cache_miss_tokens',
                                                        'prompt_tokens_details')}


def read_all(s):
    parts = []
    while True:
        part = s.recv(65536)
        if not part:
            s.close()
            return b''.join(parts)
        parts.append(part)


class Answer:
    def __init__(self, raw):
        head, _, body = raw.partition(b'\r\n\r\n')
        lines = head.decode().split('\r\n')
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v.strip() for k, v in (line.split(':', 1) for line in lines[1:])}
        if self.headers.get('transfer-encoding') == 'chunked':
            rest, body = body, b''
            while rest:
                size, _, rest = rest.partition(b'\r\n')
                n = int(size, 16)
                body, rest = body + rest[:n], rest[n + 2:]
                if n == 0:
                    break
        self.body = body

    def json(self):
        return json.loads(self.body)

    def events(self):
        out = []
        for block in self.body.decode().split('\n\n'):
            if block.startswith('data: '):
                out.append(block[6:])
            else:
                check(block == '' or block.startswith(':'), f'not an event: {block!r}')
        return out

    def chunks(self):
        events = self.events()
        check(events[-1] == '[DONE]', 'the stream ends with [DONE]')
        return [json.loads(e) for e in events[:-1]]

    def error(self, status, code, param=...):
        check(self.status == status, f'{self.status} {self.body[:300]!r}, wanted {status} {code}')
        e = self.json()['error']
        check(e['code'] == code and e['message'], f'{e}, wanted {code}')
        if param is not ...:
            check(e['param'] == param, f'{e}, wanted param {param}')
        return e


def text_of(chunks, kind='content'):
    return ''.join((c['choices'][0]['delta'].get(kind) or '') for c in chunks if c['choices'])


def question(engine, **extra):
    return {'model': engine.model, 'stream': True, 'max_tokens': 60, 'seed': 7, 'ignore_eos': True,
            'stream_options': {'include_usage': True},
            'messages': [{'role': 'system', 'content': 'Be kind.'}, {'role': 'user', 'content': 'What is 12 + 30?'}],
            **extra}


def pages(e):
    check(e.ask('/health').json() == {'status': 'ok'}, 'health')
    ids = [m['id'] for m in e.ask('/v1/models').json()['data']]
    check(ids[0] == e.model and 'deepseek-chat' in ids and 'deepseek-reasoner' in ids, ids)
    check(e.ask('/models/' + e.model).json()['id'] == e.model, 'one model')
    e.ask('/models/none').error(404, 'model_not_found')
    load = e.load()
    check(load['slots'] == 4 and load['running'] == 0 and load['page'] == 64, load)
    check('evenkeel_engine_slots 4' in e.ask('/metrics').body.decode(), 'metrics')
    e.ask('/nothing').error(404, 'not_found')
    e.ask('/v1/chat/completions').error(405, 'method_not_allowed')
    t = e.ask('/tokenize', {'content': 'hello there'}).json()
    check(t['count'] == len(t['tokens']) > 0, t)
    m = e.ask('/tokenize', {'messages': question(e)['messages']}).json()
    check(m['count'] > t['count'], m)


def load_in_a_header(e):
    name, body = 'endpoint-load-metrics', question(e)
    check(name not in e.ask('/v1/chat/completions', body).headers, 'only who asks is told')
    for stream in (False, True):
        body['stream'] = stream
        for form in ('TEXT', 'JSON'):
            answer = e.ask('/v1/chat/completions', body, more=f'{name}-format: {form}\r\n')
            said = answer.headers[name]
            check(said.startswith(form + ' '), said)
            if form == 'JSON':
                values = json.loads(said[5:])['named_metrics']
            else:
                values = dict(item.strip().removeprefix('named_metrics.').split('=') for item in said[5:].split(','))
            check(set(values) == {'kv_cache_usage_perc', 'num_requests_running', 'num_requests_waiting'}, said)
            check(0 <= float(values['kv_cache_usage_perc']) <= 1, said)


def stream_and_whole(e):
    a = e.ask('/v1/chat/completions', question(e))
    check(a.status == 200 and a.headers['content-type'].startswith('text/event-stream'), a.headers)
    chunks = a.chunks()
    check(chunks[0]['choices'][0]['delta']['role'] == 'assistant', chunks[0])
    check(len({c['id'] for c in chunks}) == 1 and a.headers['x-request-id'] == chunks[0]['id'], 'one id')
    check(chunks[-1]['choices'] == [] and all(c['usage'] is None for c in chunks[:-1]), 'usage comes last')
    usage = chunks[-1]['usage']
    check(usage['completion_tokens'] == 60 and usage['total_tokens'] == 60 + usage['prompt_tokens'], usage)
    check(usage['prompt_tokens'] == e.ask('/tokenize', {'messages': question(e)['messages']}).json()['count'], usage)
    finish = [c['choices'][0]['finish_reason'] for c in chunks[:-1]]
    check(finish[-1] == 'length' and not any(finish[:-1]), finish)
    counted = [c['ek'] for c in chunks if 'ek' in c]
    check(sum(len(k['ids']) for k in counted) == 60 and counted[-1]['n'] == 60, counted)
    whole = e.ask('/chat/completions', question(e, stream=False)).json()
    message = whole['choices'][0]['message']
    check((message['content'] or '') == text_of(chunks), 'whole and streamed say the same')
    check((message.get('reasoning_content') or '') == text_of(chunks, 'reasoning_content'), 'and think the same')
    check(used(whole['usage']) == used(usage) and whole['choices'][0]['finish_reason'] == 'length', whole)
    return chunks


def continuation(e, chunks):
    """From every cut between two chunks the rest is what it was."""
    steps = [c for c in chunks if 'ek' in c]
    for cut in range(0, len(steps), CUT_STRIDE):
        prefix = [i for c in steps[:cut] for i in c['ek']['ids']]
        again = e.ask('/v1/chat/completions', question(e, ek={'prefix': prefix, 'request_id': 'again-1'})).chunks()
        check(again[0]['id'] == 'chatcmpl-again-1', again[0])
        check(all('role' not in c['choices'][0]['delta'] for c in again[:-1]), 'the role is not said again')
        for kind in ('content', 'reasoning_content'):
            check(text_of(steps[:cut], kind) + text_of(again, kind) == text_of(chunks, kind), f'cut {cut} {kind}')
        check(used(again[-1]['usage']) == used(chunks[-1]['usage']), f'cut {cut} usage')
    all_ids = [i for c in steps for i in c['ek']['ids']]
    done = e.ask('/v1/chat/completions', question(e, ek={'prefix': all_ids})).chunks()
    check(done[-2]['choices'][0]['finish_reason'] == 'length' and text_of(done) == '', 'nothing is left to say')


def stops(e, chunks):
    text = text_of(chunks)
    if len(text) < 12:
        return
    stop = text[8:10]
    want = text[:text.index(stop)]
    got = e.ask('/v1/chat/completions', question(e, stop=[stop, 'never in the text'])).chunks()
    check(text_of(got) == want, f'{text_of(got)!r}, wanted {want!r}')
    check(got[-2]['choices'][0]['finish_reason'] == 'stop', got[-2])
    check(got[-1]['usage']['completion_tokens'] < 60, got[-1])
    e.wait('the stopped job to leave', lambda l: l['running'] == 0)


def thinking(e, chunks):
    if not text_of(chunks, 'reasoning_content'):
        return
    off = e.ask('/v1/chat/completions', question(e, thinking={'type': 'disabled'})).chunks()
    check(text_of(off, 'reasoning_content') == '' and text_of(off), 'it can be switched off')
    check(off[-1]['usage']['completion_tokens_details']['reasoning_tokens'] == 0, off[-1])
    chat = e.ask('/v1/chat/completions', question(e, model='deepseek-chat')).chunks()
    check(text_of(chat) == text_of(off) and chat[0]['model'] == 'deepseek-chat', 'by the alias, too')
    on = e.ask('/v1/chat/completions', question(e, model='deepseek-reasoner')).chunks()
    check(text_of(on, 'reasoning_content') == text_of(chunks, 'reasoning_content'), 'and on')
    short = e.ask('/v1/chat/completions', question(e, thinking={'type': 'enabled', 'budget_tokens': 5})).chunks()
    check(short[-1]['usage']['completion_tokens_details']['reasoning_tokens'] == 5, short[-1])
    check(text_of(short) != '', 'and then it answers')


def completions(e):
    a = e.ask('/v1/completions', {'prompt': 'Once upon', 'max_tokens': 8, 'seed': 1, 'ignore_eos': True}).json()
    check(a['object'] == 'text_completion' and a['usage']['completion_tokens'] == 8, a)
    ids = e.ask('/tokenize', {'content': 'Once upon', 'add_special': True}).json()['tokens']
    b = e.ask('/v1/completions', {'prompt': ids, 'max_tokens': 8, 'seed': 1, 'ignore_eos': True}).json()
    check(a['choices'][0]['text'] == b['choices'][0]['text'], 'text and ids are the same prompt')
    c = e.ask('/v1/chat/completions', question(e, stream=False, logprobs=True, top_logprobs=3, max_tokens=4)).json()
    lists = c['choices'][0]['logprobs']
    entries = lists['content'] + lists.get('reasoning_content', [])
    check(len(entries) == 4 and all(len(x['top_logprobs']) == 3 for x in entries), lists)


def said(choice):
    """All of a whole choice that a seed decides."""
    m = choice.get('message') or {'content': choice.get('text')}
    calls = [c['function'] for c in m.get('tool_calls') or []]
    return (m.get('content') or '', m.get('reasoning_content') or '', calls, choice['finish_reason'],
            json.dumps(choice.get('logprobs')))


def gathered(chunks):
    """Choices of a stream by index, each with its role first and its end last."""
    out = {}
    for c in chunks:
        for choice in c['choices']:
            d = choice.get('delta') or {'content': choice.get('text'), 'role': 'none'}
            k = out.setdefault(choice['index'], {'content': '', 'reasoning_content': '', 'arguments': {}, 'end': None,
                                                 'role': d.get('role'), 'ids': []})
            check(k['end'] is None, f'nothing behind the end of choice {choice["index"]}')
            for kind in ('content', 'reasoning_content'):
                k[kind] += d.get(kind) or ''
            for call in d.get('tool_calls') or []:
                at = call['index']
                k['arguments'][at] = k['arguments'].get(at, '') + call['function'].get('arguments', '')
            k['end'] = choice['finish_reason']
            k['ids'] += c.get('ek', {}).get('ids', [])
            if c.get('ek', {}).get('ids'):
                check(c['ek']['n'] == len(k['ids']), f"ek.n counts one choice: {c['ek']}")
    return out


def several(e):
    """n choices share a prompt, and each is what a request for it alone would get."""
    word = {'type': 'object', 'properties': {'word': {'type': 'string', 'maxLength': 12}}, 'required': ['word'],
            'additionalProperties': False}
    tool = {'type': 'function', 'function': {'name': 'f', 'strict': True, 'parameters': word}}
    form = {'type': 'json_schema', 'json_schema': {'name': 'w', 'schema': word}}
    chat, text = '/v1/chat/completions', '/v1/completions'
    # Without its sheet of paper no model of this size knows that, so seeds differ.
    plain = {'temperature': 2, 'max_tokens': 20, 'thinking': {'type': 'disabled'},
             'messages': [{'role': 'user', 'content': 'What is 478 * 96?'}]}
    held = dict(plain, ignore_eos=False, max_tokens=120)
    forms = ((chat, 4, dict(plain, logprobs=True, top_logprobs=2)), (chat, 2, dict(held, response_format=form)),
             (chat, 3, dict(plain, stop=['e', '1'])), (chat, 2, dict(held, tools=[tool], tool_choice='required')),
             (text, 3, dict(plain, prompt='Once upon a time ' * 20)))
    for path, n, more in forms[:2] if LIGHT else forms:
        body = question(e, stream=False, **more)
        if path == text:
            del body['messages']
        alone = [e.ask(path, dict(body, seed=7 + i)).json() for i in range(n)]
        whole = e.ask(path, dict(body, n=n)).json()
        check([c['index'] for c in whole['choices']] == list(range(n)), whole)
        want = [said(a['choices'][0]) for a in alone]
        check([said(c) for c in whole['choices']] == want, f'{n} of {more}: {str(whole)[:600]}, wanted {str(want)[:600]}')
        check(len({str(w[:3]) for w in want}) > 1, f'they differ: {str(want)[:600]}')
        usage = whole['usage']
        check(usage['prompt_tokens'] == alone[0]['usage']['prompt_tokens'], usage)
        check(usage['completion_tokens'] == sum(a['usage']['completion_tokens'] for a in alone), usage)
        chunks = e.ask(path, dict(body, n=n, stream=True)).chunks()
        got = gathered(chunks)
        check(sorted(got) == list(range(n)), f'all are there: {sorted(got)}')
        for i, k in got.items():
            check(k['role'] == ('assistant' if path == chat else 'none'), f'choice {i} begins with its role')
            calls = [f['arguments'] for f in want[i][2]]
            check((k['content'], k['reasoning_content'], list(k['arguments'].values()), k['end']) ==
                  (want[i][0], want[i][1], calls, want[i][3]), f'{i} of {n}: {str(k)[:600]}, wanted {str(want[i])[:600]}')
        check(used(chunks[-1]['usage']) == used(usage), f"{chunks[-1]['usage']}, wanted {usage}")
        check(sum('prompt' in c.get('ek', {}) for c in chunks) == 1, 'the prompt is counted once')
    begun = e.send(chat, question(e, n=8, max_tokens=100000))
    check(begun.recv(12) == b'HTTP/1.1 200', 'accepted')
    e.wait('the others to come', lambda l: l['running'] == 4 and l['waiting'] == 4)
    begun.close()
    e.wait('all of them to be cancelled', lambda l: l['running'] == 0 and l['waiting'] == 0)


def refusals(e):
    ask = lambda body: e.ask('/v1/chat/completions', body)
    ask(b'{"messages":').error(400, 'invalid_json')
    ask(b'{"model":"a","model":"b"}').error(400, 'duplicate_key')
    ask({'messages': 5}).error(400, 'invalid_type', 'messages')
    ask(question(e, temperature='hot')).error(400, 'invalid_type', 'temperature')
    ask(question(e, model='gpt-9')).error(404, 'model_not_found', 'model')
    ask(question(e, n=9)).error(400, 'unsupported', 'n')
    ask(question(e, n=0)).error(400, 'invalid_value', 'n')
    ask(question(e, n=2, ek={'prefix': [1]})).error(400, 'unsupported', 'ek.prefix')
    e.ask('/v1/completions', {'prompt': 'a', 'best_of': 3}).error(400, 'unsupported', 'best_of')
    tool = {'type': 'function', 'function': {'name': 'f'}}
    ask(question(e, tools=[tool], ignore_eos=True)).error(400, 'invalid_value', 'ignore_eos')
    ask(question(e, ek={'prefix': [10 ** 9]})).error(400, 'invalid_value', 'ek.prefix')
    long = [{'role': 'user', 'content': 'word and word ' * 30000}]  # long enough for the helper thread
    ask(question(e, messages=long)).error(400, 'context_length_exceeded', 'messages')
    e.ask('/v1/completions', {'prompt': [1] * 100000}).error(400, 'context_length_exceeded')
    check(e.load()['running'] == 0, 'none of these ran')


def crowd(e):
    """Four slots, one place to wait: of seven that want to talk for long, two are told to come back."""
    begun = [e.send('/v1/chat/completions', question(e, max_tokens=100000, seed=i)) for i in range(5)]
    for s in begun[:4]:
        check(s.recv(12) == b'HTTP/1.1 200', 'accepted')
    e.wait('one to wait', lambda l: l['running'] == 4 and l['waiting'] == 1)
    for _ in range(2):
        a = e.ask('/v1/chat/completions', question(e))
        a.error(503, 'engine_queue_full')
    for s in begun:
        s.close()
    e.wait('all to be cancelled', lambda l: l['running'] == 0 and l['waiting'] == 0)


def slow_reader(e):
    """One client does not read; the others do not notice, and it still gets every token."""
    slow = e.send('/v1/chat/completions', question(e, max_tokens=SLOW_TOKENS, logprobs=True, top_logprobs=20))
    check(slow.recv(12) == b'HTTP/1.1 200', 'accepted')
    quick = e.ask('/v1/chat/completions', question(e)).chunks()
    check(quick[-1]['usage']['completion_tokens'] == 60, 'the quick one is served')
    e.wait('the slow one to be computed', lambda l: l['running'] == 0)
    a = Answer(b'HTTP/1.1 200' + read_all(slow))
    chunks = a.chunks()
    check(sum(len(c['ek']['ids']) for c in chunks if 'ek' in c) == SLOW_TOKENS, 'nothing was lost')
    check('evenkeel_engine_gathered_total 0' not in e.ask('/metrics').body.decode(), 'its text was kept back')


def deadline(e):
    """A request that cannot begin by its deadline is told so, with a true status."""
    busy = [e.send('/v1/chat/completions', question(e, max_tokens=100000, seed=i)) for i in range(4)]
    for s in busy:
        check(s.recv(12) == b'HTTP/1.1 200', 'accepted')
    e.ask('/v1/chat/completions', question(e, ek={'deadline_ms': 1})).error(503, 'deadline')
    for s in busy:
        s.close()
    e.wait('quiet', lambda l: l['running'] == 0 and l['waiting'] == 0)


def leaving(work):
    e = Engine(work, '--slots', '4', '--kv-type', 'f32')
    s = e.send('/v1/chat/completions', question(e, max_tokens=100 if LIGHT else 200))
    check(s.recv(12) == b'HTTP/1.1 200', 'accepted')
    e.child.send_signal(signal.SIGTERM)
    chunks = Answer(b'HTTP/1.1 200' + read_all(s)).chunks()
    check(chunks[-1]['usage']['completion_tokens'] == (100 if LIGHT else 200), 'a running answer may end')
    check(e.child.wait(DEADLINE) == 0, 'and then it leaves')
    e = Engine(work, '--slots', '4', '--kv-type', 'f32')
    s = e.send('/v1/chat/completions', question(e, max_tokens=1000000))
    check(s.recv(12) == b'HTTP/1.1 200', 'accepted')
    e.child.send_signal(signal.SIGTERM)
    e.wait_closed()  # two signals at once would be one
    check(e.end() == 0, 'the second signal ends it at once')
    read_end, write_end = os.pipe()
    e = Engine(work, '--kv-type', 'f32', '--orphan-fd', str(read_end), pass_fds=[read_end])
    s = e.send('/v1/chat/completions', question(e, max_tokens=1000000))
    check(s.recv(12) == b'HTTP/1.1 200', 'accepted')
    os.close(read_end)
    os.close(write_end)
    check(e.child.wait(DEADLINE) == 0, 'an orphan ends itself')


def main():
    if not os.path.exists(MODEL):
        print(f'SKIP: {MODEL} is missing')
        return 77
    with tempfile.TemporaryDirectory() as work:
        e = Engine(work, '--slots', '4', '--engine-waiting', '1', '--kv-type', 'f32')
        try:
            pages(e)
            load_in_a_header(e)
            chunks = stream_and_whole(e)
            continuation(e, chunks)
            stops(e, chunks)
            thinking(e, chunks)
            completions(e)
            several(e)
            refusals(e)
            crowd(e)
            slow_reader(e)
            deadline(e)
            check(e.end() == 0, 'it leaves in good order')
        finally:
            if e.child.poll() is None:
                e.child.kill()
        leaving(work)
    print(f'{checks} checks passed with {os.path.basename(MODEL)}')
    return 0


sys.exit(main())
