/* SPDX-License-Identifier: MIT */
/* Server-sent events (WHATWG HTML, "Server-sent events"): a resumable reader and a writer.
 *
 * The reader takes bytes as they come and gives one item at a time: an event, or a comment (the
 * standard drops comments; our queue speaks in them). Where an event lies whole in the input and has
 * one data line, as nearly all have, nothing is copied. */
#ifndef EK_HTTP_SSE_H
#define EK_HTTP_SSE_H

#include "base/buf.h"

#define EK_SSE_EVENT_BYTES_MAX (4u << 20) /* data of one event, or one line */

enum ek_sse_result {
    EK_SSE_MORE,    /* the input is used up */
    EK_SSE_EVENT,   /* data is set; type and id where given */
    EK_SSE_COMMENT, /* data is the text behind ':' and one blank */
    EK_SSE_TOO_LARGE, /* a line or an event beyond the limit: give up on this stream */
};

struct ek_sse_item {
    struct ek_str data; /* data lines joined by LF */
    struct ek_str type; /* "event:" field, "" when absent */
    struct ek_str id;   /* "id:" of this very event (not the last one seen) */
    bool has_id;
};

/* One stream being read. Plain data; ek_sse_free() gives its memory back. Holds memory only while an
 * event is incomplete at the end of the input, has several data lines, or names a type or an id. */
struct ek_sse {
    struct ek_buf line;  /* a line whose end has not come */
    struct ek_buf data;  /* data lines so far, when they could not stay views */
    struct ek_sse_names *names; /* type and id; NULL: no event has had one yet */
    struct ek_str view;  /* the only data line so far, still in the input */
    int64_t retry_ms;    /* last "retry:" field, -1 when none */
    uint8_t bom_left;    /* bytes of a byte order mark that may still come; 255: decided */
    bool skip_lf;        /* the last line ended with CR: an LF now belongs to it */
    bool in_view, in_data, has_id;
    bool given;          /* the buffers hold what the last item pointed to: clear them first */
};

void ek_sse_init(struct ek_sse *s, size_t event_bytes_max); /* 0 = EK_SSE_EVENT_BYTES_MAX */
void ek_sse_free(struct ek_sse *s);

/* Read on in *input, taking what is used off its front, until there is an item. Item views are valid
 * until the next call, as long as the input's bytes are; those must stay until MORE is returned. */
enum ek_sse_result ek_sse_read(struct ek_sse *s, struct ek_str *input, struct ek_sse_item *item);

/* True in the middle of an event: an end of stream now has cut it. */
bool ek_sse_is_open(const struct ek_sse *s);

/* The writer: puts into `b` (sticky failure, see base/buf.h). Text may hold line ends where said. */
void ek_sse_put_id(struct ek_buf *b, uint64_t id);            /* "id: 7\n" */
void ek_sse_put_type(struct ek_buf *b, struct ek_str type);   /* "event: x\n"; no line ends, or nothing */
void ek_sse_put_retry(struct ek_buf *b, uint64_t retry_ms);   /* "retry: 3000\n" */
void ek_sse_put_data(struct ek_buf *b, struct ek_str data);   /* a "data: " for each line, then "\n" */
void ek_sse_put_comment(struct ek_buf *b, struct ek_str text); /* ": text\n\n", line ends become blanks */

#endif
