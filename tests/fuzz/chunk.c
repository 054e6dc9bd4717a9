/* SPDX-License-Identifier: MIT */
/* Fuzz what reads upstreams: lines of payloads. Each must be read like jansson reads it (chunk_oracle.h), and
 * the same whether or not the one before is remembered (chunk_shape.h); all together are collected, and what
 * the collector writes must be JSON. */
#include "../unit/chunk_oracle.h"
#include "../unit/shape_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(struct ek_collect *c, struct ek_str payload)
{
    static struct ek_up_chunk chunk;
    if (!ek_up_chunk_read(payload, &chunk, NULL)) return;
    enum ek_status status = ek_collect_add(c, &chunk);
    MUST(status == EK_OK || status == EK_FULL || status == EK_INVALID);
}

static void check_answer(struct ek_collect *c)
{
    const struct ek_chunk_head head = {.id = EK_STR("i"), .model = EK_STR("m")};
    struct ek_buf out = ek_buf_make(1u << 24);
    json_error_t error;
    ek_collect_write(c, &out, &head, NULL, (struct ek_str){0});
    MUST(!out.failed);
    json_t *tree = json_loadb(out.data, out.len, JSON_ALLOW_NUL, &error);
    bool number = !tree && json_error_code(&error) == json_error_numeric_overflow;
    bool nul = !tree && json_error_code(&error) == json_error_null_byte_in_key;
    MUST(tree || number || nul);
    json_decref(tree);
    ek_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096) return 0;
    struct ek_collect *c = ek_collect_new(data[0] & 32 ? EK_API_CHAT : EK_API_COMPLETIONS, 60000);
    const char *at = (const char *)data + 1;
    const char *stop = (const char *)data + size;
    struct ek_up_shape shape = {0};
    static struct ek_up_shapes shapes; /* of earlier inputs, too: it must be read the same */
    struct ek_up_shape_hint hint = {0};
    while (at < stop) {
        const char *end = memchr(at, '\n', (size_t)(stop - at));
        if (!end) end = stop;
        size_t len = (size_t)(end - at);
        char *line = malloc(len ? len : 1); /* exact, so that a read past it is seen */
        MUST(line);
        memcpy(line, at, len);
        chunk_check(ek_str_make(line, len), data[0] & 31);
        shape_check(&shape, ek_str_make(line, len));
        shapes_check(&shapes, &hint, ek_str_make(line, len));
        collect(c, ek_str_make(line, len));
        free(line);
        at = end + (end < stop);
    }
    check_answer(c);
    ek_collect_free(&c);
    return 0;
}
