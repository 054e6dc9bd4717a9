#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An upstream with a metronome that keeps its own account of what it made: the other side of the books.

Speaks as much of the chat API as a door needs. One token is one chunk. To LOG it appends one JSON line when an
attempt at a request has ended, whatever way:

    {"id": X-Request-Id, "attempt": 1.., "prompt": tokens, "sent": tokens written, "usage": told to the end,
     "how": "whole" | "left" (the door closed) | "reset" | "status"}

What happens is the caller's choice, by members of the body that a door passes on untouched: paced_tokens,
paced_prompt, paced_rate (tokens a second), paced_usage ("end" or "each": usage in every chunk), paced_fail
{"after": tokens, "how": "reset" | "status", "times": attempts that fail so}.

Usage: paced.py LOG    prints "listening PORT"; ends with its standard input."""
import asyncio, json, sys

log = open(sys.argv[1], 'a', buffering=1)
attempts = {}


def note(**line):
    log.write(json.dumps(line) + '\n')


def chunk(request, model, delta, finish, usage):
    c = {'id': 'chatcmpl-' + request, 'object': 'chat.completion.chunk', 'created': 1, 'model': model,
         'choices': [{'index': 0, 'delta': delta, 'finish_reason': finish}]}
    if usage:
        c['usage'] = usage
    return b'data: ' + json.dumps(c, separators=(',', ':')).encode() + b'\n\n'


def usage_of(prompt, made):
    return {'prompt_tokens': prompt, 'completion_tokens': made, 'total_tokens': prompt + made}


async def answer(writer, gone, request, ask):
    tokens = min(int(ask.get('paced_tokens', 20)), int(ask.get('max_tokens', 1 << 30)))
    prompt, fail = int(ask.get('paced_prompt', 10)), ask.get('paced_fail') or {}
    period, each = 1 / float(ask.get('paced_rate', 200)), ask.get('paced_usage') == 'each'
    attempts[request] = attempt = attempts.get(request, 0) + 1
    failing = attempt <= fail.get('times', 0)
    sent, told, how = 0, False, 'left'
    try:
        if failing and fail['how'] == 'status':
            how = 'status'
            body = b'{"error":{"message":"the engine is unwell","code":"unwell"}}'
            writer.write(b'HTTP/1.1 500 No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' %
                         len(body) + body)
            return
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n')
        writer.write(chunk(request, ask['model'], {'role': 'assistant', 'content': ''}, None, None))
        clock = asyncio.get_running_loop()
        due = clock.time()
        for n in range(1, tokens + 1):
            due += period
            if failing and sent >= fail['after']:
                how = 'reset'
                writer.transport.abort()
                return
            if gone.done() or writer.is_closing():
                return
            await asyncio.sleep(max(0, due - clock.time()))
            writer.write(chunk(request, ask['model'], {'content': ' %d' % n}, None,
                               usage_of(prompt, n) if each else None))
            sent = n
            await writer.drain()
        told = True
        writer.write(chunk(request, ask['model'], {}, 'stop', usage_of(prompt, sent)) + b'data: [DONE]\n\n')
        how = 'whole'
        await writer.drain()
    except (ConnectionError, OSError):
        pass
    finally:
        note(id=request, attempt=attempt, prompt=prompt, sent=sent, usage=told, how=how)


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(':') for line in head[1:])}
            body = await reader.readexactly(int(headers.get('content-length', 0)))
            method, path = head[0].split(' ')[:2]
            if method == 'POST' and path.endswith('/chat/completions'):
                gone = asyncio.ensure_future(reader.read(1))
                await answer(writer, gone, headers.get('x-request-id', '?'), json.loads(body))
                gone.cancel()
                break
            text = b'{"object":"list","data":[{"id":"demo","object":"model"}]}' if path.endswith('/models') else b'{}'
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' %
                         len(text) + text)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, OSError, ValueError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', 0, limit=1 << 20)
    print('listening', server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
