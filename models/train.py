# SPDX-License-Identifier: MIT
"""Trains the demo model. `train.py DIR --minutes 75` makes DIR/vocab.json, then DIR/last.pt, which
it rewrites every few minutes; run again, it goes on from there.

The learning rate follows the time spent in training, not the number of steps, so a busy machine
costs quality but never the deadline.
"""
import argparse
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

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

    def __init__(self, params, lr, momentum=0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                v.mul_(group["momentum"]).add_(p.grad)
                rows, cols = p.shape[-2:]
                size = max(1.0, rows / cols) ** 0.5
                p.add_(orthogonal(p.grad + group["momentum"] * v), alpha=-group["lr"] * size)


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


def loss_of(net, batch):
    x, y = tensors(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = net(x).flatten(0, 1)
        wanted = (y.flatten() >= 0).nonzero().flatten()
        logits = net.logits(hidden.index_select(0, wanted))
    return F.cross_entropy(logits, y.flatten()[wanted])


def arguments():
    ap = argparse.ArgumentParser()
    ap.add_argument("dir")
    ap.add_argument("--minutes", type=float, default=75)
    ap.add_argument("--lr", type=float, default=0.012)
    ap.add_argument("--tokens", type=int, default=3072, help="per step and process")
    ap.add_argument("--processes", type=int, default=2)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--save", type=float, default=4, help="minutes between checkpoints")
    return ap.parse_args()


class Crew:
    """What the processes share: weights, everyone's gradients and expert loads, and the clock.

    Each process computes the gradient of its own batch with one thread, then updates its own share
    of the matrices. Two processes that meet twice a step suffer less from a busy machine than two
    threads that meet after every operation.
    """

    def __init__(self, net, o):
        self.net, self.o = net.share_memory(), o
        self.params = list(net.parameters())
        self.grads = [[torch.zeros_like(p).share_memory_() for p in self.params]
                      for _ in range(o.processes)]
        experts = [m for m in net.modules() if isinstance(m, Experts)]
        self.loads = torch.zeros(o.processes, len(experts), net.shape.experts).share_memory_()
        self.losses = torch.zeros(o.processes).share_memory_()
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


def optimizers(net, indices, lr):
    hidden, other = [], []
    for i, (name, p) in enumerate(net.named_parameters()):
        if i in indices:
            matrix = name.startswith("blk") and p.ndim > 1 and not name.endswith("ffn_gate_inp")
            (hidden if matrix else other).append(torch.nn.Parameter(p.data))
            (hidden if matrix else other)[-1].index = i
    return [Muon(hidden, lr), torch.optim.AdamW(other, lr=lr / 4, betas=(0.9, 0.98), weight_decay=0.0)]


def update(crew, opts, factor):
    """Averages the crew's gradients for one's own parameters and moves those."""
    for opt, base in zip(opts, (crew.o.lr, crew.o.lr / 4)):
        for group in opt.param_groups:
            group["lr"] = base * factor
            for p in group["params"]:
                p.grad = sum(g[p.index] for g in crew.grads) / len(crew.grads)
        opt.step()


def balance(crew, speed):
    """DeepSeek-V3's balancing without a loss: who is overrun becomes a little less eligible."""
    experts = [m for m in crew.net.modules() if isinstance(m, Experts)]
    for layer, load in zip(experts, crew.loads.sum(0)):
        layer.exp_probs_b += speed * torch.sign(load.mean() - load)


def save(crew, opts, pool, rank):
    """Each process keeps its own optimizers; the first also keeps the weights."""
    base = os.path.join(crew.o.dir, "last")
    own = {"opts": [o.state_dict() for o in opts], "pool": pool, "clock": crew.clock.tolist()}
    torch.save(own, "%s.%d.pt" % (base, rank))
    if rank == 0:
        torch.save({"net": crew.net.state_dict()}, base + ".pt.new")
        os.replace(base + ".pt.new", base + ".pt")


def report(crew, losses, tokens, seconds):
    load = crew.loads.sum(0)
    load = load / load.mean(1, keepdim=True)
    print("%5.1f min  step %d  loss %.4f  about %d tok/s  expert load %.2f to %.2f" % (
        crew.clock[0] / 60, crew.clock[1], sum(losses) / len(losses), tokens / seconds, load.min(), load.max()),
        flush=True)


def work(rank, crew, maker):
    torch.set_num_threads(1)
    o, net = crew.o, crew.net
    opts, first = optimizers(net, crew.mine(rank), o.lr), 0
    own = os.path.join(o.dir, "last.%d.pt" % rank)
    if os.path.exists(own):
        kept = torch.load(own)
        first = kept["pool"] + 1
        for opt, state in zip(opts, kept["opts"]):
            opt.load_state_dict(state)
        crew.clock.copy_(torch.tensor(kept["clock"], dtype=torch.double))
    crew.barrier.wait()
    limit, saved, losses, tokens, told = o.minutes * 60, float(crew.clock[0]), [], 0, time.time()
    before = time.time()
    for pool, batch in maker.batches(o.seed * 1000 + rank, o.tokens, first):
        progress, step = min(1.0, float(crew.clock[0]) / limit), int(crew.clock[1])
        loss = loss_of(net, batch)
        net.zero_grad(set_to_none=True)
        loss.backward()
        for mine, p in zip(crew.grads[rank], crew.params):
            mine.zero_() if p.grad is None else mine.copy_(p.grad)
        crew.loads[rank] = torch.stack([m.load for m in net.modules() if isinstance(m, Experts)])
        crew.losses[rank] = loss.item()
        crew.barrier.wait()
        if not torch.isfinite(crew.losses).all():
            raise SystemExit("the loss is no longer a number")
        update(crew, opts, rate(progress, step))
        if rank == 0:
            balance(crew, 0.01 * rate(progress, step))
            crew.clock += torch.tensor([time.time() - before, 1.0], dtype=torch.double)
            before = time.time()
            losses.append(crew.losses.mean().item())
            tokens += o.processes * sum(len(ids) for ids, _ in batch)
            if step % 50 == 49:
                report(crew, losses, tokens, time.time() - told)
                losses, tokens, told = [], 0, time.time()
        crew.barrier.wait()
        if crew.clock[0] - saved > o.save * 60 or crew.clock[0] >= limit:
            save(crew, opts, pool, rank)
            saved = float(crew.clock[0])
            crew.barrier.wait()
        if crew.clock[0] >= limit:
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
    net = Net(Shape(vocab=SIZE))
    if os.path.exists(path):
        net.load_state_dict(torch.load(path)["net"])
    print("%.2f M parameters" % (sum(p.numel() for p in net.parameters()) / 1e6), flush=True)
    crew, maker = Crew(net, o), Maker(Tokenizer(vocab))
    torch.multiprocessing.start_processes(work, (crew, maker), o.processes, start_method="fork")


if __name__ == "__main__":
    main()
