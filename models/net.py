# SPDX-License-Identifier: MIT
"""The network: a DeepSeek-V3 in miniature, layer for layer.

Every part a large DeepSeek-V3 has is here, only narrower: latent attention with compressed
queries and keys, sigmoid routing in groups with a balancing bias, a shared expert, and a dense
first layer. Weights keep the shapes and the names they will have in the GGUF file.
"""
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class Shape:
    vocab: int = 1280
    dim: int = 256
    layers: int = 5
    dense_layers: int = 1
    heads: int = 8
    nope: int = 32            # the part of a head that sees content only
    rope: int = 32            # the part of a head that sees position, too
    value: int = 32
    q_lora: int = 128
    kv_lora: int = 96
    dense_ff: int = 768
    experts: int = 8
    used: int = 2
    groups: int = 4
    groups_used: int = 2
    expert_ff: int = 96
    shared: int = 1
    scale: float = 2.5        # what the routed experts' weights sum to
    theta: float = 10000.0
    eps: float = 1e-6
    context: int = 2048
    ahead: int = 0            # 1: a block that guesses the token after the next one


def matrix(*shape, gain=1.0):
    return nn.Parameter(torch.randn(*shape) * gain / math.sqrt(shape[-1]))


class RootMeanSquare(torch.autograd.Function):
    """x / rms(x) * weight, with its gradient by hand: half the memory traffic of the plain formula."""

    @staticmethod
    def forward(ctx, x, weight, eps):
        x = x.float()
        inverse = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    def backward(ctx, grad):
        unit, inverse, weight = ctx.saved_tensors
        grad = grad.float()
        both = grad * unit
        mean = torch.mv(both.flatten(0, -2), weight).view(inverse.shape) / unit.shape[-1]
        out = torch.addcmul(grad * weight, unit, mean, value=-1).mul_(inverse)
        return out, both.flatten(0, -2).sum(0), None


class Norm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        return RootMeanSquare.apply(x, self.weight, self.eps)


def angles(positions, shape):
    """cos and sin of the rotation at each position: [..., rope / 2] each."""
    step = shape.theta ** (-torch.arange(0, shape.rope, 2).float() / shape.rope)
    a = positions.float()[..., None] * step
    return a.cos(), a.sin()


def rotate(x, turn):
    """Rotary position on neighbouring pairs. x: [batch, time, heads, rope]."""
    cos, sin = (t.unsqueeze(-2).to(x.dtype) for t in turn)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head latent attention, in its expanded form (keys and values are unfolded)."""

    def __init__(self, s):
        super().__init__()
        self.s = s
        self.attn_q_a = matrix(s.q_lora, s.dim)
        self.attn_q_a_norm = Norm(s.q_lora, s.eps)
        self.attn_q_b = matrix(s.heads * (s.nope + s.rope), s.q_lora)
        self.attn_kv_a_mqa = matrix(s.kv_lora + s.rope, s.dim)
        self.attn_kv_a_norm = Norm(s.kv_lora, s.eps)
        self.attn_k_b = nn.Parameter(torch.randn(s.heads, s.kv_lora, s.nope) / math.sqrt(s.kv_lora))
        self.attn_v_b = matrix(s.heads, s.value, s.kv_lora)
        self.attn_output = matrix(s.dim, s.heads * s.value, gain=0.3)

    def forward(self, x, turn, mask, past):
        s = self.s
        q = F.linear(self.attn_q_a_norm(F.linear(x, self.attn_q_a)), self.attn_q_b)
        q_nope, q_rope = q.unflatten(-1, (s.heads, -1)).split((s.nope, s.rope), -1)
        latent, k_rope = F.linear(x, self.attn_kv_a_mqa).split((s.kv_lora, s.rope), -1)
        latent, k_rope = self.attn_kv_a_norm(latent), rotate(k_rope.unsqueeze(2), turn).squeeze(2)
        if past is not None:
            latent, k_rope = past.add(self, latent, k_rope)
        k_nope = F.linear(latent, self.attn_k_b.transpose(1, 2).reshape(-1, s.kv_lora))
        v = F.linear(latent, self.attn_v_b.reshape(-1, s.kv_lora))
        k_nope, v = (t.unflatten(-1, (s.heads, -1)).transpose(1, 2) for t in (k_nope, v))
        q = torch.cat((q_nope, rotate(q_rope, turn)), -1).transpose(1, 2)
        q = q * (s.nope + s.rope) ** -0.5
        k_rope = k_rope.unsqueeze(1).expand(-1, s.heads, -1, -1)
        score = q @ torch.cat((k_nope, k_rope), -1).transpose(-1, -2)
        p = torch.softmax(score + mask.to(score.dtype), -1)
        return F.linear((p @ v).transpose(1, 2).flatten(2), self.attn_output)


class Dense(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.ffn_gate, self.ffn_up = matrix(s.dense_ff, s.dim), matrix(s.dense_ff, s.dim)
        self.ffn_down = matrix(s.dim, s.dense_ff, gain=0.3)

    def forward(self, x):
        return F.linear(F.silu(F.linear(x, self.ffn_gate)) * F.linear(x, self.ffn_up), self.ffn_down)


class Experts(nn.Module):
    """Routed experts and a shared one.

    The router's bias (exp_probs_b) decides only who is chosen, never how much a chosen expert
    counts; the trainer nudges it after every step so that all experts stay busy.
    """

    def __init__(self, s):
        super().__init__()
        self.s = s
        self.ffn_gate_inp = matrix(s.experts, s.dim)
        self.register_buffer("exp_probs_b", torch.zeros(s.experts))
        self.ffn_gate_exps = matrix(s.experts, s.expert_ff, s.dim)
        self.ffn_up_exps = matrix(s.experts, s.expert_ff, s.dim)
        self.ffn_down_exps = matrix(s.experts, s.dim, s.expert_ff, gain=0.3)
        width = s.expert_ff * s.shared
        self.ffn_gate_shexp, self.ffn_up_shexp = matrix(width, s.dim), matrix(width, s.dim)
        self.ffn_down_shexp = matrix(s.dim, width, gain=0.3)
        self.load = None

    def route(self, x):
        """x: [tokens, dim] -> the chosen experts and their weights, [tokens, used] each."""
        s = self.s
        with torch.autocast("cpu", enabled=False):
            p = torch.sigmoid(F.linear(x.float(), self.ffn_gate_inp))
        score = (p.detach() + self.exp_probs_b).unflatten(-1, (s.groups, -1))
        best = score.topk(2, -1).values.sum(-1).topk(s.groups_used, -1).indices
        open_ = torch.zeros(score.shape[:2]).scatter_(1, best, 1.0).unsqueeze(-1)
        score = score.masked_fill(open_ == 0, -math.inf).flatten(1)
        chosen = score.topk(s.used, -1).indices
        w = p.gather(1, chosen)
        return chosen, w / w.sum(-1, keepdim=True) * s.scale

    def forward(self, x):
        flat = x.flatten(0, -2)
        chosen, weight = self.route(flat)
        pairs = chosen.flatten()
        order = pairs.argsort()                              # every (token, expert) pair, by expert
        token = order.div(self.s.used, rounding_mode="floor")
        load = torch.bincount(pairs, minlength=self.s.experts)
        if self.training:
            self.load = load
        rows, parts = flat.index_select(0, token), []
        for e, mine in enumerate(rows.split(load.tolist())):
            count = len(mine)
            if self.training:                    # few different shapes make for faster matrix products
                mine = F.pad(mine, (0, 0, 0, -count % 64))
            h = F.silu(F.linear(mine, self.ffn_gate_exps[e])) * F.linear(mine, self.ffn_up_exps[e])
            parts.append(F.linear(h, self.ffn_down_exps[e])[:count])
        routed = torch.cat(parts).float()
        out = torch.zeros(flat.shape).index_add(0, token, routed * weight.flatten()[order].unsqueeze(-1))
        h = F.silu(F.linear(flat, self.ffn_gate_shexp)) * F.linear(flat, self.ffn_up_shexp)
        return (out + F.linear(h, self.ffn_down_shexp)).view(x.shape)


class Block(nn.Module):
    def __init__(self, s, dense):
        super().__init__()
        self.attn_norm, self.attn = Norm(s.dim, s.eps), Attention(s)
        self.ffn_norm, self.ffn = Norm(s.dim, s.eps), Dense(s) if dense else Experts(s)

    def forward(self, x, turn, mask, past):
        x = x + self.attn(self.attn_norm(x), turn, mask, past)
        return x + self.ffn(self.ffn_norm(x))


class Ahead(nn.Module):
    """Multi-token prediction (DeepSeek-V3, 2.2): from what the network made of one token, and the token
    that came next, guess the one after that. One more block; vocabulary and head are the network's own.

    Nothing learned here reaches the network: its gradient stops at the door.
    """

    def __init__(self, s):
        super().__init__()
        self.enorm, self.hnorm = Norm(s.dim, s.eps), Norm(s.dim, s.eps)
        self.eh_proj = matrix(s.dim, 2 * s.dim)
        self.block, self.shared_head_norm = Block(s, False), Norm(s.dim, s.eps)

    def forward(self, embedded, hidden, turn, mask, past):
        both = torch.cat((self.enorm(embedded.detach()), self.hnorm(hidden.detach())), -1)
        return self.shared_head_norm(self.block(F.linear(both, self.eh_proj), turn, mask, past))


class Net(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.shape = s
        self.token_embd = nn.Parameter(torch.randn(s.vocab, s.dim))
        self.blk = nn.ModuleList(Block(s, i < s.dense_layers) for i in range(s.layers))
        self.output_norm = Norm(s.dim, s.eps)
        self.output = matrix(s.vocab, s.dim, gain=0.5)
        self.nextn = Ahead(s) if s.ahead else None

    def forward(self, tokens, positions=None, mask=None, past=None):
        """tokens [batch, time] -> hidden states; positions and mask default to plain causal."""
        n = tokens.shape[1]
        if positions is None:
            positions = torch.arange(n).unsqueeze(0)
        if mask is None:
            mask = torch.full((n, n), -math.inf).triu(1)
        turn = angles(positions, self.shape)
        x = F.embedding(tokens, self.token_embd)
        for block in self.blk:
            x = block(x, turn, mask, past)
        return self.output_norm(x)

    def guess(self, hidden, following):
        """hidden [batch, time, dim] as forward() gave it, and the tokens that follow each -> hidden
        states whose logits guess the tokens after those."""
        n = following.shape[1]
        mask = torch.full((n, n), -math.inf).triu(1)
        turn = angles(torch.arange(n).unsqueeze(0), self.shape)
        return self.nextn(F.embedding(following, self.token_embd), hidden, turn, mask, None)

    def logits(self, hidden):
        return F.linear(hidden, self.output).float()


class Past:
    """What generation remembers of earlier tokens: the latent and the rotated key, as DeepSeek does."""

    def __init__(self):
        self.kept = {}

    def add(self, layer, *new):
        old = self.kept.get(layer)
        self.kept[layer] = new if old is None else tuple(torch.cat(p, 1) for p in zip(old, new))
        return self.kept[layer]

    def keep_rows(self, rows):
        self.kept = {layer: tuple(t[rows] for t in kept) for layer, kept in self.kept.items()}
