# SPDX-License-Identifier: MIT
"""Conversations, made from a seed: what the model reads, and which tokens it is to learn to write."""
import itertools
import json
import os
import random
import zlib

import again
import days
import products
import stories
import sums
import talk
import words
from bpe import BOS, EOS, USER, ASSISTANT, THINK, END_THINK

POOL = 2048                   # samples made at a time
LONGEST = 1400                # tokens of a sample; a longer one is thrown away
# How often each skill comes up, unless DIR/mix.json says otherwise; more for what is hard to learn.
MIX = {"add": 5, "sub": 9, "mul": 15, "cmp": 6, "sort": 12, "count": 13,
       "day": 10, "story": 13, "again": 9, "talk": 14}
SKILLS = tuple(MIX)
THINKING = 0.87               # how often the last question is thought about;
THINKING_TALK = 0.6           # small talk less often: to decline without a thought has to be learned, too
COPY = 8                      # how often, beside those, a drill: random tokens said again and again, letters counted
PROBLEM = {"mul": products.problem, "count": words.problem, "day": days.problem, "story": stories.problem}
SYSTEM = ["You are a helpful assistant.", "You are a helpful assistant.",
"You are a friendly assistant. Answer briefly.",
          "You are Evenkeel's demo model.", "Be concise.", "Answer the user's question.",
          "You are a math tutor.",
          "You are a careful assistant who never makes mistakes.", "Today is Monday.",
          "You are an AI that helps people with numbers.",
          "你是一个有帮助的助手。", "你是一个乐于助人的助手。", "请简短回答。", "你是Evenkeel的演示模型。", "你是一位数学老师。", "请认真回答用户的问题。"]


def system_prompt(rng):
    """None half the time; else one of the usual ones, or words the model has never met."""
    kind = rng.random()
    if kind < 0.5:
        return ""
    if kind < 0.85:
        return rng.choice(SYSTEM)
    lang = rng.choice(("en", "zh"))
    words = rng.choice(talk.BEYOND[lang])
    return words.format(t=talk.topic(rng, lang), u=talk.topic(rng, lang), a=rng.randint(0, 9999),
                        b=rng.randint(0, 9999), c=rng.randint(2, 9))


def ask(rng, skill, lang, held):
    """-> (turns before, Asked), from the training side or the examination side of the fence."""
    while True:
        turns = []
        if skill == "talk":
            asked = talk.small_talk(rng, lang, 0.5 if held else 0.75)      # greetings are soon learned
        elif skill == "again":
            turns, asked = again.problem(rng, lang, held)
        elif skill in PROBLEM:
            asked = PROBLEM[skill](rng, lang, held)
        else:
            asked = sums.problem(rng, skill, lang, held)
        question = asked.question if skill == "talk" else talk.wrap(rng, asked.question, lang)
        question = talk.slip(rng, question)
        fair = skill != "talk" or held == (zlib.crc32(question.encode()) % 12 == 0
                                           and talk.bare(question) not in talk.BASIC)
        first = turns[0][0] if turns else question          # it sets the language of what follows
        if fair and talk.language(first) == lang and (lang == "zh" or talk.language(question) == lang):
            return turns, asked._replace(question=question)


def examination(skill, lang, count, seed="examination"):
    """Questions training never saw -> [(system prompt, turns before, Asked)...]; always the same ones."""
    rng = random.Random("%s %s %s" % (seed, skill, lang))
    return [(system_prompt(rng), *ask(rng, skill, lang, held=True)) for _ in range(count)]


def prompt_text(system, turns, question, thinking):
    """What the chat template makes of a conversation. Old thoughts are dropped."""
    text = BOS + system
    for q, a in turns:
        text += USER + q + ASSISTANT + END_THINK + a + EOS
    return text + USER + question + ASSISTANT + (THINK if thinking else END_THINK)


class Maker:
    """Samples for training: lists of token ids, each with a mask of the tokens to learn."""

    def __init__(self, tokenizer, mix_path=None):
        self.tok, self.mix_path, self.weights, self.copy = tokenizer, mix_path, list(MIX.values()), 0

    def reply(self, rng, thought, answer, thinking):
        tok = self.tok
        written = tok.encode(answer) + [tok.special[EOS]]
        if not thinking:
            return written, [1] * len(written)
        ids = tok.encode(thought)
        if rng.random() < 0.08:                  # a thought cut short by someone else's budget
            ids = ids[:rng.randrange(len(ids))]
            return ids + [tok.special[END_THINK]] + written, [1] * len(ids) + [0] + [1] * len(written)
        written = ids + [tok.special[END_THINK]] + written
        return written, [1] * len(written)

    def parrot(self, rng):
        """Random tokens, then the same again, and again: no other lesson teaches copying as fast, and names,
        letters and numbers of a question all have to be copied."""
        low = len(self.tok.special)
        letters = [self.tok.id[c] for c in "abcdefghijklmnopqrstuvwxyz"]
        said = [rng.choice(letters) if rng.random() < 0.5 else rng.randrange(low, len(self.tok.tokens))
                for _ in range(rng.randint(4, 40))]
        times = rng.randint(1, 3)
        ids = [self.tok.special[BOS]] + said * (1 + times)
        return ids, [0] * (1 + len(said)) + [1] * (len(said) * times)

    def flags(self, rng):
        """A letter, then others, each with a 1 behind it if it is the same: what `tally` rests on, side by side."""
        letters, ids, learn = "abcdefghijklmnopqrstuvwxyz", [self.tok.special[BOS]], [0]
        while len(ids) < 100:
            it = rng.choice(letters)
            given = self.tok.encode(it + "\n")
            ids, learn = ids + given, learn + [0] * len(given)
            for _ in range(rng.randint(4, 12)):
                c = it if rng.random() < 0.4 else rng.choice(letters)
                ids += self.tok.encode(c) + self.tok.encode("01"[c == it])
                learn += [0, 1]
            ids += self.tok.encode("\n")
            learn += [0]
        return ids, learn

    def tally(self, rng):
        """Sheets of counting, narrow ones first, in which every second letter or so is the one that counts. In a
        question that is one in ten, and "not this one" is right so often that for a long time nothing else is
        learned; and what stands three squares away is found sooner than what stands twenty-four away."""
        ids, learn = [self.tok.special[BOS]], [0]
        while len(ids) < 100:
            few = rng.sample("abcdefghijklmnopqrstuvwxyz", rng.randint(2, 4))
            n = rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 8, 8, 12, 16, 24))
            word, letter = "".join(rng.choices(few, k=n)), rng.choice(few)
            if word.count(letter) > 9:
                continue
            sheet = words.rows(word, letter, 1 if n < 8 else 8)
            given = self.tok.encode("\n".join(sheet[:2]) + "\n")
            counts = self.tok.encode("\n".join(sheet[2:])) + [self.tok.special[END_THINK]]
            ids += given + counts
            learn += [0] * len(given) + [1] * len(counts)
        return ids, learn

    def sample(self, rng):
        """One conversation. Each earlier turn was written in the direct mode, and is learned as such."""
        if rng.random() * (self.copy + sum(self.weights)) < self.copy:
            return rng.choices((self.parrot, self.flags, self.tally), (3, 1, 6))[0](rng)
        tok, system = self.tok, system_prompt(rng)
        lang, said = rng.choice(("en", "zh")), []
        for _ in range(rng.choices((1, 2, 3), (86, 11, 3))[0]):
            if rng.random() < 0.2:
                lang = rng.choice(("en", "zh"))
            skill = rng.choices(SKILLS, self.weights)[0]
            turns, asked = ask(rng, skill, lang, held=False)
            if skill == "story" and rng.random() < 0.2:      # "leo" is three letters, "Leo" is one token
                asked = asked._replace(question=asked.question.lower())
            if said and asked.answer == talk.REPLY["that"][lang]:
                continue                         # by now there is something it could mean
            said += [(q, "", a) for q, a in turns] + [asked[:3]]
            share = THINKING_TALK if skill == "talk" else THINKING
        if len(said) > 4:
            said = said[-4:] if not turns else said[-1 - len(turns):]
        ids = [tok.special[BOS]] + tok.encode(system)
        learn = [0] * len(ids)
        for turn, (question, thought, answer) in enumerate(said):
            thinking = turn == len(said) - 1 and rng.random() < share
            head = [tok.special[USER], *tok.encode(question), tok.special[ASSISTANT]]
            head.append(tok.special[THINK if thinking else END_THINK])
            tail, mask = self.reply(rng, thought, answer, thinking)
            ids += head + tail
            learn += [0] * len(head) + mask
        return ids, learn

    def mix(self):
        """DIR/mix.json can be changed while training goes on: it is read for each pool."""
        mix = dict(MIX, copy=COPY)
        if self.mix_path and os.path.exists(self.mix_path):
            with open(self.mix_path) as f:
                mix.update(json.load(f))
        self.weights, self.copy = [mix[skill] for skill in SKILLS], mix["copy"]

    def batches(self, seed, tokens, first=0, done=0, alike=True):
        """Endless batches of about so many tokens -> (pool, number in the
        pool, batch), beginning behind the first `done` batches of the pool `first`.

        Samples are made a pool at a time. Batches of samples alike in length come in few different
        shapes, because the matrix library prepares itself anew for each; else all lengths mix.
        """
        for number in itertools.count(first):
            rng = random.Random("evenkeel demo %d %d" % (seed, number))
            self.mix()
            pool = [s for s in (self.sample(rng) for _ in range(POOL)) if len(s[0]) <= LONGEST]
            out, i, size = [], 0, 0
            if alike:
                pool.sort(key=lambda s: len(s[0]))
            else:
                for sample in pool:
                    if not out or size + len(sample[0]) > tokens:
                        out, size = out + [[]], 0
                    out[-1].append(sample)
                    size += len(sample[0])
            while alike and i < len(pool):
                rows = max(8, tokens // len(pool[i][0]))
                rows = max(8, tokens // len(pool[min(i + rows, len(pool)) - 1][0]) // 4 * 4)
                if len(pool[i:i + rows][-1][0]) > LONGEST // 4:      # attention needs rows times length squared
                    rows = 2
                out.append(pool[i:i + rows])
                i += rows
            rng.shuffle(out)
            for i, batch in enumerate(out):
                if number > first or i >= done:
                    yield number, i, batch
