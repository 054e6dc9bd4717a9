/* SPDX-License-Identifier: MIT */
/* What an answer may look like: rules over bytes that call each other, a pushdown automaton whose stack is
 * the nesting of the answer.
 *
 *   rule OBJECT:   {  ws  ( string ws : ws value ( ws , ws string ws : ws value )* ws )?  }
 *                          ^^^^^^ a call: go to that rule's start, come back behind it
 *
 * All rules live in one table of states (ek_dfa), so a state's number says all that is read inside its
 * rule. A grammar is built once and then only read, by any number of threads.
 *
 * Never a dead end. height[s] is the least number of calls, nested, by which the rule of state s can still
 * be finished with the symbols the vocabulary has; EK_NO_HEIGHT: it cannot be. Whoever walks the grammar at
 * depth d enters a state s only if d + height[s] <= EK_GRAMMAR_DEPTH_MAX, and then, by induction, there is
 * always a way on to the end. (What the bounded stack costs is only nesting deeper than that.)
 *
 * A counted rule is a JSON string with a least and a largest number of characters: one state, `loop`, is
 * where a whole number of them has been read. Keeping the number beside the state instead of in it keeps
 * strings of a thousand characters at a dozen states. */
#ifndef EK_ENGINE_GRAMMAR_H
#define EK_ENGINE_GRAMMAR_H

#include "engine/automaton.h"

enum {
    EK_GRAMMAR_DEPTH_MAX = 128, /* calls nested in an answer; a level of free JSON takes one */
    EK_GRAMMAR_RULES_MAX = 4096,
    EK_GRAMMAR_NEAR = 16,       /* symbols; see `like` */
};

#define EK_NO_HEIGHT UINT16_MAX
#define EK_COUNT_UNBOUNDED UINT32_MAX

struct ek_rule {
    uint32_t start; /* state; EK_NO_STATE: reserved, not defined */
    uint32_t loop;  /* EK_NO_STATE: not counted */
    uint32_t least, most; /* characters of a counted rule */
};

struct ek_grammar {
    struct ek_dfa dfa;  /* all rules */
    struct ek_rule *rules;
    size_t rule_count, rule_cap;
    uint32_t root;      /* a rule */
    uint32_t *rule_of;  /* [states] */
    size_t rule_of_cap;
    uint16_t *height;   /* [states]; NULL before ek_grammar_finish */
    bool *bare;         /* [states]: final, and nothing leaves it: a call before it is a tail call */
    uint32_t *like;     /* [states]: the first from which EK_GRAMMAR_NEAR symbols are read alike */
    bool *nearly;       /* [states]: what is like this one may differ farther on */
    bool *plain;        /* [states]: only reading leads on: no calls, and no end of its rule */
    size_t base_states; /* of the rules every grammar begins with: their numbers are the same in all */
    bool available[EK_SYMBOLS];
};

/* The rules every grammar begins with (grammar_json.c). */
enum ek_base_rule {
    EK_RULE_SPACE,   /* nothing, a space, or a line break and its indentation */
    EK_RULE_STRING,
    EK_RULE_INTEGER, /* at most 15 digits */
    EK_RULE_NUMBER,  /* at most 15 before and behind the point, exponents of two */
    EK_RULE_VALUE,   /* any JSON */
    EK_RULE_OBJECT,
    EK_RULE_ARRAY,
    EK_BASE_RULES
};

/* available[EK_SYMBOLS]: which symbols some token of the vocabulary writes alone. */
void ek_grammar_open(struct ek_grammar *g, const bool *available);
void ek_grammar_free(struct ek_grammar *g);

/* A rule to be defined later; EK_NO_RULE when there are too many. */
uint32_t ek_grammar_reserve(struct ek_grammar *g);

/* Its states; *d is emptied. False: too many states. */
EK_CHECKED bool ek_grammar_define(struct ek_grammar *g, uint32_t rule, struct ek_dfa *d);
/* The same from an NFA. */
EK_CHECKED bool ek_grammar_define_nfa(struct ek_grammar *g, uint32_t rule, const struct ek_nfa *n,
                                      uint32_t start, uint32_t end);

enum ek_grammar_end {
    EK_GRAMMAR_FINE,
    EK_GRAMMAR_EMPTY,   /* no text at all fulfils it, or none within the depth */
    EK_GRAMMAR_ENDLESS, /* a rule that calls itself before it reads anything */
};

/* grammar_near.c: fills `like` and `nearly`; ek_grammar_finish's. */
void ek_grammar_find_near(struct ek_grammar *g);

/* All rules are defined: find heights. Afterwards the grammar never changes. */
EK_CHECKED enum ek_grammar_end ek_grammar_finish(struct ek_grammar *g, uint32_t root);

#endif
