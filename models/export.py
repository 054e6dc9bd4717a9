# SPDX-License-Identifier: MIT
"""`export.py DIR OUT.gguf` writes DIR/last.pt as a GGUF file of the deepseek2 architecture.

Matrices become Q8_0; norms, the router and its bias stay F32. With --check it also stores
DIR/rounded.pt, the weights as a reader of the file will see them, for comparing engines. --mean takes
DIR/mean.pt, the running mean of the weights; --trunk leaves out the block that looks a token ahead.
"""
import os
import sys
from dataclasses import asdict

import torch

import gguf
from bpe import BOS, END_THINK, EOS, SPECIAL, THINK
from gguf import ARRAY, BOOL, FLOAT, I32, STRING, U32, value
from speak import load

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


def architecture(s):
    name, latent = "deepseek2.", s.kv_lora + s.rope
    whole = {
        "block_count": s.layers + s.ahead, "context_length": s.context, "embedding_length": s.dim,
        "vocab_size": s.vocab,
        "feed_forward_length": s.dense_ff, "attention.head_count": s.heads, "attention.head_count_kv": 1,
        "attention.q_lora_rank": s.q_lora, "attention.kv_lora_rank": s.kv_lora,
        "attention.key_length": latent, "attention.value_length": s.kv_lora,
        "attention.key_length_mla": s.nope + s.rope, "attention.value_length_mla": s.value,
        "rope.dimension_count": s.rope, "leading_dense_block_count": s.dense_layers,
        "expert_count": s.experts, "expert_used_count": s.used, "expert_shared_count": s.shared,
        "expert_feed_forward_length": s.expert_ff, "expert_group_count": s.groups,
        "expert_group_used_count": s.groups_used, "expert_gating_func": 2,
    }
    if s.ahead:
        whole["nextn_predict_layers"] = s.ahead
    real = {"rope.freq_base": s.theta, "attention.layer_norm_rms_epsilon": s.eps,
            "expert_weights_scale": s.scale}
    return ([value(name + k, U32, v) for k, v in whole.items()]
            + [value(name + k, FLOAT, v) for k, v in real.items()]
            + [value(name + "expert_weights_norm", BOOL, True)])


def tokenizer(tok):
    """<think> and </think> are "user defined", as in DeepSeek's own files: special when read, and
    still shown when written, so that whoever splits the thought from the answer can see the seam."""
    kind = [NORMAL] * len(tok.tokens)
    for t in SPECIAL:
        kind[tok.id[t]] = USER_DEFINED if t in (THINK, END_THINK) else CONTROL
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "template.jinja"), encoding="utf-8") as f:
        template = f.read().rstrip("\n")
    t = "tokenizer.ggml."
    return [
        value(t + "model", STRING, "gpt2"), value(t + "pre", STRING, "deepseek-v3"),
        value(t + "tokens", ARRAY, tok.tokens, STRING), value(t + "token_type", ARRAY, kind, I32),
        value(t + "merges", ARRAY, [" ".join(m) for m in tok.merges], STRING),
        value(t + "bos_token_id", U32, tok.special[BOS]),
        value(t + "eos_token_id", U32, tok.special[EOS]),
        value(t + "padding_token_id", U32, tok.special[EOS]),
        value(t + "add_bos_token", BOOL, True), value(t + "add_eos_token", BOOL, False),
        value("tokenizer.chat_template", STRING, template),
    ]


def tensor_name(name, layers):
    """blk.1.attn.attn_q_a_norm.weight -> blk.1.attn_q_a_norm.weight, and so on; the block that looks
    ahead comes after the others: nextn.eh_proj -> blk.5.nextn.eh_proj.weight."""
    if name.startswith("nextn.block."):
        name = name.replace("nextn.block.", "blk.%d." % layers)
    elif name.startswith("nextn."):
        name = "blk.%d.%s" % (layers, name)
    name = name.replace(".attn.", ".").replace(".ffn.", ".")
    if name.endswith("exp_probs_b"):
        return name + ".bias"
    return name if name.endswith(".weight") else name + ".weight"


def tensors(net):
    out = []
    for name, t in net.state_dict().items():
        small = t.ndim == 1 or name.endswith("ffn_gate_inp")
        kind = gguf.F32 if small else gguf.Q8_0 if t.shape[-1] % 32 == 0 else gguf.F16
        out.append((tensor_name(name, net.shape.layers), t.float().numpy(), kind))
    return out


def rounded(net):
    """Replaces every weight by what the file holds of it."""
    for (_, x, kind), (name, t) in zip(tensors(net), net.state_dict().items()):
        if kind == gguf.Q8_0:
            t.copy_(torch.from_numpy(gguf.from_q8_0(gguf.q8_0(x), x.shape)))
        elif kind == gguf.F16:
            t.copy_(t.half())
    return net


def main():
    directory, out = sys.argv[1:3]
    net, tok = load(directory, "mean.pt" if "--mean" in sys.argv else "last.pt")
    if "--trunk" in sys.argv:
        net.nextn, net.shape.ahead = None, 0
    about = [value("general.architecture", STRING, "deepseek2"),
             value("general.name", STRING, "Evenkeel demo"),
             value("general.license", STRING, "mit"), value("general.file_type", U32, 7)]
    gguf.write(out, about + architecture(net.shape) + tokenizer(tok), tensors(net))
    print("%s: %.2f MB" % (out, os.path.getsize(out) / 1e6))
    if "--check" in sys.argv:
        torch.save({"net": rounded(net).state_dict(), "shape": asdict(net.shape)}, directory + "/rounded.pt")


if __name__ == "__main__":
    main()
