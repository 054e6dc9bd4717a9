/* SPDX-License-Identifier: MIT */
/* What chat/upstream_chunk must agree on with jansson: for a payload that both accept, without names
 * given twice, every text, flag and number found. Then the relay: with its edits made, jansson must see
 * exactly those changes. Shared by the unit test and the fuzzer; every failure calls MUST. */
#ifndef TESTS_CHUNK_ORACLE_H
#define TESTS_CHUNK_ORACLE_H

#include "base/buf.h"
#include "chat/collect.h"
#include "chat/upstream_chunk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Is the escaped inside of a string equal to jansson's value? Absent equals NULL and null. */
static inline bool same_text(struct ek_str inside, json_t *value)
{
    if (!json_is_string(value)) return inside.data == NULL;
    if (!inside.data) return false;
    char *text = malloc(inside.len + 1);
    MUST(text);
    int64_t n = ek_json_unescape(inside, text, inside.len);
    bool same = n >= 0 && (size_t)n == json_string_length(value) &&
                memcmp(text, json_string_value(value), (size_t)n) == 0;
    free(text);
    return same;
}

static inline uint64_t count_in(json_t *object, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(object, name));
    return v > 0 ? (uint64_t)v : 0;
}

static inline void check_choice(const struct ek_up_choice *h, json_t *choice)
{
    json_t *delta = json_object_get(choice, "delta");
    if (json_object_get(choice, "message")) return; /* both at once: one would have to win */
    if (json_object_get(choice, "text") && delta) return;
    json_t *content = delta ? json_object_get(delta, "content") : json_object_get(choice, "text");
    MUST(same_text(h->content, content));
    json_t *reasoning = json_object_get(delta, "reasoning_content");
    json_t *other = json_object_get(delta, "reasoning");
    if (json_string_length(reasoning) == 0 && json_is_string(other)) reasoning = other;
    MUST(same_text(h->reasoning, reasoning));
    MUST(!(h->flags & EK_UP_CONTENT) == (json_string_length(content) == 0));
    MUST(!(h->flags & EK_UP_REASONING) == (json_string_length(reasoning) == 0));
    MUST(!(h->flags & EK_UP_TOOL_CALLS) == (json_array_size(json_object_get(delta,
        "tool_calls")) == 0));
    MUST(same_text(h->finish_raw, json_object_get(choice, "finish_reason")));
    MUST(h->index == count_in(choice, "index"));
    json_t *logprobs = json_object_get(choice, "logprobs");
    MUST(!(h->flags & EK_UP_LOGPROBS) == (!logprobs || json_is_null(logprobs)));
}

static inline bool is_count(json_t *v)
{
    return !v || json_is_null(v) || (json_is_integer(v) && json_integer_value(v) >= 0);
}

static inline bool is_right_detail(json_t *usage, const char *object, const char *name)
{
    json_t *v = json_object_get(usage, object);
    return !v || json_is_null(v) || (json_is_object(v) && is_count(json_object_get(v, name)));
}

/* Both sums told and possible, and no count in it that is none. */
static inline bool is_right_usage(json_t *u)
{
    json_t *prompt = json_object_get(u, "prompt_tokens"), *made = json_object_get(u, "completion_tokens");
    return json_is_object(u) && json_is_integer(prompt) && json_is_integer(made) && is_count(prompt) &&
           is_count(made) && count_in(u, "prompt_tokens") <= EK_UP_USAGE_TOKENS_MAX &&
           count_in(u, "completion_tokens") <= EK_UP_USAGE_TOKENS_MAX &&
           is_count(json_object_get(u, "prompt_cache_hit_tokens")) &&
           is_count(json_object_get(u, "reasoning_tokens")) &&
           is_right_detail(u, "prompt_tokens_details", "cached_tokens") &&
           is_right_detail(u, "completion_tokens_details", "reasoning_tokens");
}

static inline void check_chunk(const struct ek_up_chunk *c, json_t *tree)
{
    json_t *choices = json_object_get(tree, "choices");
    MUST(c->choice_count == json_array_size(choices));
    for (uint32_t i = 0; i < c->choice_count; i++) check_choice(&c->choice[i], json_array_get(choices,
        i));
    json_t *usage = json_object_get(tree, "usage");
    MUST(!(c->flags & EK_UP_USAGE) == !is_right_usage(usage));
    MUST(!c->usage_wrong == (!usage || json_is_null(usage) || is_right_usage(usage)));
    if (is_right_usage(usage)) {
        MUST(c->usage.prompt_tokens == count_in(usage, "prompt_tokens"));
        MUST(c->usage.completion_tokens == count_in(usage, "completion_tokens"));
    }
    json_t *error = json_object_get(tree, "error");
    bool is_error = error && !json_is_null(error) && !json_is_false(error);
    json_t *object = json_object_get(tree, "object");
    is_error |= json_is_string(object) && strcmp(json_string_value(object), "error") == 0;
    MUST(!(c->flags & EK_UP_ERROR) == !is_error);
    if (json_is_object(error) && !json_object_get(tree, "message")) {
        json_t *message = json_object_get(error, "message");
        MUST(same_text(c->error_message, message));
    }
}

static inline void check_relay(struct ek_str payload, const struct ek_up_chunk *c, json_t *tree,
                               unsigned which)
{
    struct ek_up_edit edit = {
        .id = which & 1 ? EK_STR("\"our-id\"") : (struct ek_str){0},
        .model = which & 2 ? EK_STR("\"our\\nmodel\"") : (struct ek_str){0},
        .usage_null = (which & 4) != 0,
        .usage_drop = (which & 8) != 0,
        .ek_drop = (which & 16) != 0,
    };
    struct ek_buf out = ek_buf_make(1u << 24);
    json_error_t error;
    ek_up_chunk_relay(&out, payload, c, &edit);
    MUST(!out.failed);
    json_t *got = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!got) {
        fprintf(stderr, "relay made <%.*s> of <%.*s>\n", (int)out.len, out.data, (int)payload.len,
                payload.data);
        abort();
    }
    json_t *want = json_copy(tree);
    if (edit.id.data && json_object_get(want, "id")) {
        json_object_set_new(want, "id", json_string("our-id"));
    }
    if (edit.model.data && json_object_get(want, "model")) {
        json_object_set_new(want, "model", json_string("our\nmodel"));
    }
    bool usage = json_object_get(want, "usage") != NULL;
    if (usage && edit.usage_drop) json_object_del(want, "usage");
    else if (usage && edit.usage_null) json_object_set_new(want, "usage", json_null());
    if (edit.ek_drop) json_object_del(want, "ek");
    MUST(json_equal(want, got));
    json_decref(want);
    json_decref(got);
    ek_buf_free(&out);
}

/* A name we interpret, written with an escape, counts for jansson and not for us: compare only payloads
 * without any in the first bytes of a name. Returns whether we accept the payload. */
static inline bool chunk_check(struct ek_str payload, unsigned which)
{
    static struct ek_up_chunk c; /* 2 kB; the reader sets all it uses */
    const char *fault = NULL;
    memset(&c, 0xA5, sizeof c);
    bool ok = ek_up_chunk_read(payload, &c, &fault);
    MUST(ok == (fault == NULL));
    if (ok && (c.flags & EK_UP_DONE)) return true;
    json_error_t error;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *tree = json_loadb(payload.data, payload.len, flags, &error);
    if (ok && tree && !memmem(payload.data, payload.len, "\\u00", 4)) {
        check_chunk(&c, tree);
        check_relay(payload, &c, tree, which);
    }
    json_decref(tree);
    return ok;
}

#endif
