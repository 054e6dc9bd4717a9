# SPDX-License-Identifier: MIT
"""The same network as net.py, several times faster, for training on a processor with AMX, or with
AVX-512 that knows bfloat16.

fast.c does the arithmetic; here it is compiled, and hung into torch's gradients half a block at a time.
Sequences lie one behind the other, without padding. What it computes is what net.py computes under
bfloat16 autocast, up to rounding: `fast.py DIR` compares the two, gradient by gradient.
"""
import ctypes
import hashlib
import os
import subprocess
import sys
import tempfile

import torch

from net import angles

ROWS = 32                                     # token counts are multiples of this
FLAGS = ("-Ofast", "-march=native", "-mprefer-vector-width=512", "-shared", "-fPIC")


def compiled():
    """-> the library, or None on a processor (or with a compiler) that cannot"""
    here, text = os.path.dirname(os.path.abspath(__file__)), b""
    for name in ("fast.h", "fast.c"):
        with open(os.path.join(here, name), "rb") as f:
            text += f.read()
    name = "evenkeel-fast-%s-%d.so" % (hashlib.sha256(text).hexdigest()[:16], os.getuid())
    with open("/proc/cpuinfo") as f:
        if "avx512_bf16" not in f.read():     # who has AMX has it, too
            return None
    path = os.path.join(tempfile.gettempdir(), name)
    try:
        if not os.path.exists(path):
            new = "%s.%d" % (path, os.getpid())
            subprocess.run(["gcc", *FLAGS, "-o", new, os.path.join(here, "fast.c"), "-lm"], check=True)
            os.replace(new, path)
        lib = ctypes.CDLL(path)
    except (OSError, subprocess.CalledProcessError):
        return None
    lib.loss.restype = ctypes.c_double
    return lib if lib.ready() else None


def pointers(*tensors):
    """A C struct of pointers, in order."""
    return (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])


def p(t):
    return ctypes.c_void_p(None if t is None else t.data_ptr())


def half(*shape):
    return torch.empty(*shape, dtype=torch.bfloat16)


class Fast:
    """One library and one shape."""

    def __init__(self, lib, s, dense=False):
        self.lib, self.s = lib, s
        numbers = (s.dim, s.heads, s.nope, s.rope, s.value, s.q_lora, s.kv_lora,
                   s.dense_ff if dense else s.expert_ff, s.experts, s.used, s.groups, s.groups_used)
        self.shape = (ctypes.c_long * len(numbers))(*numbers)


class Attend(torch.autograd.Function):
    """x + attention(norm(x))"""

    @staticmethod
    def forward(ctx, x, fast, lengths, turns, *weights):
        s, n, empty = fast.s, len(x), torch.empty
        squares = sum((-(-l // ROWS) * ROWS) ** 2 for l in lengths)
        wide = s.heads * (s.nope + s.rope)
        kept = (half(n, s.dim), empty(n), empty(n, s.q_lora), empty(n), half(n, s.q_lora), half(n, wide),
                empty(n, s.kv_lora + s.rope), empty(n), half(n, s.kv_lora),
                half(n, s.heads * (s.nope + s.value)), half(n, s.heads * s.value), half(s.heads * squares))
        out, many = torch.empty_like(x), (ctypes.c_long * len(lengths))(*lengths)
        fast.lib.attention_forward(fast.shape, ctypes.c_long(n), ctypes.c_long(len(lengths)), many, p(x),
                                   p(out), pointers(*weights, turns, *kept))
        ctx.kept = (fast, x, many, weights, turns, kept)
        return out

    @staticmethod
    def backward(ctx, g):
        fast, x, many, weights, turns, kept = ctx.kept
        dx, grads, g = torch.empty_like(x), [torch.empty_like(w) for w in weights], g.contiguous()
        fast.lib.attention_backward(fast.shape, ctypes.c_long(len(x)), ctypes.c_long(len(many)), many, p(x),
                                    p(g), p(dx), pointers(*weights, turns, *kept), pointers(*grads))
        ctx.kept = None
        return (dx, None, None, None, *grads)


class Gate(torch.autograd.Function):
    """x + dense(norm(x))"""

    @staticmethod
    def forward(ctx, x, fast, *weights):
        n, s, out = len(x), fast.s, torch.empty_like(x)
        kept = (half(n, s.dim), torch.empty(n), half(n, 2 * s.dense_ff), half(n, s.dense_ff))
        fast.lib.dense_forward(fast.shape, ctypes.c_long(n), p(x), p(out), pointers(*weights, *kept))
        ctx.kept = (fast, x, weights, kept)
        return out

    @staticmethod
    def backward(ctx, g):
        fast, x, weights, kept = ctx.kept
        dx, grads, g = torch.empty_like(x), [torch.empty_like(w) for w in weights], g.contiguous()
        fast.lib.dense_backward(fast.shape, ctypes.c_long(len(x)), p(x), p(g), p(dx),
                                pointers(*weights, *kept), pointers(*grads[1:]), p(grads[0]))
        ctx.kept = None
        return (dx, None, *grads)


class Route(torch.autograd.Function):
    """x + experts(norm(x))"""

    @staticmethod
    def forward(ctx, x, fast, load, bias, *weights):
        n, s, out, empty = len(x), fast.s, torch.empty_like(x), torch.empty
        rows, whole = s.used * n + s.experts * ROWS, torch.int32
        width = s.expert_ff * s.shared
        assert s.shared == 1
        kept = (half(n, s.dim), empty(n), empty(n, s.used), empty(n, s.used),
                empty(n, s.used, dtype=whole), empty(n, s.used, dtype=whole),
                empty(s.experts, dtype=torch.long), half(rows, s.dim), half(rows, 2 * s.expert_ff),
                half(rows, s.expert_ff), half(rows, s.dim), half(n, 2 * width), half(n, width), load)
        fast.lib.experts_forward(fast.shape, ctypes.c_long(n), ctypes.c_float(s.scale), p(x), p(out),
                                 pointers(*weights[:2], bias, *weights[2:], *kept))
        ctx.kept = (fast, x, bias, weights, kept)
        return out

    @staticmethod
    def backward(ctx, g):
        fast, x, bias, weights, kept = ctx.kept
        dx, grads, g = torch.empty_like(x), [torch.empty_like(w) for w in weights], g.contiguous()
        fast.lib.experts_backward(fast.shape, ctypes.c_long(len(x)), ctypes.c_float(fast.s.scale), p(x), p(g),
                                  p(dx), pointers(*weights[:2], bias, *weights[2:], *kept),
                                  pointers(*grads[2:5]), pointers(*grads[5:]), p(grads[0]), p(grads[1]))
        ctx.kept = None
        return (dx, None, None, None, *grads)


class Loss(torch.autograd.Function):
    """Mean cross entropy of head * norm(x) where y is a token (and not -100)."""

    @staticmethod
    def forward(ctx, x, y, fast, weight, head):
        rows = (y >= 0).nonzero().flatten()
        dx, dw = torch.empty_like(x), torch.empty_like(weight)
        dhead = torch.empty_like(head) if head.requires_grad else None
        wanted = y[rows]
        value = fast.lib.loss(fast.shape, ctypes.c_long(len(x)), ctypes.c_long(len(head)), p(x), p(weight),
                              p(head), ctypes.c_long(len(rows)), p(rows), p(wanted), p(dx), p(dw), p(dhead))
        ctx.kept = (dx, dw, dhead)
        return torch.tensor(value)

    @staticmethod
    def backward(ctx, g):                     # the loss is summed up as it is: g is one
        dx, dw, dhead = ctx.kept
        ctx.kept = None
        return dx, None, None, dw, dhead


def orthogonal(lib, g):
    """train.orthogonal(), fast"""
    tall = g.shape[-2] > g.shape[-1]
    x = (g.transpose(-1, -2) if tall else g).contiguous()
    each = x.shape[-2] * x.shape[-1] * 4
    for i in range(x.numel() * 4 // each):
        lib.orthogonal(ctypes.c_long(x.shape[-2]), ctypes.c_long(x.shape[-1]),
                       ctypes.c_void_p(x.data_ptr() + i * each))
    return x.transpose(-1, -2) if tall else x


def feed(block, x, experts, dense):
    f = block.ffn
    if hasattr(f, "exp_probs_b"):
        f.load = torch.empty(f.s.experts)
        return Route.apply(x, experts, f.load, f.exp_probs_b, block.ffn_norm.weight, f.ffn_gate_inp,
                           f.ffn_gate_exps, f.ffn_up_exps, f.ffn_down_exps,
                           f.ffn_gate_shexp, f.ffn_up_shexp, f.ffn_down_shexp)
    return Gate.apply(x, dense, block.ffn_norm.weight, f.ffn_gate, f.ffn_up, f.ffn_down)


def through(block, x, fasts, lengths, turns):
    a = block.attn
    x = Attend.apply(x, fasts[0], lengths, turns, block.attn_norm.weight, a.attn_q_a, a.attn_q_a_norm.weight,
                     a.attn_q_b, a.attn_kv_a_mqa, a.attn_kv_a_norm.weight, a.attn_k_b, a.attn_v_b,
                     a.attn_output)
    return feed(block, x, *fasts)


def packed(batch):
    """Samples -> tokens one behind the other, the token to learn at each (or -100), and the lengths."""
    x, y, lengths = [], [], []
    for ids, learn in batch:
        x += ids[:-1]
        y += [t if m else -100 for t, m in zip(ids[1:], learn[1:])]
        lengths.append(len(ids) - 1)
    more = -len(x) % ROWS
    if more:
        lengths.append(more)
    return torch.tensor(x + [0] * more), torch.tensor(y + [-100] * more), lengths


def looked_ahead(fasts, net, hidden, x, y, lengths, turns):
    """The loss of the block that guesses the token after the next; nothing flows back into the network."""
    nextn = net.nextn
    with torch.no_grad():
        known = net.output_norm(hidden.detach())
        embedded = net.token_embd[x.roll(-1)]         # wrong where a sequence ends, and not learned there
    both = torch.cat((nextn.enorm(embedded), nextn.hnorm(known)), -1)
    guess = through(nextn.block, torch.nn.functional.linear(both, nextn.eh_proj), fasts, lengths, turns)
    after = y.roll(-1)
    after[torch.tensor(lengths).cumsum(0) - 1] = -100
    return Loss.apply(guess, after, fasts[0], nextn.shared_head_norm.weight, net.output.detach())


def losses_of(fasts, net, batch, ahead, only_ahead=False):
    """train.losses_of(), fast"""
    x, y, lengths = packed(batch)
    turns = torch.stack(angles(torch.arange(max(lengths)), net.shape), -1).flatten(1).contiguous()
    with torch.set_grad_enabled(not only_ahead):
        hidden = torch.nn.functional.embedding(x, net.token_embd)
        for block in net.blk:
            hidden = through(block, hidden, fasts, lengths, turns)
    zero = torch.zeros(())
    loss = zero if only_ahead else Loss.apply(hidden, y, fasts[0], net.output_norm.weight, net.output)
    return loss, looked_ahead(fasts, net, hidden, x, y, lengths, turns) if ahead else zero


def fasts_of(lib, shape):
    return Fast(lib, shape), Fast(lib, shape, dense=True)


def main():
    import train
    from bpe import Tokenizer
    from data import Maker
    from net import Net, Shape
    torch.set_num_threads(1)
    kept = torch.load(sys.argv[1] + "/last.pt")
    net = Net(Shape(**kept["shape"]))
    net.load_state_dict(kept["net"])
    lib, ahead = compiled(), bool(net.shape.ahead)
    maker = Maker(Tokenizer(sys.argv[1] + "/vocab.json"))
    batches, grads = maker.batches(1, 3072), []
    batch = next(batches)[2]
    fasts = fasts_of(lib, net.shape)
    for kind in (lambda: train.losses_of(net, batch, ahead), lambda: losses_of(fasts, net, batch, ahead)):
        net.zero_grad(set_to_none=True)
        losses = kind()
        sum(losses).backward()
        print([l.item() for l in losses])
        grads.append({n: q.grad for n, q in net.named_parameters()})
    for name, a in grads[0].items():
        b = grads[1][name]
        like = torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0).item()
        print("%-36s %.5f  %.4g %.4g%s" % (name, like, a.norm(), b.norm(), "" if like > 0.98 else "  <--"))


if __name__ == "__main__":
    main()
