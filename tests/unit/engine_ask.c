/* SPDX-License-Identifier: MIT */
/* Requests as the engine reads them: what each member means, and that every fault names its member. */
#include "cm.h"

#include "engine/ask.h"

#include <stdio.h>

static struct ek_ask ask;
static struct ek_ask_fault fault;

static bool read_as(enum ek_api api, const char *body)
{
    return ek_ask_read(&ask, api, ek_str_of(body), 100, &fault);
}

static void good(const char *body)
{
    bool ok = read_as(EK_API_CHAT, body);
    if (!ok) print_error("%s: %s\n", body, fault.text);
    assert_true(ok);
}

#define M "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

static void bad(const char *body, enum ek_reason reason, const char *param)
{
    if (read_as(EK_API_CHAT, body)) print_error("accepted: %s\n", body);
    assert_int_equal(fault.reason, reason);
    assert_string_equal(fault.param, param);
    assert_true(strlen(fault.text) > 10);
}

#define TOOL(name) \
    "{\"type\":\"function\",\"function\":{\"name\":\"" name "\",\"strict\":true,\"parameters\":{}}}"

static void forms_of_answers(void **state)
{
    (void)state;
    good("{" M ",\"n\":8,\"logit_bias\":{\"5\":-100,\"7\":0.5},"
        "\"response_format\":{\"type\":\"json_object\"}}");
    assert_int_equal(ask.n, 8);
    assert_int_equal(ask.bias_count, 2);
    assert_true(ask.format == EK_FORMAT_JSON && ask.choice == EK_CHOICE_NONE);
    ek_ask_free(&ask);
    good("{" M ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\","
        "\"schema\":{}}}}");
    assert_true(ask.format == EK_FORMAT_SCHEMA && ask.schema);
    ek_ask_free(&ask);
    good("{" M ",\"tools\":[" TOOL("f") "," TOOL("g") "],\"parallel_tool_calls\":false}");
    assert_true(ask.choice == EK_CHOICE_AUTO && ask.tool_count == 2 && ask.tools[1].strict && ask.one_call);
    ek_ask_free(&ask);
    good("{" M ",\"tools\":[" TOOL("f") "," TOOL("g") "],"
         "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}");
    assert_true(ask.choice == EK_CHOICE_NAMED && ask.named_tool == 1);
    ek_ask_free(&ask);
    good("{" M ",\"tools\":[" TOOL("f") "],\"tool_choice\":\"none\"}");
    assert_true(ask.choice == EK_CHOICE_NONE);
    ek_ask_free(&ask);
}

static void plain_members(void **state)
{
    (void)state;
    good("{" M "}");
    assert_int_equal(ask.message_count, 1);
    assert_true(ask.sampling.temperature == 1 && !ask.seed_given && !ask.stream && ask.max_tokens == 0);
    assert_true(ask.thinking_budget == UINT32_MAX && ask.thinking == EK_ASK_THINK_DEFAULT);
    ek_ask_free(&ask);

    good("{" M ",\"model\":\"demo\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
         "\"max_tokens\":5,\"max_completion_tokens\":7,\"temperature\":0,\"top_p\":0.5,\"top_k\":3,"
         "\"min_p\":0.1,\"presence_penalty\":-1,\"frequency_penalty\":1.5,\"repetition_penalty\":1.1,"
         "\"seed\":-4,\"stop\":[\"a\",\"bc\"],\"logprobs\":true,\"top_logprobs\":20,\"user\":\"x\","
         "\"nobody_knows\":{\"a\":[1,{}]},\"n\":1,\"tools\":[],\"response_format\":{\"type\":\"text\"}}");
    assert_true(ek_str_eq(ask.model, EK_STR("demo")) && ask.stream && ask.include_usage);
    assert_int_equal(ask.max_tokens, 7);
    assert_true(ask.sampling.temperature == 0 && ask.sampling.top_p == 0.5F && ask.sampling.top_k == 3);
    assert_true(ask.seed_given && ask.sampling.seed == (uint64_t)-4);
    assert_true(ask.stop_count == 2 && ek_str_eq(ask.stops[1], EK_STR("bc")));
    assert_true(ask.logprobs && ask.top_logprobs == 20);
    ek_ask_free(&ask);

    good("{" M ",\"stop\":\"x\",\"seed\":null,\"max_tokens\":null,\"stream\":null,\"ek\":null}");
    assert_true(ask.stop_count == 1 && !ask.seed_given && !ask.continues);
    ek_ask_free(&ask);
}

static void messages_of_every_kind(void **state)
{
    (void)state;
    good("{\"messages\":[{\"role\":\"developer\",\"content\":\"S\"},"
         "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\u0000b\"},"
         "{\"type\":\"text\",\"text\":\"c\"}]},"
         "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
         "{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"42\"}]}");
    assert_int_equal(ask.message_count, 4);
    assert_int_equal(ask.messages[0].role, EK_ROLE_SYSTEM);
    assert_int_equal(ask.messages[1].content.len, 5);
    assert_memory_equal(ask.messages[1].content.data, "a\0b\nc", 5);
    assert_true(ask.messages[2].call_count == 1 && ask.messages[2].content.data == NULL);
    assert_true(ek_str_eq(ask.messages[2].calls[0].name, EK_STR("f")));
    assert_true(ek_str_eq(ask.messages[2].reasoning, EK_STR("hm")));
    assert_int_equal(ask.messages[3].role, EK_ROLE_TOOL);
    ek_ask_free(&ask);
}

static void thinking_in_all_its_spellings(void **state)
{
    (void)state;
    static const struct { const char *body; enum ek_ask_thinking thinking; uint32_t budget; } cases[] = {
        {"{" M ",\"thinking\":{\"type\":\"enabled\"}}", EK_ASK_THINK_ON, UINT32_MAX},
        {"{" M ",\"thinking\":{\"type\":\"disabled\"}}", EK_ASK_THINK_OFF, UINT32_MAX},
        {"{" M ",\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":8}}", EK_ASK_THINK_ON, 8},
        {"{" M ",\"reasoning_effort\":\"none\"}", EK_ASK_THINK_OFF, UINT32_MAX},
        {"{" M ",\"reasoning_effort\":\"low\"}", EK_ASK_THINK_ON, 1024},
        {"{" M ",\"reasoning_effort\":\"max\"}", EK_ASK_THINK_ON, UINT32_MAX},
        {"{" M ",\"reasoning_effort\":\"high\",\"thinking\":{\"type\":\"disabled\"}}", EK_ASK_THINK_OFF,
         UINT32_MAX},
        {"{" M ",\"thinking_token_budget\":7,\"reasoning_effort\":\"low\"}", EK_ASK_THINK_ON, 7},
        {"{" M ",\"thinking_budget_tokens\":0}", EK_ASK_THINK_DEFAULT, 0},
        {"{" M ",\"thinking_budget_tokens\":9,\"thinking\":{\"budget_tokens\":8}}", EK_ASK_THINK_DEFAULT, 8},
        {"{" M ",\"thinking\":{\"budget_tokens\":8},\"ek\":{\"thinking_budget\":9}}", EK_ASK_THINK_DEFAULT,
         9},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        good(cases[i].body);
        assert_int_equal(ask.thinking, cases[i].thinking);
        assert_int_equal(ask.thinking_budget, cases[i].budget);
        ek_ask_free(&ask);
    }
}

static void the_doors_extras(void **state)
{
    (void)state;
    good("{" M ",\"ek\":{\"seed\":9223372036854775807,\"priority\":3,\"deadline_ms\":500,"
         "\"cache_salt\":\"s\","
         "\"request_id\":\"5f\",\"prefix\":[11,42,7],\"more\":1}}");
    assert_true(ask.sampling.seed == INT64_MAX && ask.seed_given && ask.continues);
    assert_true(ask.priority == 3 && ask.deadline_ms == 500 && ask.prefix_count == 3);
    assert_int_equal(ask.prefix_ids[1], 42);
    assert_true(ek_str_eq(ask.request_id, EK_STR("5f")));
    ek_ask_free(&ask);
    good("{" M ",\"ek\":{\"request_id\":\"12345678901234567890123456789012345678901234567890"
         "123456789012345\"}}");
    ek_ask_free(&ask); /* of 65 bytes: ignored, not refused (docs/wire.md) */
    good("{" M ",\"seed\":5,\"ek\":{\"seed\":6,\"prefix\":[]}}");
    assert_true(ask.sampling.seed == 5 && ask.continues && ask.prefix_count == 0);
    ek_ask_free(&ask);
}

static void completions(void **state)
{
    (void)state;
    assert_true(read_as(EK_API_COMPLETIONS, "{\"prompt\":\"x\",\"logprobs\":3}"));
    assert_true(ek_str_eq(ask.prompt, EK_STR("x")) && ask.logprobs && ask.top_logprobs == 3);
    ek_ask_free(&ask);
    assert_true(read_as(EK_API_COMPLETIONS, "{\"prompt\":[\"x\"]}"));
    assert_true(ek_str_eq(ask.prompt, EK_STR("x")));
    ek_ask_free(&ask);
    assert_true(read_as(EK_API_COMPLETIONS, "{\"prompt\":[5]}"));
    assert_true(ask.prompt_id_count == 1 && ask.prompt_ids[0] == 5);
    ek_ask_free(&ask);
    assert_false(read_as(EK_API_COMPLETIONS, "{\"prompt\":[\"x\",\"y\"]}"));
    assert_int_equal(fault.reason, EK_REASON_UNSUPPORTED);
    assert_false(read_as(EK_API_COMPLETIONS, "{\"prompt\":[1,-1]}"));
    assert_int_equal(fault.reason, EK_REASON_WRONG_TYPE);
    assert_false(read_as(EK_API_COMPLETIONS, "{}"));
    assert_int_equal(fault.reason, EK_REASON_MISSING_PARAM);
    assert_false(read_as(EK_API_COMPLETIONS, "{\"prompt\":\"x\",\"echo\":true}"));
    assert_int_equal(fault.reason, EK_REASON_UNSUPPORTED);
}

static void faults_of_forms(void **state)
{
    (void)state;
    bad("{" M ",\"tools\":[{}]}", EK_REASON_WRONG_TYPE, "tools");
    bad("{" M ",\"tools\":[{\"type\":\"web\"}]}", EK_REASON_UNSUPPORTED, "tools");
    bad("{" M ",\"tools\":[{\"function\":{\"name\":\"a b\"}}]}", EK_REASON_BAD_VALUE, "tools");
    bad("{" M ",\"tools\":[" TOOL("f") "," TOOL("f") "]}", EK_REASON_BAD_VALUE, "tools");
    bad("{" M ",\"tool_choice\":\"required\"}", EK_REASON_BAD_VALUE, "tool_choice");
    bad("{" M ",\"tools\":[" TOOL("f") "],\"tool_choice\":{\"type\":\"function\","
        "\"function\":{\"name\":\"g\"}}}",
        EK_REASON_BAD_VALUE, "tool_choice");
    bad("{" M ",\"tools\":[" TOOL("f") "],\"ignore_eos\":true}", EK_REASON_BAD_VALUE, "ignore_eos");
    bad("{" M ",\"response_format\":{\"type\":\"xml\"}}", EK_REASON_UNSUPPORTED, "response_format.type");
    bad("{" M ",\"response_format\":{\"type\":\"json_schema\"}}", EK_REASON_MISSING_PARAM,
        "response_format.json_schema");
    bad("{" M ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":5}}}",
        EK_REASON_WRONG_TYPE, "response_format.json_schema.schema");
    bad("{" M ",\"logit_bias\":{\"x\":1}}", EK_REASON_BAD_VALUE, "logit_bias");
    bad("{" M ",\"logit_bias\":{\"5\":101}}", EK_REASON_BAD_VALUE, "logit_bias");
}

static void every_fault_names_its_member(void **state)
{
    (void)state;
    bad("", EK_REASON_BAD_JSON, "");
    bad("{" M "", EK_REASON_BAD_JSON, "");
    bad("{" M "} x", EK_REASON_BAD_JSON, "");
    bad("{" M ",\"a\":NaN}", EK_REASON_BAD_JSON, "");
    bad("{" M ",\"a\":\"\xff\"}", EK_REASON_BAD_JSON, "");
    bad("[]", EK_REASON_WRONG_TYPE, "");
    bad("{" M ",\"x\":{\"a\":1,\"a\":2}}", EK_REASON_DUPLICATE_KEY, "");
    bad("{}", EK_REASON_MISSING_PARAM, "messages");
    bad("{\"messages\":[]}", EK_REASON_BAD_VALUE, "messages");
    bad("{\"messages\":{}}", EK_REASON_WRONG_TYPE, "messages");
    bad("{\"messages\":[5]}", EK_REASON_WRONG_TYPE, "messages[0]");
    bad("{\"messages\":[{\"content\":\"x\"}]}", EK_REASON_MISSING_PARAM, "messages[0].role");
    bad("{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", EK_REASON_BAD_VALUE, "messages[0].role");
    bad("{\"messages\":[{\"role\":\"user\"}]}", EK_REASON_MISSING_PARAM, "messages[0].content");
    bad("{\"messages\":[{\"role\":\"user\",\"content\":5}]}", EK_REASON_WRONG_TYPE, "messages[0].content");
    bad("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", EK_REASON_UNSUPPORTED,
        "messages[0].content");
    bad("{" M ",\"model\":5}", EK_REASON_WRONG_TYPE, "model");
    bad("{" M ",\"stream\":1}", EK_REASON_WRONG_TYPE, "stream");
    bad("{" M ",\"stream_options\":{\"include_usage\":1}}", EK_REASON_WRONG_TYPE,
        "stream_options.include_usage");
    bad("{" M ",\"max_tokens\":0}", EK_REASON_BAD_VALUE, "max_tokens");
    bad("{" M ",\"max_tokens\":1.5}", EK_REASON_WRONG_TYPE, "max_tokens");
    bad("{" M ",\"temperature\":\"hot\"}", EK_REASON_WRONG_TYPE, "temperature");
    bad("{" M ",\"temperature\":2.1}", EK_REASON_BAD_VALUE, "temperature");
    bad("{" M ",\"top_p\":-0.1}", EK_REASON_BAD_VALUE, "top_p");
    bad("{" M ",\"stop\":[\"\"]}", EK_REASON_BAD_VALUE, "stop");
    bad("{" M ",\"stop\":[1]}", EK_REASON_WRONG_TYPE, "stop");
    bad("{" M ",\"n\":9}", EK_REASON_UNSUPPORTED, "n");
    bad("{" M ",\"n\":0}", EK_REASON_BAD_VALUE, "n");
    bad("{" M ",\"thinking\":true}", EK_REASON_WRONG_TYPE, "thinking");
    bad("{" M ",\"thinking\":{\"type\":\"maybe\"}}", EK_REASON_BAD_VALUE, "thinking.type");
    bad("{" M ",\"reasoning_effort\":\"much\"}", EK_REASON_BAD_VALUE, "reasoning_effort");
    bad("{" M ",\"top_logprobs\":21}", EK_REASON_BAD_VALUE, "top_logprobs");
    bad("{" M ",\"ek\":{\"prefix\":[1,\"2\"]}}", EK_REASON_WRONG_TYPE, "ek.prefix");
    bad("{" M ",\"ek\":{\"priority\":-1}}", EK_REASON_BAD_VALUE, "ek.priority");
    struct ek_buf many = ek_buf_make(1000);
    ek_buf_lit(&many, "{" M ",\"ek\":{\"prefix\":[0");
    for (int i = 0; i < 100; i++) ek_buf_lit(&many, ",1");
    ek_buf_lit(&many, "]}}");
    bad(ek_buf_cstr(&many), EK_REASON_CONTEXT_LENGTH, "ek.prefix");
    ek_buf_free(&many);
    char deep[6100];
    memset(deep, '[', 6000);
    memcpy(deep, "{\"a\":", 5);
    deep[6000] = 0;
    bad(deep, EK_REASON_BAD_JSON, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_of_answers), cmocka_unit_test(faults_of_forms),
        cmocka_unit_test(plain_members),
            cmocka_unit_test(messages_of_every_kind),
        cmocka_unit_test(thinking_in_all_its_spellings), cmocka_unit_test(the_doors_extras),
        cmocka_unit_test(completions), cmocka_unit_test(every_fault_names_its_member),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
