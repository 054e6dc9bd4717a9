/* SPDX-License-Identifier: MIT */
/* What clients read: exact bytes of every shape, the escaper against jansson, errors. */
#include "cm.h"

#include "chat/error.h"

#include <jansson.h>
#include <stdlib.h>

static struct ek_buf out;

static const struct ek_chunk_head chat = {
    .api = EK_API_CHAT,
    .id = {"chatcmpl-1", 10},
    .model = {"m\"x", 3},
    .created_s = 1700000000,
};

#define CHAT_HEAD(object) \
    "{\"id\":\"chatcmpl-1\",\"object\":\"" object "\",\"created\":1700000000,\"model\":\"m\\\"x\""

static void wrote(const char *want)
{
    json_error_t error;
    assert_false(out.failed);
    assert_string_equal(ek_buf_cstr(&out), want);
    json_t *tree = json_loads(want, JSON_REJECT_DUPLICATES, &error);
    if (!tree) fail_msg("%s: %s", want, error.text);
    json_decref(tree);
    ek_buf_clear(&out);
}

static void wrote_delta(const struct ek_delta *d, const char *delta, const char *finish)
{
    char want[1024];
    ek_chunk_write(&out, &chat, d);
    snprintf(want, sizeof want,
             CHAT_HEAD("chat.completion.chunk") ",\"choices\":[{\"index\":%u,\"delta\":%s,"
             "\"logprobs\":null,\"finish_reason\":%s}]}", d->choice, delta, finish);
    wrote(want);
}

static void writes_the_deltas_of_a_thinking_answer(void **state)
{
    (void)state;
    wrote_delta(&(struct ek_delta){.role = true, .reasoning = EK_STR("")},
                "{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"\"}", "null");
    wrote_delta(&(struct ek_delta){.reasoning = EK_STR("Hm\n")}, "{\"reasoning_content\":\"Hm\\n\"}",
        "null");
    wrote_delta(&(struct ek_delta){.content = EK_STR("\xe4\xbd\xa0")},
        "{\"content\":\"\xe4\xbd\xa0\"}", "null");
    wrote_delta(&(struct ek_delta){.role = true}, "{\"role\":\"assistant\",\"content\":\"\"}", "null");
    wrote_delta(&(struct ek_delta){.choice = 3, .finish = EK_FINISH_STOP}, "{}", "\"stop\"");
    wrote_delta(&(struct ek_delta){.tool_calls = EK_STR("[{\"index\":0}]"),
        .finish = EK_FINISH_TOOL_CALLS},
                "{\"tool_calls\":[{\"index\":0}]}", "\"tool_calls\"");
}

static void writes_usage_ek_and_logprobs(void **state)
{
    (void)state;
    struct ek_chunk_head head = chat;
    head.include_usage = true;
    head.fingerprint = EK_STR("fp");
    const uint32_t ids[] = {7, 4294967295u};
    struct ek_delta d = {.content = EK_STR("a"), .logprobs = EK_STR("{\"content\":[]}"), .ek = true,
                         .token_count = 12, .ids = ids, .id_count = 2};
    ek_chunk_write(&out, &head, &d);
    wrote(CHAT_HEAD("chat.completion.chunk") ",\"system_fingerprint\":\"fp\",\"choices\":[{\"index\":0,"
          "\"delta\":{\"content\":\"a\"},\"logprobs\":{\"content\":[]},\"finish_reason\":null}],"
          "\"usage\":null,\"ek\":{\"n\":12,\"ids\":[7,4294967295]}}");
    struct ek_usage usage = {.prompt_tokens = 10, .completion_tokens = 20, .cached_tokens = 4,
        .reasoning_tokens = 15};
    ek_chunk_write_usage(&out, &chat, &usage);
    wrote(CHAT_HEAD("chat.completion.chunk") ",\"choices\":[],\"usage\":{\"prompt_tokens\":10,"
          "\"completion_tokens\":20,\"total_tokens\":30,"
          "\"prompt_tokens_details\":{\"cached_tokens\":4},"
          "\"completion_tokens_details\":{\"reasoning_tokens\":15},\"prompt_cache_hit_tokens\":4,"
          "\"prompt_cache_miss_tokens\":6}}");
}

#define USAGE_ZERO \
    "{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0,\"prompt_tokens_details\":" \
    "{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}," \
    "\"prompt_cache_hit_tokens\":0,\"prompt_cache_miss_tokens\":0}"

static void writes_whole_answers(void **state)
{
    (void)state;
    const struct ek_usage none = {0};
    const struct ek_choice choices[] = {
        {.content = EK_STR("Hi"), .reasoning = EK_STR("r"), .finish = EK_FINISH_STOP},
        {.tool_calls = EK_STR("[{}]"), .finish = EK_FINISH_TOOL_CALLS},
    };
    ek_completion_write(&out, &chat, choices, 2, &none, EK_STR(",\"x\":1"));
    wrote(CHAT_HEAD("chat.completion") ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
          "\"content\":\"Hi\",\"reasoning_content\":\"r\"},\"logprobs\":null,"
          "\"finish_reason\":\"stop\"},"
          "{\"index\":1,\"message\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]},"
          "\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],\"usage\":" USAGE_ZERO ",\"x\":1}");
    struct ek_chunk_head legacy = chat;
    legacy.api = EK_API_COMPLETIONS;
    ek_chunk_write(&out, &legacy, &(struct ek_delta){.content = EK_STR("t"),
        .finish = EK_FINISH_LENGTH});
    wrote(CHAT_HEAD("text_completion") ",\"choices\":[{\"index\":0,\"text\":\"t\",\"logprobs\":null,"
          "\"finish_reason\":\"length\"}]}");
    ek_completion_write(&out, &legacy, choices, 1, &none, (struct ek_str){0});
    wrote(CHAT_HEAD("text_completion") ",\"choices\":[{\"index\":0,\"text\":\"Hi\",\"logprobs\":null,"
          "\"finish_reason\":\"stop\"}],\"usage\":" USAGE_ZERO "}");
}

static void writes_models(void **state)
{
    (void)state;
    const struct ek_model_entry models[] = {{EK_STR("a"), EK_STR("me"), 5, EK_STR("")},
                                            {EK_STR("b"), EK_STR("me"), 6, EK_STR(",\"x\":1")}};
    ek_models_write(&out, models, 2);
    wrote("{\"object\":\"list\",\"data\":[{\"id\":\"a\",\"object\":\"model\",\"created\":5,"
        "\"owned_by\":\"me\"},"
          "{\"id\":\"b\",\"object\":\"model\",\"created\":6,\"owned_by\":\"me\",\"x\":1}]}");
    ek_models_write(&out, NULL, 0);
    wrote("{\"object\":\"list\",\"data\":[]}");
}

static void writes_errors(void **state)
{
    (void)state;
    ek_error_write(&out, &(struct ek_error){.reason = EK_REASON_QUEUE_FULL, .message = EK_STR("Full."),
                                            .retry_after_ms = 1500, .queue = true, .position = 4,
                                                .eta_ms = 9,
                                            .eta_p90_ms = 12, .extra = EK_STR(",\"tier\":\"free\"")});
    wrote("{\"error\":{\"message\":\"Full.\",\"type\":\"rate_limit_error\",\"param\":null,"
        "\"code\":\"queue_full\","
          "\"retry_after_ms\":1500,\"queue\":{\"position\":4,\"eta_ms\":9,\"eta_p90_ms\":12},"
          "\"tier\":\"free\"}}");
    ek_error_write(&out, &(struct ek_error){.reason = EK_REASON_QUEUE_FULL, .message = EK_STR(""),
                                            .queue = true, .position = 1, .eta_ms = -1, .eta_p90_ms = -1});
    wrote("{\"error\":{\"message\":\"\",\"type\":\"rate_limit_error\",\"param\":null,"
          "\"code\":\"queue_full\",\"queue\":{\"position\":1,\"eta_ms\":null,\"eta_p90_ms\":null}}}");
    struct ek_request q;
    struct ek_request_fault fault;
    assert_false(ek_request_read(&q, EK_API_CHAT, EK_STR("{\"messages\":1}"), &fault));
    struct ek_error e = ek_error_of_fault(&fault);
    ek_error_write(&out, &e);
    wrote("{\"error\":{\"message\":\"'messages' must be an array of messages.\","
        "\"type\":\"invalid_request_error\","
          "\"param\":\"messages\",\"code\":\"invalid_type\"}}");
    ek_error_write_committed(&out, &chat, &(struct ek_error){.reason = EK_REASON_INTERNAL}, NULL);
    wrote(CHAT_HEAD("chat.completion") ",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
          "\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"insufficient_system_resource\"}],"
          "\"usage\":" USAGE_ZERO ",\"error\":{\"message\":\"Something went wrong inside the server.\","
          "\"type\":\"server_error\",\"param\":null,\"code\":\"internal\"}}");
    assert_true(ek_error_retryable(EK_REASON_QUEUE_FULL));
    assert_true(ek_error_retryable(EK_REASON_UPSTREAM_RESET));
    assert_false(ek_error_retryable(EK_REASON_KEY_UNKNOWN));
    assert_false(ek_error_retryable(EK_REASON_BAD_JSON));
    for (int r = 1; r < EK_REASON_COUNT; r++) { /* every reason makes an envelope */
        json_error_t error;
        ek_error_write(&out, &(struct ek_error){.reason = (enum ek_reason)r});
        json_t *tree = json_loadb(out.data, out.len, 0, &error);
        assert_non_null(tree);
        json_t *message = json_object_get(json_object_get(tree, "error"), "message");
        assert_string_equal(json_string_value(message), ek_reason_text((enum ek_reason)r));
        json_decref(tree);
        ek_buf_clear(&out);
    }
}

static void escapes_so_that_jansson_reads_it_back(void **state)
{
    (void)state;
    for (unsigned a = 0; a < 256; a++) {
        for (size_t pad = 0; pad < 20; pad += 3) { /* in and out of the wide loop */
            char text[32];
            memset(text, 'p', sizeof text);
            text[pad] = (char)a;
            size_t len = pad + 9;
            ek_json_put_string(&out, ek_str_make(text, len));
            json_error_t error;
            json_t *tree = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
            assert_non_null(tree);
            assert_int_equal(json_string_length(tree), a < 0x80 ? len : len + 2);
            if (a < 0x80) assert_memory_equal(json_string_value(tree), text, len);
            else assert_memory_equal(json_string_value(tree) + pad, "\xEF\xBF\xBD", 3);
            json_decref(tree);
            char flat[200];
            int64_t n = ek_json_escape(ek_str_make(text, len), flat, sizeof flat);
            assert_int_equal(n, out.len - 2);
            assert_memory_equal(flat, out.data + 1, out.len - 2);
            assert_int_equal(ek_json_escape(ek_str_make(text, len), flat, (size_t)n - 1), -1);
            ek_buf_clear(&out);
        }
    }
    ek_json_put_string(&out, EK_STR("\xf0\x9f\x98\x80\xe2\x80\xa8/\x7f"));
    assert_string_equal(ek_buf_cstr(&out), "\"\xf0\x9f\x98\x80\xe2\x80\xa8/\x7f\"");
    ek_buf_clear(&out);
}

static void a_full_buffer_only_fails(void **state)
{
    (void)state;
    for (size_t max = 1; max < 300; max++) {
        struct ek_buf small = ek_buf_make(max);
        ek_chunk_write(&small, &chat, &(struct ek_delta){.role = true, .content = EK_STR("abc")});
        ek_error_write_committed(&small, &chat, &(struct ek_error){.reason = EK_REASON_INTERNAL}, NULL);
        assert_true(small.failed);
        ek_buf_free(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_deltas_of_a_thinking_answer),
        cmocka_unit_test(writes_usage_ek_and_logprobs),
        cmocka_unit_test(writes_whole_answers),
        cmocka_unit_test(writes_models),
        cmocka_unit_test(writes_errors),
        cmocka_unit_test(escapes_so_that_jansson_reads_it_back),
        cmocka_unit_test(a_full_buffer_only_fails),
    };
    out = ek_buf_make(1u << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ek_buf_free(&out);
    return failed;
}
