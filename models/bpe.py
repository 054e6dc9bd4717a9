# SPDX-License-Identifier: MIT
"""Byte-level BPE with DeepSeek-V3's way of cutting text first. `bpe.py OUT` learns the vocabulary.

Digits never merge: a number is read digit by digit, which is what makes arithmetic learnable. Nor do
letters within a bare word: Latin words grow from their beginning only, one letter a merge, and only
behind a blank or from a capital (" How", "How"). So a word the vocabulary does not know is a short
beginning and then single letters, and `strawberry` in quotes is ten letters: which is what makes letters
countable.
"""
import collections
import json
import random
import re
import sys
import unicodedata

BOS, EOS = "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>"
USER, ASSISTANT = "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL = (BOS, EOS, USER, ASSISTANT, THINK, END_THINK)
SIZE = 1536
NEVER = 1 << 30


def category(end, *letters):
    """The inside of a character class: all characters below `end` whose Unicode category starts so."""
    out, start = [], None
    for c in range(end + 1):
        inside = c < end and unicodedata.category(chr(c))[0] in letters
        if inside and start is None:
            start = c
        if not inside and start is not None:
            out.append("%s-%s" % (re.escape(chr(start)), re.escape(chr(c - 1))))
            start = None
    return "".join(out)


def patterns(end=0x110000):
    """The three patterns of "deepseek-v3", spelled for Python's re, which has no \\p. Text whose
    characters all lie below `end` is cut alike by shorter, much faster classes."""
    n, l, p = category(end, "N"), category(end, "L"), category(end, "P", "S")
    lm = category(end, "L", "M")
    ascii_marks = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"""
    return [re.compile("[%s]{1,3}" % n),
            re.compile("[一-龥぀-ゟ゠-ヿ]+"),
            re.compile(ascii_marks + "[A-Za-z]+"
                       + "|[^\r\n%s%s]?[%s]+" % (l, p, lm) + "| ?[%s]+[\r\n]*" % p
                       + r"|\s*[\r\n]+|\s+(?!\S)|\s+")]


def byte_letters():
    """GPT-2's printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return {b: chr(b if b in plain else next(spare)) for b in range(256)}


class Cutter:
    def __init__(self):
        self.any, self.ascii = patterns(), patterns(0x80)
        self.letter, self.digit = byte_letters(), re.compile(r"[0-9]+\Z")

    def pieces(self, text):
        """The pre-tokens: each pattern cuts what the ones before it left; gaps are pieces, too."""
        parts = [text]
        for pattern in self.ascii if text.isascii() else self.any:
            cut = []
            for part in parts:
                at = 0
                for m in pattern.finditer(part):
                    cut += [part[at:m.start()], m.group()]
                    at = m.end()
                cut.append(part[at:])
            parts = [p for p in cut if p]
        return parts

    def spell(self, piece):
        return "".join(self.letter[b] for b in piece.encode())


class Tokenizer:
    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
        self.tokens, self.merges = data["tokens"], [tuple(m) for m in data["merges"]]
        self.id = {t: i for i, t in enumerate(self.tokens)}
        self.special = {t: self.id[t] for t in SPECIAL}
        self.rank = {m: i for i, m in enumerate(self.merges)}
        self.cutter, self.cache, self.line = Cutter(), {}, re.compile(r"(?<=\n)(?=\S)")
        self.byte = {c: b for b, c in self.cutter.letter.items()}

    def word(self, piece):
        """Merge the lowest-ranked pair, leftmost first, until no pair is known."""
        parts = list(self.cutter.spell(piece))
        while len(parts) > 1:
            ranks = [self.rank.get(pair, NEVER) for pair in zip(parts, parts[1:])]
            best = ranks.index(min(ranks))
            if ranks[best] == NEVER:
                break
            parts[best:best + 2] = [parts[best] + parts[best + 1]]
        return [self.id[p] for p in parts]

    def encode(self, text):
        """Plain text only: the spelling of a special token in it stays text.

        Line by line, for no pre-token goes on behind a line's end, and the lines of sheets recur."""
        out = []
        for line in self.line.split(text):
            if line not in self.cache:
                if len(self.cache) > 200000:
                    self.cache.clear()
                self.cache[line] = [i for piece in self.cutter.pieces(line) for i in self.word(piece)]
            out += self.cache[line]
        return out

    def encode_chat(self, text):
        """A finished prompt, in which the specials are meant as such."""
        out = []
        for part in re.split("(%s)" % "|".join(map(re.escape, SPECIAL)), text):
            out += [self.special[part]] if part in self.special else self.encode(part)
        return out

    def decode(self, ids):
        out, raw = "", bytearray()
        for i in ids:
            if self.tokens[i] in self.special:
                out, raw = out + raw.decode(errors="replace") + self.tokens[i], bytearray()
            else:
                raw += bytes(self.byte[c] for c in self.tokens[i])
        return out + raw.decode(errors="replace")


def may_merge(pair):
    """Latin words from their beginning, at most 12 letters; up to about three Chinese characters."""
    left, right = pair
    if not (left + right).isascii():
        blank = left == "\u0120" or left[0] == "\u0120" and left[1:].isascii()
        if not blank:
            return not left.isascii() and not right.isascii() and len(left + right) <= 9
        words = left == "\u0120" or left[-1].isalpha() and right.isalpha()
        return words and len(right) == 1 and right.isascii() and len(left) < 12
    begins = left == "'" or left[0].isupper() and left.isalpha()
    return begins and len(right) == 1 and right.islower() and len(left) < 12


def learn(counts, cutter, room):
    """counts: pre-token -> how often. Returns `room` merges, most frequent pair first."""
    words = [(list(cutter.spell(w)), n) for w, n in sorted(counts.items()) if not cutter.digit.match(w)]
    merges = []
    while len(merges) < room:
        pairs = collections.Counter()
        for parts, n in words:
            for pair in zip(parts, parts[1:]):
                pairs[pair] += n
        pair = min((p for p in pairs if may_merge(p)), key=lambda p: (-pairs[p], p))
        merges.append(pair)
        for parts, _ in words:
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == pair:
                    parts[i:i + 2] = [parts[i] + parts[i + 1]]
                i += 1
    return merges


def main():
    import data
    cutter, rng = Cutter(), random.Random("evenkeel vocabulary")
    counts = collections.Counter()
    for _ in range(40000):
        turns, asked = data.ask(rng, rng.choice(data.SKILLS), rng.choice(("en", "zh")), False)
        for text in (*asked[:3], *sum(turns, ()), data.system_prompt(rng)):
            counts.update(cutter.pieces(text))
    counts = {w: n for w, n in counts.items() if n >= 24}        # made-up words teach nothing
    merges = learn(counts, cutter, SIZE - 256 - len(SPECIAL))
    tokens = list(SPECIAL) + list(cutter.letter.values()) + [a + b for a, b in merges]
    assert len(tokens) == len(set(tokens)) == SIZE
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump({"tokens": tokens, "merges": merges}, f, ensure_ascii=False, indent=0)


if __name__ == "__main__":
    main()
