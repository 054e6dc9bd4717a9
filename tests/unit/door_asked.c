/* SPDX-License-Identifier: MIT */
/* What is asked for and read apart: Prefer: respond-async, and the Responses API. */
#include "stream_world.h"

static struct client *send_to(struct world *w, const char *path, const char *header, const char *body)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s",
                     path, header, strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static struct client *get(struct world *w, const char *what, const char *id, const char *behind)
{
    char path[200];
    snprintf(path, sizeof path, "%s%s%s", what, id, behind);
    return client_get(w, path);
}

#define PREFER "Prefer: wait=5, respond-async; x=1\r\n"
#define WHOLE "{\"model\":\"m\",\"input\":\"hi\",\"instructions\":\"be \\\"kind\\\"\"," \
              "\"max_output_tokens\":9}"

static void answers_come_later(void **state)
{
    (void)state;
    char id[33];
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *c = send_to(w, "/v1/chat/completions", PREFER, ASK_WHOLE);
    expect_has(c, "HTTP/1.1 202");
    expect_has(c, "Location: /v1/streams/");
    expect_has(c, "\"status\":\"queued\"");
    stream_id(c, id);
    client_free(w, c); /* it goes on to its end, though its tier does not linger */
    for (unsigned i = 0; i < 2; i++) play_all(the_call(w, i));
    assert_int_equal(w->calls, 3);
    struct client *early = get(w, "/v1/streams/", id, "");
    expect_has(early, "HTTP/1.1 202");
    expect_has(early, "\"status\":\"in_progress\"");
    play_all(the_call(w, 2));
    struct client *whole = get(w, "/v1/streams/", id, "");
    expect_has(whole, "HTTP/1.1 200");
    expect_has(whole, "\"object\":\"chat.completion\"");
    expect_has(whole, "\"content\":\"42\"");
    expect_has(whole, "\"total_tokens\":5");
    struct client *events = get(w, "/v1/streams/", id, "?stream=true");
    expect_has(events, "id: 1\n");
    expect_has(events, "data: [DONE]");
    struct client *refused = send_to(w, "/v1/chat/completions", PREFER,
                                     "{\"model\":\"nobody\",\"messages\":[]}");
    expect_has(refused, "HTTP/1.1 4");
    struct client *all[] = {early, whole, events, refused};
    for (size_t i = 0; i < EK_COUNT(all); i++) client_free(w, all[i]);
    leave(w, busy);
}

static void an_async_answer_that_fails_says_so(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/chat/completions", PREFER, ASK_WHOLE);
    stream_id(c, id);
    play_head(the_call(w, 0), 400);
    play(the_call(w, 0), "{\"error\":{\"message\":\"no such thing\",\"type\":\"x\",\"code\":\"y\"}}");
    play_end(the_call(w, 0));
    struct client *whole = get(w, "/v1/streams/", id, "");
    expect_has(whole, "HTTP/1.1 400"); /* as it would have been told at once */
    expect_has(whole, "no such thing");
    client_free(w, c);
    client_free(w, whole);
    world_free(w);
}

static void a_response_is_a_chat_answer(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "", WHOLE);
    const char *sent = ek_buf_cstr(&the_call(w, 0)->body);
    assert_non_null(strstr(sent, "{\"role\":\"system\",\"content\":\"be \\\"kind\\\"\"},{\"role\":\"user\","
                                 "\"content\":\"hi\"}"));
    assert_non_null(strstr(sent, "\"max_tokens\":9"));
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm") SAY("4") SAY("2\\n") FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "\"object\":\"response\"");
    expect_has(c, "\"status\":\"completed\"");
    expect_has(c, "\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"42\\n\"");
    expect_has(c, "{\"type\":\"reasoning_text\",\"text\":\"hm\"}");
    expect_has(c, "\"input_tokens\":3");
    expect_has(c, "\"instructions\":\"be \\\"kind\\\"\"");
    client_free(w, c);
    world_free(w);
}

/* What the engine says of a request is the caller's to mend: to come again would not help. */
static void a_response_that_is_refused_has_its_true_status(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "", WHOLE);
    play_head(the_call(w, 0), 422);
    play(the_call(w, 0), "{\"error\":{\"message\":\"no such thing\",\"type\":\"x\",\"code\":\"y\"}}");
    play_end(the_call(w, 0));
    expect_has(c, "HTTP/1.1 422");
    expect_has(c, "no such thing");
    client_free(w, c);
    world_free(w);
}

static void a_waiting_response_that_is_left_is_stopped(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "", WHOLE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    world_pass(w, 11000);
    expect_has(c, "HTTP/1.1 200"); /* it is kept from timing out */
    client_free(w, c);
    world_pass(w, 10);
    assert_true(the_call(w, 0)->cancelled);
    world_free(w);
}

#define STREAM(more) "{\"model\":\"m\",\"stream\":true" more ",\"input\":[{\"role\":\"user\",\"content\":[{" \
                     "\"type\":\"input_text\",\"text\":\"hi\"}]}]}"

static void events_have_numbers(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "", STREAM(",\"background\":true"));
    stream_id(c, id);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm") SAY("4"));
    expect_has(c, "event: response.created\n");
    expect_has(c, "event: response.output_text.delta\n");
    client_free(w, c);
    struct client *back = get(w, "/v1/responses/resp_", id, "?stream=true&starting_after=4");
    expect_not(back, "\"sequence_number\":4,");
    expect_has(back, "\"sequence_number\":5,");
    play(the_call(w, 0), SAY("2") FINISH USAGE DONE);
    play_end(the_call(w, 0));
    expect_has(back, "event: response.completed\n");
    expect_not(back, "[DONE]");
    struct client *all = get(w, "/v1/responses/resp_", id, "?stream=true");
    expect_has(all, "\"sequence_number\":0,");
    struct ek_buf a, b;
    body_of(all, &a);
    body_of(back, &b);
    const char *from = strstr(ek_buf_cstr(&a), "id: 5\n");
    assert_non_null(from);
    assert_string_equal(ek_buf_cstr(&b), from);
    ek_buf_free(&a);
    ek_buf_free(&b);
    client_free(w, back);
    client_free(w, all);
    world_free(w);
}

static void a_background_response_is_cancelled_and_erased(void **state)
{
    (void)state;
    char id[33], path[100];
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "",
                               "{\"model\":\"m\",\"input\":\"hi\",\"background\":true}");
    expect_has(c, "\"status\":\"queued\"");
    stream_id(c, id);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    struct client *now = get(w, "/v1/responses/resp_", id, "");
    expect_has(now, "\"status\":\"in_progress\"");
    snprintf(path, sizeof path, "/v1/responses/resp_%s/cancel", id);
    struct client *stop = send_to(w, path, "", "");
    expect_has(stop, "\"status\":\"cancelled\"");
    assert_true(the_call(w, 0)->cancelled);
    struct client *after = get(w, "/v1/responses/resp_", id, "");
    expect_has(after, "\"status\":\"cancelled\"");
    snprintf(path, sizeof path, "DELETE /v1/responses/resp_%s HTTP/1.1\r\nHost: x\r\n\r\n", id);
    struct client *gone = client_send(w, path);
    expect_has(gone, "\"deleted\":true");
    struct client *none = get(w, "/v1/responses/resp_", id, "");
    expect_has(none, "HTTP/1.1 404");
    struct client *all[] = {c, now, stop, after, gone, none};
    for (size_t i = 0; i < EK_COUNT(all); i++) client_free(w, all[i]);
    world_free(w);
}

static void what_cannot_be_is_refused_by_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *body, *says;
    } bad[] = {
        {"{\"input\":\"hi\"}", "\"param\":\"model\""},
        {"{\"model\":\"m\"}", "\"param\":\"input\""},
        {"{\"model\":\"m\",\"input\":7}", "\"param\":\"input\""},
        {"{\"model\":\"m\",\"input\":[]}", "\"param\":\"input\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"tools\":[{\"type\":\"function\"}]}", "\"param\":\"tools\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"previous_response_id\":\"resp_1\"}", "previous_response_id"},
        {"{\"model\":\"m\",\"input\":\"a\",\"truncation\":\"auto\"}", "\"param\":\"truncation\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"background\":1}", "\"param\":\"background\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"text\":{\"format\":{\"type\":\"x\"}}}", "text.format.type"},
        {"{\"model\":\"m\",\"input\":[{\"type\":\"function_call\"}]}", "\"param\":\"input[0].type\""},
        {"{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]}",
         "input[0].content[0].type"},
        {"{\"model\":\"m\",\"input\":\"a\",\"input\":\"b\"}", "duplicate_key"},
        {"{\"model\":5,\"input\":\"a\"}", "\"param\":\"model\",\"code\":\"invalid_type\""},
        {"{\"model\":\"m\",\"input\":[{\"type\":\"reasoning\"}]}", "There is no message in the input"},
        {"{\"model\":\"m\",\"input\":\"a\",\"max_output_tokens\":0}", "\"param\":\"max_output_tokens\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"max_output_tokens\":0}", "'max_output_tokens' must"},
        {"{\"model\":\"m\",\"input\":\"a\",\"reasoning\":{\"effort\":5}}", "\"param\":\"reasoning.effort\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"store\":\"x\"}", "\"param\":\"store\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"metadata\":5}", "\"param\":\"metadata\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"text\":[]}", "\"param\":\"text\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"tool_choice\":\"required\"}", "\"param\":\"tool_choice\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"what\":1}", "\"param\":\"what\""},
        {"{\"model\":\"m\",\"input\":\"a\",\"seed\":18446744073709551616}", "larger than"},
        {"{\"model\":\"m\",\"input\":\"a\",\"a\\u0000b\":1}", "NUL"},
        {"nonsense", "invalid_json"},
        {"{\"model\":\"nobody\",\"input\":\"a\"}", "model_not_found"},
    };
    struct world *w = world_new(ONE, 1);
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        struct client *c = send_to(w, "/v1/responses", "", bad[i].body);
        expect_has(c, "HTTP/1.1 4");
        expect_has(c, bad[i].says);
        client_free(w, c);
    }
    assert_int_equal(w->calls, 0);
    assert_int_equal(w->door->streams.map.count, 0);
    world_free(w);
}

/* What SDKs send unasked, and a text with every character that there is. */
static void what_harms_nobody_is_passed_over(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "",
        "{\"model\":\"m\",\"input\":\"a\\u0000b\",\"tool_choice\":\"auto\",\"parallel_tool_calls\":true,"
        "\"service_tier\":\"auto\",\"prompt_cache_key\":\"k\",\"store\":false,"
        "\"stream_options\":{\"include_obfuscation\":false},"
        "\"metadata\":{\"a\":\"b\"},\"text\":{\"verbosity\":\"low\"},\"include\":[],"
        "\"reasoning\":{\"summary\":\"auto\"}}");
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"content\":\"a\\u0000b\""));
    play_all(the_call(w, 0));
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "\"metadata\":{\"a\":\"b\"}");
    client_free(w, c);
    world_free(w);
}

static void the_engine_names_what_was_sent(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "", WHOLE);
    play_head(the_call(w, 0), 400);
    play(the_call(w, 0), "{\"error\":{\"message\":\"no\",\"type\":\"x\",\"param\":\"messages[0].content\","
                         "\"code\":\"y\"}}");
    play_end(the_call(w, 0));
    expect_has(c, "HTTP/1.1 400");
    expect_has(c, "\"param\":\"input[0].content\",\"code\":\"y\"}}");
    client_free(w, c);
    world_free(w);
}

static struct client *ask(struct world *w, const char *method, const char *what, const char *id,
                          const char *behind)
{
    char text[256];
    snprintf(text, sizeof text, "%s %s%s%s HTTP/1.1\r\nHost: x\r\n\r\n", method, what, id, behind);
    return client_send(w, text);
}

static void the_edges_of_reading_again(void **state)
{
    (void)state;
    static const struct {
        const char *method, *what, *behind, *says;
    } row[] = {
        {"HEAD", "/v1/streams/", "?stream=true", "HTTP/1.1 200"},
        {"HEAD", "/v1/responses/resp_", "?stream=true", "HTTP/1.1 200"},
        {"HEAD", "/v1/responses/resp_", "", "HTTP/1.1 200"},
        {"PUT", "/v1/streams/", "", "Allow: GET, HEAD, DELETE"},
        {"PUT", "/v1/responses/", "", "Allow: GET, HEAD, DELETE"},
        {"GET", "/v1/responses/", "/cancel", "Allow: POST"},
        {"GET", "/v1/responses/", "/", "not_found"},
        {"GET", "/v1/streams/", "/", "not_found"},
        {"POST", "/v1/streams/", "/cancel", "not_found"},
        {"GET", "/v1/streams/", "?starting_after=99", "HTTP/1.1 400"},
        {"GET", "/v1/responses/", "?stream=true&starting_after=99", "HTTP/1.1 400"},
        {"GET", "/v1/responses/", "?stream=true&starting_after=6", "HTTP/1.1 400"},
        {"GET", "/v1/responses/", "?stream=true&starting_after=5", "HTTP/1.1 200"},
    };
    char id[33];
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "",
                               "{\"model\":\"m\",\"input\":\"hi\",\"background\":true}");
    stream_id(c, id);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4")); /* events: created, queued, in_progress, item, part, delta */
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        struct client *x = ask(w, row[i].method, row[i].what, id, row[i].behind);
        expect_has(x, row[i].says);
        if (*row[i].method == 'H') { /* its connection has nothing more to wait for */
            assert_int_equal(w->door->streams.readers, 0);
            expect_not(x, "data:");
        }
        client_free(w, x);
    }
    play(the_call(w, 0), FINISH USAGE DONE);
    play_end(the_call(w, 0));
    struct client *x = ask(w, "GET", "/v1/responses/", id, "?stream=true&starting_after=9");
    expect_has(x, "HTTP/1.1 200"); /* done, part done, item done, completed: 6 to 9 */
    client_free(w, x);
    x = ask(w, "GET", "/v1/responses/", id, "?stream=true&starting_after=10");
    expect_has(x, "HTTP/1.1 400");
    client_free(w, x);
    client_free(w, c);
    world_free(w);
}

static void a_cancelled_response_says_what_it_used(void **state)
{
    (void)state;
    char id[33];
    struct world *w = world_new(ONE, 1);
    struct client *c = send_to(w, "/v1/responses", "",
                               "{\"model\":\"m\",\"input\":\"hi\",\"background\":true,\"stream\":true}");
    stream_id(c, id);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm"));
    struct client *stop = ask(w, "POST", "/v1/responses/", id, "/cancel");
    expect_has(stop, "\"status\":\"cancelled\"");
    expect_has(stop, "\"usage\":{\"input_tokens\":");
    expect_has(stop, "\"output_tokens\":1,");
    expect_has(c, "\"usage\":{\"input_tokens\":");
    expect_has(c, "\"type\":\"reasoning\",\"status\":\"incomplete\"");
    expect_not(c, "\"type\":\"reasoning\",\"status\":\"completed\"");
    expect_has(stop, "\"type\":\"reasoning\",\"status\":\"incomplete\"");
    client_free(w, stop);
    client_free(w, c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_later),
        cmocka_unit_test(an_async_answer_that_fails_says_so),
        cmocka_unit_test(a_response_is_a_chat_answer),
        cmocka_unit_test(a_response_that_is_refused_has_its_true_status),
        cmocka_unit_test(a_waiting_response_that_is_left_is_stopped),
        cmocka_unit_test(events_have_numbers),
        cmocka_unit_test(a_background_response_is_cancelled_and_erased),
        cmocka_unit_test(what_cannot_be_is_refused_by_its_name),
        cmocka_unit_test(what_harms_nobody_is_passed_over),
        cmocka_unit_test(the_engine_names_what_was_sent),
        cmocka_unit_test(the_edges_of_reading_again),
        cmocka_unit_test(a_cancelled_response_says_what_it_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
