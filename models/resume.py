# SPDX-License-Identifier: MIT
"""`resume.py MODEL.gguf DIR` makes a training directory of a file that export.py wrote.

train.py then goes on from those weights, with a new clock and fresh optimizers. Only for files of
our own making: nothing here defends itself against a malformed one.
"""
import json
import os
import struct
import sys
from dataclasses import asdict

import numpy as np
import torch

import gguf
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


def shape_of(values):
    """What export.architecture() wrote down."""
    v = {k.partition(".")[2]: x for k, x in values.items() if k.startswith("deepseek2.")}
    ahead = v.get("nextn_predict_layers", 0)
    key = v["attention.key_length_mla"]
    return Shape(
        vocab=v["vocab_size"], dim=v["embedding_length"], layers=v["block_count"] - ahead, ahead=ahead,
        dense_layers=v["leading_dense_block_count"], heads=v["attention.head_count"],
        rope=v["rope.dimension_count"], nope=key - v["rope.dimension_count"],
        value=v["attention.value_length_mla"], q_lora=v["attention.q_lora_rank"],
        kv_lora=v["attention.kv_lora_rank"], dense_ff=v["feed_forward_length"], experts=v["expert_count"],
        used=v["expert_used_count"], groups=v["expert_group_count"], groups_used=v["expert_group_used_count"],
        expert_ff=v["expert_feed_forward_length"], shared=v["expert_shared_count"],
        scale=v["expert_weights_scale"], theta=v["rope.freq_base"], context=v["context_length"])


def main():
    path, directory = sys.argv[1:3]
    values, tensors = read(path)
    os.makedirs(directory, exist_ok=True)
    with open(directory + "/vocab.json", "w", encoding="utf-8") as f:
        merges = [m.split(" ") for m in values["tokenizer.ggml.merges"]]
        json.dump({"tokens": values["tokenizer.ggml.tokens"], "merges": merges}, f,
                  ensure_ascii=False, indent=0)
    net = Net(shape_of(values))
    for name, t in net.state_dict().items():
        t.copy_(torch.from_numpy(np.array(tensors[tensor_name(name, net.shape.layers)])))
    torch.save({"net": net.state_dict(), "shape": asdict(net.shape)}, directory + "/last.pt")


if __name__ == "__main__":
    main()
