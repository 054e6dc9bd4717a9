# SPDX-License-Identifier: MIT
"""`mean.py OUT DIR DIR...` makes a training directory whose weights are the mean of others'.

Runs that set out from the same weights end near each other, in the same valley; their mean lies
lower than any of them (Wortsman et al., "Model soups", 2022). Free of charge, and often worth a
run's last few points.
"""
import os
import shutil
import sys

import torch


def mean(nets):
    """Router biases are averaged like all else; they only rank the experts."""
    return {k: sum(n[k] for n in nets) / len(nets) if t.is_floating_point() else t
            for k, t in nets[-1].items()}


def main():
    out, dirs = sys.argv[1], sys.argv[2:]
    os.makedirs(out, exist_ok=True)
    shutil.copy(os.path.join(dirs[0], "vocab.json"), out)
    kept = [torch.load(os.path.join(d, "last.pt")) for d in dirs]
    torch.save({"net": mean([k["net"] for k in kept]), "shape": kept[0]["shape"]},
               os.path.join(out, "last.pt"))


if __name__ == "__main__":
    main()
