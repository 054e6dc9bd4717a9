// SPDX-License-Identifier: MIT
// An upstream that misbehaves on request. Every completion request may carry a body member
// `fault` ({kind, at, ms, times, key} or just the kind); `times` bounds how often the fault strikes
// for one `key`, after that the answer is whole. Records every request byte for byte.
// Usable as a module (startFaulty) and by hand: node faulty.mjs PORT.
// Must never listen beyond loopback.
import http from 'node:http';
import { fileURLToPath } from 'node:url';

const SYLLABLES = ['ka', 'lo', 'mi', 'ne', 'ru', 'sta', 'té', 'vo', 'zi', '帆', '船', '🙂', 'dor', 'fen'];

// The whole answer for a seed: the thought, then the text, as lists of tokens.
export function answerOf(seed, tokens = 24, thinkTokens = 8) {
  let state = (Number(seed) * 2654435761 + 12345) >>> 0;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 8;
  const word = () => ' ' + SYLLABLES[next() % SYLLABLES.length] + SYLLABLES[next() % SYLLABLES.length];
  return {
    thought: Array.from({ length: thinkTokens }, word),
    text: Array.from({ length: tokens }, word),
  };
}

// kind -> what it does, for the test's table and for --help.
export const FAULTS = {
  'ok': 'a whole and correct answer',
  '400': 'refusal in the OpenAI envelope',
  '401': 'the key is refused',
  '404': 'no such model',
  '429': 'overloaded, without Retry-After',
  '429-retry': 'overloaded, Retry-After: 2',
  '500': 'internal error, JSON envelope',
  '500-html': 'internal error, an HTML page',
  '503': 'overloaded, no body at all',
  'reset-before-head': 'RST before a byte',
  'close-before-head': 'FIN before a byte',
  'reset-in-head': 'half a head, then RST',
  'close-after-head': '200 and the head, then FIN without the chunk terminator',
  'mute': 'takes the request and says nothing at all',
  'slow-first': 'the head at once, the first token after `ms`',
  'cut-thought': 'RST after `at` tokens of thought',
  'cut-answer': 'RST after `at` tokens of text',
  'fin-answer': 'FIN in mid-stream, without the chunk terminator',
  'clean-cut': 'orderly end of the body after `at` tokens: no finish, no usage, no [DONE]',
  'stall': 'silence after `at` tokens, connection open',
  'keepalives': 'comments for ever after `at` tokens',
  'malformed-chunk': 'an event that is not JSON after `at` tokens',
  'wrong-shape': 'an event that is JSON of the wrong types',
  'bad-coding': 'an invalid chunk size in the transfer coding',
  'error-event': 'an event with a top-level error after `at` tokens',
  'split-utf8': 'whole answer, every byte in a write of its own',
  'crlf': 'whole answer with CRLF line ends, comments and id: lines',
  'cr': 'whole answer with bare CR line ends',
  'glued': 'whole answer in a single write',
  'trickle': 'whole answer, a pause of `ms` before each token',
  'no-done': 'finish and usage, but no [DONE]',
  'no-usage': 'finish and [DONE], but no usage',
  'vast-usage': 'four thousand million tokens, it says',
  'odd-usage': 'usage of half a token, and of a text',
  'alien-choice': 'a second choice, which nobody asked for, after `at` tokens',
  'late-stall': 'the finish, then silence, connection open',
  'late-garbage': 'the finish, then an event that is not JSON',
  'late-error': 'the finish, then an event with a top-level error',
  'late-reset': 'the finish, then RST in the middle of an event',
  'no-finish': 'all tokens and [DONE], but no finish_reason and no usage',
  'empty-data': 'a `data:` line with nothing behind it, then goes on',
  'empty-200': '200 with Content-Length: 0',
  'empty-stream': '200 text/event-stream that ends at once in good order',
  'only-done': '200 and [DONE] alone',
  'wrong-type': '200 text/html',
  'plain-json': '200 with one whole JSON document although a stream was asked for',
  'error-200': '200 with an error envelope as JSON',
  'huge-line': 'one event of 4 MB',
  'short-length': 'Content-Length larger than the body, then FIN',
};

const sleepless = new Set(['mute', 'stall', 'keepalives', 'late-stall']);

function chunk(model, delta, finish = null, extra = {}) {
  return { id: 'chatcmpl-faulty', object: 'chat.completion.chunk', created: 1700000000, model,
           choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }], ...extra };
}

class Answer {
  constructor(server, req, res, body) {
    this.server = server;
    this.res = res;
    this.socket = req.socket;
    this.body = body;
    this.model = typeof body.model === 'string' ? body.model : 'faulty';
    const { thought, text } = answerOf(body.seed ?? 0, body.fault_tokens ?? 24, body.fault_think ?? 8);
    this.thought = thought;
    this.text = this.afterPrefix(text);
    this.carried = thought.length + text.length - this.thought.length - this.text.length;
    this.eol = '\n';
  }

  // A continuation: the last message is the assistant's own beginning, thought and text or one of them; so
  // answer from there on. Whatever does not fit is answered from the beginning.
  afterPrefix(text) {
    const last = Array.isArray(this.body.messages) ? this.body.messages.at(-1) : undefined;
    if (last?.role !== 'assistant' || typeof last.content !== 'string') return text;
    const skip = (tokens, said) => {
      let left = said;
      let used = 0;
      while (used < tokens.length && left !== '' && left.startsWith(tokens[used])) left = left.slice(tokens[used++].length);
      return left === '' ? used : -1;
    };
    const thought = skip(this.thought, last.reasoning_content ?? '');
    const used = skip(text, last.content);
    if (thought < 0 || used < 0) return text;
    this.thought = last.content !== '' ? [] : this.thought.slice(thought);
    return text.slice(used);
  }

  head(type = 'text/event-stream; charset=utf-8') {
    this.res.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'no-cache' });
    this.res.flushHeaders();
  }
  event(value) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    this.res.write(`data: ${text}${this.eol}${this.eol}`);
  }
  tokens(limitThought = Infinity, limitText = Infinity) {
    this.event(chunk(this.model, { role: 'assistant', content: null, reasoning_content: '' }));
    for (const t of this.thought.slice(0, limitThought)) this.event(chunk(this.model, { reasoning_content: t }));
    if (limitThought < this.thought.length) return;
    for (const t of this.text.slice(0, limitText)) this.event(chunk(this.model, { content: t }));
  }
  usage() {
    const completion = this.thought.length + this.text.length;
    const prompt = 10 + this.carried; // what it was given to go on with is prompt to it
    if (this.odd) return { prompt_tokens: `${prompt}`, completion_tokens: 0.5, total_tokens: [] };
    if (this.vast) return { prompt_tokens: prompt, completion_tokens: 4e9, total_tokens: 4e9 + prompt };
    return { prompt_tokens: prompt, completion_tokens: completion, total_tokens: prompt + completion,
             prompt_tokens_details: { cached_tokens: 0 },
             completion_tokens_details: { reasoning_tokens: this.thought.length } };
  }
  tail({ finish = true, usage = true, done = true } = {}) {
    if (finish) this.event(chunk(this.model, {}, 'stop'));
    if (usage && this.body.stream_options?.include_usage) {
      this.event({ ...chunk(this.model, {}), choices: [], usage: this.usage() });
    }
    if (done) this.event('[DONE]');
    this.res.end();
  }
  document() {
    return { id: 'chatcmpl-faulty', object: 'chat.completion', created: 1700000000, model: this.model,
             choices: [{ index: 0, finish_reason: 'stop', logprobs: null,
                         message: { role: 'assistant', content: this.text.join(''),
                                    reasoning_content: this.thought.join('') } }],
             usage: this.usage() };
  }
  json(status, value, headers = {}) {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    this.res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
    this.res.end(text);
  }
  refuse(status, message, headers) {
    this.json(status, { error: { message, type: 'upstream_error', param: null, code: `faulty_${status}` } }, headers);
  }
  whole() {
    if (!this.body.stream) return this.json(200, this.document());
    this.head();
    this.tokens();
    this.tail();
  }
  // Everything written so far goes out before the cut; only then the socket dies.
  cut(how) {
    this.res.write('', () => setImmediate(() => (how === 'rst' ? this.socket.resetAndDestroy() : this.socket.destroy())));
  }

  // long: one case a fault, so that the table above and the deeds can be read side by side.
  run(fault) {
    const at = fault.at ?? 5;
    switch (fault.kind) {
      case 'ok': return this.whole();
      case '400': return this.refuse(400, 'the request is wrong, says the upstream');
      case '401': return this.refuse(401, 'the upstream refuses the key');
      case '404': return this.refuse(404, 'no such model here');
      case '429': return this.refuse(429, 'too many requests');
      case '429-retry': return this.refuse(429, 'too many requests', { 'Retry-After': '2' });
      case '500': return this.refuse(500, 'the upstream broke');
      case '500-html':
        this.res.writeHead(500, { 'Content-Type': 'text/html' });
        return this.res.end('<html><body>Internal Server Error</body></html>');
      case '503':
        this.res.writeHead(503, { 'Content-Length': '0' });
        return this.res.end();
      case 'reset-before-head': return this.socket.resetAndDestroy();
      case 'close-before-head': return this.socket.destroy();
      case 'reset-in-head':
        return this.socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/ev', () => this.socket.resetAndDestroy());
      case 'mute': return undefined;
      case 'close-after-head': this.head(); return this.cut('fin');
      case 'slow-first':
        this.head();
        return this.later(fault.ms ?? 300, () => { this.tokens(); this.tail(); });
      case 'cut-thought': this.head(); this.tokens(at, 0); return this.cut('rst');
      case 'cut-answer': this.head(); this.tokens(Infinity, at); return this.cut('rst');
      case 'fin-answer': this.head(); this.tokens(Infinity, at); return this.cut('fin');
      case 'clean-cut': this.head(); this.tokens(Infinity, at); return this.res.end();
      case 'stall': this.head(); return this.tokens(Infinity, at);
      case 'keepalives':
        this.head();
        this.tokens(Infinity, at);
        return this.every(fault.ms ?? 20, () => this.res.write(': keep-alive\n\n'));
      case 'malformed-chunk':
        this.head();
        this.tokens(Infinity, at);
        this.event('{"id":"x","choices":[{"delta":{"content":"torn');
        for (const t of this.text.slice(at)) this.event(chunk(this.model, { content: t }));
        return this.tail();
      case 'wrong-shape':
        this.head();
        this.tokens(Infinity, at);
        this.event({ id: 7, object: [], choices: { delta: 'none' }, usage: 'many' });
        for (const t of this.text.slice(at)) this.event(chunk(this.model, { content: t }));
        return this.tail();
      case 'bad-coding':
        return this.socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n' +
          'Transfer-Encoding: chunked\r\n\r\n1c\r\ndata: {"choices":[]}\n\n: pad..\r\nzz\r\nxx\r\n');
      case 'error-event':
        this.head();
        this.tokens(Infinity, at);
        this.event({ error: { message: 'the upstream broke in mid-stream', type: 'server_error', param: null, code: 'broke' } });
        return this.res.end();
      case 'split-utf8': return this.bytewise();
      case 'crlf':
        this.eol = '\r\n';
        this.head();
        this.res.write(': hello\r\n\r\nretry: 10\r\nid: 1\r\n');
        this.tokens();
        return this.tail();
      case 'cr':
        this.eol = '\r';
        this.head();
        this.tokens();
        return this.tail();
      case 'trickle': return this.trickle(fault.ms ?? 5);
      case 'glued': return this.glued();
      case 'no-done': this.head(); this.tokens(); return this.tail({ done: false });
      case 'vast-usage': this.vast = true; return this.whole();
      case 'odd-usage': this.odd = true; return this.whole();
      case 'alien-choice':
        this.head();
        this.tokens(Infinity, at);
        this.event({ ...chunk(this.model, {}), choices: [{ index: 1, delta: { content: 'alien' }, finish_reason: null }] });
        for (const t of this.text.slice(at)) this.event(chunk(this.model, { content: t }));
        return this.tail();
      case 'late-stall': this.head(); this.tokens(); return this.event(chunk(this.model, {}, 'stop'));
      case 'late-garbage': this.head(); this.tokens(); this.event(chunk(this.model, {}, 'stop')); this.event('{"id":"x","choi'); return this.res.end();
      case 'late-error':
        this.head();
        this.tokens();
        this.event(chunk(this.model, {}, 'stop'));
        this.event({ error: { message: 'the upstream broke behind its end', type: 'server_error', param: null, code: 'broke' } });
        return this.res.end();
      case 'late-reset':
        this.head();
        this.tokens();
        this.event(chunk(this.model, {}, 'stop'));
        this.res.write('data: {"id":"x","choices":[],"usa');
        return this.cut('rst');
      case 'no-usage': this.head(); this.tokens(); return this.tail({ usage: false });
      case 'no-finish': this.head(); this.tokens(); return this.tail({ finish: false, usage: false });
      case 'empty-data': this.head(); this.res.write('data:\n\n'); this.tokens(); return this.tail();
      case 'empty-200':
        this.res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': '0' });
        return this.res.end();
      case 'empty-stream': this.head(); return this.res.end();
      case 'only-done': this.head(); this.event('[DONE]'); return this.res.end();
      case 'wrong-type':
        this.res.writeHead(200, { 'Content-Type': 'text/html' });
        return this.res.end('<html><body>Welcome to the captive portal</body></html>');
      case 'plain-json': return this.json(200, this.document());
      case 'error-200': return this.json(200, { error: { message: 'not today', type: 'server_error', param: null, code: 'no' } });
      case 'huge-line':
        this.head();
        this.event(chunk(this.model, { content: 'x'.repeat(4 << 20) }));
        return this.tail();
      case 'short-length':
        return this.socket.end('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"id":"x","choices":[');
      default: return this.refuse(400, `faulty: unknown fault ${fault.kind}`);
    }
  }

  trickle(ms) {
    this.head();
    const events = [{ role: 'assistant', content: null, reasoning_content: '' },
      ...this.thought.map((t) => ({ reasoning_content: t })), ...this.text.map((t) => ({ content: t }))];
    const timer = setInterval(() => {
      if (events.length) return this.event(chunk(this.model, events.shift()));
      clearInterval(timer);
      return this.tail();
    }, ms);
    this.socket.once('close', () => clearInterval(timer));
  }
  later(ms, fn) {
    const t = setTimeout(fn, ms);
    this.socket.once('close', () => clearTimeout(t));
  }
  every(ms, fn) {
    const t = setInterval(fn, ms);
    this.socket.once('close', () => clearInterval(t));
  }
  bodyText() {
    const saved = this.res;
    let text = '';
    this.res = { write: (s) => (text += s), end: () => {} };
    this.tokens();
    this.tail();
    this.res = saved;
    return Buffer.from(text);
  }
  glued() {
    this.head();
    this.res.end(this.bodyText());
  }
  bytewise() {
    this.head();
    this.socket.setNoDelay(true);
    const bytes = this.bodyText();
    let i = 0;
    const step = () => { // a few hundred writes a turn keep a 10 kB answer under a second
      for (let n = 0; n < 200 && i < bytes.length; n++, i++) this.res.write(bytes.subarray(i, i + 1));
      if (i < bytes.length) setImmediate(step); else this.res.end();
    };
    step();
  }
}

// Starts the upstream on a free loopback port. `log` holds {method, path, headers, body: Buffer, at_ms}.
// immune: it does nothing of what requests ask it to do wrong.
export async function startFaulty({ port = 0, models = ['faulty'], immune = false } = {}) {
  const log = [];
  const struck = new Map();
  const sockets = new Set();
  const state = { defaultFault: null, aborted: 0, open: 0 };

  const server = http.createServer((req, res) => {
    const parts = [];
    req.on('data', (d) => parts.push(d));
    req.on('end', () => {
      const raw = Buffer.concat(parts);
      log.push({ method: req.method, path: req.url, headers: req.headers, body: raw, at_ms: performance.now() });
      if (req.method === 'GET') {
        const known = /\/(models|health)$/.test(req.url);
        res.writeHead(known ? 200 : 404, { 'Content-Type': 'application/json' });
        return res.end(JSON.stringify(known
          ? { object: 'list', data: models.map((id) => ({ id, object: 'model', owned_by: 'faulty' })) }
          : { error: { message: 'no such path', type: 'invalid_request_error', param: null, code: null } }));
      }
      let body = {};
      try { body = JSON.parse(raw.toString('utf8')); } catch { /* the log has the bytes */ }
      let fault = body.fault ?? req.headers['x-fault'] ?? state.defaultFault ?? 'ok';
      if (immune) fault = 'ok';
      if (typeof fault === 'string') fault = { kind: fault };
      if (fault.times !== undefined) {
        const seen = (struck.get(fault.key ?? fault.kind) ?? 0) + 1;
        struck.set(fault.key ?? fault.kind, seen);
        if (seen > fault.times) fault = { kind: 'ok' };
      }
      state.open++;
      let over = false;
      res.on('close', () => {
        if (over) return;
        over = true;
        state.open--;
        if (!res.writableFinished && sleepless.has(fault.kind)) state.aborted++;
      });
      new Answer(server, req, res, body).run(fault);
    });
    req.on('error', () => {});
  });
  server.on('connection', (s) => {
    sockets.add(s);
    s.on('error', () => {});
    s.on('close', () => sockets.delete(s));
  });
  await new Promise((ok) => server.listen(port, '127.0.0.1', ok));
  return {
    port: server.address().port,
    url: `http://127.0.0.1:${server.address().port}`,
    log,
    state,
    completions: () => log.filter((r) => r.method === 'POST'),
    reset() { log.length = 0; struck.clear(); state.defaultFault = null; state.aborted = 0; },
    close: () => new Promise((ok) => { server.close(ok); for (const s of sockets) s.destroy(); }),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const up = await startFaulty({ port: Number(process.argv[2] ?? 0) });
  console.log(`faulty upstream on ${up.url}; faults by body member "fault":`);
  for (const [kind, text] of Object.entries(FAULTS)) console.log(`  ${kind.padEnd(18)} ${text}`);
}
