/* SPDX-License-Identifier: MIT */
/* Thoughts in the text: however the text is cut into pieces (never inside a character, as JSON strings are),
 * thought and answer are those of the whole; nothing is made up, and without tags nothing is lost but white
 * space at the beginning. The first byte seeds the cuts. */
#include "base/must.h"
#include "base/random.h"
#include "chat/think_tags.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end of the character that begins at `at`. */
static size_t next(struct ek_str s, size_t at)
{
    if (s.data[at] != '\\' || at + 1 >= s.len) return at + 1;
    if (s.data[at + 1] != 'u') return at + 2;
    return at + 6 < s.len ? at + 6 : s.len;
}

static void run(struct ek_str text, struct ek_random *random, bool begun, struct ek_buf *thought,
                struct ek_buf *answer)
{
    struct ek_think_tags t;
    ek_think_tags_init(&t, begun);
    for (size_t at = 0; at < text.len;) {
        size_t end = at;
        uint64_t characters = random ? 1 + ek_random_below(random, 6) : UINT64_MAX;
        for (uint64_t i = 0; i < characters && end < text.len; i++) end = next(text, end);
        char *piece = malloc(end - at);
        MUST(piece);
        memcpy(piece, text.data + at, end - at);
        ek_think_tags_feed(&t, ek_str_make(piece, end - at), thought, answer);
        free(piece);
        at = end;
    }
    ek_think_tags_end(&t, thought, answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096) return 0;
    struct ek_str text = ek_str_make((const char *)data + 1, size - 1);
    struct ek_random random = ek_random_make(data[0]);
    struct ek_buf thought[2] = {ek_buf_make(1 << 16), ek_buf_make(1 << 16)};
    struct ek_buf answer[2] = {ek_buf_make(1 << 16), ek_buf_make(1 << 16)};
    for (int i = 0; i < 2; i++) run(text, i ? &random : NULL, data[0] & 1, &thought[i], &answer[i]);
    MUST(ek_str_eq(ek_buf_view(&thought[0]), ek_buf_view(&thought[1])));
    MUST(ek_str_eq(ek_buf_view(&answer[0]), ek_buf_view(&answer[1])));
    MUST(thought[0].len + answer[0].len <= text.len);
    for (int i = 0; i < 2; i++) {
        ek_buf_free(&thought[i]);
        ek_buf_free(&answer[i]);
    }
    return 0;
}
