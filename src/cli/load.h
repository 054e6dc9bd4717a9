/* SPDX-License-Identifier: MIT */
/* `evenkeel load`: the clients of a scenario (the same files as `evenkeel sim`) against a live server,
 * open loop: requests come when the scenario says so, however slow the answers are. Measured with the
 * same code and printed in the same table as a simulated run, so that the two can be laid side by side.
 * load.c reads the command line and reports; load_people.c is one client's request from its first
 * attempt to its end; load_questions.c what is asked and answered. */
#ifndef EK_CLI_LOAD_H
#define EK_CLI_LOAD_H

#include "cli/chat.h"
#include "sim/fair.h"
#include "sim/plan.h"

#define EK_LOAD_LIVE_MAX 20000
#define EK_LOAD_KEYS_MAX 4096
#define EK_LOAD_BODY_BYTES_MAX (8u << 20)
#define EK_LOAD_TEXT_BYTES_MAX (1u << 20) /* of one answer, while answers are kept */
#define EK_LOAD_LIE_TOKENS 32768u         /* what a liar says it may need */

struct ek_loading_key {
    uint32_t tier;
    char key[200];
};

struct ek_load_questions; /* load_questions.c */

struct ek_loading {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_exchange_target target;
    char model_member[160]; /* "model":"NAME", with its comma; empty: none is named */
    struct ek_sim_scenario s;
    struct ek_sim_plan plan;
    struct ek_sim_source *source;
    struct ek_sim_spec coming;
    struct ek_loading_key *key;
    uint32_t keys;
    bool retry; /* false: nobody comes again */
    bool over;  /* no more arrivals */
    struct ek_random random;
    struct ek_timer arrive, tick, cut;
    uint64_t begin_ns;
    uint64_t live;
    uint32_t waiting, running;
    struct ek_list all; /* requests, in order of arrival */
    struct ek_sim_fair fair;
    struct ek_sim_point point;
    double point_wait_s;
    uint32_t point_starts;
    uint64_t next_id;
    struct ek_load_questions *questions; /* NULL: words at random, as many as the scenario says */
    FILE *answers; /* NULL: not kept */
    uint64_t failed; /* answers that broke off, counted as refused too */
    uint64_t heads, unreached; /* attempts that got a status line, and those that got nothing at all */
    struct ek_sim_result *r;
};

/* One more request, now; at most EK_LOAD_LIVE_MAX at once (beyond: counted as refused, client_limit). */
void ek_load_arrive(struct ek_loading *l, const struct ek_sim_spec *spec);
/* End everything that is under way: the run is over. They count as left. */
void ek_load_cut(struct ek_loading *l);

/* false, and a sentence in why, when the file cannot be read or asks nothing. */
bool ek_load_questions_read(struct ek_loading *l, const char *path, char *why, size_t cap);
void ek_load_questions_free(struct ek_loading *l); /* the file of answers too */
uint32_t ek_load_question_of(const struct ek_loading *l, uint64_t id);
void ek_load_question_put(const struct ek_loading *l, struct ek_buf *b, uint64_t id, uint32_t account,
                          bool thinks, bool liar);

struct ek_load_answer {
    uint64_t id;
    uint32_t tier;
    bool thinks, liar;
    struct ek_str thought, answer;
    const struct ek_call *call;
};
void ek_load_answer_note(struct ek_loading *l, const struct ek_load_answer *a);

#endif
