/* SPDX-License-Identifier: MIT */
/* What the clients of `evenkeel load` ask, and what they were answered. The questions are a file of lines
 * {"question": ..., "system": ...}; a request asks number (id modulo their count), greedy, so that whoever
 * asks the same alone must get the same text. Each whole answer is a line of --answers, for that comparison.
 * Owns both files' memory; reads and writes nothing else. */
#include "cli/load.h"

#include "sim/file.h"

#include <jansson.h>
#include <stdlib.h>

#define QUESTIONS_MAX 10000u
#define ANSWER_TOKENS_MAX 2048u /* what honest clients ask for at most; nearly all answers end before */

struct ek_load_questions {
    char **messages; /* each a JSON array */
    uint32_t count;
};

/* One line as the `messages` member of a request; NULL: it has no question. */
static char *messages_of(struct ek_str line)
{
    json_t *o = json_loadb(line.data, line.len, 0, NULL);
    const char *system = json_string_value(json_object_get(o, "system"));
    json_t *question = json_object_get(o, "question");
    char *text = NULL;
    if (json_is_string(question)) {
        json_t *list = json_array();
        if (system && *system)
            json_array_append_new(list, json_pack("{s:s, s:s}", "role", "system", "content", system));
        json_array_append_new(list, json_pack("{s:s, s:O}", "role", "user", "content", question));
        text = json_dumps(list, JSON_COMPACT);
        json_decref(list);
    }
    json_decref(o);
    return text;
}

bool ek_load_questions_read(struct ek_loading *l, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line;
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    struct ek_load_questions *q = calloc(1, sizeof *q);
    MUST(q);
    l->questions = q;
    q->messages = calloc(QUESTIONS_MAX, sizeof *q->messages);
    MUST(q->messages);
    while (q->count < QUESTIONS_MAX && ek_sim_file_line(&f, &line)) {
        char *text = line.len ? messages_of(line) : NULL;
        if (text) q->messages[q->count++] = text;
    }
    ek_sim_file_free(&f);
    if (q->count == 0) snprintf(why, cap, "%.300s: no line {\"question\": ...}", path);
    return q->count > 0;
}

void ek_load_questions_free(struct ek_loading *l)
{
    struct ek_load_questions *q = l->questions;
    for (uint32_t i = 0; q && i < q->count; i++) free(q->messages[i]);
    if (q) free(q->messages);
    free(q);
    l->questions = NULL;
    if (l->answers) fclose(l->answers);
    l->answers = NULL;
}

uint32_t ek_load_question_of(const struct ek_loading *l, uint64_t id)
{
    MUST(l->questions && l->questions->count > 0);
    return (uint32_t)(id % l->questions->count);
}

void ek_load_question_put(const struct ek_loading *l, struct ek_buf *b, uint64_t id, uint32_t account,
                          bool thinks, bool liar)
{
    ek_buf_printf(b, "{%s\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                     "\"temperature\":0,\"seed\":1,\"thinking\":{\"type\":\"%s\"},\"max_tokens\":%u,"
                     "\"user\":\"u%u\",\"messages\":", l->model_member, thinks ? "enabled" : "disabled",
                  liar ? EK_LOAD_LIE_TOKENS : ANSWER_TOKENS_MAX, account);
    const char *messages = l->questions->messages[ek_load_question_of(l, id)];
    ek_buf_put(b, messages, strlen(messages));
    ek_buf_lit(b, "}");
}

void ek_load_answer_note(struct ek_loading *l, const struct ek_load_answer *a)
{
    const struct ek_call *c = a->call;
    if (!l->answers) return;
    json_t *o = json_pack("{s:I, s:I, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:s%, s:s%}",
                          "id", (json_int_t)a->id, "question", (json_int_t)ek_load_question_of(l, a->id),
                          "tier", l->s.tier[a->tier].name, "thinks", a->thinks, "liar", a->liar,
                          "length", c->cut_by_length, "budget", (json_int_t)c->thinking_budget,
                          "thought_tokens", (json_int_t)c->thought_tokens,
                          "answer_tokens", (json_int_t)c->answer_tokens,
                          "thought", a->thought.len ? a->thought.data : "", (size_t)a->thought.len,
                          "answer", a->answer.len ? a->answer.data : "", (size_t)a->answer.len);
    if (o) json_dumpf(o, l->answers, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (o) fputc('\n', l->answers);
    l->failed += !o; /* text that is no UTF-8 is no answer */
    json_decref(o);
}
