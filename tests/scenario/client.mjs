// SPDX-License-Identifier: MIT
// Clients of the scenarios that see more than an SDK shows: every comment and its moment, how the
// connection ended, and whether an answer that claims to be complete is. And a raw socket for requests
// that no library would send.
import http from 'node:http';
import net from 'node:net';
import { KEY, within } from './lib.mjs';

// One POST with every byte's moment. Result: {status, headers, text, marks: [{ms, bytes}], end, ms}
// where end is 'end' (orderly), 'cut' (died in mid-body) or 'refused' (no answer at all).
export function post(door, path, body, { headers = {}, signal, agent, onBytes } = {}) {
  const payload = Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body);
  const begin = performance.now();
  return new Promise((resolve) => {
    const r = { status: 0, headers: {}, text: '', marks: [], end: 'refused', ms: 0, error: null };
    const finish = (end, error) => {
      r.end = end;
      r.error = error ?? null;
      r.ms = performance.now() - begin;
      resolve(r);
    };
    const req = http.request({
      host: '127.0.0.1', port: door.port, path, method: 'POST', agent: agent ?? false, signal,
      headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(payload),
                 Authorization: `Bearer ${KEY}`, ...headers },
    }, (res) => {
      r.status = res.statusCode;
      r.headers = res.headers;
      r.head_ms = performance.now() - begin;
      const parts = [];
      res.on('data', (d) => {
        parts.push(d);
        r.marks.push({ ms: performance.now() - begin, bytes: d });
        onBytes?.(d, r);
      });
      const text = () => { r.text = Buffer.concat(parts).toString('utf8'); };
      res.on('end', () => { text(); finish(res.complete ? 'end' : 'cut'); });
      res.on('error', (e) => { text(); finish('cut', e.message); });
    });
    req.on('error', (e) => finish(r.status ? 'cut' : 'refused', e.message));
    req.end(payload);
  });
}

// Reads an SSE body as the standard says. Result: {events: [{id, data}], comments, tail} where tail is
// what stood behind the last complete event.
export function parseSse(text) {
  const events = [];
  const comments = [];
  const blocks = text.replace(/\r\n/g, '\n').split('\n\n');
  const tail = blocks.pop();
  for (const block of blocks) {
    const data = [];
    let id;
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) comments.push(line);
      else if (line.startsWith('data:')) data.push(line.slice(5).replace(/^ /, ''));
      else if (line.startsWith('id:')) id = line.slice(3).trim();
    }
    if (data.length) events.push({ id, data: data.join('\n') });
  }
  return { events, comments, tail };
}

// What a careful client concludes from a response, streamed or not:
//   {complete, text, thought, finish, usage, error, done, comments, ids}
export function digest(r, n = Infinity) { // n: choices that were asked for
  const d = { status: r.status, end: r.end, text: '', thought: '', finish: null, usage: null, error: null,
              done: false, comments: [], ids: [], bad: null, complete: false };
  const ended = new Set();
  const take = (choice) => {
    const part = choice?.delta ?? choice?.message;
    if (ended.has(choice?.index) && (part?.content || part?.reasoning_content || choice?.finish_reason)) d.bad = 'more behind its end';
    if (choice?.finish_reason) ended.add(choice.index);
    if (choice?.index >= n) d.bad = 'a choice that nobody asked for';
    d.text += part?.content ?? '';
    d.thought += part?.reasoning_content ?? '';
    if (choice?.finish_reason) d.finish = choice.finish_reason;
  };
  if (/event-stream/.test(r.headers['content-type'] ?? '')) {
    const sse = parseSse(r.text);
    d.comments = sse.comments;
    for (const { id, data } of sse.events) {
      if (id !== undefined) d.ids.push(id);
      if (data === '[DONE]') { d.done = true; continue; }
      let v;
      try { v = JSON.parse(data); } catch { d.bad = data.slice(0, 200); continue; }
      if (v.error) d.error = v.error;
      if (v.usage) d.usage = v.usage;
      if (!v.error && !Array.isArray(v.choices)) d.bad = data.slice(0, 200); // SDKs stumble over these
      else for (const c of v.choices ?? []) take(c);
    }
    d.complete = r.status === 200 && r.end === 'end' && d.done && d.finish !== null && !d.error && !d.bad;
    return d;
  }
  let v;
  try { v = JSON.parse(r.text); } catch { d.bad = r.text.slice(0, 200); return d; }
  if (v.error) d.error = v.error;
  d.usage = v.usage ?? null;
  for (const c of v.choices ?? []) take(c);
  d.complete = r.status === 200 && r.end === 'end' && d.finish !== null && !d.error;
  return d;
}

// Honest means: either complete, or the caller can tell: an error status or an error object (in the
// OpenAI envelope), or at the very least a broken connection. Returns null or what is dishonest.
export function dishonest(r, d = r.digest ?? digest(r)) {
  if (d.complete) return null;
  if (r.status >= 400) {
    if (!d.error || typeof d.error.message !== 'string' || !('code' in d.error)) {
      return `status ${r.status} without the error envelope: ${r.text.slice(0, 200)}`;
    }
    return null;
  }
  if (r.status === 200 && d.error && typeof d.error.message === 'string') {
    if (d.finish === 'stop') return 'an error event after finish_reason "stop"';
    return null;
  }
  return `status ${r.status}, end ${r.end}, no error, not complete: ${r.text.slice(-300)}`;
}

export const ask = (door, body, options) =>
  post(door, '/v1/chat/completions', body, options).then((r) => ({ ...r, digest: digest(r, body.n ?? 1) }));

// Sends bytes as they are; resolves with all that came back once the peer closed, or after quiet_ms
// without a byte (for requests that rightly leave the connection open).
export function raw(port, parts, { quiet_ms = 1500, halfClose = false, gap } = {}) {
  return within(20000, new Promise((resolve) => {
    const list = Array.isArray(parts) ? parts : [parts];
    const got = [];
    let timer;
    const s = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const finish = (closed) => {
      clearTimeout(timer);
      s.destroy();
      const text = Buffer.concat(got).toString('latin1');
      resolve({ text, closed, statuses: [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((m) => Number(m[1])) });
    };
    const arm = () => { clearTimeout(timer); timer = setTimeout(() => finish(false), quiet_ms); };
    s.on('connect', async () => {
      s.setNoDelay(true);
      for (const p of list) {
        if (s.destroyed) return;
        s.write(typeof p === 'string' ? Buffer.from(p, 'latin1') : p);
        if (gap) await gap();
      }
      if (halfClose) s.end();
      arm();
    });
    s.on('data', (d) => { got.push(d); arm(); });
    s.on('end', () => finish(true));
    s.on('error', () => finish(true));
    s.on('close', () => finish(true));
  }), 'a raw exchange');
}
