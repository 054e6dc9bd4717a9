/* SPDX-License-Identifier: MIT */
/* What HTTP's parsers cost: a request head as SDKs send it, a chunk of a chunked body, an event of a
 * stream. CPU time of this process; medians and spread (min..max) of 15 rounds are printed.
 *
 *   ninja -C build bench_http && build/bench/bench_http */
#include "http/parse.h"
#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 15
#define TIMES 100000

static const char head_text[] =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: api.example.com:8080\r\nAccept: application/json\r\n"
    "Accept-Language: *\r\nsec-fetch-mode: cors\r\nUser-Agent: OpenAI/JS 6.49.0\r\n"
    "X-Stainless-Lang: js\r\nX-Stainless-Package-Version: 6.49.0\r\nX-Stainless-OS: Linux\r\n"
    "X-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\n"
    "Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nContent-Type: application/json\r\n"
    "Accept-Encoding: gzip, deflate\r\nContent-Length: 1500\r\n\r\n";
static char event_text[] =
    "data: {\"id\":\"chatcmpl-7b1c9e0a4f\",\"object\":\"chat.completion.chunk\",\"created\":1763755200,"
    "\"model\":\"deepseek-r1\",\"system_fingerprint\":\"fp_3a5770e1b4\",\"choices\":[{\"index\":0,"
    "\"delta\":{\"content\":null,\"reasoning_content\":\" first\"},\"logprobs\":null,"
    "\"finish_reason\":null}]}\n\n";
static struct ek_http_head head;
static struct ek_sse sse;
static unsigned long sink; /* keeps the compiler honest */

static void one_head(void)
{
    size_t len = sizeof head_text - 1;
    MUST(ek_http_parse_request(head_text, len, 0, &ek_http_limits_default, &head) == (ssize_t)len);
    sink += head.header_count;
}

static void one_chunk(void)
{
    struct ek_http_chunks c = {0};
    struct ek_str payload;
    char text[sizeof event_text + 16];
    int n = snprintf(text, sizeof text, "%zx\r\n", sizeof event_text - 1);
    memcpy(text + n, event_text, sizeof event_text - 1);
    MUST(ek_http_chunks_read(&c, text, (size_t)n + sizeof event_text - 1, &payload) > 0);
    sink += payload.len;
}

static void one_event(void)
{
    struct ek_str input = {event_text, sizeof event_text - 1};
    struct ek_sse_item item;
    MUST(ek_sse_read(&sse, &input, &item) == EK_SSE_EVENT);
    sink += item.data.len;
    MUST(ek_sse_read(&sse, &input, &item) == EK_SSE_MORE);
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, size_t bytes, void (*one)(void))
{
    double us[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double begin = cpu_s();
        for (int i = 0; i < TIMES; i++) {
            one();
        }
        us[round] = (cpu_s() - begin) * 1e6 / TIMES;
    }
    qsort(us, ROUNDS, sizeof us[0], ascending);
    printf("%-28s %4zu bytes  %.3f us (%.3f..%.3f)\n", what, bytes, us[ROUNDS / 2], us[0],
           us[ROUNDS - 1]);
}

int main(void)
{
    ek_sse_init(&sse, 0);
    measure("request head, 14 fields", sizeof head_text - 1, one_head);
    measure("chunk (and writing its size)", sizeof event_text - 1, one_chunk);
    measure("event of a stream", sizeof event_text - 1, one_event);
    ek_sse_free(&sse);
    return sink == 0;
}
