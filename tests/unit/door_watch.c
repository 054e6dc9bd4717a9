/* SPDX-License-Identifier: MIT */
/* Is an upstream the model it was? Recorded once, compared ever after; another model raises an alarm and gets
 * nothing while one that is itself serves the same. */
#include "door_world.h"

#include "upstream/identity.h"

#include <unistd.h>

#define SELF "the quick brown fox jumps over the lazy dog"

static void put_answer(struct call *c, const char *text, double logprob)
{
    struct ek_buf body = ek_buf_make(1 << 16);
    char word[64];
    ek_buf_printf(&body, "{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
                  "\"logprobs\":{\"content\":[", text);
    for (const char *at = text; *at;) {
        size_t n = strcspn(at + 1, " ") + 1;
        snprintf(word, sizeof word, "%.*s", (int)n, at);
        ek_buf_printf(&body, "%s{\"token\":\"%s\",\"logprob\":%.4f}", at == text ? "" : ",", word, logprob);
        at += n;
    }
    ek_buf_lit(&body, "]}}]}");
    play_head(c, 200);
    play(c, ek_buf_cstr(&body));
    play_end(c);
    ek_buf_free(&body);
}

static double metric(struct world *w, const char *line)
{
    struct client *c = client_get(w, "/metrics");
    const char *at = strstr(client_text(c), line);
    if (!at) fail_msg("no %s in:\n%s", line, client_text(c));
    double value = strtod(at + strlen(line), NULL);
    client_free(w, c);
    return value;
}

/* One look: five questions, each answered so. */
static void looked(struct world *w, const char *text, double logprob)
{
    for (uint32_t i = 0; i < EK_IDENTITY_ASKS; i++) {
        struct call *c = the_call(w, w->calls - 1);
        if (c->over) fail_msg("question %u, call %zu, %.2f", i, w->calls, logprob);
        assert_string_equal(c->to, "u:1");
        assert_non_null(strstr(ek_buf_cstr(&c->body), "\"temperature\":0,"));
        put_answer(c, text, logprob);
    }
}

#define IS(value) assert_true(metric(w, "evenkeel_upstream_identity{upstream=\"a\"} ") == (value))

static void another_model_is_noticed(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-watch-XXXXXX", yaml[1024], command[128];
    assert_non_null(mkdtemp(dir));
    snprintf(yaml, sizeof yaml, "relay: {identity_every: 1h}\nupstreams:\n"
             "  - {url: 'http://u:1', name: a, dialect: openai, models: [m], slots: 4, weight: 20, "
             "identity: %s/a.json}\n"
             "  - {url: 'http://u:2', name: b, dialect: openai, models: [m], slots: 4}\n", dir);
    struct world *w = world_new(yaml, 4);
    world_pass(w, 2500);
    assert_int_equal(w->calls, 1);
    looked(w, SELF, -0.5);
    IS(-1);
    world_free(w);
    w = world_new(yaml, 4); /* recorded: a restart compares */
    world_pass(w, 2500);
    looked(w, SELF, -0.51);
    IS(1);
    world_pass(w, 3600 * 1000);
    looked(w, SELF, -0.9); /* the same words, less surely: quantised? */
    IS(1);                 /* once says nothing */
    world_pass(w, 61 * 1000);
    looked(w, SELF, -0.9);
    IS(0);
    assert_true(metric(w, "evenkeel_upstream_identity_alarms_total{upstream=\"a\"} ") == 1);
    size_t before = w->calls;
    struct client *c = client_post(w, ASK_STREAM); /* though a has the greater weight */
    assert_string_equal(the_call(w, before)->to, "u:2");
    play_all(the_call(w, before));
    client_free(w, c);
    world_pass(w, 3600 * 1000);
    looked(w, SELF, -0.5); /* mended */
    IS(1);
    world_free(w);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void verdicts(void **state)
{
    (void)state;
    static struct ek_identity_print a, b;
    static const struct {
        const char *recorded, *now;
        bool other;
    } row[] = {{"a, b, c, d, e, f", "a, b, c, d, e, f", false},
               {"a, b, c, d, e, f", "a, b, c, d, x, y", false},
               {"a, b, c, d, e, f", "z", true},
               {"Nous", "Je", true}};
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        a = (struct ek_identity_print){.answers = 1};
        b = a;
        a.answer[0].bytes = (uint32_t)strlen(row[i].recorded);
        b.answer[0].bytes = (uint32_t)strlen(row[i].now);
        memcpy(a.answer[0].text, row[i].recorded, a.answer[0].bytes);
        memcpy(b.answer[0].text, row[i].now, b.answer[0].bytes);
        struct ek_identity_verdict v = ek_identity_compare(&a, &b);
        assert_int_equal(v.other, row[i].other);
        assert_false(v.drift_known);
    }
    a.answers = EK_IDENTITY_ASKS;
    for (uint32_t i = 0; i < a.answers; i++) {
        a.answer[i] = a.answer[0];
        a.answer[i].tokens = 2;
        a.answer[i].end[1] = 4;
        a.answer[i].logprob[1] = -1.5f;
    }
    struct ek_buf text = ek_buf_make(1 << 16);
    ek_identity_write(&a, &text);
    assert_true(ek_identity_parse(ek_buf_view(&text), &b));
    assert_memory_equal(&a, &b, sizeof a);
    assert_false(ek_identity_parse(EK_STR("{\"format\":\"evenkeel identity 1\",\"answers\":[{}]}"), &b));
    ek_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_model_is_noticed),
        cmocka_unit_test(verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
