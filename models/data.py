# SPDX-License-Identifier: MIT
"""Conversations, made from a seed: what the model reads, and which tokens it is to learn to write."""
import itertools
import random
import zlib

import sums
import talk
from bpe import BOS, EOS, USER, ASSISTANT, THINK, END_THINK

POOL = 2048                   # samples made at a time
SKILLS = ("add", "sub", "cmp", "sort", "talk")
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
    """-> (question, thought, answer), from the training side or the examination side of the fence."""
    while True:
        if skill == "talk":
            question, thought, answer = talk.small_talk(rng, lang)
        else:
            question, thought, answer = sums.problem(rng, skill, lang, held)
        question = talk.slip(rng, question)
        fair = skill != "talk" or held == (zlib.crc32(question.encode()) % 12 == 0
                                           and talk.bare(question) not in talk.BASIC)
        if fair and talk.language(question) == lang:
            return question, thought, answer


def prompt_text(system, turns, question, thinking):
    """What the chat template makes of a conversation. Old thoughts are dropped."""
    text = BOS + system
    for q, a in turns:
        text += USER + q + ASSISTANT + END_THINK + a + EOS
    return text + USER + question + ASSISTANT + (THINK if thinking else END_THINK)


class Maker:
    """Samples for training: lists of token ids, each with a mask of the tokens to learn."""

    def __init__(self, tokenizer):
        self.tok = tokenizer

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

    def sample(self, rng):
        """One conversation. Each earlier turn was written in the direct mode, and is learned as such."""
        tok = self.tok
        system = system_prompt(rng)
        ids = [tok.special[BOS]] + tok.encode(system)
        learn = [0] * len(ids)
        turns = rng.choices((1, 2, 3), (86, 11, 3))[0]
        lang = rng.choice(("en", "zh"))
        for turn in range(turns):
            if rng.random() < 0.2:
                lang = rng.choice(("en", "zh"))
            skill = rng.choices(SKILLS, (8, 22, 14, 31, 25))[0]
            question, thought, answer = ask(rng, skill, lang, held=False)
            thinking = turn == turns - 1 and rng.random() < 0.85
            head = tok.encode(question)
            head = [tok.special[USER], *head, tok.special[ASSISTANT]]
            head.append(tok.special[THINK if thinking else END_THINK])
            tail, mask = self.reply(rng, thought, answer, thinking)
            ids += head + tail
            learn += [0] * len(head) + mask
        return ids, learn

    def batches(self, seed, tokens, first=0):
        """Endless batches of about so many tokens, each of samples of like length -> (pool, batch).

        Samples are made a pool at a time. Batches come in few different shapes, because the matrix
        library prepares itself anew for each.
        """
        for number in itertools.count(first):
            rng = random.Random("evenkeel demo %d %d" % (seed, number))
            pool = sorted((self.sample(rng) for _ in range(POOL)), key=lambda s: len(s[0]))
            out, i = [], 0
            while i < POOL:
                rows = max(8, tokens // len(pool[i][0]))
                rows = max(8, tokens // len(pool[min(i + rows, POOL) - 1][0]) // 4 * 4)
                out.append(pool[i:i + rows])
                i += rows
            rng.shuffle(out)
            for batch in out:
                yield number, batch
