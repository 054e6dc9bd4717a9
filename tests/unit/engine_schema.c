/* SPDX-License-Identifier: MIT */
/* Answers of a given form: which texts a schema lets through and which schemas are refused; masks that say
 * exactly what can be read; random answers, and those of a random model, which are always whole JSON. That
 * they are valid is shown by a validator that is not ours (tests/live/engine_schemas.py). */
#include "cm.h"

#include "base/buf.h"
#include "engine/engine.h"
#include "model_maker.h"
#include "schema_cast.h"

#include <pthread.h>
#include <string.h>

/* ---- what is let through --------------------------------------------------------------------- */

static void values(void **state)
{
    (void)state;
    yes("{}", "[1,{\"a\":null},\"x\",-0.5e3,true]");
    yes("true", "{ }");
    no("{}", "{\"a\":1,}");
    no("{}", "01");
    no("{}", "\"a\nb\"");
    no("{}", "[1 ,  2]"); /* two spaces are more than there are */
    yes("{\"type\":[\"null\",\"boolean\"]}", "null");
    no("{\"type\":[\"null\",\"boolean\"]}", "0");
    yes("{\"type\":\"string\",\"nullable\":true}", "null");
    yes("{\"enum\":[\"a\\\"b\",1.5,{\"x\":[1]}]}", "\"a\\\"b\"");
    yes("{\"enum\":[\"a\\\"b\",1.5,{\"x\":[1]}]}", "{\"x\":[1]}");
    no("{\"enum\":[\"ab\",\"ac\"]}", "\"ad\"");
    yes("{\"enum\":[\"ab\",5],\"type\":\"integer\"}", "5");
    no("{\"enum\":[\"ab\",5],\"type\":\"integer\"}", "\"ab\"");
    yes("{\"const\":null}", "null");
    yes("{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", "\"x\"");
    yes("{\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}],\"type\":\"object\","
        "\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}}}", "{\"b\":2}");
    no("{\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}],\"type\":\"object\","
       "\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}}}", "{}");
    yes("{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":4}]}", "4");
    no("{\"allOf\":[{\"type\":\"integer\",\"minimum\":3},{\"maximum\":4}]}", "5");
    yes("{\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}},\"$ref\":\"#/$defs/t\"}",
        "[[],[[]]]");
}

static void strings(void **state)
{
    (void)state;
    yes("{\"type\":\"string\"}", "\"\\u00e9\xC3\xA9\xF0\x9F\x98\x80\\n\"");
    no("{\"type\":\"string\"}", "\"\xC3\"");
    no("{\"type\":\"string\"}", "\"\xED\xA0\x80\"");
    no("{\"type\":\"string\"}", "\"\\ud800\"");
    yes("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"\xC3\xA9\\n\xF0\x9F\x98\x80\"");
    no("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"a\"");
    no("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}", "\"abcd\"");
    yes("{\"type\":\"string\",\"maxLength\":0}", "\"\"");
    yes("{\"pattern\":\"^a+(b|\\\\d{2,3})?$\"}", "\"aa123\"");
    no("{\"pattern\":\"^a+(b|\\\\d{2,3})?$\"}", "\"aab1\"");
    yes("{\"pattern\":\"b\"}", "\"abc\"");
    no("{\"pattern\":\"b\"}", "\"ac\"");
    yes("{\"pattern\":\"(^|,)x(,|$)\"}", "\"a,x\"");
    no("{\"pattern\":\"(^|,)x(,|$)\"}", "\"ax\"");
    yes("{\"pattern\":\"^[^a-z\\\\s]$\"}", "\"\xE2\x82\xAC\"");
    yes("{\"pattern\":\"^\\\"\\\\\\\\\\\\n$\"}", "\"\\\"\\\\\\n\"");
    yes("{\"pattern\":\"^[ab]*$\",\"minLength\":2,\"maxLength\":3}", "\"aba\"");
    no("{\"pattern\":\"^[ab]*$\",\"minLength\":2,\"maxLength\":3}", "\"abab\"");
    yes("{\"pattern\":\"^[ab]*$\",\"maxLength\":0}", "\"\""); /* an automaton without any edge */
    yes("{\"type\":\"string\",\"format\":\"date\"}", "\"2026-02-28\"");
    no("{\"type\":\"string\",\"format\":\"date\"}", "\"2026-02-30\"");
    yes("{\"type\":\"string\",\"format\":\"date-time\"}", "\"2026-11-22T05:44:00.5+01:30\"");
    yes("{\"type\":\"string\",\"format\":\"uuid\"}", "\"01234567-89ab-cdef-0123-456789abcdef\"");
    yes("{\"type\":\"string\",\"format\":\"ipv4\"}", "\"192.168.0.255\"");
    no("{\"type\":\"string\",\"format\":\"ipv4\"}", "\"192.168.0.256\"");
}

static void numbers(void **state)
{
    (void)state;
    yes("{\"type\":\"integer\"}", "-123456789012345");
    no("{\"type\":\"integer\"}", "1234567890123456"); /* 16 digits */
    no("{\"type\":\"integer\"}", "1.0");
    yes("{\"type\":\"number\"}", "-1.5E-10");
    char schema[100], text[32];
    static const int bounds[][2] = {{0, 0}, {-5, 120}, {7, 7}, {99, 1001}, {-310, -18}, {-1, 1}, {10, 99}};
    for (size_t i = 0; i < EK_COUNT(bounds); i++) {
        snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", bounds[i][0],
                 bounds[i][1]);
        for (int x = -320; x < 1010; x += x < -20 || x > 130 ? 17 : 3) {
            snprintf(text, sizeof text, "%d", x);
            if (x >= bounds[i][0] && x <= bounds[i][1]) yes(schema, text);
            else no(schema, text);
        }
    }
    static const char *const between = "{\"type\":\"number\",\"exclusiveMinimum\":-0.25,\"maximum\":1.5}";
    yes(between, "-0.2499");
    no(between, "-0.25");
    no(between, "-0.2500");
    yes(between, "0");
    yes(between, "1.50");
    no(between, "1.51");
    no(between, "15");
    yes("{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":-20}", "-14");
    no("{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":-20}", "15");
    static const char *const small = "{\"type\":\"number\",\"minimum\":1e-5,\"maximum\":0.00025}";
    yes(small, "0.00001");
    yes(small, "0.00025");
    yes(small, "0.000010000");
    no(small, "0.00000999");
    no(small, "0.000250001");
    no(small, "0");
    no("{\"type\":\"number\",\"minimum\":1e-300}", "0.0"); /* less than can be written, and not nothing */
    no("{\"type\":\"number\",\"maximum\":-1e-300}", "-0.0");
    no("{\"type\":\"number\",\"maximum\":-1e-300}", "0");
    yes("{\"type\":\"number\",\"exclusiveMaximum\":1e-300}", "0.0");
    no("{\"type\":\"number\",\"maximum\":9.999999999999999e-15}", "0.00000000000001");
    refused("{\"type\":\"number\",\"minimum\":1e-30,\"maximum\":2e-30}", "");
    refused("{\"type\":\"number\",\"minimum\":-2e-300,\"maximum\":-1e-300}", "");
}

static void objects_and_arrays(void **state)
{
    (void)state;
    static const char *const two = "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},"
        "\"b\":{\"type\":\"boolean\"},\"c\":false},\"required\":[\"b\"]}";
    yes(two, "{\"b\":true}");
    yes(two, "{ \"a\": 1,\n  \"b\": false\n}");
    no(two, "{\"a\":1}");
    no(two, "{\"b\":true,\"a\":1}"); /* not in the order of the schema */
    no(two, "{\"b\":true,\"d\":1}");
    static const char *const others =
        "{\"type\":\"object\",\"properties\":{\"ab\":{\"const\":1},\"\xC3\xA9\":{}},"
        "\"additionalProperties\":{\"type\":\"string\"}}";
    yes(others, "{\"ab\":1,\"abc\":\"x\",\"a\":\"y\",\"\":\"z\"}");
    yes(others, "{\"\xC3\xA8\":\"x\"}");
    no(others, "{\"ab\":\"x\"}");
    no(others, "{\"\\u0061b\":\"x\"}"); /* ab in disguise */
    no(others, "{\"x\":1}");
    static const char *const map =
        "{\"additionalProperties\":{\"type\":\"null\"},\"minProperties\":1,\"maxProperties\":2}";
    yes(map, "{\"a\":null,\"b\":null}");
    no(map, "{}");
    no(map, "{\"a\":null,\"b\":null,\"c\":null}");
    static const char *const list = "{\"type\":\"array\",\"prefixItems\":[{\"const\":1},{\"const\":2}],"
        "\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":3}";
    yes(list, "[1]");
    yes(list, "[1, 2, true]");
    no(list, "[]");
    no(list, "[2]");
    no(list, "[1,2,true,true]");
    yes("{\"type\":\"array\",\"items\":[{\"const\":1}],\"additionalItems\":false}", "[1]");
    no("{\"type\":\"array\",\"items\":[{\"const\":1}],\"additionalItems\":false}", "[1,1]");
    yes("{\"oneOf\":[{\"properties\":{\"k\":{\"const\":\"a\"},\"v\":{\"type\":\"integer\"}},"
        "\"required\":[\"k\",\"v\"],"
        "\"type\":\"object\"},{\"properties\":{\"k\":{\"const\":\"b\"},\"v\":{\"type\":\"string\"}},"
        "\"required\":[\"k\",\"v\"],\"type\":\"object\"}]}", "{\"k\":\"b\",\"v\":\"1\"}");
}

static void what_cannot_be_enforced(void **state)
{
    (void)state;
    refused("{\"properties\":{\"a/b\":{\"not\":{}}}}", "'not' at #/properties/a~1b");
    refused("{\"type\":\"array\",\"items\":{\"type\":\"strange\"}}", "'type' at #/items");
    refused("{\"colour\":\"red\"}", "'colour' at #: is no keyword");
    refused("{\"type\":\"array\",\"uniqueItems\":true}", "uniqueItems");
    refused("{\"pattern\":\"(?=a)b\"}", "looks around");
    refused("{\"pattern\":\"(a)\\\\1\"}", "back reference");
    refused("{\"pattern\":\"(((a{900}){900}){900}){900}\"}", "too large");
    refused("{\"pattern\":\"((((){1000}){1000}){1000}){1000}\"}", "too large");
    refused("{\"pattern\":\"a^b\"}", "can never match");
    refused("{\"type\":\"string\",\"format\":\"iri\"}", "'iri' is not known");
    refused("{\"multipleOf\":0.1}", "multipleOf");
    refused("{\"minLength\":4,\"maxLength\":3}", "minLength");
    refused("{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "use anyOf");
    refused("{\"$ref\":\"http://example.com/x\"}", "$ref");
    refused("{\"$ref\":\"#/$defs/nothing\"}", "points to no schema");
    refused("{\"$ref\":\"#\"}", "circle");
    refused("{\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/a\"},{\"type\":\"null\"}]}},"
        "\"$ref\":\"#/$defs/a\"}", "endless");
    refused("{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", "empty");
    refused("{\"allOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}]}", "leaves no type");
    refused("{\"required\":[\"a\"],\"additionalProperties\":false}", "required");
    refused("false", "leaves no value");
}

/* ---- masks ----------------------------------------------------------------------------------- */

static const char *const walks[] = {
    "{}",
    "{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":40},"
    "\"x\":{\"type\":\"array\",\"items\":{\"type\":\"number\"},\"maxItems\":4}},"
    "\"additionalProperties\":true,"
    "\"maxProperties\":5,\"required\":[\"ab\"]}",
    "{\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^x{3,40}$\"},{\"type\":\"string\","
    "\"maxLength\":5},{\"type\":\"string\"}]}",
    "{\"$defs\":{\"n\":{\"anyOf\":[{\"type\":\"null\"},{\"type\":\"object\","
    "\"properties\":{\"a\":{\"$ref\":\"#/$defs/n\"},"
    "\"b\":{\"$ref\":\"#/$defs/n\"}},\"required\":[\"a\"]}]}},\"$ref\":\"#/$defs/n\"}",
    "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"enum\":[\"xx\",\"xxxx\","
    "12,123]},\"minItems\":1},\"maxItems\":20}",
};

static bool in(const uint64_t *mask, uint32_t id)
{
    return mask[id / 64] >> id % 64 & 1;
}

/* Every token is in the mask if and only if it can be read; near a limit of length, long ones may be left
 * out. */
static void check_whole_mask(struct ek_guide *g)
{
    uint64_t mask[8];
    assert_true(ek_guide_words(g) <= EK_COUNT(mask));
    memcpy(mask, ek_guide_mask(g), ek_guide_words(g) * sizeof *mask);
    for (uint32_t id = 0; id < trie->vocab; id++) {
        struct ek_guide *copy = ek_guide_copy(g);
        bool read = ek_guide_advance(copy, id);
        if (in(mask, id)) assert_true(read || (id == eos && ek_guide_complete(g)));
        else assert_true(!read || ek_tokenizer_bytes(tokenizer, id).len > 16);
        ek_guide_free(&copy);
    }
}

static void masks_say_what_can_be_read(void **state)
{
    (void)state;
    uint64_t seed = 77;
    for (size_t i = 0; i < EK_COUNT(walks); i++) {
        struct ek_guide *g = guide_of(walks[i]);
        if (!g) fail_msg("%s", fault.text);
        for (int step = 0; step < 60 && !ek_guide_over(g); step++) {
            check_whole_mask(g);
            const uint64_t *mask = ek_guide_mask(g);
            uint32_t id = (uint32_t)(maker_random(&seed) % trie->vocab);
            while (!in(mask, id)) id = (id + 1) % trie->vocab;
            if (id == eos) break;
            assert_true(ek_guide_advance(g, id));
        }
        ek_guide_free(&g);
    }
}

/* Whatever is chosen, the next mask is never empty, and what comes to its end is JSON. */
static void no_dead_ends(void **state)
{
    (void)state;
    uint64_t seed = 78;
    unsigned whole = 0;
    for (unsigned run = 0; run < 60; run++) {
        struct ek_guide *g = guide_of(walks[run % EK_COUNT(walks)]);
        struct ek_buf text = ek_buf_make(1 << 20);
        bool done = false;
        for (int step = 0; step < 3000 && !done; step++) {
            const uint64_t *mask = ek_guide_mask(g);
            uint32_t id = (uint32_t)(maker_random(&seed) % trie->vocab), tries = 0;
            while (!in(mask, id) && tries++ < trie->vocab) id = (id + 1) % trie->vocab;
            assert_true(in(mask, id));
            done = id == eos;
            if (done) break;
            assert_true(ek_guide_advance(g, id));
            ek_buf_str(&text, ek_tokenizer_bytes(tokenizer, id));
            done = ek_guide_over(g);
        }
        json_t *v = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (done) assert_non_null(v);
        whole += done;
        json_decref(v);
        ek_buf_free(&text);
        ek_guide_free(&g);
    }
    assert_true(whole > 40);
}

/* ---- in the engine --------------------------------------------------------------------------- */

struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
    unsigned rings;
};

static void ring(void *arg)
{
    struct bell *b = arg;
    pthread_mutex_lock(&b->lock);
    b->rings++;
    pthread_cond_signal(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

static struct ek_engine_event next_event(struct ek_engine *e, struct bell *b)
{
    struct ek_engine_event event;
    for (;;) {
        pthread_mutex_lock(&b->lock);
        unsigned before = b->rings;
        pthread_mutex_unlock(&b->lock);
        if (ek_engine_take(e, &event, 1) == 1) return event;
        pthread_mutex_lock(&b->lock);
        while (b->rings == before) pthread_cond_wait(&b->rung, &b->lock);
        pthread_mutex_unlock(&b->lock);
    }
}

enum { ANSWER_MAX = 1500 };

struct answer {
    uint32_t ids[ANSWER_MAX], n, thought;
    enum ek_job_end end;
};

static void run(struct ek_engine *e, struct bell *b, struct ek_engine_job job, struct answer *a)
{
    char why[200] = "";
    uint64_t id;
    *a = (struct answer){.n = 0};
    if (ek_engine_submit(e, &job, &id, why, sizeof why) != EK_OK) fail_msg("%s", why);
    while (a->end == EK_JOB_GOES_ON) {
        struct ek_engine_event event = next_event(e, b);
        if (event.has_token) {
            a->thought += event.in_thought;
            a->ids[a->n++] = event.token.id;
        }
        a->end = event.finish;
    }
}

/* The text behind the thought, as JSON. */
static json_t *json_of(const struct answer *a)
{
    struct ek_buf text = ek_buf_make(1 << 20);
    for (uint32_t i = a->thought; i < a->n; i++) ek_buf_str(&text, ek_tokenizer_bytes(tokenizer, a->ids[i]));
    json_t *v = json_loadb(text.data ? text.data : "", text.len, JSON_DECODE_ANY, NULL);
    ek_buf_free(&text);
    return v;
}

static void a_random_model_keeps_to_the_form(void **state)
{
    (void)state;
    static struct answer whole, rest;
    struct recipe r = recipe_qwen2;
    char path[64], why[200] = "";
    struct bell bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct ek_engine *e = NULL;
    uint32_t prompt[3] = {1, 2, 3}, think = 20, end_think = 21, ended = 0;
    r.vocab = trie->vocab;
    maker_save(&r, path);
    struct ek_engine_options o = {.model_path = path, .slots = 2, .threads = 1, .ctx_tokens = 2048};
    if (ek_engine_open(&o, ring, &bell, &e, why, sizeof why) != EK_OK) fail_msg("%s", why);
    for (uint64_t i = 0; i < 12; i++) {
        struct ek_guide *g = guide_of(walks[i % EK_COUNT(walks)]), *again = ek_guide_copy(g);
        struct ek_engine_job job = {
            .prompt_ids = prompt, .prompt_tokens = 3, .max_tokens = ANSWER_MAX, .guide = g,
                .guide_from = EK_NO_TOKEN,
            .sampling = ek_sampling_default(), .stop_ids = {eos}, .stop_count = 1,
            .thinking = {.open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED}};
        job.sampling.seed = i;
        job.sampling.temperature = 0.5f * (float)(i % 4);
        job.sampling.frequency_penalty = 0.5f;
        if (i % 3 == 0) { /* a thought of ten tokens first; it is free */
            job.thinking = (struct ek_job_thinking){.open_at_start = true, .open_id = think,
                                                    .end_id = end_think,
                                                    .budget = 10, .close_ids = {end_think}, .close_count = 1};
        }
        run(e, &bell, job, &whole);
        assert_int_equal(whole.thought > 0, i % 3 == 0);
        if (whole.end == EK_JOB_STOP) {
            json_t *v = json_of(&whole);
            assert_non_null(v);
            json_decref(v);
            ended++;
        } else {
            assert_int_equal(whole.end, EK_JOB_LENGTH);
        }
        job.guide = again; /* from the middle on, the same */
        job.prefix_ids = whole.ids;
        job.prefix_tokens = whole.n / 2;
        run(e, &bell, job, &rest);
        assert_int_equal(rest.n, whole.n - whole.n / 2);
        assert_memory_equal(rest.ids, whole.ids + whole.n / 2, rest.n * sizeof *rest.ids);
    }
    assert_true(ended >= 8);
    struct ek_engine_job job = {.prompt_ids = prompt, .prompt_tokens = 3, .max_tokens = 9,
                                .prefix_ids = prompt,
                                .prefix_tokens = 1, .guide_from = EK_NO_TOKEN,
                                    .sampling = ek_sampling_default(),
                                .thinking = {.open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN,
                                             .budget = EK_THINK_UNLIMITED}};
    uint64_t id;
    job.guide = guide_of("{\"type\":\"null\"}");
    assert_int_equal(ek_engine_submit(e, &job, &id, why, sizeof why),
                     EK_INVALID); /* the prefix is no "null" */
    assert_non_null(strstr(why, "prefix"));
    ek_guide_free(&job.guide); /* ours still */
    ek_engine_close(&e);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values), cmocka_unit_test(strings), cmocka_unit_test(numbers),
        cmocka_unit_test(objects_and_arrays), cmocka_unit_test(what_cannot_be_enforced),
        cmocka_unit_test(masks_say_what_can_be_read), cmocka_unit_test(no_dead_ends),
        cmocka_unit_test(a_random_model_keeps_to_the_form),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
