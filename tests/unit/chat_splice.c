/* SPDX-License-Identifier: MIT */
/* Splicing: exact results on chosen bodies, and on random ones the promise that every byte not named
 * stays: the pieces that come from the body are the body, in order, but for the replaced spans; and
 * jansson sees the members set and all others equal. */
#include "cm.h"

#include "base/buf.h"
#include "chat/splice.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define MSG "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static uint64_t rnd_state;

static uint32_t rnd(uint32_t below)
{
    rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((rnd_state >> 33) % below);
}

typedef void spliced(struct ek_splice *s);

static void stream(struct ek_splice *s) { ek_splice_stream(s); }
static void seed(struct ek_splice *s) { ek_splice_seed(s, INT64_MIN); }
static void model(struct ek_splice *s) { ek_splice_model(s, EK_STR("a\"b\n")); }
static void limit(struct ek_splice *s) { ek_splice_max_tokens(s, 9); }
static void message(struct ek_splice *s) { ek_splice_append_message(s, EK_STR("{\"x\":1}")); }
static void much(struct ek_splice *s)
{
    ek_splice_set(s, EK_MEMBER_EK, EK_STR("{\"deadline_ms\":5}"));
    ek_splice_set(s, EK_MEMBER_CONTINUOUS_USAGE, EK_STR("true"));
    ek_splice_stream(s);
    ek_splice_thinking_budget(s, EK_MEMBER_THINKING_BUDGET, 100);
    ek_splice_set(s, EK_MEMBER_THINKING_TYPE, EK_STR("\"enabled\""));
    ek_splice_seed(s, 7);
}

static void gives_exactly_this(void **state)
{
    (void)state;
    const struct {
        spliced *edit;
        const char *body;
        const char *want;
    } cases[] = {
        {stream, "{" MSG "}", "{" MSG ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {stream, "{" MSG ",\"stream\":false}",
         "{" MSG ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {stream, "{\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}"},
        {stream, "{\"stream\": null ,\"stream_options\": { } ," MSG "}",
         "{\"stream\": true ,\"stream_options\": { \"include_usage\":true} ," MSG "}"},
        {stream, "{\"stream_options\":{\"x\":{}}," MSG " }",
         "{\"stream_options\":{\"x\":{},\"include_usage\":true}," MSG " ,\"stream\":true}"},
        {stream, "{\"stream_options\":null," MSG "}",
         "{\"stream_options\":{\"include_usage\":true}," MSG ",\"stream\":true}"},
        {stream, "{\"stream_options\":{\"include_usage\":false,\"y\":1}," MSG "}",
         "{\"stream_options\":{\"include_usage\":true,\"y\":1}," MSG ",\"stream\":true}"},
        {seed, "{" MSG ",\"seed\":5}", "{" MSG ",\"seed\":-9223372036854775808}"},
        {model, "{\"model\":\"old\"," MSG "}", "{\"model\":\"a\\\"b\\n\"," MSG "}"},
        {model, "{" MSG "}\n", "{" MSG ",\"model\":\"a\\\"b\\n\"}\n"},
        {limit, "{" MSG "}", "{" MSG ",\"max_tokens\":9}"},
        {limit, "{\"max_completion_tokens\":50," MSG "}", "{\"max_completion_tokens\":9," MSG "}"},
        {limit, "{\"max_completion_tokens\":50,\"max_tokens\":60," MSG "}",
         "{\"max_completion_tokens\":9,\"max_tokens\":9," MSG "}"},
        {message, "{" MSG ",\"k\":[]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"x\":1}],\"k\":[]}"},
        {much, "{" MSG ",\"thinking\":null}",
         "{" MSG ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":100},"
         "\"stream\":true,\"seed\":7,\"ek\":{\"deadline_ms\":5},"
         "\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}"},
        {much, "{\"ek\":1,\"thinking\":{}," MSG ",\"stream_options\":null}",
         "{\"ek\":{\"deadline_ms\":5},\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":100}," MSG
         ",\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true},"
         "\"stream\":true,\"seed\":7}"},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        struct ek_str body = ek_str_of(cases[i].body);
        struct ek_request q;
        struct ek_request_fault fault;
        if (!ek_request_read(&q, EK_API_CHAT, body, &fault)) fail_msg("%s: %s", body.data, fault.text);
        struct ek_splice s;
        ek_splice_begin(&s, &q, body);
        cases[i].edit(&s);
        struct ek_buf out = ek_buf_make(4096);
        ek_splice_flat(&s, &out);
        assert_string_equal(ek_buf_cstr(&out), cases[i].want);
        ek_buf_free(&out);
    }
}

static void extends_a_prompt(void **state)
{
    (void)state;
    struct ek_str body = EK_STR("{\"prompt\":\"one\\n\",\"x\":1}");
    struct ek_request q;
    struct ek_request_fault fault;
    assert_true(ek_request_read(&q, EK_API_COMPLETIONS, body, &fault));
    struct ek_splice s;
    ek_splice_begin(&s, &q, body);
    ek_splice_extend_prompt(&s, EK_STR("two\\u4f60"));
    struct ek_buf out = ek_buf_make(4096);
    ek_splice_flat(&s, &out);
    assert_string_equal(ek_buf_cstr(&out), "{\"prompt\":\"one\\ntwo\\u4f60\",\"x\":1}");
    ek_buf_free(&out);
}

/* --- random bodies --- */

static void put_noise(struct ek_buf *b, int level)
{
    static const char *const scalars[] = {"1", "-0.50", "1E+2", "\"\\u00e9 \xe4\xbd\xa0\"", "true",
        "null", "\"}\"", "\"\\\"{\""};
    uint32_t kind = rnd(level > 2 ? 1 : 3);
    if (rnd(3) == 0) ek_buf_char(b, " \n\t"[rnd(3)]);
    if (kind == 0) {
        ek_buf_lit(b, scalars[rnd(EK_COUNT(scalars))]);
    } else {
        ek_buf_char(b, kind == 1 ? '[' : '{');
        uint32_t n = rnd(4);
        for (uint32_t i = 0; i < n; i++) {
            if (i) ek_buf_char(b, ',');
            if (kind == 2) ek_buf_printf(b, "\"%s%u\":", rnd(2) ? "stream" : "k", i);
            put_noise(b, level + 1);
        }
        ek_buf_char(b, kind == 1 ? ']' : '}');
    }
    if (rnd(3) == 0) ek_buf_char(b, ' ');
}

/* Members in random order; each of ours present or not. */
static void put_body(struct ek_buf *b)
{
    static const char *const ours[][3] = {
        {"\"model\":\"m\"", "\"model\" : null", NULL},
        {"\"stream\":false", "\"stream\": true", "\"stream\":null"},
        {"\"stream_options\":{}", "\"stream_options\": null",
         "\"stream_options\":{ \"include_usage\" :false,\"z\":[{}] }"},
        {"\"seed\":3", "\"seed\":null", NULL},
        {"\"max_tokens\": 77", NULL, NULL},
        {"\"max_completion_tokens\":78 ", NULL, NULL},
        {"\"thinking\":{\"type\":\"enabled\"}", "\"thinking\":null",
         "\"thinking\":{\"q\":{\"type\":1},\"budget_tokens\":5}"},
        {"\"ek\":{\"mine\":true}", "\"priority\":-5", "\"cache_salt\":\"x\""},
    };
    bool used[EK_COUNT(ours)] = {false};
    ek_buf_lit(b, rnd(2) ? "{" : " {\n");
    ek_buf_lit(b, MSG);
    for (uint32_t n = rnd(14), i = 0; i < n; i++) {
        uint32_t pick = rnd(EK_COUNT(ours));
        const char *text = used[pick] ? NULL : ours[pick][rnd(3)];
        ek_buf_lit(b, rnd(2) ? "," : " , ");
        if (text) {
            used[pick] = true;
            ek_buf_lit(b, text);
        } else {
            ek_buf_printf(b, "\"x%u\":", i);
            put_noise(b, 0);
        }
    }
    ek_buf_lit(b, rnd(2) ? "}" : " }\n");
}

struct choice {
    bool stream, model, seed, limit, ek, priority, budget;
};

static void apply(struct ek_splice *s, const struct choice *c)
{
    if (c->stream) ek_splice_stream(s);
    if (c->model) ek_splice_model(s, EK_STR("target"));
    if (c->seed) ek_splice_seed(s, 42);
    if (c->limit) ek_splice_max_tokens(s, 8);
    if (c->ek) ek_splice_set(s, EK_MEMBER_EK, EK_STR("{\"n\":1}"));
    if (c->priority) ek_splice_set(s, EK_MEMBER_PRIORITY, EK_STR("0"));
    if (c->budget) ek_splice_thinking_budget(s, EK_MEMBER_THINKING_BUDGET, 11);
}

/* The same edits on jansson's tree. */
static void apply_to_tree(json_t *t, const struct choice *c)
{
    if (c->stream) {
        json_object_set_new(t, "stream", json_true());
        json_t *o = json_object_get(t, "stream_options");
        if (!json_is_object(o)) json_object_set_new(t, "stream_options", o = json_object());
        json_object_set_new(o, "include_usage", json_true());
    }
    if (c->model) json_object_set_new(t, "model", json_string("target"));
    if (c->seed) json_object_set_new(t, "seed", json_integer(42));
    if (c->limit) {
        bool other = json_object_get(t, "max_completion_tokens") != NULL;
        if (other) json_object_set_new(t, "max_completion_tokens", json_integer(8));
        if (!other || json_object_get(t, "max_tokens")) json_object_set_new(t, "max_tokens",
            json_integer(8));
    }
    if (c->ek) json_object_set_new(t, "ek", json_pack("{s:i}", "n", 1));
    if (c->priority) json_object_set_new(t, "priority", json_integer(0));
    if (c->budget) {
        json_t *o = json_object_get(t, "thinking");
        if (!json_is_object(o)) json_object_set_new(t, "thinking", o = json_object());
        json_object_set_new(o, "budget_tokens", json_integer(11));
    }
}

/* Views into the body come in order and without overlap; what lies between two of them was replaced
 * and is one of our members' values. */
static void check_bytes_stay(const struct ek_request *q, struct ek_str body,
    const struct ek_str *pieces,
                             size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i <= count; i++) {
        bool ours = i < count && (pieces[i].data < body.data || pieces[i].data >= body.data + body.len);
        if (ours) continue;
        size_t from = i < count ? (size_t)(pieces[i].data - body.data) : body.len;
        assert_true(from >= at);
        if (from > at) {
            bool named = false;
            for (int m = 0; m < EK_MEMBER_COUNT; m++) {
                named |= q->member[m].start == at && q->member[m].end == from;
            }
            assert_true(named);
        }
        at = i < count ? from + pieces[i].len : body.len;
    }
}

static void leaves_every_other_byte_alone(void **state)
{
    (void)state;
    const char *given = getenv("EK_SEED");
    rnd_state = given ? strtoull(given, NULL, 0) : 20261121;
    printf("seed %llu (EK_SEED)\n", (unsigned long long)rnd_state);
    struct ek_buf b = ek_buf_make(1u << 20);
    struct ek_buf out = ek_buf_make(1u << 20);
    for (int round = 0; round < 4000; round++) {
        ek_buf_clear(&b);
        ek_buf_clear(&out);
        put_body(&b);
        struct ek_request q;
        struct ek_request_fault fault;
        struct ek_str body = ek_buf_view(&b);
        if (!ek_request_read(&q, EK_API_CHAT, body, &fault)) {
            fail_msg("%.*s: %s", (int)body.len, body.data, fault.text);
        }
        struct choice c = {rnd(2), rnd(2), rnd(2), rnd(2), rnd(2), rnd(2), rnd(2)};
        struct ek_splice s;
        ek_splice_begin(&s, &q, body);
        apply(&s, &c);
        struct ek_str pieces[EK_SPLICE_PIECES_MAX];
        uint64_t bytes;
        size_t count = ek_splice_pieces(&s, pieces, &bytes);
        check_bytes_stay(&q, body, pieces, count);
        ek_splice_flat(&s, &out);
        assert_int_equal(out.len, bytes);
        json_error_t error;
        json_t *want = json_loadb(b.data, b.len, 0, &error);
        json_t *got = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
        if (!got) fail_msg("%.*s\n%.*s\n%s", (int)b.len, b.data, (int)out.len, out.data, error.text);
        apply_to_tree(want, &c);
        if (!json_equal(want, got)) fail_msg("%.*s\n%.*s", (int)b.len, b.data, (int)out.len, out.data);
        json_decref(want);
        json_decref(got);
    }
    ek_buf_free(&b);
    ek_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_exactly_this),
        cmocka_unit_test(extends_a_prompt),
        cmocka_unit_test(leaves_every_other_byte_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
