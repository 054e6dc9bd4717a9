# SPDX-License-Identifier: MIT
"""`resume.py MODEL.gguf DIR` makes a training directory of a file that export.py wrote.

train.py then goes on from those weights, with a new clock and fresh optimizers. Only for files of
our own making: nothing here defends itself against a malformed one.
"""
import json
import os
import struct
import sys

import numpy as np
import torch

import gguf
from bpe import SIZE
from export import tensor_name
from net import Net, Shape

PLAIN = {gguf.U32: "<I", gguf.I32: "<i", gguf.FLOAT: "<f", gguf.BOOL: "<?"}


class Reader:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.raw, self.at = f.read(), 4

    def one(self, form):
        self.at += struct.calcsize(form)
        return struct.unpack_from(form, self.raw, self.at - struct.calcsize(form))[0]

    def string(self):
        n = self.one("<Q")
        self.at += n
        return self.raw[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == gguf.ARRAY:
            items, n = self.one("<I"), self.one("<Q")
            return [self.value(items) for _ in range(n)]
        return self.string() if kind == gguf.STRING else self.one(PLAIN[kind])


def tensor(raw, kind, shape):
    count = int(np.prod(shape))
    if kind == gguf.Q8_0:
        return gguf.from_q8_0(np.frombuffer(raw, np.uint8, count // 32 * 34).reshape(-1, 34), shape)
    dtype = {gguf.F32: "<f4", gguf.F16: "<f2"}[kind]
    return np.frombuffer(raw, dtype, count).reshape(shape).astype(np.float32)


def read(path):
    """-> (values, tensors), both by name"""
    r, infos = Reader(path), []
    r.one("<I")
    tensors, values = r.one("<Q"), r.one("<Q")
    values = dict((r.string(), r.value(r.one("<I"))) for _ in range(values))
    for _ in range(tensors):
        name = r.string()
        shape = [r.one("<Q") for _ in range(r.one("<I"))][::-1]
        infos.append((name, shape, r.one("<I"), r.one("<Q")))
    base = -(-r.at // gguf.ALIGN) * gguf.ALIGN
    return values, {n: tensor(r.raw[base + at:], k, shape) for n, shape, k, at in infos}


def main():
    path, directory = sys.argv[1:3]
    values, tensors = read(path)
    os.makedirs(directory, exist_ok=True)
    with open(directory + "/vocab.json", "w", encoding="utf-8") as f:
        merges = [m.split(" ") for m in values["tokenizer.ggml.merges"]]
        json.dump({"tokens": values["tokenizer.ggml.tokens"], "merges": merges}, f,
                  ensure_ascii=False, indent=0)
    net = Net(Shape(vocab=SIZE))
    for name, t in net.state_dict().items():
        t.copy_(torch.from_numpy(np.array(tensors[tensor_name(name)])))
    torch.save({"net": net.state_dict()}, directory + "/last.pt")


if __name__ == "__main__":
    main()
