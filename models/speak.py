# SPDX-License-Identifier: MIT
"""Greedy generation, many prompts at once. `speak.py DIR [--direct] [--mean] QUESTION...` asks the model."""
import math
import sys

import torch

from bpe import EOS, Tokenizer
from data import prompt_text
from net import Net, Past, Shape


ROOM = 3 << 20                # rows times width squared of what is read at once: bounds the memory


def generate(net, prompts, stop, limit=420):
    """prompts: lists of ids -> the ids that follow each, `stop` not included. Like lengths go together."""
    order, out = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), [None] * len(prompts)
    while order:
        rows = 1
        while rows < min(len(order), 100) and (rows + 1) * len(prompts[order[-1]]) ** 2 <= ROOM:
            rows += 1
        mine, order = order[-rows:], order[:-rows]
        for i, ids in zip(mine, together(net, [prompts[i] for i in mine], stop, limit)):
            out[i] = ids
    return out


@torch.no_grad()
def together(net, prompts, stop, limit):
    """One batch, padded on the left."""
    width = max(map(len, prompts))
    blank = torch.tensor([width - len(p) for p in prompts])
    tokens = torch.tensor([[stop] * (width - len(p)) + p for p in prompts])
    out, alive, past = [[] for _ in prompts], torch.arange(len(prompts)), Past()
    at, mask = torch.arange(width), torch.full((width, width), -math.inf).triu(1)
    while len(alive) and at[-1] < width + limit:
        keys = torch.arange(int(at[-1]) + 1)
        hidden = (keys[None, :] < blank[:, None]).float()[:, None, None, :] * -1e9
        seen = mask + hidden if mask is not None else hidden
        positions = (at[None, :] - blank[:, None]).clamp(min=0)
        following = net.logits(net(tokens, positions, seen, past)[:, -1]).argmax(-1)
        going = following != stop
        for row, token in zip(alive[going].tolist(), following[going].tolist()):
            out[row].append(token)
        alive, blank, tokens = alive[going], blank[going], following[going].unsqueeze(1)
        past.keep_rows(going)
        at, mask = at[-1:] + 1, None
    return out


def load(directory, weights="last.pt"):
    kept = torch.load(directory + "/" + weights)
    tok, net = Tokenizer(directory + "/vocab.json"), Net(Shape(**kept["shape"]))
    net.load_state_dict(kept["net"])
    return net.eval(), tok


def main():
    args = [a for a in sys.argv[1:] if not a.startswith("--")]
    net, tok = load(args[0], "mean.pt" if "--mean" in sys.argv else "last.pt")
    prompts = [tok.encode_chat(prompt_text("", [], q, "--direct" not in sys.argv)) for q in args[1:]]
    for question, ids in zip(args[1:], generate(net, prompts, tok.special[EOS])):
        print("%s\n%s\n" % (question, tok.decode(ids)))


if __name__ == "__main__":
    main()
