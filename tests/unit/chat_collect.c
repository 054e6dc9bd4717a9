/* SPDX-License-Identifier: MIT */
/* Chunks joined to a whole answer: texts, tool calls, logprobs, several choices, unknown members, and
 * the one limit on memory. */
#include "cm.h"

#include "chat/collect.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const struct ek_chunk_head head = {
    .api = EK_API_CHAT, .id = {"id", 2}, .model = {"m", 1}, .created_s = 9,
};

static enum ek_status add(struct ek_collect *c, const char *payload)
{
    static struct ek_up_chunk chunk;
    const char *fault = NULL;
    char *copy = strdup(payload); /* nothing of it may be needed afterwards */
    assert_non_null(copy);
    if (!ek_up_chunk_read(ek_str_of(copy), &chunk, &fault)) fail_msg("%s: %s", payload, fault);
    enum ek_status status = ek_collect_add(c, &chunk);
    memset(copy, 'x', strlen(copy));
    free(copy);
    return status;
}

#define DELTA(d) "{\"choices\":[{\"index\":0,\"delta\":" d "}]}"

/* The answer equals `want`, which must be JSON itself. */
static void wrote(struct ek_collect *c, const struct ek_usage *usage, const char *want)
{
    struct ek_buf out = ek_buf_make(1u << 20);
    json_error_t error;
    struct ek_chunk_head h = head;
    ek_collect_write(c, &out, &h, usage, (struct ek_str){0});
    assert_false(out.failed);
    json_t *got = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!got) fail_msg("%.*s: %s", (int)out.len, out.data, error.text);
    json_t *tree = json_loads(want, JSON_REJECT_DUPLICATES, &error);
    if (!tree) fail_msg("%s: %s", want, error.text);
    if (!json_equal(got, tree)) fail_msg("%.*s\n%s", (int)out.len, out.data, want);
    json_decref(got);
    json_decref(tree);
    ek_buf_free(&out);
}

#define ANSWER(choices) \
    "{\"id\":\"id\",\"object\":\"chat.completion\",\"created\":9,\"model\":\"m\"," \
    "\"choices\":[" choices "]"

static void joins_thinking_and_answer(void **state)
{
    (void)state;
    struct ek_collect *c = ek_collect_new(EK_API_CHAT, 100000);
    assert_int_equal(add(c,
        DELTA("{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"\"}")), EK_OK);
    assert_int_equal(add(c, DELTA("{\"reasoning_content\":\"Hm\\n\\u4f60\"}")), EK_OK);
    assert_int_equal(add(c, DELTA("{\"reasoning\":\" ok\"}")), EK_OK);
    assert_int_equal(add(c, DELTA("{\"content\":\"4\"}")), EK_OK);
    assert_int_equal(add(c,
        "{\"system_fingerprint\":\"fp\",\"service_tier\":\"default\",\"choices\":[{\"index\":0,"
                            "\"delta\":{\"content\":\"2\"},\"finish_reason\":\"stop\"}]}"), EK_OK);
    assert_true(ek_str_eq(ek_collect_content(c, 0), EK_STR("42")));
    assert_true(ek_str_eq(ek_collect_reasoning(c, 0), EK_STR("Hm\\n\\u4f60 ok")));
    assert_null(ek_collect_content(c, 1).data);
    wrote(c, NULL, ANSWER("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"42\","
          "\"reasoning_content\":\"Hm\\n\\u4f60 ok\"},\"logprobs\":null,\"finish_reason\":\"stop\"}")
          ",\"system_fingerprint\":\"fp\",\"service_tier\":\"default\"}");
    assert_int_equal(add(c, "{\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":3,"
                            "\"total_tokens\":5,\"prompt_cache_hit_tokens\":1}}"), EK_OK);
    wrote(c, NULL, ANSWER("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"42\","
          "\"reasoning_content\":\"Hm\\n\\u4f60 ok\"},\"logprobs\":null,\"finish_reason\":\"stop\"}")
          ",\"system_fingerprint\":\"fp\",\"service_tier\":\"default\",\"usage\":{\"prompt_tokens\":2,"
          "\"completion_tokens\":3,\"total_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":1},"
          "\"completion_tokens_details\":{\"reasoning_tokens\":0},\"prompt_cache_hit_tokens\":1,"
          "\"prompt_cache_miss_tokens\":1}}");
    ek_collect_free(&c);
    assert_null(c);
}

static void merges_tool_calls(void **state)
{
    (void)state;
    struct ek_collect *c = ek_collect_new(EK_API_CHAT, 100000);
    add(c, DELTA("{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"a\","
        "\"type\":"
                 "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\"},"
                 "\"extra\":{\"k\":1}}]}"));
    add(c, DELTA("{\"tool_calls\":[{\"index\":0,\"id\":null,\"function\":{\"name\":null,"
        "\"arguments\":\"{\\\"x\\\"\"}}]}"));
    add(c, DELTA("{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"g\","
        "\"arguments\":\"{}\"}},"
                 "{\"index\":0,\"function\":{\"arguments\":\":1}\"}}]}"));
    add(c, DELTA("{\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"h\","
        "\"arguments\":\"[\"}}]}"));
    add(c, DELTA("{\"tool_calls\":[{\"function\":{\"arguments\":\"]\"}}]}"));
    add(c, "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}");
    wrote(c, NULL, ANSWER("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
        "\"tool_calls\":["
          "{\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"f\","
          "\"arguments\":\"{\\\"x\\\":1}\"},\"extra\":{\"k\":1}},"
          "{\"id\":\"b\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}},"
          "{\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"h\",\"arguments\":\"[]\"}}]},"
          "\"logprobs\":null,\"finish_reason\":\"tool_calls\"}") "}");
    ek_collect_free(&c);
}

static void joins_logprobs_and_unknown_members(void **state)
{
    (void)state;
    struct ek_collect *c = ek_collect_new(EK_API_CHAT, 100000);
    add(c, "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\",\"refusal\":\"n\","
        "\"annotations\":[ ]},"
           "\"logprobs\":{\"content\":[{\"t\":1}],\"refusal\":null},\"stop_reason\":null,"
           "\"token_ids\":[1,2]}]}");
    add(c, "{\"choices\":[{\"index\":0,\"delta\":{\"refusal\":\"o\",\"annotations\":[{\"u\":1}]},"
           "\"logprobs\":{\"content\":[ ]},\"token_ids\":[]}]}");
    add(c, "{\"choices\":[{\"index\":0,\"delta\":{\"annotations\":[{\"u\":2}]},"
        "\"logprobs\":{\"content\":[{\"t\":2},3]},"
           "\"finish_reason\":\"stop\",\"stop_reason\":128,\"token_ids\":[3]}]}");
    wrote(c, NULL, ANSWER("{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\","
        "\"refusal\":\"no\","
          "\"annotations\":[{\"u\":1},{\"u\":2}]},\"logprobs\":{\"content\":[{\"t\":1},{\"t\":2},3]},"
          "\"finish_reason\":\"stop\",\"stop_reason\":128,\"token_ids\":[1,2,3]}") "}");
    ek_collect_free(&c);
}

static void keeps_choices_apart(void **state)
{
    (void)state;
    struct ek_collect *c = ek_collect_new(EK_API_COMPLETIONS, 100000);
    add(c, "{\"choices\":[{\"index\":1,\"text\":\"b\"},{\"index\":0,\"text\":\"a\"}]}");
    add(c, "{\"choices\":[{\"index\":1,\"text\":\"d\",\"finish_reason\":\"length\"}]}");
    assert_int_equal(ek_collect_choices(c), 2);
    add(c, "{\"choices\":[{\"index\":0,\"text\":\"c\",\"finish_reason\":\"abort\"}]}");
    struct ek_usage u = {.prompt_tokens = 1};
    wrote(c, &u, "{\"id\":\"id\",\"object\":\"text_completion\",\"created\":9,\"model\":\"m\","
        "\"choices\":["
          "{\"index\":0,\"text\":\"ac\",\"logprobs\":null,\"finish_reason\":\"abort\"},"
          "{\"index\":1,\"text\":\"bd\",\"logprobs\":null,\"finish_reason\":\"length\"}],"
          "\"usage\":{\"prompt_tokens\":1,"
          "\"completion_tokens\":0,\"total_tokens\":1,\"prompt_tokens_details\":{\"cached_tokens\":0},"
          "\"completion_tokens_details\":{\"reasoning_tokens\":0},\"prompt_cache_hit_tokens\":0,"
          "\"prompt_cache_miss_tokens\":1}}");
    ek_collect_free(&c);
}

static void stops_at_its_limits(void **state)
{
    (void)state;
    struct ek_collect *c = ek_collect_new(EK_API_CHAT, 5000);
    int added = 0;
    while (add(c, DELTA("{\"content\":\"0123456789\"}")) == EK_OK) added++;
    assert_in_range(added, 100, 499);
    assert_int_equal(add(c, DELTA("{}")), EK_FULL); /* for good */
    ek_collect_free(&c);

    c = ek_collect_new(EK_API_CHAT, 1u << 20);
    assert_int_equal(add(c, "{\"choices\":[{\"index\":128}]}"), EK_INVALID);
    ek_collect_free(&c);
    c = ek_collect_new(EK_API_CHAT, 1u << 20);
    char payload[200];
    for (int i = 0; i <= 128; i++) {
        snprintf(payload, sizeof payload, DELTA("{\"tool_calls\":[{\"index\":%d}]}"), i);
        assert_int_equal(add(c, payload), i < 128 ? EK_OK : EK_INVALID);
    }
    ek_collect_free(&c);
    c = ek_collect_new(EK_API_CHAT, 1u << 20);
    assert_int_equal(add(c, DELTA("{\"tool_calls\":[5]}")), EK_INVALID);
    ek_collect_free(&c);
    c = ek_collect_new(EK_API_CHAT, 1u << 20);
    for (int i = 0; i < 40; i++) { /* more unknown members than are kept */
        snprintf(payload, sizeof payload, "{\"choices\":[{\"index\":0,\"x%d\":%d}]}", i, i);
        assert_int_equal(add(c, payload), EK_OK);
    }
    ek_collect_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_thinking_and_answer),
        cmocka_unit_test(merges_tool_calls),
        cmocka_unit_test(joins_logprobs_and_unknown_members),
        cmocka_unit_test(keeps_choices_apart),
        cmocka_unit_test(stops_at_its_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
