/* SPDX-License-Identifier: MIT */
/* A growing, bounded byte buffer.
 *
 *      data                 data+len          data+cap          max
 *       |#### in use #########|.... free .......|                |   growth doubles, never past max
 *
 * Overflow is sticky: once a put does not fit below `max` (or memory is gone), `failed` is set, the
 * buffer keeps what it had and every later put does nothing. A writer puts twenty things and asks
 * once. An all-zero struct with `max` set is an empty buffer; no memory is held until the first put. */
#ifndef EK_BASE_BUF_H
#define EK_BASE_BUF_H

#include "base/str.h"

#include <stdarg.h>

struct ek_buf {
    char *data;
    size_t len;
    size_t cap;
    uint32_t max; /* bytes; 0 is not a legal limit */
    bool failed;  /* sticky */
};

static inline struct ek_buf ek_buf_make(size_t max_bytes) /* more than 4 GiB: 4 GiB */
{
    return (struct ek_buf){.max = max_bytes < UINT32_MAX ? (uint32_t)max_bytes : UINT32_MAX};
}

void ek_buf_free(struct ek_buf *b);            /* releases memory; the limit stays */
static inline void ek_buf_clear(struct ek_buf *b) /* empties, keeps memory, forgets failure */
{
    b->len = 0;
    b->failed = false;
}

/* Make room for `more` bytes beyond len and return where they go; NULL (and failed) if impossible.
 * The caller then adds what it wrote to len. */
char *ek_buf_reserve(struct ek_buf *b, size_t more);

void ek_buf_put_slowly(struct ek_buf *b, const char *data, size_t len); /* ek_buf_put where it must grow */
static inline void ek_buf_put(struct ek_buf *b, const char *data, size_t len)
{
    if (len == 0) return;
    if (b->failed || b->len + len > b->cap) {
        ek_buf_put_slowly(b, data, len);
        return;
    }
    memcpy(b->data + b->len, data, len); /* a few bytes known when compiled: a move or two, and no call */
    b->len += len;
}
static inline void ek_buf_str(struct ek_buf *b, struct ek_str s) { ek_buf_put(b, s.data, s.len); }
static inline void ek_buf_lit(struct ek_buf *b, const char *cstr) { ek_buf_put(b, cstr, strlen(cstr)); }
static inline void ek_buf_char(struct ek_buf *b, char c) { ek_buf_put(b, &c, 1); }
void ek_buf_u64(struct ek_buf *b, uint64_t v);
void ek_buf_i64(struct ek_buf *b, int64_t v);
void ek_buf_printf(struct ek_buf *b, const char *fmt, ...) EK_PRINTF(2, 3);

/* Drop the first n bytes (n <= len), moving the rest down. */
void ek_buf_drop(struct ek_buf *b, size_t n);

/* Give unused capacity back: for buffers that will now rest for minutes (a parked body). */
void ek_buf_shrink(struct ek_buf *b);

static inline struct ek_str ek_buf_view(const struct ek_buf *b) /* until the next put */
{
    return (struct ek_str){b->data, b->len};
}

/* The contents with a terminating NUL behind them (not counted in len); NULL when failed. */
const char *ek_buf_cstr(struct ek_buf *b);

#endif
