/* SPDX-License-Identifier: MIT */
/* Reading a request: what is kept, what is refused and with which words, and that pieces of any size
 * give the same. */
#include "cm.h"

#include "base/buf.h"
#include "chat/request.h"

#include <stdlib.h>

#define MSG "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static struct ek_request read_ok(enum ek_api api, const char *body)
{
    struct ek_request q;
    struct ek_request_fault fault;
    if (!ek_request_read(&q, api, ek_str_of(body), &fault)) fail_msg("%s: %s", body, fault.text);
    return q;
}

static const char *span_text(const struct ek_request *q, enum ek_member m, const char *body)
{
    static char text[256];
    assert_true(ek_str_copy(ek_request_value(q, m, ek_str_of(body)), text, sizeof text));
    return text;
}

static void keeps_what_the_door_must_know(void **state)
{
    (void)state;
    const char body[] =
        " { \"model\" : \"deep\\u0073eek\", \"unknown\":{\"model\":1,\"model\":2}, \"messages\":["
        "{\"role\":\"system\",\"content\":\"ab\"},{\"role\":\"user\","
        "\"content\":\"\\u4f60\xe5\xa5\xbd\xc3\xa9\\n\"}],"
        "\"stream\":true,\"stream_options\":{\"include_usage\":true,\"x\":[1]},\"max_tokens\":50,"
        "\"max_completion_tokens\":40,\"n\":2,\"seed\":-9,\"thinking\":{\"type\":\"disabled\","
        "\"budget_tokens\":7},"
        "\"reasoning_effort\":\"high\",\"user\":\"u\",\"user_id\":\"v\",\"tools\":[{\"a\":1}]} ";
    struct ek_request q = read_ok(EK_API_CHAT, body);
    assert_string_equal(q.model, "deepseek");
    assert_int_equal(q.model_bytes, 8);
    assert_int_equal(q.message_count, 2);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_ASCII], 3);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_WIDE], 6);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_OTHER], 2);
    assert_true(q.stream && q.include_usage && q.seed_given);
    assert_int_equal(q.max_tokens, 40);
    assert_int_equal(q.n, 2);
    assert_int_equal(q.seed, -9);
    assert_int_equal(q.thinking, EK_THINKING_DISABLED);
    assert_int_equal(q.thinking_budget, 7);
    assert_int_equal(q.effort, EK_EFFORT_HIGH);
    assert_int_equal(q.tools_bytes, 9);
    assert_false(q.ends_in_answer);
    assert_string_equal(span_text(&q, EK_MEMBER_MODEL, body), "\"deep\\u0073eek\"");
    assert_string_equal(span_text(&q, EK_MEMBER_STREAM, body), "true");
    assert_string_equal(span_text(&q, EK_MEMBER_STREAM_OPTIONS, body),
        "{\"include_usage\":true,\"x\":[1]}");
    assert_string_equal(span_text(&q, EK_MEMBER_INCLUDE_USAGE, body), "true");
    assert_string_equal(span_text(&q, EK_MEMBER_THINKING_BUDGET, body), "7");
    assert_string_equal(span_text(&q, EK_MEMBER_USER_ID, body), "\"v\"");
    assert_int_equal(body[q.close_offset], '}');
    assert_int_equal(q.close_offset, sizeof body - 3);
    assert_int_equal(q.body_bytes, sizeof body - 1);
    assert_true(sizeof q <= 448); /* a waiting request keeps one */
}

static void takes_absent_and_null_alike(void **state)
{
    (void)state;
    struct ek_request q = read_ok(EK_API_CHAT, "{" MSG ",\"model\":null,\"stream\":null,\"n\":null,"
        "\"stream_options\":null,\"max_tokens\":null,\"seed\":null,\"thinking\":null,\"user\":null,"
        "\"reasoning_effort\":null,\"tools\":null}");
    assert_int_equal(q.model_bytes, 0);
    assert_int_equal(q.n, 1);
    assert_int_equal(q.max_tokens, -1);
    assert_int_equal(q.thinking_budget, -1);
    assert_int_equal(q.thinking, EK_THINKING_UNSET);
    assert_int_equal(q.effort, EK_EFFORT_UNSET);
    assert_false(q.stream || q.seed_given || q.include_usage);
    assert_true(ek_request_has(&q, EK_MEMBER_STREAM_OPTIONS));
    assert_int_equal(q.tools_bytes, 0);
}

static void counts_text_but_not_pictures(void **state)
{
    (void)state;
    struct ek_request q = read_ok(EK_API_CHAT,
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"abc\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,AAAAAAAA\","
        "\"detail\":\"low\"}},"
        "{\"type\":\"input_audio\",\"input_audio\":{\"data\":\"AAAA\",\"format\":\"wav\"}},"
        "{\"type\":\"text\",\"text\":\"de\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\","
        "\"type\":\"function\","
        "\"function\":{\"name\":\"fn\",\"arguments\":\"{}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"42\"},"
        "{\"role\":\"assistant\",\"content\":\"So\",\"prefix\":true}]}");
    assert_int_equal(q.media_count, 2);
    assert_int_equal(q.message_count, 4);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_ASCII], 3 + 2 + 2 + 2 + 2 + 2);
    assert_true(q.ends_in_answer);
}

static void reads_completions(void **state)
{
    (void)state;
    struct ek_request q = read_ok(EK_API_COMPLETIONS, "{\"prompt\":\"abc\",\"max_tokens\":0}");
    assert_true(q.prompt_is_text);
    assert_int_equal(q.message_count, 1);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_ASCII], 3);
    assert_int_equal(q.max_tokens, 0);
    q = read_ok(EK_API_COMPLETIONS, "{\"prompt\":[\"a\",\"bc\"]}");
    assert_int_equal(q.message_count, 2);
    assert_int_equal(q.prompt_bytes[EK_SCRIPT_ASCII], 3);
    assert_false(q.prompt_is_text);
    q = read_ok(EK_API_COMPLETIONS, "{\"prompt\":[1,2,3]}");
    assert_int_equal(q.message_count, 1);
    assert_int_equal(q.prompt_ids, 3);
    q = read_ok(EK_API_COMPLETIONS, "{\"prompt\":[[1,2],[3]]}");
    assert_int_equal(q.message_count, 2);
    assert_int_equal(q.prompt_ids, 3);
    q = read_ok(EK_API_COMPLETIONS, "{\"prompt\":\"x\",\"messages\":7}"); /* not ours to judge */
    assert_int_equal(q.message_count, 1);
}

static const struct {
    const char *body;
    enum ek_reason reason;
    const char *param;
    const char *text;
} refusals[] = {
    {"", EK_REASON_BAD_JSON, NULL, "The body is not valid JSON: the document is empty (byte 0)."},
    {"{" MSG, EK_REASON_BAD_JSON, NULL,
     "The body is not valid JSON: the document ends too early (byte 44)."},
    {"{" MSG "}x", EK_REASON_BAD_JSON, NULL,
     "The body is not valid JSON: something follows the document (byte 45)."},
    {"{" MSG ",\"temperature\":NaN}", EK_REASON_BAD_JSON, NULL,
     "The body is not valid JSON: a value was expected (byte 59)."},
    {"[]", EK_REASON_WRONG_TYPE, NULL, "The body must be a JSON object."},
    {"\"x\"", EK_REASON_WRONG_TYPE, NULL, "The body must be a JSON object."},
    {"{}", EK_REASON_MISSING_PARAM, "messages", "'messages' is missing."},
    {"{\"messages\":[]}", EK_REASON_BAD_VALUE, "messages", "'messages' must not be empty."},
    {"{\"messages\":null}", EK_REASON_BAD_VALUE, "messages", "'messages' must not be empty."},
    {"{\"messages\":\"hi\"}", EK_REASON_WRONG_TYPE, "messages",
     "'messages' must be an array of messages."},
    {"{\"messages\":[\"hi\"]}", EK_REASON_WRONG_TYPE, "messages",
     "'messages' must be an array of objects."},
    {"{" MSG "," MSG "}", EK_REASON_DUPLICATE_KEY, NULL, "The member \"messages\" is given twice."},
    {"{" MSG ",\"model\":\"a\",\"mod\\u0065l\":\"b\"}", EK_REASON_DUPLICATE_KEY, NULL,
     "The member \"model\" is given twice."},
    {"{" MSG ",\"x\":1,\"x\":2}", EK_REASON_DUPLICATE_KEY, NULL, "The member \"x\" is given twice."},
    {"{" MSG ",\"Model\":\"a\"}", EK_REASON_BAD_VALUE, "model",
     "'Model' must be written 'model'."},
    {"{" MSG ",\"\xc5\xbftream\":true}", EK_REASON_BAD_VALUE, "stream",
     "'\xc5\xbftream' must be written 'stream'."},
    {"{" MSG ",\"stream_options\":{\"a\":1,\"a\":2}}", EK_REASON_DUPLICATE_KEY, NULL,
     "The member \"a\" is given twice."},
    {"{" MSG ",\"stream_options\":true}", EK_REASON_WRONG_TYPE, "stream_options",
     "'stream_options' must be an object."},
    {"{" MSG ",\"stream_options\":{\"include_usage\":1}}", EK_REASON_WRONG_TYPE,
     "stream_options.include_usage",
     "'stream_options.include_usage' must be true or false."},
    {"{" MSG ",\"model\":7}", EK_REASON_WRONG_TYPE, "model", "'model' must be a string."},
    {"{" MSG ",\"model\":\"\"}", EK_REASON_BAD_VALUE, "model",
     "'model' must be a name of 1 to 128 bytes without NUL."},
    {"{" MSG ",\"model\":\"a\\u0000\"}", EK_REASON_BAD_VALUE, "model",
     "'model' must be a name of 1 to 128 bytes without NUL."},
    {"{" MSG ",\"stream\":\"true\"}", EK_REASON_WRONG_TYPE, "stream", "'stream' must be true or false."},
    {"{" MSG ",\"max_tokens\":\"5\"}", EK_REASON_WRONG_TYPE, "max_tokens",
     "'max_tokens' must be a whole number."},
    {"{" MSG ",\"max_tokens\":5.5}", EK_REASON_WRONG_TYPE, "max_tokens",
     "'max_tokens' must be a whole number."},
    {"{" MSG ",\"max_tokens\":99999999999999999999}", EK_REASON_BAD_VALUE, "max_tokens",
         "'max_tokens' must be from 1 to 9223372036854775807."},
    {"{" MSG ",\"max_tokens\":0}", EK_REASON_BAD_VALUE, "max_tokens", "'max_tokens' must be at least 1."},
    {"{" MSG ",\"max_completion_tokens\":-1}", EK_REASON_BAD_VALUE, "max_completion_tokens",
     "'max_completion_tokens' must be at least 1."},
    {"{" MSG ",\"n\":129}", EK_REASON_BAD_VALUE, "n", "'n' must be from 1 to 128."},
    {"{" MSG ",\"n\":[1]}", EK_REASON_WRONG_TYPE, "n", "'n' must be a whole number."},
    {"{" MSG ",\"seed\":1e3}", EK_REASON_WRONG_TYPE, "seed", "'seed' must be a whole number."},
    {"{" MSG ",\"thinking\":\"enabled\"}", EK_REASON_WRONG_TYPE, "thinking",
     "'thinking' must be an object."},
    {"{" MSG ",\"thinking\":{\"type\":true}}", EK_REASON_WRONG_TYPE, "thinking.type",
     "'thinking.type' must be a string."},
    {"{" MSG ",\"thinking\":{\"budget_tokens\":-1}}", EK_REASON_BAD_VALUE, "thinking.budget_tokens",
     "'thinking.budget_tokens' must be at least 0."},
    {"{" MSG ",\"reasoning_effort\":3}", EK_REASON_WRONG_TYPE, "reasoning_effort",
     "'reasoning_effort' must be a string."},
    {"{" MSG ",\"tools\":{}}", EK_REASON_WRONG_TYPE, "tools", "'tools' must be an array."},
    {"{" MSG ",\"user\":{}}", EK_REASON_WRONG_TYPE, "user", "'user' must be a string."},
};

static void refuses_with_reason_and_param(void **state)
{
    (void)state;
    for (size_t i = 0; i < EK_COUNT(refusals); i++) {
        struct ek_request q;
        struct ek_request_fault fault = {0};
        const char *body = refusals[i].body;
        if (ek_request_read(&q, EK_API_CHAT, ek_str_of(body), &fault)) fail_msg("accepted: %s", body);
        if (fault.reason != refusals[i].reason) fail_msg("%s: %s", body, fault.text);
        assert_string_equal(fault.text, refusals[i].text);
        if (refusals[i].param) assert_string_equal(fault.param, refusals[i].param);
        else assert_null(fault.param);
    }
    struct ek_request q;
    struct ek_request_fault fault;
    assert_false(ek_request_read(&q, EK_API_COMPLETIONS, EK_STR("{\"prompt\":[{}]}"), &fault));
    assert_string_equal(fault.param, "prompt");
    assert_false(ek_request_read(&q, EK_API_COMPLETIONS, EK_STR("{\"prompt\":[[[1]]]}"), &fault));
    assert_false(ek_request_read(&q, EK_API_COMPLETIONS, EK_STR("{" MSG "}"), &fault));
    assert_int_equal(fault.reason, EK_REASON_MISSING_PARAM);
}

static void refuses_more_members_than_it_can_watch(void **state)
{
    (void)state;
    for (int members = 128; members <= 129; members++) {
        struct ek_buf b = ek_buf_make(1u << 20);
        ek_buf_lit(&b, "{" MSG);
        for (int i = 1; i < members; i++) ek_buf_printf(&b, ",\"x%d\":0", i);
        ek_buf_char(&b, '}');
        struct ek_request q;
        struct ek_request_fault fault;
        bool ok = ek_request_read(&q, EK_API_CHAT, ek_buf_view(&b), &fault);
        assert_int_equal(ok, members == 128);
        if (!ok) assert_string_equal(fault.text, "There are more than 128 members.");
        ek_buf_clear(&b);
        ek_buf_lit(&b, "{" MSG ",\"");
        for (int i = 0; i < members; i++) ek_buf_char(&b, 'k');
        ek_buf_lit(&b, "\":0}");
        ok = ek_request_read(&q, EK_API_CHAT, ek_buf_view(&b), &fault);
        assert_int_equal(ok, members == 128);
        ek_buf_free(&b);
    }
}

static void reads_pieces_of_any_size_alike(void **state)
{
    (void)state;
    const char body[] =
        "{\"model\":\"m\\u4f60\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\","
        "\"text\":\"\xe4\xbd\xa0x\"}]},"
        "{\"role\":\"assistant\",\"content\":\"y\"}],\"stream\":false,\"stream_options\":{},"
        "\"seed\":12345}";
    size_t len = sizeof body - 1;
    struct ek_request whole = read_ok(EK_API_CHAT, body);
    for (size_t cut = 0; cut <= len; cut++) {
        for (size_t step = 1; step < 4; step++) {
            struct ek_request q;
            struct ek_request_reader r;
            ek_request_begin(&r, &q, EK_API_CHAT);
            assert_int_equal(ek_request_feed(&r, body, cut), EK_REQUEST_MORE);
            for (size_t at = cut; at < len; at += step) {
                size_t n = len - at < step ? len - at : step;
                assert_int_equal(ek_request_feed(&r, body + at, n), EK_REQUEST_MORE);
            }
            assert_int_equal(ek_request_finish(&r), EK_REQUEST_DONE);
            assert_memory_equal(&q, &whole, sizeof q);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_the_door_must_know),
        cmocka_unit_test(takes_absent_and_null_alike),
        cmocka_unit_test(counts_text_but_not_pictures),
        cmocka_unit_test(reads_completions),
        cmocka_unit_test(refuses_with_reason_and_param),
        cmocka_unit_test(refuses_more_members_than_it_can_watch),
        cmocka_unit_test(reads_pieces_of_any_size_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
