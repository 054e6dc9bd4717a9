// SPDX-License-Identifier: MIT
// An upstream that says exactly what a test has written down, event by event: for what faulty.mjs has no word for.
//   const up = await startScripted(async (say, body, nth) => { say.role(); say.text('hi'); await say.closed; });
// `ours`: it speaks as our own engine does (/load).
import http from 'node:http';

const chunk = (index, delta, finish_reason, more) => ({
  id: 'x', object: 'chat.completion.chunk', created: 1700000000, model: 'faulty',
  choices: [{ index, delta, logprobs: null, finish_reason }], ...more });
const words = (index, text, finish_reason) => ({
  id: 'x', object: 'text_completion', created: 1700000000, model: 'faulty',
  choices: [{ index, text, logprobs: null, finish_reason }] });

// What a script speaks with. `closed`: when the door has let go of it, or it is over.
function voice(res, chat) {
  const event = (v) => res.write(`data: ${typeof v === 'string' ? v : JSON.stringify(v)}\n\n`);
  return {
    event,
    role: (more) => event(chunk(0, { role: 'assistant', content: '' }, null, more)),
    text: (text, index = 0, more = {}) => event(chat ? chunk(index, { content: text }, null, more) : words(index, text, null)),
    finish: (index = 0, more = {}) => event(chat ? chunk(index, {}, 'stop', more) : words(index, '', 'stop')),
    usage: (prompt_tokens, completion_tokens) => event({ ...chunk(0, {}, null), choices: [],
      usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens } }),
    end: () => { event('[DONE]'); res.end(); },
    die: () => res.destroy(),
    closed: new Promise((ok) => res.on('close', ok)),
  };
}

export async function startScripted(script, { ours = false, model = 'faulty' } = {}) {
  const load = { slots: 16, running: 0, waiting: 0, waiting_max: 32, kv_total: 6553600, kv_free: 6000000, page: 64,
    prefill_tps: 900, decode_tps: [[1, 40]], ctx: 4096, model, template: 'v3.1', numerics: 'x' };
  const list = { object: 'list', data: [{ id: model, object: 'model', owned_by: ours ? 'evenkeel' : 'x' }] };
  const sockets = new Set();
  const up = { posts: 0 };
  const server = http.createServer(async (req, res) => {
    res.on('error', () => {});
    let text = '';
    for await (const part of req) text += part;
    if (req.method === 'GET') {
      const page = /models|health/.test(req.url) ? list : ours && /load/.test(req.url) ? load : null;
      res.writeHead(page ? 200 : 404, { 'Content-Type': 'application/json' });
      res.end(JSON.stringify(page ?? {}));
      return;
    }
    res.writeHead(200, { 'Content-Type': 'text/event-stream' });
    res.flushHeaders();
    await script(voice(res, /chat/.test(req.url)), JSON.parse(text), ++up.posts);
  });
  server.on('connection', (s) => { sockets.add(s); s.on('error', () => {}); s.on('close', () => sockets.delete(s)); });
  await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
  up.url = `http://127.0.0.1:${server.address().port}`;
  up.close = () => { for (const s of sockets) s.destroy(); server.close(); };
  return up;
}
