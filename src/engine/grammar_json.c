/* SPDX-License-Identifier: MIT */
/* The rules every grammar begins with: JSON as RFC 8259 has it, with white space that ends. A break between
 * two parts is nothing, one space, or a line break and its indentation; numbers have at most 15 digits, so
 * that every reader gets the same number out of them, and exponents of two digits. */
#include "engine/grammar.h"
#include "engine/spelling.h"

enum { INDENT_MAX = 32, TABS_MAX = 12, DIGITS_MAX = 15 };

static void define(struct ek_grammar *g, uint32_t rule, struct ek_nfa *n, uint32_t start, uint32_t end)
{
    bool fits = ek_grammar_define_nfa(g, rule, n, start, end);
    MUST(fits);
    ek_nfa_free(n);
}

static void run_of(struct ek_nfa *n, uint32_t from, uint32_t end, char what, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        from = ek_nfa_symbol(n, from, (unsigned char)what);
        ek_nfa_skip(n, from, end);
    }
}

static void define_space(struct ek_grammar *g)
{
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    ek_nfa_skip(&n, start, end);
    ek_nfa_range(&n, start, end, ' ', ' ');
    uint32_t line = ek_nfa_symbol(&n, start, '\n');
    ek_nfa_skip(&n, line, end);
    run_of(&n, line, end, ' ', INDENT_MAX);
    run_of(&n, line, end, '\t', TABS_MAX);
    define(g, EK_RULE_SPACE, &n, start, end);
}

static void define_string(struct ek_grammar *g)
{
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n), loop = ek_nfa_symbol(&n, start, '"');
    ek_spell_any(&n, loop, loop);
    ek_nfa_range(&n, loop, end, '"', '"');
    define(g, EK_RULE_STRING, &n, start, end);
}

/* Up to `most` digits, at least one, from..to. */
static void digits(struct ek_nfa *n, uint32_t from, uint32_t to, unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        uint32_t next = ek_nfa_state(n);
        ek_nfa_range(n, from, next, '0', '9');
        ek_nfa_skip(n, next, to);
        from = next;
    }
}

/* -?(0|[1-9][0-9]*), as far as from..to. */
static void integer(struct ek_nfa *n, uint32_t from, uint32_t to)
{
    uint32_t sign = ek_nfa_symbol(n, from, '-');
    ek_nfa_skip(n, from, sign);
    ek_nfa_range(n, sign, to, '0', '0');
    uint32_t first = ek_nfa_state(n);
    ek_nfa_range(n, sign, first, '1', '9');
    ek_nfa_skip(n, first, to);
    digits(n, first, to, DIGITS_MAX - 1);
}

static void define_numbers(struct ek_grammar *g)
{
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    integer(&n, start, end);
    define(g, EK_RULE_INTEGER, &n, start, end);

    start = ek_nfa_state(&n);
    end = ek_nfa_state(&n);
    uint32_t whole = ek_nfa_state(&n), part = ek_nfa_state(&n);
    integer(&n, start, whole);
    digits(&n, ek_nfa_symbol(&n, whole, '.'), part, DIGITS_MAX);
    ek_nfa_skip(&n, whole, part);
    ek_nfa_skip(&n, part, end);
    uint32_t e = ek_nfa_symbol(&n, part, 'e'), sign = ek_nfa_state(&n);
    ek_nfa_range(&n, part, e, 'E', 'E');
    ek_nfa_skip(&n, e, sign);
    ek_nfa_range(&n, e, sign, '+', '+');
    ek_nfa_range(&n, e, sign, '-', '-');
    digits(&n, sign, end, 2);
    define(g, EK_RULE_NUMBER, &n, start, end);
}

static uint32_t space(struct ek_nfa *n, uint32_t from)
{
    uint32_t to = ek_nfa_state(n);
    ek_nfa_call(n, from, to, EK_RULE_SPACE);
    return to;
}

static void define_value(struct ek_grammar *g)
{
    static const char *const words[] = {"true", "false", "null"};
    static const uint32_t kinds[] = {EK_RULE_STRING, EK_RULE_NUMBER, EK_RULE_OBJECT, EK_RULE_ARRAY};
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    for (size_t i = 0; i < EK_COUNT(kinds); i++) ek_nfa_call(&n, start, end, kinds[i]);
    for (size_t i = 0; i < EK_COUNT(words); i++) {
        uint32_t at = start;
        for (const char *c = words[i]; *c; c++) at = ek_nfa_symbol(&n, at, (unsigned char)*c);
        ek_nfa_skip(&n, at, end);
    }
    define(g, EK_RULE_VALUE, &n, start, end);
}

/* An object or array of anything: open, items between commas, close. */
static void define_free(struct ek_grammar *g, uint32_t rule, char open, char close)
{
    struct ek_nfa n = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    uint32_t inside = space(&n, ek_nfa_symbol(&n, start, (unsigned char)open)), item = ek_nfa_state(&n);
    uint32_t at = item, behind = ek_nfa_state(&n);
    ek_nfa_skip(&n, inside, item);
    if (rule == EK_RULE_OBJECT) {
        uint32_t named = ek_nfa_state(&n);
        ek_nfa_call(&n, at, named, EK_RULE_STRING);
        at = space(&n, ek_nfa_symbol(&n, space(&n, named), ':'));
    }
    ek_nfa_call(&n, at, behind, EK_RULE_VALUE);
    uint32_t next = space(&n, behind), more = ek_nfa_symbol(&n, next, ',');
    ek_nfa_skip(&n, space(&n, more), item);
    ek_nfa_range(&n, inside, end, (unsigned char)close, (unsigned char)close);
    ek_nfa_range(&n, next, end, (unsigned char)close, (unsigned char)close);
    define(g, rule, &n, start, end);
}

void ek_grammar_open(struct ek_grammar *g, const bool *available)
{
    *g = (struct ek_grammar){0};
    for (unsigned i = 0; i < EK_SYMBOLS; i++) g->available[i] = available[i];
    for (uint32_t i = 0; i < EK_BASE_RULES; i++) {
        uint32_t rule = ek_grammar_reserve(g);
        MUST(rule == i);
    }
    define_space(g);
    define_string(g);
    define_numbers(g);
    define_value(g);
    define_free(g, EK_RULE_OBJECT, '{', '}');
    define_free(g, EK_RULE_ARRAY, '[', ']');
    g->base_states = g->dfa.state_count;
}
