/* SPDX-License-Identifier: MIT */
/* Messages between two processes of one door: written and read by one table of kinds. It owns nothing, and
 * must never believe a length that the other side has said. */
#include "swap/message.h"

#include "base/must.h"

#include <string.h>

#define HEAD_BYTES 8u

static const uint8_t mark[4] = {'E', 'K', 's', 'w'};

static const struct {
    const char *name;
    uint32_t text_max;
    uint8_t numbers, fds;
} kinds[EK_SWAP_KIND_COUNT] = {
#define X(kind, numbers, fds, text) {#kind, text, numbers, fds},
    EK_SWAP_KINDS(X)
#undef X
};

size_t ek_swap_write(const struct ek_swap_message *m, char *out, size_t cap)
{
    MUST(m->kind < EK_SWAP_KIND_COUNT && m->text.len <= kinds[m->kind].text_max);
    uint8_t numbers = kinds[m->kind].numbers;
    size_t bytes = HEAD_BYTES + 8u * numbers + m->text.len;
    uint16_t version = EK_SWAP_VERSION;
    MUST(bytes <= cap);
    memcpy(out, mark, sizeof mark);
    memcpy(out + 4, &version, sizeof version);
    out[6] = (char)m->kind;
    out[7] = (char)numbers;
    memcpy(out + HEAD_BYTES, m->number, 8u * numbers);
    if (m->text.len) memcpy(out + HEAD_BYTES + 8u * numbers, m->text.data, m->text.len);
    return bytes;
}

const char *ek_swap_read(struct ek_str bytes, uint32_t fds, struct ek_swap_message *out)
{
    uint16_t version;
    if (bytes.len < HEAD_BYTES || memcmp(bytes.data, mark, sizeof mark) != 0)
        return "what came is no message of a door";
    memcpy(&version, bytes.data + 4, sizeof version);
    if (version != EK_SWAP_VERSION) return "the other program speaks another version of taking over";
    uint8_t kind = (uint8_t)bytes.data[6], numbers = (uint8_t)bytes.data[7];
    if (kind >= EK_SWAP_KIND_COUNT || numbers != kinds[kind].numbers)
        return "a message of a kind that is not known";
    struct ek_str rest = ek_str_skip(bytes, HEAD_BYTES);
    if (rest.len < 8u * numbers || rest.len - 8u * numbers > kinds[kind].text_max)
        return "a message that is too short or too long";
    if (fds != kinds[kind].fds) return "a message without its descriptor, or with one too many";
    *out = (struct ek_swap_message){.kind = kind, .text = ek_str_skip(rest, 8u * numbers)};
    memcpy(out->number, rest.data, 8u * numbers);
    if (kind != EK_SWAP_CONNECTION && memchr(out->text.data, '\0', out->text.len))
        return "a text with a zero in it";
    return NULL;
}

bool ek_swap_takes_fd(enum ek_swap_kind kind)
{
    return kinds[kind].fds > 0;
}

const char *ek_swap_kind_name(enum ek_swap_kind kind)
{
    return kinds[kind].name;
}
