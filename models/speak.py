# SPDX-License-Identifier: MIT
"""Greedy generation, many prompts at once. `speak.py DIR [--direct] QUESTION...` asks the model."""
import math
import sys

import torch

from bpe import EOS, SIZE, Tokenizer
from data import prompt_text
from net import Net, Past, Shape


@torch.no_grad()
def generate(net, prompts, stop, limit=260):
    """prompts: lists of ids, padded here on the left. -> the ids that follow, `stop` not included."""
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
    tok, net = Tokenizer(directory + "/vocab.json"), Net(Shape(vocab=SIZE))
    net.load_state_dict(torch.load(directory + "/" + weights)["net"])
    return net.eval(), tok


def main():
    args = [a for a in sys.argv[1:] if a != "--direct"]
    net, tok = load(args[0])
    prompts = [tok.encode_chat(prompt_text("", [], q, "--direct" not in sys.argv)) for q in args[1:]]
    for question, ids in zip(args[1:], generate(net, prompts, tok.special[EOS])):
        print("%s\n%s\n" % (question, tok.decode(ids)))


if __name__ == "__main__":
    main()
