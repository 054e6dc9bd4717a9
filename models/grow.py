# SPDX-License-Identifier: MIT
"""`grow.py FROM TO [--layers N] [--vocab FILE] [--ahead]`: a larger network that begins as the smaller one.

A new layer copies the one below it and adds nothing at first: its last matrices are zero ("net2net",
Chen et al. 2016). A new word starts as the mean of the words it was spelled with, and is expected where
its first piece was. --vocab learns nothing by itself: give it what bpe.py wrote. --ahead adds the block
that guesses the token after the next, from nothing.
"""
import argparse
import json
import os
import re
from dataclasses import asdict, replace

import torch

from bpe import Tokenizer
from net import Net, Shape

LAST = ("attn_output", "ffn_down", "ffn_down_exps", "ffn_down_shexp")


def pieces(old, token):
    """How the old vocabulary spells one token of the new."""
    if token in old.id:
        return [old.id[token]]
    parts = list(token)
    while len(parts) > 1:
        ranks = [old.rank.get(pair, 1 << 30) for pair in zip(parts, parts[1:])]
        best = ranks.index(min(ranks))
        if ranks[best] == 1 << 30:
            break
        parts[best:best + 2] = [parts[best] + parts[best + 1]]
    return [old.id[p] for p in parts]


def translate(state, old, new):
    spelled = [pieces(old, t) for t in new.tokens]
    state["token_embd"] = torch.stack([state["token_embd"][ids].mean(0) for ids in spelled])
    state["output"] = torch.stack([state["output"][ids[0]] for ids in spelled])


def deepen(state, have, want):
    for layer in range(have, want):
        for name in [n for n in state if n.startswith("blk.%d." % (layer - 1))]:
            copy = state[name].clone()
            if name.split(".")[-1] in LAST:
                copy.zero_()
            state[re.sub(r"^blk\.\d+", "blk.%d" % layer, name)] = copy


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("source")
    ap.add_argument("target")
    ap.add_argument("--layers", type=int)
    ap.add_argument("--vocab")
    ap.add_argument("--ahead", action="store_true")
    o = ap.parse_args()
    torch.manual_seed(1)
    kept, words = torch.load(o.source + "/last.pt"), o.vocab or o.source + "/vocab.json"
    shape, state = Shape(**kept["shape"]), dict(kept["net"])
    new = Tokenizer(words)
    if o.vocab:
        translate(state, Tokenizer(o.source + "/vocab.json"), new)
    deepen(state, shape.layers, o.layers or shape.layers)
    shape = replace(shape, vocab=len(new.tokens), layers=o.layers or shape.layers,
                    ahead=int(o.ahead) or shape.ahead)
    net = Net(shape)
    missing, unknown = net.load_state_dict(state, strict=False)
    assert not unknown and all(n.startswith("nextn.") for n in missing), (missing, unknown)
    os.makedirs(o.target, exist_ok=True)
    with open(o.target + "/vocab.json", "w", encoding="utf-8") as f:
        json.dump({"tokens": new.tokens, "merges": new.merges}, f, ensure_ascii=False, indent=0)
    torch.save({"net": net.state_dict(), "shape": asdict(shape)}, o.target + "/last.pt")
    print("%.2f M parameters" % (sum(p.numel() for p in net.parameters()) / 1e6))


if __name__ == "__main__":
    main()
