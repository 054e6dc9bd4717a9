# SPDX-License-Identifier: MIT
"""Writes GGUF, version 3: named values, named tensors, each tensor on a 32-byte boundary."""
import struct

import numpy as np

U32, I32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9            # types of values
F32, F16, Q8_0 = 0, 1, 8                                            # types of tensors
ALIGN = 32


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(key, kind, content, items=None):
    """One key and its value; `items` is the type of an array's elements."""
    def plain(kind, v):
        if kind == STRING:
            return string(v)
        return struct.pack({U32: "<I", I32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], v)

    head = string(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + plain(kind, content)
    return head + struct.pack("<IQ", items, len(content)) + b"".join(plain(items, v) for v in content)


def q8_0(x):
    """Blocks of 32 numbers as one half-precision step and 32 small integers."""
    x = np.ascontiguousarray(x, np.float32).reshape(-1, 32)
    step = np.abs(x).max(1, keepdims=True) / np.float32(127)
    inverse = np.divide(1, step, out=np.zeros_like(step), where=step > 0)
    scaled = x * inverse
    whole = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)
    return np.hstack([step.astype("<f2").view(np.uint8), whole.view(np.uint8)])


def from_q8_0(blocks, shape):
    """What a reader makes of q8_0's blocks."""
    step = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    return (np.ascontiguousarray(blocks[:, 2:]).view(np.int8) * step).reshape(shape)


def pack(x, kind):
    if kind == Q8_0:
        return q8_0(x).tobytes()
    return np.ascontiguousarray(x, {F32: "<f4", F16: "<f2"}[kind]).tobytes()


def write(path, values, tensors):
    """values: from value(); tensors: (name, array, kind), rows last as numpy has them."""
    infos, blobs, offset = [], [], 0
    for name, x, kind in tensors:
        raw = pack(x, kind)
        raw += b"\0" * (-len(raw) % ALIGN)
        shape = struct.pack("<I%dQ" % x.ndim, x.ndim, *reversed(x.shape))
        infos.append(string(name) + shape + struct.pack("<IQ", kind, offset))
        blobs.append(raw)
        offset += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(values) + b"".join(infos)
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGN) + b"".join(blobs))
