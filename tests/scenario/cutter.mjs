// SPDX-License-Identifier: MIT
// A proxy on loopback that cuts answers short, for the scenarios of continuation.
import net from 'node:net';

// Passes bytes on, and resets a connection that has POSTed when the answer has brought so many bytes; where `behind`
// is a pattern, behind the event that it is found in (which then has to come in one piece).
export async function startCutter(port, random) {
  const state = { cuts: 0, on: false, behind: null };
  const server = net.createServer((client) => {
    const up = net.connect(port, '127.0.0.1');
    let left = Infinity;
    client.setNoDelay(); // what still waits for an acknowledgement would be lost with the reset
    const die = () => { client.destroy(); up.destroy(); };
    client.on('data', (d) => {
      if (state.on && left === Infinity && d.subarray(0, 4).toString() === 'POST') left = 250 + random.int(9000);
      up.write(d);
    });
    up.on('data', (d) => {
      const found = state.on && state.behind?.exec(d.toString('latin1'));
      if (found) left = d.indexOf('\n\n', found.index) + 2;
      else if (state.behind || d.length < left) {
        left -= d.length;
        client.write(d);
        return;
      }
      state.cuts++;
      client.write(d.subarray(0, left), () => { client.resetAndDestroy(); up.destroy(); });
      up.removeAllListeners('data');
    });
    for (const s of [client, up]) { s.on('error', die); s.on('close', die); }
  });
  await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
  return { state, url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}
