/* SPDX-License-Identifier: MIT */
/* Tickets: what one who waits can show to be let back to its place.
 *
 *      3f9a01c2-0004001f-5e0d…      8 digits: the door; 8: the desk's number for it; 32: 128 bits
 *
 * The bits are a keyed hash (SipHash-2-4-128) of the request's own random id. So a ticket takes no memory,
 * cannot be guessed from X-Request-Id, and is the same after a restart that kept the key (the journal does).
 * The number only says where to look; after a restart it says nothing, and those who were there before are
 * found in a map. Used tickets are remembered for a while, so that who comes too late is told what happened
 * and not that there never was such a ticket. */
#include "door/door_state.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

struct ek_door_used_ticket {
    uint8_t bits[16];
    uint64_t account;
};

static void bits_of(const struct ek_door *d, const uint8_t id[16], uint8_t out[16])
{
    _Static_assert(crypto_shorthash_siphashx24_BYTES == 16, "128 bits");
    _Static_assert(crypto_shorthash_siphashx24_KEYBYTES == sizeof d->ticket_key, "of key, too");
    crypto_shorthash_siphashx24(out, id, 16, d->ticket_key);
}

static uint64_t hash_of(const uint8_t bits[16])
{
    uint64_t h; /* the bits are our own hash: nobody can make many of them meet */
    memcpy(&h, bits, sizeof h);
    return h;
}

static bool is_it(const void *value, const void *key)
{
    const struct ek_door_request *r = value;
    uint8_t bits[16];
    bits_of(r->door, r->id, bits);
    return memcmp(bits, key, sizeof bits) == 0;
}

void ek_door_ticket_text(const struct ek_door_request *r, char out[EK_DOOR_TICKET_BYTES + 1])
{
    uint8_t bits[16];
    char digits[33];
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->ticketed);
    bits_of(r->door, r->id, bits);
    ek_door_hex(bits, digits);
    int n = snprintf(out, EK_DOOR_TICKET_BYTES + 1, "%08x-%08x-%s", r->door->id, r->ticket, digits);
    MUST(n == EK_DOOR_TICKET_BYTES);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool read_digits(const char *text, uint8_t *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static uint32_t number(const uint8_t b[4])
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

bool ek_door_ticket_read(struct ek_str text, struct ek_door_shown_ticket *out)
{
    uint8_t door[4], hint[4];
    *out = (struct ek_door_shown_ticket){.given = true};
    for (size_t i = 0; i < text.len; i++) /* the header as it was given goes, "; durable=1" and all */
        if (text.data[i] == ';' || text.data[i] == ' ') text.len = i;
    if (text.len != EK_DOOR_TICKET_BYTES || text.data[8] != '-' || text.data[17] != '-') return false;
    if (!read_digits(text.data, door, 4) || !read_digits(text.data + 9, hint, 4)) return false;
    out->door = number(door);
    out->hint = number(hint);
    return read_digits(text.data + 18, out->bits, sizeof out->bits);
}

/* ---- who holds it ------------------------------------------------------------------------------------ */

bool ek_door_ticket_file(struct ek_door_request *r)
{
    uint8_t bits[16];
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(!r->filed);
    bits_of(r->door, r->id, bits);
    return r->filed = ek_map_put(&r->door->tickets, hash_of(bits), r) == EK_OK;
}

void ek_door_ticket_take(struct ek_door_request *r)
{
    uint8_t bits[16];
    r->ticketed = false;
    if (!r->filed) return;
    bits_of(r->door, r->id, bits);
    void *taken = ek_map_take(&r->door->tickets, hash_of(bits), is_it, bits);
    MUST(taken == r);
    r->filed = false;
}

/* Given by this door, whichever of its processes that was. */
static bool is_ours(const struct ek_door *d, const struct ek_door_shown_ticket *t)
{
    return (t->door & ~(EK_SWAP_BERTHS - 1)) == (d->id & ~(EK_SWAP_BERTHS - 1));
}

struct ek_door_request *ek_door_ticket_find(const struct ek_door *d, const struct ek_door_shown_ticket *t)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (!is_ours(d, t)) return NULL;
    struct ek_door_request *r = (struct ek_door_request *)(uintptr_t)ek_desk_holder(d->desk, t->hint);
    if (r) MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (r && r->ticketed && is_it(r, t->bits)) return r;
    return ek_map_find(&d->tickets, hash_of(t->bits), is_it, t->bits);
}

void ek_door_ticket_use_up(struct ek_door *d, const uint8_t id[16], uint64_t account)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (!d->used) d->used = calloc(EK_DOOR_USED_TICKETS_MAX, sizeof *d->used);
    if (!d->used) return; /* then it will be unknown later: a less clear answer, not a wrong one */
    struct ek_door_used_ticket *u = &d->used[d->used_next++ % EK_DOOR_USED_TICKETS_MAX];
    bits_of(d, id, u->bits);
    u->account = account;
}

bool ek_door_ticket_was_used(const struct ek_door *d, const struct ek_door_shown_ticket *t,
                             uint64_t account)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (!is_ours(d, t) || !d->used) return false;
    for (uint32_t i = 0; i < EK_DOOR_USED_TICKETS_MAX && i < d->used_next; i++)
        if (d->used[i].account == account && memcmp(d->used[i].bits, t->bits, sizeof t->bits) == 0)
            return true;
    return false;
}
