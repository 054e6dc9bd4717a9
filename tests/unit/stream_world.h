/* SPDX-License-Identifier: MIT */
/* Clients of streams that are read again, on a door on virtual time (door_world.h). */
#ifndef EK_TESTS_STREAM_WORLD_H
#define EK_TESTS_STREAM_WORLD_H

#include "door_world.h"

/* The id of the stream that a client reads. */
static inline void stream_id(struct client *c, char id[33])
{
    const char *at = strstr(client_text(c), "X-Stream-Id: ");
    assert_non_null(at);
    memcpy(id, at + 13, 32);
    id[32] = '\0';
}

static inline struct client *read_again(struct world *w, const char *id, const char *query,
                                 const char *header)
{
    char text[512];
    int n = snprintf(text, sizeof text, "GET /v1/streams/%s%s HTTP/1.1\r\nHost: x\r\n%s\r\n", id, query,
                     header);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static inline struct client *erase(struct world *w, const char *id)
{
    char text[256];
    snprintf(text, sizeof text, "DELETE /v1/streams/%s HTTP/1.1\r\nHost: x\r\n\r\n", id);
    return client_send(w, text);
}

/* From its first event on, without what frames them: heads and sizes of chunks differ. */
static inline void body_of(struct client *c, struct ek_buf *out)
{
    const char *at = strstr(client_text(c), "\r\n\r\n");
    *out = ek_buf_make(1 << 20);
    assert_non_null(at);
    for (at += 4;;) {
        char *end;
        unsigned long size = strtoul(at, &end, 16);
        if (size == 0) return;
        ek_buf_put(out, end + 2, size);
        at = end + 2 + size + 2;
        if ((size_t)(at - client_text(c)) >= c->got.len) return;
    }
}

static inline void expect_tail(struct client *whole, struct client *part, unsigned after)
{
    struct ek_buf a, b;
    char id[32];
    body_of(whole, &a);
    body_of(part, &b);
    snprintf(id, sizeof id, "id: %u\n", after + 1);
    const char *from = strstr(ek_buf_cstr(&a), id);
    assert_non_null(from);
    assert_string_equal(ek_buf_cstr(&b), from);
    ek_buf_free(&a);
    ek_buf_free(&b);
}

#endif
