# SPDX-License-Identifier: MIT
"""How often is a letter in a word? Any word of up to 24 letters, also one nobody has heard of.

    r                   the letter
    strawberry______    the word, spelled, in rows of 8, 16 or 24
    0011111233______    how many so far, below each letter
    =3

The vocabulary (bpe.py) cuts a bare word in lower case into its letters, so the spelled word is one
letter a token, and each count stands one row's width from its letter: a fixed distance again.
"""
from sums import Asked, held_out

LIMIT = 24
REAL = """strawberry banana mississippi apple orange raspberry blueberry cherry letter committee coffee
coconut pineapple tomato potato carrot pepper butter cheese bread water summer winter spring autumn monday
thursday weekday yesterday tomorrow morning evening night school teacher student university language
computer keyboard programmer algorithm transformer attention queue server engine evenkeel balance harbour
sailor anchor ship ocean river mountain valley forest garden flower butterfly bumblebee elephant giraffe
kangaroo rabbit squirrel parrot penguin dolphin hippopotamus crocodile alligator dinosaur tyrannosaurus
balloon football baseball basketball volleyball umbrella window kitchen bathroom bedroom bookkeeper
accommodation necessary occurrence success address possession millennium embarrass assessment happiness
sweetness darkness loneliness friendship relationship international communication information education
mathematics arithmetic multiplication subtraction addition geometry algebra philosophy psychology biology
chemistry physics astronomy history geography literature music piano violin guitar trumpet saxophone
parallel alphabet encyclopedia dictionary sentence paragraph hello world people little bottle kettle middle
giggle wiggle puzzle dazzle pizza jazz buzz lollipop hippo zebra tattoo voodoo igloo noon level radar
racecar civic rotor kayak madam deed peep onomatopoeia abracadabra supercalifragilistic cat dog sun moon
a be see tree three green agree queen error mirror terror horror ferry berry merry sorry hurry curry""".split()

ASK = {
    "en": ["How many {c} are in {w}?", "How many {c}'s are in {w}?", "How many {c}'s are there in {w}?",
           "How many {c} in {w}?", "How many times does {c} appear in {w}?",
           "How many times does the letter {c} appear in {w}?", "How often does {c} appear in {w}?",
           "How often is {c} in {w}?", "Count the letter {c} in {w}.", "Count the {c}'s in {w}.",
           "Count {c} in {w}", "How many letters {c} are in {w}?", "How many {c}'s does {w} have?",
           "How many times is the letter {c} in the word {w}?",
           "How many {c}'s are in the word {w}?", "How many {c}'s can you find in {w}?",
           "In {w}, how many {c}'s are there?", "The word is {w}. How many {c}'s are in it?",
           "{w}: how many {c}?", "Number of {c} in {w}", "Please count the letter {c} in the word {w}."],
    "zh": ["{w}里有几个{c}？", "{w}里有多少个{c}？", "{w}中有几个{c}？", "{w}中有多少个字母{c}？", "{w}这个词里有几个{c}？",
           "单词{w}里有几个字母{c}？", "单词{w}中有几个{c}？", "请数一数{w}里有几个{c}。", "数一下{w}中的{c}", "字母{c}在{w}中出现了几次？",
           "{c}在{w}里出现几次？", "{w}有几个{c}？", "请问{w}里有几个{c}？", "{w}里面有几个字母{c}？"],
}
BEGIN = {"en": "Spell it and count:\n", "zh": "拼出来数：\n"}
QUOTES = {"en": ("{}", "{}", "{}", '"{}"', '"{}"', "'{}'", "“{}”"),
          "zh": ("{}", "{}", "“{}”", '"{}"', "「{}」")}


def made_up(rng):
    """Syllables, or any letters at all, or few letters that come again and again."""
    kind, n = rng.random(), rng.choices(range(1, 25), [2] + [5] * 12 + [3] * 4 + [1] * 7)[0]
    if kind < 0.45:
        parts = ("bcdfghjklmnprstvwz", "aeiou")
        word = "".join(rng.choice(parts[i % 2]) * (2 if rng.random() < 0.15 else 1) for i in range(n))
        return word[:LIMIT]
    letters = "abcdefghijklmnopqrstuvwxyz"
    if kind > 0.75:
        letters = rng.sample(letters, rng.randint(2, 5))
    return "".join(rng.choice(letters) for _ in range(n))


def letter_of(rng, word):
    """Mostly one that is there; the more often, the likelier."""
    return rng.choice(word if rng.random() < 0.85 else "abcdefghijklmnopqrstuvwxyz")


def rows(word, letter, step=8):
    """The sheet, row by row; its width is the next multiple of `step`."""
    width, counts = -(-len(word) // step) * step, ""
    for i in range(len(word)):
        counts += str(word[:i + 1].count(letter))            # below ten: a digit is a square
    return [letter, word.ljust(width, "_"), counts.ljust(width, "_"), "=%d" % word.count(letter)]


def solve(word, letter, lang):
    """-> (thought, answer); both in lower case."""
    n = word.count(letter)
    if lang == "en":
        answer = "The letter %s appears %d time%s in \"%s\"." % (letter, n, "" if n == 1 else "s", word)
    else:
        answer = "字母%s在“%s”中出现了%d次。" % (letter, word, n)
    return BEGIN[lang] + "\n".join(rows(word, letter)), answer


def problem(rng, lang, held):
    while True:
        word = rng.choice(REAL) if rng.random() < 0.3 else made_up(rng)
        letter = letter_of(rng, word)
        if word.count(letter) < 10 and held_out("count:%s %s" % (letter, word)) == held:
            break
    shown, c, case = word, letter, rng.random()
    if case < 0.1:
        shown = word.capitalize()
    elif case < 0.15:
        shown = word.upper()
    if rng.random() < 0.1:
        c = c.upper()
    shown = rng.choice(QUOTES[lang]).format(shown)
    c = rng.choice(("{}", "{}", "{}", '"{}"', "'{}'")).format(c)
    if lang == "en" and rng.random() < 0.9:
        form = rng.choice(ASK[lang]) if c == letter else rng.choice(ASK[lang][:1] + ASK[lang][5:10])
    else:
        form = rng.choice(ASK[lang])
    return Asked(form.format(w=shown, c=c), *solve(word, letter, lang), ("word", word))
