/* SPDX-License-Identifier: MIT */
/* Reading the chunks of the servers people run. The payloads are of the documented shape of each server,
 * written for this test. */
#include "cm.h"
#include "base/random.h"
#include "chunk_oracle.h"
#include "shape_oracle.h"

#include <stdio.h>

#define HEAD "{\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","

static const char *const shapes[] = {
    /* DeepSeek */
    HEAD "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
         "\"content\":null,\"reasoning_content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]}",
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"reasoning_content\":\"Okay,\\n\"},"
         "\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\",\"reasoning_content\":null},"
         "\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":10,"
         "\"completion_tokens\":20,\"total_tokens\":30,\"prompt_tokens_details\":{\"cached_tokens\":4},"
         "\"completion_tokens_details\":{\"reasoning_tokens\":7},\"prompt_cache_hit_tokens\":4,"
         "\"prompt_cache_miss_tokens\":6}}",
    /* vLLM: reasoning, stop_reason, usage on every chunk */
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"hm\"},\"logprobs\":null,"
         "\"finish_reason\":null,\"stop_reason\":null,\"token_ids\":null}],"
         "\"usage\":{\"prompt_tokens\":5,\"total_tokens\":6,\"completion_tokens\":1,"
         "\"prompt_tokens_details\":null}}",
    /* SGLang */
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"role\":null,\"content\":\"x\","
        "\"reasoning_content\":null,"
         "\"tool_calls\":null},\"logprobs\":null,\"finish_reason\":\"abort\",\"matched_stop\":null}],"
         "\"usage\":null}",
    /* llama-server */
    "{\"choices\":[{\"finish_reason\":\"length\",\"index\":0,\"delta\":{}}],\"created\":1,\"id\":\"c\","
    "\"model\":\"m\",\"system_fingerprint\":\"b1\",\"object\":\"chat.completion.chunk\",\"timings\":"
    "{\"prompt_n\":1,\"predicted_per_second\":12.5}}",
    /* tool calls */
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":"
         "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]},"
         "\"finish_reason\":null}]}",
    /* OpenAI: the usage chunk */
    HEAD "\"service_tier\":\"default\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
        "\"completion_tokens\":2,"
         "\"total_tokens\":5,\"completion_tokens_details\":{\"reasoning_tokens\":1,"
         "\"audio_tokens\":0}}}",
    /* our engine */
    HEAD "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xe4\xbd\xa0\"},\"finish_reason\":null}],"
         "\"ek\":{\"n\":3,\"ids\":[5, 6,4294967295]}}",
    /* completions */
    "{\"id\":\"t\",\"object\":\"text_completion\",\"created\":1,\"model\":\"m\","
    "\"choices\":[{\"index\":1,"
    "\"text\":\"ab\",\"logprobs\":null,\"finish_reason\":\"content_filter\"}]}",
    /* errors */
    "{\"error\":{\"message\":\"no \\\"room\\\"\",\"type\":\"server_error\",\"param\":null,"
    "\"code\":503}}",
    "{\"object\":\"error\",\"message\":\"old\",\"type\":\"BadRequestError\",\"param\":null,"
    "\"code\":400}",
    "{\"error\":\"plain\"}",
    /* no tool calls, said at length; and no `created`, as the smallest servers have it */
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\",\"tool_calls\":[ \n ]}}]}",
    " [DONE] ",
};

static struct ek_up_chunk c;

static const struct ek_up_chunk *chunk(size_t shape)
{
    const char *fault = NULL;
    memset(&c, 0x5A, sizeof c);
    bool ok = ek_up_chunk_read(ek_str_of(shapes[shape]), &c, &fault);
    if (!ok) fail_msg("%s: %s", shapes[shape], fault);
    return &c;
}

static void same(struct ek_str got, const char *want)
{
    if (!want) {
        assert_null(got.data);
        return;
    }
    assert_int_equal(got.len, strlen(want));
    assert_memory_equal(got.data, want, got.len);
}

static void tells_what_is_in_a_chunk(void **state)
{
    (void)state;
    assert_int_equal(chunk(0)->flags, EK_UP_ROLE);
    same(c.choice[0].content, NULL);
    same(c.choice[0].reasoning, "");
    same(c.fingerprint, "\"fp_1\"");
    assert_int_equal(chunk(1)->flags, EK_UP_REASONING);
    same(c.choice[0].reasoning, "Okay,\\n");
    same(c.usage_raw, "null");
    same(c.id, "\"c1\"");
    same(c.model, "\"m\"");
    same(c.created, "1");
    assert_int_equal(chunk(2)->flags, EK_UP_FINISH | EK_UP_USAGE);
    assert_int_equal(c.choice[0].finish, EK_FINISH_STOP);
    assert_int_equal(c.usage.prompt_tokens, 10);
    assert_int_equal(c.usage.completion_tokens, 20);
    assert_int_equal(c.usage.cached_tokens, 4);
    assert_int_equal(c.usage.reasoning_tokens, 7);
    assert_int_equal(chunk(3)->flags, EK_UP_REASONING | EK_UP_USAGE);
    same(c.reasoning_name, "\"reasoning\"");
    same(c.choice[0].reasoning, "hm");
    assert_int_equal(chunk(4)->flags, EK_UP_CONTENT | EK_UP_FINISH);
    assert_int_equal(c.choice[0].finish, EK_FINISH_OTHER);
    same(c.choice[0].finish_raw, "abort");
    assert_int_equal(chunk(5)->choice[0].finish, EK_FINISH_LENGTH);
    assert_int_equal(chunk(6)->flags, EK_UP_TOOL_CALLS);
    assert_int_equal(chunk(7)->flags, EK_UP_USAGE);
    assert_int_equal(c.choice_count, 0);
    same(c.service_tier, "\"default\"");
}

static void wrong_usage_is_none(void **state)
{
    (void)state;
    const char *const wrong[] = {
        "{\"prompt_tokens\":7,\"completion_tokens\":4000000000}",
        "{\"prompt_tokens\":1.5,\"completion_tokens\":2}",
        "{\"prompt_tokens\":-1,\"completion_tokens\":2}",
        "{\"prompt_tokens\":\"7\",\"completion_tokens\":2}",
        "{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":[]}",
        "{\"prompt_tokens\":7}", "{}", "7", "[]", "\"5\"",
    };
    for (size_t i = 0; i < EK_COUNT(wrong); i++) {
        char text[160];
        snprintf(text, sizeof text, "{\"choices\":[],\"usage\":%s}", wrong[i]);
        memset(&c, 0x5A, sizeof c);
        assert_true(ek_up_chunk_read(ek_str_of(text), &c, NULL));
        assert_int_equal(c.flags, 0);
        assert_true(c.usage_wrong);
        same(c.usage_raw, wrong[i]); /* so that it can be kept from the caller */
    }
    assert_false(chunk(7)->usage_wrong);
}

static void reads_ids_errors_and_the_end(void **state)
{
    (void)state;
    uint32_t ids[2] = {0};
    assert_int_equal(chunk(8)->flags, EK_UP_CONTENT | EK_UP_EK);
    assert_int_equal(c.ek_tokens, 3);
    assert_int_equal(ek_up_chunk_ids(c.ek_ids, ids, 2), 3);
    assert_int_equal(ids[1], 6);
    assert_int_equal(ek_up_chunk_ids(EK_STR("[]"), ids, 2), 0);
    assert_int_equal(ek_up_chunk_ids(EK_STR("[1.5]"), ids, 2), -1);
    assert_int_equal(ek_up_chunk_ids(EK_STR("[4294967296]"), ids, 2), -1);
    assert_int_equal(ek_up_chunk_ids(EK_STR("[-1]"), ids, 2), -1);
    assert_int_equal(chunk(9)->choice[0].index, 1);
    same(c.choice[0].content, "ab");
    same(c.choice[0].delta, NULL);
    assert_int_equal(chunk(10)->flags, EK_UP_ERROR);
    same(c.error_message, "no \\\"room\\\"");
    same(c.error_code, "503");
    assert_int_equal(chunk(11)->flags, EK_UP_ERROR);
    same(c.error_message, "old");
    same(c.error_type, "BadRequestError");
    assert_int_equal(chunk(12)->flags, EK_UP_ERROR);
    same(c.error_message, "plain");
    assert_int_equal(chunk(13)->flags, EK_UP_CONTENT);
    assert_int_equal(chunk(14)->flags, EK_UP_DONE);
}

static void refuses_what_it_cannot_read(void **state)
{
    (void)state;
    const char *const bad[] = {
        "", "[DONE", "[]", "null", "{", "{\"choices\":[{}]} x", "{\"choices\":{}}", "{\"choices\":[1]}",
        "{\"choices\":[{\"delta\":[]}]}", "{\"choices\":[{\"delta\":{\"content\":5}}]}",
        "{\"choices\":[{\"delta\":{\"content\":[\"a\"]}}]}", "{\"choices\":[{\"index\":-1}]}",
        "{\"choices\":[{\"index\":4294967296}]}", "{\"choices\":[{\"index\":\"0\"}]}",
        "{\"choices\":[{\"finish_reason\":true}]}", "{\"choices\":[{\"delta\":{\"tool_calls\":{}}}]}",
        "{\"id\":\"\\ud800\"}", "{\"ek\":{\"n\":4294967296}}",
        "{\"choices\":[{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}]}",
    };
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        const char *fault = NULL;
        if (ek_up_chunk_read(ek_str_of(bad[i]), &c, &fault)) fail_msg("accepted: %s", bad[i]);
        assert_non_null(fault);
    }
}

static void cut_payloads_are_never_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < EK_COUNT(shapes); i++) {
        for (size_t len = 0; len < strlen(shapes[i]); len++) {
            char *copy = malloc(len ? len : 1); /* its end is where a sanitizer looks */
            assert_non_null(copy);
            memcpy(copy, shapes[i], len);
            assert_false(ek_up_chunk_read(ek_str_make(copy, len), &c, NULL));
            free(copy);
        }
    }
}

static void relayed(const char *payload, struct ek_up_edit edit, const char *want)
{
    const char *fault = NULL;
    struct ek_buf out = ek_buf_make(4096);
    assert_true(ek_up_chunk_read(ek_str_of(payload), &c, &fault));
    ek_up_chunk_relay(&out, ek_str_of(payload), &c, &edit);
    assert_string_equal(ek_buf_cstr(&out), want);
    ek_buf_free(&out);
}

static void relays_with_edits(void **state)
{
    (void)state;
    struct ek_up_edit all = {.id = EK_STR("\"I\""), .model = EK_STR("\"M\""), .usage_null = true,
                             .ek_drop = true, .reasoning_rename = true};
    struct ek_up_edit drop = {.usage_drop = true, .ek_drop = true};
    relayed("{\"id\" : \"x\", \"model\":\"y\","
        "\"choices\":[{\"delta\":{\"reasoning\" :\"r\"}}] , \"ek\":{\"n\":1}"
            " ,\"usage\":{\"prompt_tokens\":1}, \"z\":[1 ]}", all,
            "{\"id\" : \"I\", \"model\":\"M\",\"choices\":[{\"delta\":{\"reasoning_content\" :\"r\"}}]"
            "  ,\"usage\":null, \"z\":[1 ]}");
    relayed("{\"ek\":{\"n\":1} , \"usage\":null,\"z\":1}", drop, "{ \"z\":1}");
    relayed("{\"usage\":{},\"ek\":1}", drop, "{}");
    relayed("{ \"a\":1,\"usage\":{}}", drop, "{ \"a\":1}");
    relayed("{\"a\":1}", all, "{\"a\":1}");
    relayed("{\"choices\":[{\"delta\":{\"reasoning\":\"r\",\"reasoning_content\":\"r\"}}]}", all,
            "{\"choices\":[{\"delta\":{\"reasoning\":\"r\",\"reasoning_content\":\"r\"}}]}");
}

static void jansson_finds_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(shapes); i++) {
        for (unsigned which = 0; which < 32; which++) {
            assert_true(chunk_check(ek_str_of(shapes[i]), which));
        }
    }
}

#define OWN(id, created, text) "{\"id\":\"" id "\",\"created\":" created ",\"model\":\"m\",\"choices\":[" \
                               "{\"index\":0,\"delta\":{\"content\":\"" text "\"},\"finish_reason\":null}]}"
#define NEXT(fp, members, ek) HEAD "\"system_fingerprint\":\"" fp "\",\"choices\":[{\"index\":0,\"delta\":{" \
    members "},\"logprobs\":null,\"finish_reason\":null}]" ek "}"

static void a_chunk_like_the_last_is_read_the_same(void **state)
{
    (void)state;
    static const struct { const char *first, *next; bool alike; } pairs[] = {
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("bcd", "\"content\":\" you\"", ""), true},
        {NEXT("a", "\"content\":\"x\"", ""),
         NEXT("a", "\"content\":\"\xe4\xbd\xa0\\n\\ud83d\\ude00\"", ""), true},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"content\":\"\"", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("", "\"content\":\"y\"", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"content\":\"\x01\"", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"content\":\"\\ud800\"", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"content\":\"\xc3\"", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"content\":null", ""), false},
        {NEXT("a", "\"content\":\"x\"", ""), NEXT("a", "\"reasoning_content\":\"x\"", ""), false},
        {NEXT("a", "\"reasoning\":\"x\"", ""), NEXT("a", "\"reasoning\":\"yy\"", ""), true},
        {NEXT("a", "\"reasoning_content\":\"\",\"reasoning\":\"x\"", ""),
         NEXT("a", "\"reasoning_content\":\"\",\"reasoning\":\"yy\"", ""), true},
        {NEXT("a", "\"content\":\"p\",\"reasoning_content\":\"q\"", ""),
         NEXT("a", "\"content\":\"ppp\",\"reasoning_content\":\"qq\"", ""), true},
        {NEXT("a", "\"content\":\"x\"", ",\"ek\":{\"n\":9,\"ids\":[5]}"),
         NEXT("a", "\"content\":\"yy\"", ",\"ek\":{\"n\":10,\"ids\":[6,77]}"), true},
        {NEXT("a", "\"content\":\"x\"", ",\"ek\":{\"n\":9,\"ids\":[5]}"),
         NEXT("a", "\"content\":\"yy\"", ",\"ek\":{\"n\":10}"), false},
        {NEXT("a", "\"content\":\"x\"", ",\"ek\":{\"n\":9}"),
         NEXT("a", "\"content\":\"yy\"", ",\"ek\":{\"n\":-1}"), false},
        {NEXT("a", "\"content\":\"x\"", ",\"ek\":{\"n\":9}"),
         NEXT("a", "\"content\":\"yy\"", ",\"ek\":7"), false},
        {NEXT("a", "\"content\":\"x\"", ",\"ek\":{\"ids\":[1]},\"ek\":{\"n\":9}"),
         NEXT("a", "\"content\":\"yy\"", ",\"ek\":{\"ids\":[1]},\"ek\":{\"n\":10}"), false},
        {"{\"id\":\"c1\",\"created\":17,\"choices\":[]}", "{\"id\":\"c\",\"created\":18,\"choices\":[]}",
         false},
        {OWN("c1", "17", "x"), OWN("another", "1800000000", "y"), true},
        {OWN("c1", "17", "x"), OWN("c1", "017", "x"), false},
        {OWN("c1", "17", "x"), OWN("c1", "-17", "x"), false},
        {OWN("c1", "17", "x"), OWN("c1", "17.5", "x"), false},
        {OWN("c1", "17", "x"), OWN("c1", "1e9", "x"), false},
        {OWN("c1", "17", "x"), OWN("c1", "\"17\"", "x"), false},
        {OWN("c1", "17", "x"), OWN("", "17", "x"), false},
        {OWN("c1", "17", "x"), OWN("\xc3", "17", "x"), false},
        {NEXT("a", "\"content\":\"x\"", ",\"usage\":{\"completion_tokens\":1}"),
         NEXT("a", "\"content\":\"yy\"", ",\"usage\":{\"completion_tokens\":2}"), false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct ek_up_shape s = {0};
        shape_check(&s, ek_str_of(pairs[i].first));
        assert_int_equal(shape_check(&s, ek_str_of(pairs[i].next)), pairs[i].alike);
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (size_t k = 0; k < sizeof shapes / sizeof shapes[0]; k++) {
            struct ek_up_shape s = {0};
            shape_check(&s, ek_str_of(shapes[i]));
            shape_check(&s, ek_str_of(shapes[k]));
        }
}

enum { STREAMS = 64 };

/* A chunk of stream i: of its own kind (8 of a server), or with a count that is never the same. */
static struct ek_str say_something(char text[512], uint32_t i, uint64_t n, bool odd)
{
    static const char *const kind[] = {"content", "reasoning_content", "reasoning", "content"};
    int len = snprintf(text, 512, "{\"id\":\"chatcmpl-%08x\",\"created\":%u,\"model\":\"m%u\",\"choices\":"
                       "[{\"index\":0,\"delta\":{\"%s\":\"w%llu\"},\"finish_reason\":null}]", i * 2654435761u,
                       1700000000u + i, i / 4 % 2, kind[i % 4], (unsigned long long)n);
    if (odd) len += snprintf(text + len, 512 - (size_t)len, ",\"usage\":{\"completion_tokens\":%llu}",
                             (unsigned long long)n);
    if (i % 4 == 3)
        len += snprintf(text + len, 512 - (size_t)len, ",\"ek\":{\"n\":%llu}", (unsigned long long)n);
    text[len] = '}';
    return ek_str_make(text, (size_t)len + 1);
}

static void streams_of_one_server_share_what_is_known_of_it(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(78);
    struct ek_up_shapes *s = calloc(1, sizeof *s);
    struct ek_up_shape_hint hint[STREAMS] = {{0}};
    uint32_t even = 0, alike = 0, odd_alike = 0;
    assert_non_null(s);
    for (uint64_t n = 0; n < 40000; n++) {
        char text[512];
        uint32_t i = (uint32_t)ek_random_below(&r, STREAMS);
        bool odd = i >= STREAMS / 2; /* half of them are never alike: they must not spoil it for the rest */
        bool known = shapes_check(s, &hint[i], say_something(text, i, n, odd));
        if (odd) odd_alike += known;
        else if (n >= 2000) even++, alike += known;
    }
    print_message("seed 78: %u of %u were alike\n", alike, even);
    assert_true(alike > even / 100 * 99);
    assert_int_equal(odd_alike, 0);
    free(s);
}

static void damaged_chunks_are_read_the_same_by_their_shape(void **state)
{
    (void)state;
    static const char marks[] = "\"{}[],:\\ x0-ne\x01\xc3\xa9\n";
    struct ek_random r = ek_random_make(77);
    char text[2048];
    uint32_t alike = 0;
    for (uint32_t i = 0; i < 60000; i++) {
        struct ek_str first = ek_str_of(shapes[ek_random_below(&r, sizeof shapes / sizeof shapes[0])]);
        struct ek_up_shape s = {0};
        if (first.len + 8 > sizeof text) continue;
        shape_check(&s, first);
        memcpy(text, first.data, first.len);
        size_t len = first.len, at = ek_random_below(&r, len);
        char mark = marks[ek_random_below(&r, sizeof marks - 1)];
        uint64_t how = ek_random_below(&r, 3);
        if (how == 0) text[at] = mark;
        else if (how == 1) memmove(text + at, text + at + 1, len-- - at - 1);
        else memmove(text + at + 1, text + at, len++ - at), text[at] = mark;
        alike += shape_check(&s, ek_str_make(text, len));
    }
    print_message("seed 77: %u of 60000 damaged chunks were still alike\n", alike);
    assert_true(alike > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_is_in_a_chunk),
        cmocka_unit_test(wrong_usage_is_none),
        cmocka_unit_test(reads_ids_errors_and_the_end),
        cmocka_unit_test(refuses_what_it_cannot_read),
        cmocka_unit_test(cut_payloads_are_never_taken),
        cmocka_unit_test(relays_with_edits),
        cmocka_unit_test(jansson_finds_the_same),
        cmocka_unit_test(a_chunk_like_the_last_is_read_the_same),
        cmocka_unit_test(streams_of_one_server_share_what_is_known_of_it),
        cmocka_unit_test(damaged_chunks_are_read_the_same_by_their_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
