/* SPDX-License-Identifier: MIT */
/* What JSON costs the door, beside jansson in the same run: a chat request of about 20 kB (escapes, English
 * and Chinese), and a stream chunk of about 250 bytes, read whole and as the next one of its stream.
 * CPU time of this process; rounds alternate between the candidates; medians and spread (min..max) of 15
 * rounds are printed.
 *
 *   ninja -C build bench_json && build/bench/bench_json */
#include "base/buf.h"
#include "chat/chunk.h"
#include "chat/chunk_shape.h"
#include "chat/request.h"
#include "chat/upstream_chunk.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 15

static struct ek_buf body;
static struct ek_buf out;
static const char payload[] =
    "{\"id\":\"chatcmpl-7b1c9e0a4f\",\"object\":\"chat.completion.chunk\",\"created\":1763755200,"
    "\"model\":\"deepseek-r1\",\"system_fingerprint\":\"fp_3a5770e1b4\",\"choices\":[{\"index\":0,"
    "\"delta\":{\"content\":null,\"reasoning_content\":\" first\"},\"logprobs\":null,"
    "\"finish_reason\":null}]}";
static unsigned long sink; /* keeps the compiler honest */

static void make_body(void)
{
    body = ek_buf_make(1u << 20);
    ek_buf_lit(&body, "{\"model\":\"deepseek-chat\",\"stream\":true,\"temperature\":0.6,"
        "\"messages\":[");
    for (int i = 0; body.len < 19000; i++) {
        ek_buf_printf(&body, "%s{\"role\":\"%s\",\"content\":\"", i ? "," : "",
            i & 1 ? "assistant" : "user");
        for (int line = 0; line < 6; line++) {
            ek_buf_lit(&body, "The quick brown fox said \\\"hello\\\" and left.\\n");
            ek_buf_lit(&body, "Then it rained for a while, ");
            ek_buf_lit(&body, "\xe4\xbb\x8a\xe5\xa4\xa9\xe5\xa4\xa9\xe6\xb0\x94\xe5\xbe\x88\xe5\xa5\xbd");
            ek_buf_lit(&body, " caf\xc3\xa9. ");
        }
        ek_buf_lit(&body, "\"}");
    }
    ek_buf_lit(&body, "],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"parameters\":{}}}]}");
}

static void request_jansson(void)
{
    json_error_t error;
    json_t *tree = json_loadb(body.data, body.len, 0, &error);
    MUST(tree);
    sink += json_object_size(tree);
    json_decref(tree);
}

static void request_events(void)
{
    struct ek_json j;
    enum ek_json_event e;
    ek_json_begin(&j, true);
    ek_json_feed(&j, body.data, body.len);
    ek_json_finish(&j);
    while ((e = ek_json_next(&j)) != EK_JSON_DONE) sink += e;
}

static void request_ours(void)
{
    struct ek_request q;
    struct ek_request_fault fault;
    MUST(ek_request_read(&q, EK_API_CHAT, ek_buf_view(&body), &fault));
    sink += q.message_count;
}

static void chunk_jansson(void)
{
    json_error_t error;
    json_t *tree = json_loadb(payload, sizeof payload - 1, 0, &error);
    MUST(tree);
    sink += json_object_size(tree);
    json_decref(tree);
}

static void chunk_ours(void)
{
    static struct ek_up_chunk c;
    MUST(ek_up_chunk_read(EK_STR(payload), &c, NULL));
    sink += c.flags;
}

static void chunk_next(void)
{
    static struct ek_up_shape shape;
    static struct ek_up_chunk c;
    MUST(ek_up_chunk_read_next(&shape, EK_STR(payload), &c, NULL));
    sink += c.flags;
}

static void chunk_relay(void)
{
    static struct ek_up_chunk c;
    const struct ek_up_edit edit = {.id = EK_STR("\"chatcmpl-1\""), .model = EK_STR("\"deepseek\""),
                                    .usage_null = true, .ek_drop = true};
    MUST(ek_up_chunk_read(EK_STR(payload), &c, NULL));
    ek_buf_clear(&out);
    ek_up_chunk_relay(&out, EK_STR(payload), &c, &edit);
    sink += out.len;
}

static void chunk_write(void)
{
    const struct ek_chunk_head head = {.id = EK_STR("chatcmpl-1"), .model = EK_STR("deepseek-r1"),
                                       .created_s = 1763755200};
    const struct ek_delta d = {.reasoning = EK_STR(" first"), .ek = true, .token_count = 10};
    ek_buf_clear(&out);
    ek_chunk_write(&out, &head, &d);
    sink += out.len;
}

static const struct {
    const char *name;
    void (*run)(void);
    int times;
    int peer; /* row to compare with */
} rows[] = {
    {"request, jansson tree", request_jansson, 30, 0},
    {"request, our events", request_events, 300, 0},
    {"request, ek_request_read", request_ours, 300, 0},
    {"chunk, jansson tree", chunk_jansson, 2000, 3},
    {"chunk, ek_up_chunk_read", chunk_ours, 20000, 3},
    {"chunk, the next of its stream", chunk_next, 20000, 3},
    {"chunk, read and relay", chunk_relay, 20000, 3},
    {"chunk, ek_chunk_write", chunk_write, 20000, 3},
};

static double cpu_us(void)
{
    struct timespec t;
    MUST(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(void)
{
    static double us[EK_COUNT(rows)][ROUNDS];
    make_body();
    out = ek_buf_make(1u << 16);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t r = 0; r < EK_COUNT(rows); r++) {
            double start = cpu_us();
            for (int i = 0; i < rows[r].times; i++) rows[r].run();
            us[r][round] = (cpu_us() - start) / rows[r].times;
        }
    }
    for (size_t r = 0; r < EK_COUNT(rows); r++) qsort(us[r], ROUNDS, sizeof(double), by_value);
    printf("request %zu bytes, chunk %zu bytes, %d rounds\n", body.len, sizeof payload - 1, ROUNDS);
    for (size_t r = 0; r < EK_COUNT(rows); r++) {
        double median = us[r][ROUNDS / 2];
        printf("%-28s %9.3f us  (%.3f..%.3f)  x%.1f\n", rows[r].name, median, us[r][0],
            us[r][ROUNDS - 1],
               us[rows[r].peer][ROUNDS / 2] / median);
    }
    ek_buf_free(&body);
    ek_buf_free(&out);
    return sink == 0;
}
