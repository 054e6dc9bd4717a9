# SPDX-License-Identifier: MIT
"""Trains the demo model. `train.py DIR --minutes 75` makes DIR/vocab.json, then DIR/last.pt, which
it rewrites every few minutes; run again, it goes on from there.

The learning rate follows the time spent in training, so a busy machine costs quality but never the
deadline; or, with --steps, the number of steps, so that it costs time and nothing else. Then the same
seed and number of processes give the same weights to the last bit on one kind of processor, however
often the run was stopped in between.
"""
import argparse
import ctypes
import glob
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from functools import partial

import torch
import torch.nn.functional as F

import fast
from bpe import SIZE, Tokenizer
from data import Maker
from net import Experts, Net, Shape


def orthogonal(g):
    """The orthogonal matrix nearest to g, roughly: five Newton-Schulz steps, as in Muon."""
    tall = g.shape[-2] > g.shape[-1]
    x = (g.transpose(-1, -2) if tall else g).bfloat16()
    x = x / (x.float().flatten(-2).norm(dim=-1)[..., None, None] + 1e-7).bfloat16()
    for _ in range(5):
        a = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.transpose(-1, -2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a matrix learn equally fast."""

    def __init__(self, params, lr, momentum=0.95, lib=None):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.orthogonal = (lambda g: fast.orthogonal(lib, g)) if lib else orthogonal

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["momentum"]).add_(p.grad)
                rows, cols = p.shape[-2:]
                size = max(1.0, rows / cols) ** 0.5
                p.add_(self.orthogonal(p.grad + group["momentum"] * v), alpha=-group["lr"] * size)


def rate(progress, step):
    """Up in 100 steps, then flat, then down to almost nothing over the last half."""
    return min(1.0, (step + 1) / 100) * min(1.0, 2 * (1 - progress) + 0.002)


def tensors(batch):
    """Samples -> padded inputs, and for every position the token to learn there, or -100."""
    n = -(-(max(len(ids) for ids, _ in batch) - 1) // 8) * 8
    x, y = torch.zeros(len(batch), n, dtype=torch.long), torch.full((len(batch), n), -100)
    for row, (ids, learn) in enumerate(batch):
        k = len(ids) - 1
        x[row, :k] = torch.tensor(ids[:-1])
        y[row, :k] = torch.tensor([t if m else -100 for t, m in zip(ids[1:], learn[1:])])
    return x, y


def cross_entropy(hidden, head, y):
    wanted = (y.flatten() >= 0).nonzero().flatten()
    logits = F.linear(hidden.flatten(0, 1).index_select(0, wanted), head).float()
    return F.cross_entropy(logits, y.flatten()[wanted])


def losses_of(net, batch, ahead, only_ahead=False):
    """-> the loss of the next token, and of the one after it (0 when that is not trained)"""
    x, y = tensors(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.set_grad_enabled(not only_ahead):
            hidden = net(x)
        zero = torch.zeros(())
        loss = zero if only_ahead else cross_entropy(hidden, net.output, y)
        if not ahead:
            return loss, zero
        return loss, cross_entropy(net.guess(hidden[:, :-1], x[:, 1:]), net.output.detach(), y[:, 1:])


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("--minutes", type=float, default=75)
    ap.add_argument("--steps", type=int, help="end after so many steps, whatever the clock says")
    ap.add_argument("--lr", type=float, default=0.012)
    ap.add_argument("--tokens", default="3072", help="per step and process; or one number for each")
    ap.add_argument("--processes", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--save", type=float, default=4, help="minutes between checkpoints")
    ap.add_argument("--ahead", action="store_true", help="train the multi-token prediction block, too")
    ap.add_argument("--only-ahead", action="store_true", help="train that block and nothing else")
    ap.add_argument("--plain", action="store_true", help="do without fast.c")
    o = ap.parse_args()
    o.ahead |= o.only_ahead
    o.tokens = [int(t) for t in o.tokens.split(",")]
    o.tokens = (o.tokens * o.processes)[:o.processes]
    return o


def trained(net, o):
    """The parameters this run changes, by name."""
    wanted = {True: o.ahead, False: not o.only_ahead}
    return [(n, p) for n, p in net.named_parameters() if wanted[n.startswith("nextn")]]


def busy(net, o):
    """The layers of experts this run uses."""
    return [m for n, m in net.named_modules()
            if isinstance(m, Experts) and (o.ahead if n.startswith("nextn") else not o.only_ahead)]


class Crew:
    """What the processes share: weights, everyone's gradients and expert loads, and the clock.

    Each process computes the gradient of its own batch with one thread, then updates its own share
    of the matrices. Two processes that meet twice a step suffer less from a busy machine than two
    threads that meet after every operation.
    """

    def __init__(self, net, o):
        self.net, self.o = net.share_memory(), o
        self.params = [p for _, p in trained(net, o)]
        self.grads = [[torch.zeros_like(p).share_memory_() for p in self.params]
                      for _ in range(o.processes)]
        self.experts = busy(net, o)
        self.loads = torch.zeros(o.processes, len(self.experts), net.shape.experts).share_memory_()
        self.losses = torch.zeros(o.processes, 2).share_memory_()
        self.clock = torch.zeros(2, dtype=torch.double).share_memory_()          # seconds, steps
        self.barrier = torch.multiprocessing.get_context("fork").Barrier(o.processes)

    def mine(self, rank):
        """A fair share of the parameters, by size."""
        shares, weight = [[] for _ in range(self.o.processes)], [0] * self.o.processes
        for i in sorted(range(len(self.params)), key=lambda i: -self.params[i].numel()):
            who = weight.index(min(weight))
            shares[who].append(i)
            weight[who] += self.params[i].numel()
        return shares[rank]


def optimizers(net, indices, o, lib):
    hidden, other = [], []
    for i, (name, p) in enumerate(trained(net, o)):
        if i in indices:
            matrix = name.startswith(("blk",
            "nextn")) and p.ndim > 1 and not name.endswith("ffn_gate_inp")
            (hidden if matrix else other).append(torch.nn.Parameter(p.data))
            p = (hidden if matrix else other)[-1]
            p.index, p.called = i, name
    return [Muon(hidden, o.lr, lib=lib),
            torch.optim.AdamW(other, lr=o.lr / 4, betas=(0.9, 0.98), weight_decay=0.0)]


def update(crew, opts, factor):
    """Averages the crew's gradients for one's own parameters and moves those."""
    for opt, base in zip(opts, (crew.o.lr, crew.o.lr / 4)):
        for group in opt.param_groups:
            group["lr"] = base * factor
            for p in group["params"]:
                p.grad = sum(g[p.index] * (n / sum(crew.o.tokens)) for g, n in zip(crew.grads, crew.o.tokens))
        opt.step()


def balance(crew, speed):
    """DeepSeek-V3's balancing without a loss: who is overrun becomes a little less eligible."""
    for layer, load in zip(crew.experts, crew.loads.sum(0)):
        layer.exp_probs_b += speed * torch.sign(load.mean() - load)


def state_of(net):
    return {k: v.clone() for k, v in net.state_dict().items()}


def smooth(mean, net, keep):
    """The running mean of the weights: as good as the end of a run, at any moment of it."""
    with torch.no_grad():
        for k, v in net.state_dict().items():
            mean[k].mul_(keep).add_(v, alpha=1 - keep)


def store(path, **what):
    torch.save(what, path + ".new")
    os.replace(path + ".new", path)


def save(crew, opts, at, rank, mean):
    """Each process keeps the optimizer's state of its own share, by name, so that another number of
    processes can go on; the first also keeps the weights and their running mean."""
    base = os.path.join(crew.o.dir, "last")
    kept = {p.called: o.state[p] for o in opts for g in o.param_groups for p in g["params"] if p in o.state}
    store("%s.%d.pt" % (base, rank), state=kept, at=at, clock=crew.clock.tolist())
    if rank == 0:
        shape = asdict(crew.net.shape)
        store(base + ".pt", net=crew.net.state_dict(), shape=shape)
        store(os.path.join(crew.o.dir, "mean.pt"), net=mean, shape=shape, step=int(crew.clock[1]))


def restore(crew, opts, rank):
    """-> the pool of samples in use, and how many of its batches are"""
    files = sorted(glob.glob(os.path.join(crew.o.dir, "last.[0-9]*.pt")))
    kept = sorted(((torch.load(f), f) for f in files), key=lambda k: k[0]["clock"][1])     # the newest last
    state, at = {}, (0, 0)
    for own, path in kept:
        state.update(own["state"])
        crew.clock.copy_(torch.tensor(own["clock"], dtype=torch.double))
        if path.endswith("last.%d.pt" % rank):
            at = own["at"]
    for opt in opts:
        for group in opt.param_groups:
            for p in group["params"]:
                if p.called in state:
                    opt.state[p] = state[p.called]
    return at


def report(crew, losses, tokens, seconds):
    load = crew.loads.sum(0)
    load = load / load.mean(1, keepdim=True)
    loss, ahead = (sum(l) / len(losses) for l in zip(*losses))
    print("%5.1f min  step %d  loss %.4f  ahead %.4f  about %d tok/s  expert load %.2f to %.2f" % (
        crew.clock[0] / 60, crew.clock[1], loss, ahead, tokens / seconds, load.min(), load.max()), flush=True)
    with open(os.path.join(crew.o.dir, "loss.csv"), "a") as f:
        f.write("%d,%.2f,%.5f,%.5f,%d\n" % (crew.clock[1], crew.clock[0] / 60, loss, ahead, tokens / seconds))


def done(crew):
    """How much of the run lies behind it, 0 to 1."""
    seconds, steps = crew.clock.tolist()
    return min(1.0, steps / crew.o.steps if crew.o.steps else seconds / 60 / crew.o.minutes)


def work(rank, crew, maker):
    torch.set_num_threads(1)
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)    # PR_SET_PDEATHSIG: who stops the first stops all
    o, net = crew.o, crew.net
    lib = None if o.plain else fast.compiled()
    forward = partial(fast.losses_of, fast.fasts_of(lib, net.shape)) if lib else losses_of
    opts = optimizers(net, crew.mine(rank), o, lib)
    at, mean = restore(crew, opts, rank), None
    if rank == 0:
        path = os.path.join(o.dir, "mean.pt")
        mean = torch.load(path)["net"] if os.path.exists(path) else state_of(net)
    crew.barrier.wait()
    saved, losses, tokens, told = float(crew.clock[0]), [], 0, time.time()
    before = time.time()
    for pool, number, batch in maker.batches(o.seed * 1000 + rank, o.tokens[rank], *at, alike=not lib):
        progress, step = done(crew), int(crew.clock[1])
        loss, ahead = forward(net, batch, o.ahead, o.only_ahead)
        net.zero_grad(set_to_none=True)
        (loss + ahead).backward()
        for mine, p in zip(crew.grads[rank], crew.params):
            mine.zero_() if p.grad is None else mine.copy_(p.grad)
        crew.loads[rank] = torch.stack([m.load for m in crew.experts])
        crew.losses[rank] = torch.tensor([loss.item(), ahead.item()])
        crew.barrier.wait()
        if not torch.isfinite(crew.losses).all():
            raise SystemExit("the loss is no longer a number")
        update(crew, opts, rate(progress, step))
        if rank == 0:
            balance(crew, 0.01 * rate(progress, step))
            crew.clock += torch.tensor([time.time() - before, 1.0], dtype=torch.double)
            before = time.time()
            losses.append(crew.losses.mean(0).tolist())
            tokens += sum(o.tokens)
            if step % 50 == 49:
                report(crew, losses, tokens, time.time() - told)
                losses, tokens, told = [], 0, time.time()
        crew.barrier.wait()
        if rank == 0 and step % 10 == 9:              # nobody changes weights before the next barrier
            smooth(mean, net, min(0.95, 0.5 + step / 2000))
        if crew.clock[0] - saved > o.save * 60 or done(crew) == 1:
            save(crew, opts, (pool, number + 1), rank, mean)
            saved = float(crew.clock[0])
            crew.barrier.wait()
        if done(crew) == 1:
            return


def main():
    o = arguments()
    torch.set_num_threads(1)                      # before the processes part: no threads to lose
    vocab, path = os.path.join(o.dir, "vocab.json"), os.path.join(o.dir, "last.pt")
    if not os.path.exists(vocab):
        os.makedirs(o.dir, exist_ok=True)
        here = os.path.dirname(os.path.abspath(__file__))
        subprocess.run([sys.executable, os.path.join(here, "bpe.py"), vocab], check=True)
    torch.manual_seed(o.seed)
    kept = torch.load(path) if os.path.exists(path) else None
    net = Net(Shape(**kept["shape"]) if kept else Shape(vocab=SIZE, ahead=int(o.ahead)))
    if kept:
        net.load_state_dict(kept["net"])
    print("%.2f M parameters" % (sum(p.numel() for p in net.parameters()) / 1e6), flush=True)
    crew, maker = Crew(net, o), Maker(Tokenizer(vocab), os.path.join(o.dir, "mix.json"))
    torch.multiprocessing.start_processes(work, (crew, maker), o.processes, start_method="fork")


if __name__ == "__main__":
    main()
