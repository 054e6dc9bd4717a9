/* SPDX-License-Identifier: MIT */
/* Parsing a pattern into a tree and writing the tree as an automaton.
 *
 * ^ and $ are made ordinary: the text is thought to stand between two symbols of its own, BEGIN and END,
 * which the anchors read and which "anything" before and behind the pattern may be, too. When the automaton
 * is deterministic, BEGIN is taken once at its start, and a state is final if END leads from it to a final
 * one. So an anchor in the middle of a pattern means what it should, which is mostly: never. */
#include "engine/pattern.h"

#include "base/utf8.h"
#include "engine/spelling.h"

#include <stdio.h>
#include <stdlib.h>

enum { NODES_MAX = 16384, RANGES_MAX = 32768, WORK_MAX = 1 << 19, NOTHING = UINT16_MAX };

enum kind { EMPTY, SET, CAT, ALT, REPEAT, BEGIN, END };

struct node {
    enum kind kind;
    uint32_t a, b;       /* nodes, or the ranges from a, b of them */
    uint32_t least, most; /* of REPEAT; most UINT32_MAX: no end */
};

struct range {
    uint32_t lo, hi;
};

struct parser {
    struct ek_str text; /* not yet read */
    struct node *nodes;
    uint32_t node_count;
    struct range *ranges;
    uint32_t range_count;
    unsigned depth;
    uint32_t work; /* nodes written: a repetition of nothing makes no states */
    const char *why; /* NULL: fine so far */
};

static uint32_t fail(struct parser *p, const char *why)
{
    if (!p->why) p->why = why;
    return 0;
}

static uint32_t node(struct parser *p, struct node n)
{
    if (p->node_count >= NODES_MAX) return fail(p, "is too long");
    p->nodes[p->node_count] = n;
    return p->node_count++;
}

static void put_range(struct parser *p, uint32_t lo, uint32_t hi)
{
    if (p->range_count >= RANGES_MAX) {
        fail(p, "has too many characters in classes");
        return;
    }
    p->ranges[p->range_count++] = (struct range){lo, hi};
}

static bool peek(const struct parser *p, char c)
{
    return p->text.len > 0 && p->text.data[0] == c;
}

static bool eat(struct parser *p, char c)
{
    if (!peek(p, c)) return false;
    p->text = ek_str_skip(p->text, 1);
    return true;
}

/* The next character of the pattern. */
static uint32_t take(struct parser *p)
{
    uint32_t code = 0;
    if (p->text.len == 0) return fail(p, "ends too early");
    int step = ek_utf8_step(p->text, &code);
    if (step <= 0) return fail(p, "is not valid UTF-8");
    p->text = ek_str_skip(p->text, (size_t)step);
    return code;
}

/* ---- classes --------------------------------------------------------------------------------- */

static int by_lo(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* Sort and join the ranges from `first` on; with `negate`, replace them by what they leave out. */
static void normalise(struct parser *p, uint32_t first, bool negate)
{
    struct range *r = p->ranges + first;
    uint32_t n = p->range_count - first, kept = 0;
    qsort(r, n, sizeof *r, by_lo);
    for (uint32_t i = 0; i < n; i++) {
        if (kept > 0 && r[i].lo <= r[kept - 1].hi + 1) {
            if (r[i].hi > r[kept - 1].hi) r[kept - 1].hi = r[i].hi;
        } else {
            r[kept++] = r[i];
        }
    }
    p->range_count = first + kept;
    if (!negate) return;
    uint32_t from = 0, last = first + kept;
    for (uint32_t i = first; i < last && !p->why; i++) { /* the gaps go behind, then down over the ranges */
        struct range gap = p->ranges[i];
        if (from < gap.lo) put_range(p, from, gap.lo - 1);
        from = gap.hi + 1;
    }
    if (from <= EK_CODE_MAX) put_range(p, from, EK_CODE_MAX);
    n = p->range_count - last;
    memmove(p->ranges + first, p->ranges + last, n * sizeof *p->ranges);
    p->range_count = first + n;
}

/* \d \w \s; upper case: all others. False: no such letter. */
static bool put_named(struct parser *p, char letter)
{
    static const struct range digit[] = {{'0', '9'}},
        word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    static const struct range space[] = {{9, 13}, {' ', ' '}, {0xA0, 0xA0}, {0x1680, 0x1680},
                                         {0x2000, 0x200A},
                                         {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                         {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    const struct range *r = letter == 'd' || letter == 'D' ? digit : letter == 'w' ||
        letter == 'W' ? word : space;
    size_t n = r == digit ? EK_COUNT(digit) : r == word ? EK_COUNT(word) : EK_COUNT(space);
    bool others = letter == 'D' || letter == 'W' || letter == 'S';
    if (!strchr("dDwWsS", letter) || letter == 0) return false;
    uint32_t from = 0;
    for (size_t i = 0; i < n; i++) {
        if (!others) put_range(p, r[i].lo, r[i].hi);
        else if (from < r[i].lo) put_range(p, from, r[i].lo - 1);
        from = r[i].hi + 1;
    }
    if (others) put_range(p, from, EK_CODE_MAX);
    return true;
}

static uint32_t take_hex(struct parser *p, unsigned digits)
{
    uint32_t code = 0;
    for (unsigned i = 0; i < digits; i++) {
        uint32_t c = take(p);
        bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'f', upper = c >= 'A' && c <= 'F';
        if (!digit && !lower && !upper) return fail(p, "has an escape with too few hexadecimal digits");
        code = code * 16 + (digit ? c - '0' : lower ? c - 'a' + 10 : c - 'A' + 10);
    }
    return code;
}

static uint32_t take_braced_hex(struct parser *p)
{
    uint32_t code = 0;
    while (!p->why && !eat(p, '}')) {
        code = code * 16 + take_hex(p, 1);
        if (code > EK_CODE_MAX) return fail(p, "names a character beyond Unicode");
    }
    return code;
}

/* \uD83D\uDE00 is one character; half of one is none. */
static uint32_t take_unicode(struct parser *p)
{
    if (eat(p, '{')) return take_braced_hex(p);
    uint32_t code = take_hex(p, 4);
    if (code < 0xD800 || code > 0xDFFF) return code;
    if (code > 0xDBFF || !eat(p, '\\') || !eat(p, 'u')) return fail(p, "names half of a surrogate pair");
    uint32_t low = take_hex(p, 4);
    if (low < 0xDC00 || low > 0xDFFF) return fail(p, "names half of a surrogate pair");
    return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
}

/* Behind a backslash: one character. */
static uint32_t take_escape(struct parser *p)
{
    static const char letters[] = "tnrfv0", codes[] = "\t\n\r\f\v";
    uint32_t c = take(p);
    if (c == 0) return 0;
    for (size_t i = 0; letters[i]; i++) {
        if (c == (unsigned char)letters[i]) return (unsigned char)codes[i];
    }
    if (c == 'x') return take_hex(p, 2);
    if (c == 'u') return take_unicode(p);
    if (c == 'c') return take(p) & 31;
    if (c == 'p' || c == 'P') return fail(p, "uses \\p, which is not supported");
    if (c == 'b' || c == 'B') return fail(p, "uses a word boundary, which is not supported");
    if (c == 'k' || (c >= '1' && c <= '9')) return fail(p, "uses a back reference, which is not regular");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return fail(p, "has an escape that is not known");
    return c;
}

/* One member of a class; true when it may begin a range. */
static bool take_member(struct parser *p, uint32_t *code)
{
    if (eat(p, '\\')) {
        if (p->text.len > 0 && put_named(p, p->text.data[0])) {
            p->text = ek_str_skip(p->text, 1);
            return false;
        }
        if (eat(p, 'b')) *code = 8; /* in a class this is the backspace */
        else *code = take_escape(p);
        return true;
    }
    *code = take(p);
    return true;
}

static uint32_t take_class(struct parser *p)
{
    uint32_t first = p->range_count, lo = 0, hi = 0;
    bool negate = eat(p, '^');
    while (!p->why && !eat(p, ']')) {
        if (!take_member(p, &lo)) continue;
        hi = lo;
        bool dash = p->text.len > 1 && p->text.data[0] == '-' && p->text.data[1] != ']';
        if (dash) {
            p->text = ek_str_skip(p->text, 1);
            if (!take_member(p, &hi) || hi < lo) return fail(p, "has a range in a class that is none");
        }
        put_range(p, lo, hi);
    }
    normalise(p, first, negate);
    return node(p, (struct node){.kind = SET, .a = first, .b = p->range_count - first});
}

static uint32_t set_of(struct parser *p, uint32_t lo, uint32_t hi)
{
    put_range(p, lo, hi);
    return node(p, (struct node){.kind = SET, .a = p->range_count - 1, .b = 1});
}

/* ---- the tree -------------------------------------------------------------------------------- */

static uint32_t alternatives(struct parser *p);

static uint32_t group(struct parser *p)
{
    if (eat(p, '?')) {
        bool named = p->text.len > 1 && p->text.data[0] == '<' && p->text.data[1] != '=' &&
            p->text.data[1] != '!';
        if (named) {
            while (!p->why && take(p) != '>') continue;
        } else if (!eat(p, ':')) {
            return fail(p, "looks around, which is not supported");
        }
    }
    if (++p->depth > EK_PATTERN_GROUPS_MAX) return fail(p, "has groups nested too deep");
    uint32_t n = alternatives(p);
    p->depth--;
    return eat(p, ')') ? n : fail(p, "has a group that is not closed");
}

static uint32_t dot(struct parser *p)
{
    static const struct range lines[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
    uint32_t first = p->range_count;
    for (size_t i = 0; i < EK_COUNT(lines); i++) put_range(p, lines[i].lo, lines[i].hi);
    if (!p->why) normalise(p, first, true);
    return node(p, (struct node){.kind = SET, .a = first, .b = p->range_count - first});
}

static uint32_t atom(struct parser *p)
{
    if (eat(p, '(')) return group(p);
    if (eat(p, '[')) return take_class(p);
    if (eat(p, '^')) return node(p, (struct node){.kind = BEGIN});
    if (eat(p, '$')) return node(p, (struct node){.kind = END});
    if (eat(p, '.')) return dot(p);
    if (peek(p, '*') || peek(p, '+') || peek(p, '?')) return fail(p, "repeats nothing");
    if (eat(p, '\\')) {
        uint32_t first = p->range_count;
        if (p->text.len > 0 && put_named(p, p->text.data[0])) {
            p->text = ek_str_skip(p->text, 1);
            return node(p, (struct node){.kind = SET, .a = first, .b = p->range_count - first});
        }
        uint32_t code = take_escape(p);
        return set_of(p, code, code);
    }
    uint32_t code = take(p);
    return set_of(p, code, code);
}

static bool number(struct parser *p, uint32_t *out)
{
    bool any = false;
    for (*out = 0; p->text.len > 0 && p->text.data[0] >= '0' && p->text.data[0] <= '9'; any = true) {
        *out = *out * 10 + (uint32_t)(p->text.data[0] - '0');
        if (*out > EK_PATTERN_REPEAT_MAX) {
            fail(p, "repeats something more than 1000 times");
            return true;
        }
        p->text = ek_str_skip(p->text, 1);
    }
    return any;
}

/* {m} {m,} {m,n}; anything else that begins with a brace is a brace. */
static bool braces(struct parser *p, uint32_t *least, uint32_t *most)
{
    struct ek_str before = p->text;
    if (eat(p, '{') && number(p, least)) {
        *most = *least;
        if (eat(p, ',') && !number(p, most)) *most = UINT32_MAX;
        if (eat(p, '}')) {
            if (*most < *least) fail(p, "has a repetition whose end is before its beginning");
            return true;
        }
    }
    p->text = before;
    return false;
}

static uint32_t item(struct parser *p)
{
    uint32_t n = atom(p);
    for (;;) {
        uint32_t least = 0, most = UINT32_MAX;
        if (p->why) return 0;
        if (eat(p, '+')) least = 1;
        else if (eat(p, '?')) most = 1;
        else if (!eat(p, '*') && !braces(p, &least, &most)) return n;
        eat(p, '?'); /* lazy or greedy: the same texts */
        n = node(p, (struct node){.kind = REPEAT, .a = n, .least = least, .most = most});
    }
}

static uint32_t alternatives(struct parser *p)
{
    uint32_t all = NOTHING;
    do {
        uint32_t seq = NOTHING;
        while (!p->why && p->text.len > 0 && !peek(p, '|') && !peek(p, ')')) {
            uint32_t next = item(p);
            seq = seq == NOTHING ? next : node(p, (struct node){.kind = CAT, .a = seq, .b = next});
        }
        if (seq == NOTHING) seq = node(p, (struct node){.kind = EMPTY});
        all = all == NOTHING ? seq : node(p, (struct node){.kind = ALT, .a = all, .b = seq});
    } while (!p->why && eat(p, '|'));
    return all;
}

/* ---- the automaton --------------------------------------------------------------------------- */

static uint32_t emit(struct parser *p, struct ek_nfa *n, uint32_t at, uint32_t from);

static uint32_t emit_repeat(struct parser *p, struct ek_nfa *n, const struct node *x, uint32_t from)
{
    for (uint32_t i = 0; i < x->least && !n->full; i++) from = emit(p, n, x->a, from);
    uint32_t end = ek_nfa_state(n);
    if (x->most == UINT32_MAX) {
        uint32_t loop = ek_nfa_state(n);
        if (n->full) return 0;
        ek_nfa_skip(n, from, loop);
        ek_nfa_skip(n, emit(p, n, x->a, loop), loop);
        ek_nfa_skip(n, loop, end);
        return end;
    }
    for (uint32_t i = x->least; i < x->most && !n->full; i++) {
        ek_nfa_skip(n, from, end);
        from = emit(p, n, x->a, from);
    }
    ek_nfa_skip(n, from, end);
    return end;
}

static uint32_t emit(struct parser *p, struct ek_nfa *n, uint32_t at, uint32_t from)
{
    const struct node *x = &p->nodes[at];
    if (++p->work > WORK_MAX) n->full = true;
    if (n->full) return 0;
    uint32_t to;
    switch (x->kind) {
    case EMPTY: return from;
    case BEGIN: return ek_nfa_symbol(n, from, EK_SYMBOL_BEGIN);
    case END: return ek_nfa_symbol(n, from, EK_SYMBOL_END);
    case CAT: return emit(p, n, x->b, emit(p, n, x->a, from));
    case REPEAT: return emit_repeat(p, n, x, from);
    case ALT:
        to = ek_nfa_state(n);
        ek_nfa_skip(n, emit(p, n, x->a, from), to);
        ek_nfa_skip(n, emit(p, n, x->b, from), to);
        return to;
    case SET:
        to = ek_nfa_state(n);
        for (uint32_t i = x->a; i < x->a + x->b && !n->full; i++) {
            ek_spell_json(n, from, to, p->ranges[i].lo, p->ranges[i].hi);
        }
        return to;
    }
    WRONG("a node of no kind");
}

static void anything(struct ek_nfa *n, uint32_t at)
{
    if (n->full) return;
    ek_spell_json(n, at, at, 0, EK_CODE_MAX);
    ek_nfa_range(n, at, at, EK_SYMBOL_BEGIN, EK_SYMBOL_END);
}

/* Take the symbols of the anchors out again; false: no text is left. */
static bool strip(const struct ek_dfa *d, struct ek_dfa *out)
{
    *out = (struct ek_dfa){0};
    uint32_t start = ek_dfa_next(d, 0, EK_SYMBOL_BEGIN);
    if (start == EK_NO_STATE) return false;
    for (size_t i = 0; i <= d->state_count; i++) { /* state 0: a copy of the start; others move by one */
        uint32_t at = i == 0 ? start : (uint32_t)i - 1, end = ek_dfa_next(d, at, EK_SYMBOL_END);
        const struct ek_dfa_state *s = &d->states[at];
        ek_dfa_state(out, end != EK_NO_STATE && d->states[end].final);
        for (uint32_t k = s->edge; k < s->edge + s->edge_count && d->edges[k].lo < EK_SYMBOL_MARK; k++) {
            uint16_t hi = d->edges[k].hi < EK_SYMBOL_MARK ? d->edges[k].hi : EK_SYMBOL_MARK - 1;
            ek_dfa_edge(out, d->edges[k].lo, hi, d->edges[k].to + 1);
        }
    }
    return true;
}

static bool accepts_anything(const struct ek_dfa *d)
{
    bool *met = calloc(d->state_count, sizeof *met), found = false;
    uint32_t *todo = malloc(d->state_count * sizeof *todo);
    size_t count = 0;
    MUST(met && todo);
    met[0] = true;
    todo[count++] = 0;
    while (count > 0 && !found) {
        const struct ek_dfa_state *s = &d->states[todo[--count]];
        found = s->final;
        for (uint32_t k = s->edge; k < s->edge + s->edge_count; k++) {
            uint32_t to = d->edges[k].to;
            if (!met[to]) todo[count++] = to;
            met[to] = true;
        }
    }
    free(met);
    free(todo);
    return found;
}

static const char *build(struct parser *p, uint32_t root, uint32_t states_max, struct ek_dfa *out)
{
    struct ek_nfa n = {0};
    struct ek_dfa d = {0};
    uint32_t start = ek_nfa_state(&n), end = emit(p, &n, root, start);
    anything(&n, start);
    anything(&n, end);
    const char *why = NULL;
    bool fits = ek_nfa_determinize(&n, start, end, states_max, &d);
    if (!fits) why = "makes too large an automaton";
    else if (!strip(&d, out) || !accepts_anything(out)) why = "can never match";
    if (why) ek_dfa_free(out);
    ek_nfa_free(&n);
    ek_dfa_free(&d);
    return why;
}

bool ek_pattern_compile(struct ek_str pattern, uint32_t states_max, struct ek_dfa *out, char *why,
                        size_t why_cap)
{
    struct parser p = {.text = pattern};
    *out = (struct ek_dfa){0};
    if (pattern.len > EK_PATTERN_BYTES_MAX) fail(&p, "is longer than 2048 bytes");
    p.nodes = malloc(NODES_MAX * sizeof *p.nodes);
    p.ranges = malloc(RANGES_MAX * sizeof *p.ranges);
    MUST(p.nodes && p.ranges);
    uint32_t root = p.why ? 0 : alternatives(&p);
    if (!p.why && p.text.len > 0) fail(&p, "closes a group that was not opened");
    const char *wrong = p.why ? p.why : build(&p, root, states_max, out);
    free(p.nodes);
    free(p.ranges);
    if (wrong) snprintf(why, why_cap, "%s", wrong);
    return !wrong;
}
