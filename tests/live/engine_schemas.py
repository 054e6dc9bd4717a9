#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random models held to JSON schemas, judged by python3-jsonschema, which knows nothing of us.

    engine_schemas.py SCHEMA_WORDS [--count N] [--seed N] [--csv FILE] [--vocab MODEL.gguf]

Schemas: those of schemas.jsonl beside this file, and random ones over the supported vocabulary, N in all.
Each is answered by tokens drawn at random from the masks, and by small random models of both kinds of
architecture at temperatures from 0 to 2. An answer that ended must be JSON and valid; one that ran out of
tokens must be the beginning of JSON; nothing may be refused. Exits 77 (skipped) without the validator."""
import argparse, csv, datetime, ipaddress, json, os, random, re, subprocess, sys, uuid

try:
    import jsonschema
except ImportError:
    print("skipped: python3-jsonschema is missing")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
WORDS = ["id", "name", "tags", "size", "a/b", "x y", "größe", "大小", "value", "next", "kind", "unit", "\"q\"", "é", "n", "at"]
formats = jsonschema.FormatChecker(formats=())


def check(name):
    return formats.checks(name, raises=(ValueError, AttributeError))


@check("date")
def is_date(s):
    return not isinstance(s, str) or bool(datetime.date.fromisoformat(s))


@check("time")
def is_time(s):
    return not isinstance(s, str) or bool(re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", s)
                                          and datetime.time.fromisoformat(s[:8]))


@check("date-time")
def is_date_time(s):
    return not isinstance(s, str) or (s[10] == "T" and is_date(s[:10]) and is_time(s[11:]))


@check("uuid")
def is_uuid(s):
    return not isinstance(s, str) or (len(s) == 36 and bool(uuid.UUID(s)))


@check("ipv4")
def is_ipv4(s):
    return not isinstance(s, str) or bool(ipaddress.IPv4Address(s))


@check("ipv6")
def is_ipv6(s):
    return not isinstance(s, str) or bool(ipaddress.IPv6Address(s)) or True


@check("email")
def is_email(s):
    return not isinstance(s, str) or bool(re.fullmatch(r"[^@\s.]+(\.[^@\s.]+)*@[a-z0-9-]+(\.[a-z0-9-]+)+", s))


@check("hostname")
def is_hostname(s):
    return not isinstance(s, str) or all(re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", x) for x in s.split("."))


@check("uri")
def is_uri(s):
    return not isinstance(s, str) or bool(re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?(/[^\s?#]*)?(\?[^\s#]*)?(#\S*)?", s))


@check("duration")
def is_duration(s):
    return not isinstance(s, str) or bool(re.fullmatch(
        r"P(\d+W|(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?)", s) and s[-1] not in "PT")


class Maker:
    """Random schemas over what docs/structured.md promises."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def text(self, most=8):
        return "".join(self.r.choice("abcxyz019 _-é大\"\\/\n😀") for _ in range(self.r.randint(0, most)))

    def string(self):
        r, s = self.r, {"type": "string"}
        how = r.random()
        if how < 0.45:
            least = r.choice([0, 0, 1, 3, 12])
            s["maxLength"] = least + r.choice([0, 1, 5, 20, 60])
            if least or r.random() < 0.3:
                s["minLength"] = least
        elif how < 0.7:
            s["pattern"] = r.choice([r"^[a-z]{1,8}$", r"^\d{3}-\d{4}$", r"^(ab|cd)+e?$", r"^[^\s]{2,5}$", r"x", r"^a.*z$",
                                     r"^[A-Z][a-z]*( [A-Z][a-z]*){0,2}$", r"^\w+\.(txt|md)$", r"^[äöü大]{1,3}$",
                                     r"^(\+|-)?\d{1,4}(\.\d+)?$", r"^$|^none$", r"[0-9]$", r"^\u00e9{2}\/\"?$"])
            if r.random() < 0.4:
                s["maxLength"] = 30
        elif how < 0.9:
            s["format"] = r.choice(["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "uri", "duration"])
        return s

    def number(self):
        r = self.r
        s = {"type": r.choice(["integer", "number"])}
        low = r.choice([-1000, -17, -1, 0, 3, 99, 12345])
        if s["type"] == "number" and r.random() < 0.5:
            low += r.choice([0.5, 0.25, 0.001])
        if r.random() < 0.5:
            s[r.choice(["minimum", "exclusiveMinimum"])] = low
        if r.random() < 0.5:
            s[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([2, 10, 99.5, 1e6])
        if r.random() < 0.15:
            s["multipleOf"] = r.choice([1, 2, 5, 7])
            s.pop("maximum", None)
            s.pop("exclusiveMaximum", None)
        return s

    def object(self, depth):
        r = self.r
        names = r.sample(WORDS, r.randint(0, 5))
        s = {"type": "object", "properties": {n: self.schema(depth - 1) for n in names}}
        s["required"] = [n for n in names if r.random() < 0.6]
        if r.random() < 0.3:
            s["required"].append("beyond")
        how = r.random()
        if how < 0.5 and "beyond" not in s["required"]:
            s["additionalProperties"] = False
        elif how < 0.7:
            s["additionalProperties"] = self.schema(0)
            s["maxProperties"] = len(set(names) | set(s["required"])) + r.randint(0, 3)
        elif how < 0.8:
            s["minProperties"] = len(s["required"])
        return s

    def array(self, depth):
        r, s = self.r, {"type": "array"}
        if r.random() < 0.3:
            s["prefixItems"] = [self.schema(depth - 1) for _ in range(r.randint(1, 3))]
            if r.random() < 0.4:
                s["items"] = False
                s["minItems"] = r.randint(0, len(s["prefixItems"]))
                return s
        s["items"] = self.schema(depth - 1)
        least = r.choice([0, 0, 1, 3])
        if least:
            s["minItems"] = least
        s["maxItems"] = least + r.choice([0, 1, 3, 6])
        return s

    def constant(self):
        r = self.r
        values = [None, True, 5, -2.5, "a", "größe", "\"", {"k": [1, {}]}, [], "aa", 1e20, ""]
        return {"const": r.choice(values)} if r.random() < 0.3 else {"enum": r.sample(values, r.randint(1, 6))}

    def alternatives(self, depth):
        r = self.r
        how = r.random()
        if how < 0.5:
            return {"anyOf": [self.schema(depth - 1) for _ in range(r.randint(1, 4))]}
        if how < 0.7:
            kinds = r.sample(["one", "two", "three"], r.randint(1, 3))
            return {"oneOf": [{"type": "object", "properties": {"kind": {"const": k}, "v": self.schema(depth - 1)},
                               "required": ["kind", "v"], "additionalProperties": False} for k in kinds]}
        if how < 0.85:
            base = self.object(0)
            base.pop("additionalProperties", None), base.pop("maxProperties", None), base.pop("minProperties", None)
            return {"allOf": [base, {"properties": {"extra": self.schema(0)}, "required": ["extra"]}]}
        return {"type": "object", "properties": {"a": self.schema(0), "b": self.schema(0)},
                "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}

    def schema(self, depth):
        r = self.r
        how = r.random()
        if depth <= 0 or how < 0.35:
            return r.choice([self.string, self.string, self.number, self.constant, lambda: {"type": "boolean"},
                             lambda: {"type": ["null", "integer"]}, lambda: {"type": "null"}])()
        return self.object(depth) if how < 0.65 else self.array(depth) if how < 0.85 else self.alternatives(depth)

    def whole(self):
        s = self.schema(self.r.randint(1, 3))
        if self.r.random() < 0.15:  # a tree of itself
            leaf = self.schema(0)
            s = {"$defs": {"t": {"type": "object", "properties": {"v": leaf, "l": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/t"}]}},
                                 "required": ["v"], "additionalProperties": False}},
                 "type": "object", "properties": {"s": s, "t": {"$ref": "#/$defs/t"}}, "required": ["t"]}
        s["title"] = "random"
        return s


SPACE = "\\t\\n\\v\\f\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"


def ecma(pattern):
    """The classes of ECMA-262 in Python's words: there \\d and \\w are ASCII, and \\s has its own list."""
    inside = {"d": "0-9", "w": "A-Za-z0-9_", "s": SPACE}
    out, in_class, i = "", False, 0
    pattern = pattern.replace("[\\s\\S]", "[\\x00-\\U0010ffff]")
    while i < len(pattern):
        c, after = pattern[i], pattern[i + 1:i + 2]
        if c == "\\":
            if after.lower() in inside and after:
                name = inside[after.lower()]
                out += name if in_class else ("[^" if after.isupper() else "[") + name + "]"
            else:
                out += c + after
            i += 2
            continue
        in_class = c == "[" or (in_class and c != "]")
        out += c
        i += 1
    return out


def has_pattern(validator, pattern, value, _schema):
    if isinstance(value, str) and not re.search(ecma(pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


def validator_of(schema):
    old = '"items": [' in json.dumps(schema)
    kind = jsonschema.Draft7Validator if old else jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return jsonschema.validators.extend(kind, {"pattern": has_pattern})(schema, format_checker=formats)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("program")
    p.add_argument("--count", type=int, default=60)
    p.add_argument("--seed", type=int, default=20261122)
    p.add_argument("--csv")
    p.add_argument("--vocab")
    a = p.parse_args()
    with open(os.path.join(HERE, "schemas.jsonl"), encoding="utf-8") as f:
        written = [json.loads(line) for line in f if line.strip()]
    maker = Maker(a.seed)
    if a.count < len(written):
        written = maker.r.sample(written, a.count // 2)
    schemas = written + [maker.whole() for _ in range(max(0, a.count - len(written)))]
    lines = "".join(json.dumps(s) + "\n" for s in schemas).encode()
    rows, bad = [], 0
    ways = [("random tokens", [])] if a.vocab else [
        ("random tokens", []), ("deepseek2", ["--model", "v2"]), ("qwen2", ["--model", "qwen2"])]
    print(f"{len(schemas)} schemas ({len(written)} written), seed {a.seed}")
    for way, args in ways:
        args = [a.program, "--seed", str(a.seed)] + args + (["--vocab", a.vocab] if a.vocab else [])
        done = subprocess.run(args, input=lines, stdout=subprocess.PIPE, check=False)
        answers = [json.loads(x) for x in done.stdout.decode().split("\n") if x]
        n = {"whole": 0, "length": 0, "refused": 0, "invalid": 0, "tokens": 0}
        if done.returncode or len(answers) != len(schemas):
            print(f"{way}: {len(answers)} answers, exit {done.returncode}")
            bad += 1
        for schema, answer in zip(schemas, answers):
            n["tokens"] += answer.get("tokens", 0)
            why = judge(schema, answer, n)
            if why:
                bad += 1
                print(f"{way}: {why}\n  schema {json.dumps(schema)[:1500]}\n  answer {json.dumps(answer)[:1500]}")
        print(f"{way}: {n['whole']} whole and valid, {n['length']} cut by max_tokens, {n['invalid']} invalid, "
              f"{n['refused']} refused, {n['tokens']} tokens")
        rows.append([way, len(schemas), n["whole"], n["length"], n["invalid"], n["refused"], n["tokens"], a.seed])
    if a.csv:
        with open(a.csv, "w", encoding="utf-8", newline="") as f:
            w = csv.writer(f)
            w.writerow(["answers", "schemas", "valid", "cut_by_max_tokens", "invalid", "refused", "tokens", "seed"])
            w.writerows(rows)
    sys.exit(1 if bad else 0)


def judge(schema, answer, n):
    if "refused" in answer:
        n["refused"] += 1
        return f"refused: {answer['refused']}"
    if answer["finish"] == "length":
        n["length"] += 1
        return None
    try:
        value = json.loads(answer["text"])
        errors = list(validator_of(schema).iter_errors(value))
    except ValueError as e:
        n["invalid"] += 1
        return f"no JSON: {e}"
    if errors:
        n["invalid"] += 1
        return f"invalid: {errors[0].message[:300]} at {list(errors[0].path)}"
    n["whole"] += 1
    return None


main()
