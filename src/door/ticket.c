/* SPDX-License-Identifier: MIT */
/* Tickets: what one who waits can show to be let back to its place.
 *
 *      3f9a01c2-5e0d…               8 digits: the door; 32 digits: 128 bits
 *
 * The bits are a keyed hash (SipHash-2-4-128) of the request's own random id, so a ticket takes no memory
 * beside its place in the map, cannot be guessed from X-Request-Id, and is the same after a restart that
 * kept the key (the journal does). Those that have been used are remembered for a while, so that who comes
 * too late is told what happened and not that there never was such a ticket. */
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
    int n = snprintf(out, EK_DOOR_TICKET_BYTES + 1, "%08x-%s", r->door->id, digits);
    MUST(n == EK_DOOR_TICKET_BYTES);
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool ek_door_ticket_read(struct ek_str text, struct ek_door_shown_ticket *out)
{
    uint8_t all[20];
    *out = (struct ek_door_shown_ticket){.given = true};
    for (size_t i = 0; i < text.len; i++) /* the header as it was given goes, "; durable=1" and all */
        if (text.data[i] == ';' || text.data[i] == ' ') text.len = i;
    if (text.len != EK_DOOR_TICKET_BYTES || text.data[8] != '-') return false;
    for (size_t i = 0, at = 0; i < sizeof all; i++) {
        if (at == 8) at++;
        int high = digit(text.data[at]), low = digit(text.data[at + 1]);
        if (high < 0 || low < 0) return false;
        all[i] = (uint8_t)(high * 16 + low);
        at += 2;
    }
    out->door = (uint32_t)all[0] << 24 | (uint32_t)all[1] << 16 | (uint32_t)all[2] << 8 | all[3];
    memcpy(out->bits, all + 4, sizeof out->bits);
    return true;
}

void ek_door_ticket_give(struct ek_door_request *r)
{
    uint8_t bits[16];
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (r->ticketed) return;
    bits_of(d, r->id, bits);
    if (ek_map_put(&d->tickets, hash_of(bits), r) != EK_OK) return; /* then it has none, and hears of none */
    r->ticketed = true;
}

void ek_door_ticket_take(struct ek_door_request *r)
{
    uint8_t bits[16];
    if (!r->ticketed) return;
    bits_of(r->door, r->id, bits);
    void *taken = ek_map_take(&r->door->tickets, hash_of(bits), is_it, bits);
    MUST(taken == r);
    r->ticketed = false;
}

struct ek_door_request *ek_door_ticket_find(const struct ek_door *d, const struct ek_door_shown_ticket *t)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (t->door != d->id) return NULL;
    struct ek_door_request *r = ek_map_find(&d->tickets, hash_of(t->bits), is_it, t->bits);
    if (r) MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    return r;
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
    if (t->door != d->id || !d->used) return false;
    for (uint32_t i = 0; i < EK_DOOR_USED_TICKETS_MAX && i < d->used_next; i++)
        if (d->used[i].account == account && memcmp(d->used[i].bits, t->bits, sizeof t->bits) == 0)
            return true;
    return false;
}
