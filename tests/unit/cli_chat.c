/* SPDX-License-Identifier: MIT */
/* The parts of `evenkeel chat`: the call, driven by a scripted exchange one byte and one piece at a
 * time, and the screen, written into memory. */
#include "cm.h"

#include "cli/chat.h"

#include <stdlib.h>
#include <string.h>

/* ---- an exchange that does what the test says -------------------------------------------------- */

struct fake {
    struct ek_exchange_client client;
    struct ek_exchange exchange;
    const struct ek_exchange_events *events;
    void *arg;
    char asked[4096]; /* method, path, headers, body */
    bool cancelled;
};

static struct ek_exchange *fake_start(struct ek_exchange_client *c, const struct ek_exchange_request *r,
                                      const struct ek_exchange_events *events, void *arg)
{
    struct fake *f = EK_CONTAINER(c, struct fake, client);
    f->events = events;
    f->arg = arg;
    f->cancelled = false;
    int at = snprintf(f->asked, sizeof(f->asked), "%.*s %.*s\n", (int)r->method.len, r->method.data,
                      (int)r->path.len, r->path.data);
    for (size_t i = 0; i < r->header_count; i++) {
        const struct ek_http_header *h = &r->headers[i];
        at += snprintf(f->asked + at, sizeof(f->asked) - (size_t)at, "%.*s: %.*s\n", (int)h->name.len,
                       h->name.data, (int)h->value.len, h->value.data);
    }
    if (r->body_count) {
        snprintf(f->asked + at, sizeof(f->asked) - (size_t)at, "%.*s", (int)r->body->iov_len,
                 (const char *)r->body->iov_base);
    }
    f->exchange.client = c;
    return &f->exchange;
}

static void fake_pause(struct ek_exchange *x, bool paused)
{
    (void)x;
    (void)paused;
}

static void fake_cancel(struct ek_exchange *x)
{
    EK_CONTAINER(x, struct fake, exchange)->cancelled = true;
}

static const struct ek_exchange_ops fake_ops = {fake_start, fake_pause, fake_cancel, NULL};

/* ---- what the call told, as one line of text ------------------------------------------------- */

static struct fake fake;
static struct ek_call call;
static char told[4096];

static void tell(const char *fmt, ...) EK_PRINTF(1, 2);
static void tell(const char *fmt, ...)
{
    size_t at = strlen(told);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(told + at, sizeof(told) - at, fmt, ap);
    va_end(ap);
}

static void on_place(void *arg, const struct ek_place_told *p)
{
    (void)arg;
    tell("[%lld %lld %lld %s]", (long long)p->position, (long long)p->eta_ms, (long long)p->eta_p90_ms,
         p->reason ? p->reason : "-");
}

static void on_thought(void *arg, struct ek_str text)
{
    (void)arg;
    tell("(%.*s)", (int)text.len, text.data);
}

static void on_answer(void *arg, struct ek_str text)
{
    (void)arg;
    tell("<%.*s>", (int)text.len, text.data);
}

static void on_done(void *arg)
{
    (void)arg;
    tell("!");
}

static const struct ek_call_events events = {on_place, on_thought, on_answer, on_done};

static void start(const char *json, const char *key)
{
    static const struct ek_exchange_target target = {.address = "127.0.0.1:1"};
    fake.client.ops = &fake_ops;
    told[0] = '\0';
    ek_call_start(&call, &fake.client, &target, EK_STR("/v1/chat/completions"), ek_str_of(json), key,
                  &events, NULL);
}

static void head(int status, const char *type, const char *retry_after)
{
    struct ek_http_head *h = calloc(1, sizeof(*h));
    assert_non_null(h);
    h->status = status;
    h->headers[h->header_count++] = (struct ek_http_header){EK_STR("Content-Type"), ek_str_of(type)};
    if (retry_after) {
        h->headers[h->header_count++] =
            (struct ek_http_header){EK_STR("Retry-After"), ek_str_of(retry_after)};
    }
    fake.events->head(fake.arg, &fake.exchange, h);
    free(h);
}

/* Bytes of the body in pieces of `piece`, from memory that ends with them. */
static void data(const char *text, size_t piece)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len && call.end == EK_CALL_RUNNING; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        char *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, text + at, n);
        fake.events->data(fake.arg, &fake.exchange, copy, n);
        free(copy);
    }
}

#define DELTA(name, text) "data: {\"choices\":[{\"index\":0,\"delta\":{\"" name "\":\"" text "\"}}]}\n\n"
#define FINISH(why) "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"" why "\"}]}\n\n"

static void test_stream(void **state)
{
    (void)state;
    static const char stream[] =
        ": queue {\"position\":12,\"eta_ms\":3400,\"eta_p90_ms\":5200,\"reason\":\"busy\"}\n\n"
        ": keep-alive\n\n"
        ": queue {\"position\":1,\"eta_ms\":null}\n\n: queue nonsense\n\n"
        "id: 1\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null,"
        "\"reasoning_content\":\"\"}}]}\n\n" DELTA("reasoning_content", "hm") DELTA("reasoning", "m")
        DELTA("content", "14") DELTA("content", "\\u0034\\n2") FINISH("stop")
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":9,"
        "\"completion_tokens_details\":{\"reasoning_tokens\":6}}}\n\n"
        "data: [DONE]\n\ndata: after the end\n\n";
    for (size_t piece = 1; piece < sizeof(stream); piece += piece < 8 ? 1 : 97) {
        start("{}", "sk-1");
        head(200, "text/event-stream; charset=utf-8", NULL);
        data(stream, piece);
        assert_string_equal(told, "[12 3400 5200 busy][1 -1 -1 -](hm)(m)<14><4\n2>!");
        assert_int_equal(call.end, EK_CALL_DONE);
        assert_int_equal(call.thought_tokens, 6);
        assert_int_equal(call.answer_tokens, 3);
        assert_false(call.cut_by_length);
        assert_true(fake.cancelled); /* nothing behind [DONE] matters */
        ek_call_free(&call);
    }
    assert_string_equal(fake.asked, "POST /v1/chat/completions\nUser-Agent: evenkeel/" EK_VERSION
                        "\nContent-Type: application/json\nAccept: text/event-stream\n"
                        "Authorization: Bearer sk-1\n{}");
}

/* A stream that ends badly is never an answer. */
static void test_bad_ends(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *sentence;
    } cases[] = {
        {DELTA("content", "a"), "the answer was cut before its end"},
        {DELTA("content", "a") FINISH("stop"), "the answer was cut before its end"},
        {DELTA("content", "a") "data: [DONE]\n\n", "the answer ended without saying that it is whole"},
        {DELTA("content", "a") "data: {\"error\":{\"message\":\"The engine broke off.\",\"code\":"
         "\"upstream_reset\"}}\n\ndata: [DONE]\n\n", "The engine broke off (upstream_reset)"},
        {"data: {\"error\":\"busy\"}\n\n", "busy"},
        {"data: {\"error\":{}}\n\n", "the server did not say why"},
        {"data: 1442\n\n", "the server sent something that is no JSON object"},
        {"data: {\"choices\":7}\n\ndata: {\"choices\":[7]}\n\n", "the answer was cut before its end"},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        start("{}", NULL);
        head(200, "text/event-stream", NULL);
        data(cases[i].stream, 1000);
        if (call.end == EK_CALL_RUNNING) {
            fake.events->end(fake.arg, &fake.exchange);
        }
        assert_int_equal(call.end, EK_CALL_FAILED);
        assert_string_equal(call.sentence, cases[i].sentence);
        assert_int_equal(told[strlen(told) - 1], '!');
        ek_call_free(&call);
    }
    start("{}", NULL);
    (fake.events->fail)(fake.arg, &fake.exchange, EK_REASON_UPSTREAM_CONNECT, "connection refused");
    assert_string_equal(call.sentence, "no connection: connection refused");
    ek_call_free(&call);

    start("{}", NULL);
    head(200, "text/event-stream", NULL);
    (fake.events->fail)(fake.arg, &fake.exchange, EK_REASON_UPSTREAM_RESET, NULL);
    assert_string_equal(call.sentence, "the connection broke in mid-answer: The engine broke off.");
    ek_call_free(&call);
}

static void test_refused(void **state)
{
    (void)state;
    start("{}", NULL);
    head(429, "application/json", "17");
    data("{\"error\":{\"message\":\"More requests are waiting than can be served.\","
         "\"code\":\"queue_full\"}}", 7);
    fake.events->end(fake.arg, &fake.exchange);
    assert_int_equal(call.end, EK_CALL_REFUSED);
    assert_int_equal(call.status, 429);
    assert_int_equal(call.retry_after_s, 17);
    assert_string_equal(call.sentence, "More requests are waiting than can be served (queue_full)");
    ek_call_free(&call);

    start("{}", NULL);
    head(502, "text/html", "soon");
    data("<h1>Bad gateway</h1>", 100);
    fake.events->end(fake.arg, &fake.exchange);
    assert_string_equal(call.sentence, "the server answered with status 502");
    assert_int_equal(call.retry_after_s, -1);
    ek_call_free(&call);
}

static void test_document_and_stop(void **state)
{
    (void)state;
    start("", NULL);
    assert_memory_equal(fake.asked, "GET ", 4);
    head(200, "application/json", NULL);
    data("{\"data\":[]}", 3);
    fake.events->end(fake.arg, &fake.exchange);
    assert_int_equal(call.end, EK_CALL_DONE);
    assert_int_equal(call.body.len, 11);
    ek_call_free(&call);

    start("{}", NULL);
    head(200, "text/event-stream", NULL);
    data(DELTA("content", "a") "data: {\"cho", 1000);
    ek_call_stop(&call);
    assert_true(fake.cancelled);
    assert_int_equal(call.end, EK_CALL_STOPPED);
    assert_string_equal(told, "<a>");
    ek_call_stop(&call); /* twice is harmless */
    ek_call_free(&call);
}

/* ---- the screen ------------------------------------------------------------------------------ */

static char *screen_text[2];
static size_t screen_bytes[2];

static struct ek_screen screen(bool out_tty, bool err_tty, bool colour)
{
    FILE *out = open_memstream(&screen_text[0], &screen_bytes[0]);
    FILE *err = open_memstream(&screen_text[1], &screen_bytes[1]);
    assert_non_null(out);
    assert_non_null(err);
    return (struct ek_screen){.out = out, .err = err, .out_tty = out_tty, .err_tty = err_tty,
                              .colour = colour};
}

static void screen_is(struct ek_screen *s, const char *out, const char *err)
{
    fclose(s->out);
    fclose(s->err);
    assert_string_equal(screen_text[0], out);
    assert_string_equal(screen_text[1], err);
    free(screen_text[0]);
    free(screen_text[1]);
}

static void show_all(struct ek_screen *s)
{
    ek_screen_place(s, &(struct ek_place_told){12, 3400, 65000, "busy"});
    ek_screen_place(s, &(struct ek_place_told){1, -1, -1, "engine_starting"});
    ek_screen_thought(s, EK_STR("hm"));
    ek_screen_place(s, &(struct ek_place_told){1, -1, -1, "engine_restarted"});
    ek_screen_thought(s, EK_STR("\033[2Jm"));
    ek_screen_answer(s, EK_STR("14"));
    ek_screen_answer(s, EK_STR("42\033"));
    ek_screen_end(s);
}

static void test_screen(void **state)
{
    (void)state;
    struct ek_screen s = screen(true, true, true);
    show_all(&s);
    screen_is(&s, "1442?\n",
              "\033[2mplace 12 in line, about 4 s, very likely within 1 min 5 s\033[0m"
              "\r\033[K\033[2mplace 1 in line: the engine is starting\033[0m\r\033[K"
              "\033[2mhm\033[0m\033[2m?[2Jm\033[0m\n\n");

    s = screen(true, true, false); /* NO_COLOR */
    show_all(&s);
    screen_is(&s, "1442?\n",
              "place 12 in line, about 4 s, very likely within 1 min 5 s\r\033[K"
              "place 1 in line: the engine is starting\r\033[K"
              "(thinking) hm?[2Jm\n\n");

    s = screen(false, false, true); /* a pipe gets the answer, untouched, and nothing else */
    show_all(&s);
    screen_is(&s, "1442\033\n", "");

    s = screen(true, true, true);
    ek_screen_end(&s);
    ek_screen_answer(&s, EK_STR("a\n"));
    ek_screen_end(&s);
    screen_is(&s, "a\n", "");
}

static void test_clean(void **state)
{
    (void)state;
    struct ek_buf out = ek_buf_make(100);
    ek_screen_clean(EK_STR("a\tb\nc\r\033\x07\x7f\xc2\x9b" "31m\xc2\xa0\xe4\xbd\xa0\xc2"), &out);
    assert_string_equal(ek_buf_cstr(&out), "a\tb\nc?????31m\xc2\xa0\xe4\xbd\xa0\xc2");
    ek_buf_clear(&out); /* what turns the direction of writing, and its neighbours that do not */
    ek_screen_clean(EK_STR("\xe2\x80\xaa\xe2\x80\xae.\xe2\x81\xa6\xe2\x81\xa9."
                           "\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa\xe2\x80"), &out);
    assert_string_equal(ek_buf_cstr(&out), "??.??.\xe2\x80\xa9\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa\xe2\x80");
    ek_buf_free(&out);
}

static void test_narrow(void **state)
{
    (void)state;
    struct ek_screen s = screen(true, true, false);
    s.columns = 10; /* nine are used: the last one wraps on some terminals */
    ek_screen_note(&s, "123456789");
    ek_screen_note(&s, "1234567890");
    ek_screen_note(&s, "\xe4\xbd\xa0\xe4\xbd\xa0\xe4\xbd\xa0\xe4\xbd\xa0\xe4\xbd\xa0"); /* five wide ones */
    ek_screen_end(&s);
    screen_is(&s, "", "123456789\r\033[K12345678\xe2\x80\xa6\r\033[K"
              "\xe4\xbd\xa0\xe4\xbd\xa0\xe4\xbd\xa0\xe4\xbd\xa0\xe2\x80\xa6\r\033[K");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream),  cmocka_unit_test(test_bad_ends),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_document_and_stop),
        cmocka_unit_test(test_screen),  cmocka_unit_test(test_clean), cmocka_unit_test(test_narrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
