/* SPDX-License-Identifier: MIT */
/* Strings and numbers of a schema. Lengths alone are counted beside the automaton (grammar.h); beside a
 * pattern or format they become automata of their own, and what all of them accept is taken. Bounds of
 * numbers are compared digit by digit while they are written. Pure. */
#include "engine/schema_inside.h"

#include "engine/pattern.h"
#include "engine/spelling.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- strings --------------------------------------------------------------------------------- */

#define DATE \
    "[1-9]\\d{3}-((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-"\
    "(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-8]))"
#define TIME "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[a-z0-9]([a-z0-9-]{0,14}[a-z0-9])?"
#define OCTET "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

/* Of each format a part that every reader accepts: RFC 3339 without leap days and seconds, RFC 4122, ... */
static const struct { const char *name, *pattern; } formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"duration", "^P(\\d{1,4}D(T\\d{1,4}H(\\d{1,4}M)?)?|T(\\d{1,4}H(\\d{1,4}M)?|\\d{1,4}M(\\d{1,4}S)?|"
                 "\\d{1,4}S)|\\d{1,4}W)$"},
    {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
    {"email", "^[a-z0-9_+-]{1,24}(\\.[a-z0-9_+-]{1,16}){0,2}@(" LABEL "\\.){1,3}[a-z]{2,12}$"},
    {"hostname", "^(" LABEL "\\.){0,4}[a-z]([a-z0-9-]{0,14}[a-z0-9])?$"},
    {"ipv4", "^(" OCTET "\\.){3}" OCTET "$"},
    {"ipv6", "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
    {"uri", "^https?://(" LABEL "\\.){1,3}[a-z]{2,12}(:[1-9]\\d{0,3})?(/[A-Za-z0-9._~/-]{0,100})?"
            "(\\?[A-Za-z0-9._~=&-]{0,50})?$"},
};

/* Formats that say nothing about the text of a string. */
static bool free_format(const char *name)
{
    static const char *const names[] = {"password", "binary", "string", "textarea"};
    for (size_t i = 0; i < EK_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

/* What both *all and *more accept becomes *all; *all may be empty yet. */
static bool narrow(struct ek_schema *c, const char *keyword, struct ek_dfa *all, struct ek_dfa *more)
{
    if (all->state_count == 0) {
        *all = *more;
        *more = (struct ek_dfa){0};
        return true;
    }
    struct ek_dfa both;
    bool fits = ek_dfa_intersect(all, more, EK_DFA_STATES_MAX / 2, &both);
    ek_dfa_free(all);
    ek_dfa_free(more);
    *all = both;
    return fits || ek_schema_refuse(c, keyword, "makes too large an automaton together with the others");
}

static bool add_pattern(struct ek_schema *c, const char *keyword, struct ek_str pattern, struct ek_dfa *all)
{
    char why[100] = "";
    struct ek_dfa d;
    if (!ek_pattern_compile(pattern, EK_DFA_STATES_MAX / 2, &d, why, sizeof why)) {
        return ek_schema_refuse(c, keyword, "%s", why);
    }
    return narrow(c, keyword, all, &d);
}

static bool add_format(struct ek_schema *c, json_t *schema, struct ek_dfa *all)
{
    const json_t *v = ek_schema_get(schema, "format");
    if (!v) return true;
    const char *name = json_string_value(v);
    if (!name) return ek_schema_refuse(c, "format", "must be a string");
    for (size_t i = 0; i < EK_COUNT(formats); i++) {
        if (strcmp(formats[i].name, name) == 0) {
            return add_pattern(c, "format", ek_str_of(formats[i].pattern), all);
        }
    }
    return free_format(name) || ek_schema_refuse(c, "format", "'%.40s' is not known here", name);
}

/* least..most characters, of any spelling. */
static bool add_length(struct ek_schema *c, uint32_t least, uint32_t most, struct ek_dfa *all)
{
    bool open = most == EK_COUNT_UNBOUNDED;
    uint32_t states = open ? least : most;
    if (states > EK_SCHEMA_COUNTED_MAX) {
        return ek_schema_refuse(c, open ? "minLength" : "maxLength",
                                "may be at most %d beside a pattern or format", EK_SCHEMA_COUNTED_MAX);
    }
    struct ek_nfa n = {0};
    struct ek_dfa d = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n), at = start;
    for (uint32_t i = 0; i < states; i++) {
        if (i >= least) ek_nfa_skip(&n, at, end);
        uint32_t next = ek_nfa_state(&n);
        ek_spell_any(&n, at, next);
        at = next;
    }
    if (open) ek_spell_any(&n, at, at);
    ek_nfa_skip(&n, at, end);
    bool fits = ek_nfa_determinize(&n, start, end, EK_DFA_STATES_MAX, &d);
    ek_nfa_free(&n);
    if (!fits) return ek_schema_refuse(c, "maxLength", "makes too large an automaton");
    return narrow(c, "maxLength", all, &d);
}

/* The content between quotes. A quote never leaves a final state otherwise: inside it is escaped. */
static void quote(const struct ek_dfa *d, struct ek_dfa *out)
{
    uint32_t end = (uint32_t)d->state_count + 1;
    *out = (struct ek_dfa){0};
    ek_dfa_state(out, false);
    ek_dfa_edge(out, '"', '"', 1);
    for (size_t i = 0; i < d->state_count; i++) {
        const struct ek_dfa_state *s = &d->states[i];
        bool closes = s->final;
        ek_dfa_state(out, false);
        for (uint32_t k = s->edge; k < s->edge + s->edge_count; k++) {
            const struct ek_dfa_edge *e = &d->edges[k];
            if (closes && e->lo > '"') {
                ek_dfa_edge(out, '"', '"', end);
                closes = false;
            }
            ek_dfa_edge(out, e->lo, e->hi, e->to + 1);
        }
        if (closes) ek_dfa_edge(out, '"', '"', end);
    }
    ek_dfa_state(out, true);
}

static uint32_t call_new(struct ek_schema *c, uint32_t from, struct ek_dfa *d, uint32_t *made)
{
    uint32_t rule = ek_grammar_reserve(c->g), to = ek_nfa_state(c->n);
    if (rule == EK_NO_RULE || !ek_grammar_define(c->g, rule, d)) {
        ek_dfa_free(d);
        ek_schema_refuse(c, NULL, "the schema is too large (%d states)", EK_DFA_STATES_MAX);
        return 0;
    }
    if (made) *made = rule;
    ek_nfa_call(c->n, from, to, rule);
    return to;
}

/* A string of which only the length is told. */
static uint32_t counted(struct ek_schema *c, uint32_t least, uint32_t most, uint32_t from)
{
    struct ek_nfa n = {0};
    struct ek_dfa content, whole;
    uint32_t loop = ek_nfa_state(&n), rule = EK_NO_RULE;
    ek_spell_any(&n, loop, loop);
    bool fits = ek_nfa_determinize(&n, loop, loop, EK_DFA_STATES_MAX, &content);
    MUST(fits);
    ek_nfa_free(&n);
    quote(&content, &whole);
    ek_dfa_free(&content);
    uint32_t to = call_new(c, from, &whole, &rule);
    if (c->failed) return 0;
    struct ek_rule *r = &c->g->rules[rule];
    r->loop = ek_dfa_next(&c->g->dfa, r->start, '"');
    r->least = least;
    r->most = most;
    return to;
}

uint32_t ek_schema_string(struct ek_schema *c, json_t *schema, uint32_t from)
{
    uint32_t least = 0, most = EK_COUNT_UNBOUNDED;
    struct ek_dfa all = {0}, whole;
    json_t *pattern = ek_schema_get(schema, "pattern");
    if (!ek_schema_count(c, schema, "minLength", &least)) return 0;
    if (!ek_schema_count(c, schema, "maxLength", &most)) return 0;
    if (least > most) ek_schema_refuse(c, "minLength", "is more than maxLength");
    if (pattern && !json_is_string(pattern)) ek_schema_refuse(c, "pattern", "must be a string");
    if (c->failed) return 0;
    bool sized = least > 0 || most != EK_COUNT_UNBOUNDED;
    if (pattern) {
        struct ek_str text = ek_str_make(json_string_value(pattern), json_string_length(pattern));
        add_pattern(c, "pattern", text, &all);
    }
    if (!c->failed) add_format(c, schema, &all);
    if (!c->failed && sized && all.state_count > 0) add_length(c, least, most, &all);
    if (c->failed) {
        ek_dfa_free(&all);
        return 0;
    }
    if (all.state_count == 0 && sized) return counted(c, least, most, from);
    if (all.state_count > 0) {
        quote(&all, &whole);
        ek_dfa_free(&all);
        return call_new(c, from, &whole, NULL);
    }
    uint32_t to = ek_nfa_state(c->n);
    ek_nfa_call(c->n, from, to, EK_RULE_STRING);
    return to;
}

/* ---- numbers --------------------------------------------------------------------------------- */

enum { DIGITS_MAX = 15, PART_MAX = 32 }; /* written in all; of a bound behind the point */

/* The size of a bound; digits behind the point end in zeros. */
struct bound {
    bool given, strict;
    bool more;                   /* it is a little more than its digits say: what is written never is */
    unsigned whole;              /* digits before the point, at least one */
    unsigned char digit[DIGITS_MAX + PART_MAX];
};

/* |x|, in the fewest digits that mean the same number. Above 15 before the point it is as good as absent. */
static struct bound bound_of(double x, bool strict)
{
    struct bound b = {.strict = strict};
    char text[32];
    x = fabs(x);
    if (!(x < 1e15)) return b;
    for (int precision = 14; precision <= 16; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, x);
        if (strtod(text, NULL) == x) break;
    }
    const char *e = strchr(text, 'e');
    MUST(e);
    long power = strtol(e + 1, NULL, 10), most_power = DIGITS_MAX - 1;
    MUST(power <= most_power);
    b.given = true;
    b.whole = power > 0 ? (unsigned)power + 1 : 1;
    long at = (long)b.whole - 1 - power; /* of the first digit: 1, 12.5, 0.0012 */
    for (const char *p = text; p < e; p++) {
        if (*p == '.') continue;
        if (at < (long)b.whole + PART_MAX) b.digit[at] = (unsigned char)(*p - '0');
        else b.more = b.more || *p != '0';
        at++;
    }
    return b;
}

struct scale { /* numbers with `whole` digits before the point, from least to most */
    struct ek_nfa *n;
    uint32_t end;
    unsigned whole, most_part;
    const unsigned char *least, *most; /* NULL: no need to look */
    bool least_strict, most_strict;
};

static bool rest_is_zero(const unsigned char *digits, unsigned from)
{
    for (unsigned i = from; i < DIGITS_MAX + PART_MAX; i++) {
        if (digits[i]) return false;
    }
    return true;
}

/* Is what was written, `at` digits, within bounds if it ends here? tight: so far it equals the bound. */
static bool may_end(const struct scale *s, unsigned at, bool tight_least, bool tight_most)
{
    if (tight_least && (s->least_strict || !rest_is_zero(s->least, at))) return false;
    return !(tight_most && s->most_strict && rest_is_zero(s->most, at));
}

/* One more digit, from the states of the four kinds of tightness to the next four. */
static void write_digit(const struct scale *s, unsigned at, const uint32_t now[4], uint32_t next[4])
{
    for (unsigned kind = 0; kind < 4; kind++) {
        bool least = kind & 1, most = kind & 2;
        for (unsigned d = 0; d < 10 && now[kind] != EK_NO_STATE; d++) {
            if (at == 0 && d == 0 && s->whole > 1) continue;
            if ((least && d < s->least[at]) || (most && d > s->most[at])) continue;
            unsigned to = (least && d == s->least[at] ? 1U : 0U) | (most && d == s->most[at] ? 2U : 0U);
            if (next[to] == EK_NO_STATE) next[to] = ek_nfa_state(s->n);
            ek_nfa_range(s->n, now[kind], next[to], (uint16_t)('0' + d), (uint16_t)('0' + d));
        }
    }
}

static void write_scale(const struct scale *s, uint32_t from)
{
    uint32_t now[4] = {EK_NO_STATE, EK_NO_STATE, EK_NO_STATE, EK_NO_STATE}, next[4];
    now[(s->least ? 1U : 0U) | (s->most ? 2U : 0U)] = from;
    for (unsigned at = 0; at < s->whole + s->most_part; at++) {
        for (unsigned k = 0; k < 4; k++) next[k] = EK_NO_STATE;
        if (at == s->whole) { /* the point, for each kind */
            for (unsigned k = 0; k < 4; k++) {
                if (now[k] != EK_NO_STATE) now[k] = ek_nfa_symbol(s->n, now[k], '.');
            }
        }
        write_digit(s, at, now, next);
        for (unsigned k = 0; k < 4; k++) {
            now[k] = next[k];
            if (at + 1 < s->whole || now[k] == EK_NO_STATE) continue;
            if (may_end(s, at + 1, k & 1, k & 2)) ek_nfa_skip(s->n, now[k], s->end);
        }
    }
}

/* Numbers from 0 on, between two bounds of their size. */
static void write_sizes(struct ek_nfa *n, uint32_t from, uint32_t to, const struct bound *least,
                        const struct bound *most, bool fractions)
{
    for (unsigned whole = 1; whole <= DIGITS_MAX; whole++) {
        if ((least->given && whole < least->whole) || (most->given && whole > most->whole)) continue;
        struct scale s = {
            .n = n, .end = to, .whole = whole, .most_part = fractions ? DIGITS_MAX - whole : 0,
            .least = least->given && whole == least->whole ? least->digit : NULL,
            .most = most->given && whole == most->whole ? most->digit : NULL,
            .least_strict = least->strict || least->more,
            .most_strict = most->strict && !most->more};
        write_scale(&s, from);
    }
}

struct limits {
    double least, most;
    bool least_strict, most_strict;
};

static bool read_bound(struct ek_schema *c, json_t *schema, const char *keyword, double *out)
{
    const json_t *v = ek_schema_get(schema, keyword);
    if (!v) return false;
    if (!json_is_number(v)) return ek_schema_refuse(c, keyword, "must be a number");
    *out = json_number_value(v);
    return true;
}

static bool read_limits(struct ek_schema *c, json_t *schema, struct limits *l)
{
    double x = 0;
    const char *format = json_string_value(ek_schema_get(schema, "format"));
    *l = (struct limits){.least = -INFINITY, .most = INFINITY};
    bool narrow32 = format && strcmp(format, "int32") == 0;
    if (narrow32) *l = (struct limits){.least = INT32_MIN, .most = INT32_MAX};
    if (read_bound(c, schema, "minimum", &x) && x > l->least) l->least = x;
    if (read_bound(c, schema, "maximum", &x) && x < l->most) l->most = x;
    if (read_bound(c, schema, "exclusiveMinimum", &x) && x >= l->least) {
        l->least = x;
        l->least_strict = true;
    }
    if (read_bound(c, schema, "exclusiveMaximum", &x) && x <= l->most) {
        l->most = x;
        l->most_strict = true;
    }
    if (c->failed) return false;
    if (l->least >= 1e15 || l->most <= -1e15) {
        return ek_schema_refuse(c, l->least >= 1e15 ? "minimum" : "maximum",
                                "leaves only numbers of over 15 digits");
    }
    return l->least <= l->most || ek_schema_refuse(c, "minimum", "is more than maximum");
}

/* Both signs. A zero has none. */
static void write_numbers(struct ek_nfa *n, uint32_t from, uint32_t to, const struct limits *l,
                          bool fractions)
{
    const struct bound none = {0}, above_zero = bound_of(0, true);
    if (l->most >= 0) {
        struct bound least = l->least > 0 || (l->least == 0 && l->least_strict) ?
                             bound_of(l->least, l->least_strict) : none;
        struct bound most = bound_of(l->most, l->most_strict);
        write_sizes(n, from, to, &least, &most, fractions);
    }
    if (l->least < 0) {
        struct bound least = l->most < 0 ? bound_of(l->most, l->most_strict) : above_zero;
        struct bound most = bound_of(l->least, l->least_strict);
        write_sizes(n, ek_nfa_symbol(n, from, '-'), to, &least, &most, fractions);
    }
}

/* Whole numbers that `by` divides, as remainders. */
static bool add_multiple(struct ek_schema *c, json_t *v, struct ek_dfa *all)
{
    enum { MULTIPLE_MAX = 1000 };
    double by = json_number_value(v);
    if (!json_is_number(v) || !(by >= 1 && by <= MULTIPLE_MAX) || by != floor(by)) {
        return ek_schema_refuse(c, "multipleOf", "may only be a whole number from 1 to %d here",
                                MULTIPLE_MAX);
    }
    uint32_t m = (uint32_t)by;
    struct ek_dfa d = {0};
    ek_dfa_state(&d, false); /* 0: nothing read; 1: a sign; 2 + r: remainder r */
    ek_dfa_edge(&d, '-', '-', 1);
    for (uint32_t r = 0; r <= m; r++) { /* state 0 goes on as remainder 0 does, and so does the sign */
        if (r > 0) ek_dfa_state(&d, r == 1 ? false : r - 2 == 0);
        uint32_t value = r < 2 ? 0 : r - 2;
        for (uint32_t digit = 0; digit < 10; digit++) {
            ek_dfa_edge(&d, (uint16_t)('0' + digit), (uint16_t)('0' + digit), 2 + (value * 10 + digit) % m);
        }
    }
    ek_dfa_state(&d, m == 1);
    for (uint32_t digit = 0; digit < 10; digit++) {
        ek_dfa_edge(&d, (uint16_t)('0' + digit), (uint16_t)('0' + digit), 2 + ((m - 1) * 10 + digit) % m);
    }
    return narrow(c, "multipleOf", all, &d);
}

static bool number_format(struct ek_schema *c, json_t *schema)
{
    static const char *const names[] = {"int32", "int64", "float", "double"};
    const json_t *v = ek_schema_get(schema, "format");
    const char *name = json_string_value(v);
    bool string_too = (ek_schema_kinds(c, schema) & EK_KIND_STRING) != 0;
    if (!v || string_too) return true; /* a string's format is judged there */
    for (size_t i = 0; name && i < EK_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return ek_schema_refuse(c, "format", "is not known here for numbers");
}

uint32_t ek_schema_number(struct ek_schema *c, json_t *schema, bool fractions, uint32_t from)
{
    struct limits l;
    json_t *multiple = ek_schema_get(schema, "multipleOf");
    if (!number_format(c, schema) || !read_limits(c, schema, &l)) return 0;
    bool bounded = l.least > -INFINITY || l.most < INFINITY;
    uint32_t to = ek_nfa_state(c->n);
    if (!bounded && !multiple) {
        ek_nfa_call(c->n, from, to, fractions ? EK_RULE_NUMBER : EK_RULE_INTEGER);
        return to;
    }
    struct ek_nfa n = {0};
    struct ek_dfa all = {0};
    uint32_t start = ek_nfa_state(&n), end = ek_nfa_state(&n);
    write_numbers(&n, start, end, &l, fractions && !multiple);
    bool fits = ek_nfa_determinize(&n, start, end, EK_DFA_STATES_MAX, &all);
    ek_nfa_free(&n);
    if (!fits) ek_schema_refuse(c, "minimum", "makes too large an automaton");
    if (!c->failed && multiple) add_multiple(c, multiple, &all);
    if (c->failed) {
        ek_dfa_free(&all);
        return 0;
    }
    return call_new(c, from, &all, NULL);
}
