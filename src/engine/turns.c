/* SPDX-License-Identifier: MIT */
/* Turns at making schemas ready; see turns.h. */
#include "engine/turns.h"

#include "base/clock.h"
#include "base/map.h"

#include <math.h>
#include <string.h>

static const char salt_name[] = "\"cache_salt\"";
enum { SALT_BYTES = 80 }; /* behind the name: blanks, a colon, the salt */

uint32_t ek_turns_place(struct ek_str body, struct ek_str address)
{
    const char *at = body.len ? memmem(body.data, body.len, salt_name, sizeof salt_name - 1) : NULL;
    struct ek_str who = address;
    if (at) { /* up to what ends a value: read properly later; here any text does that is always the same */
        who = ek_str_skip(body, (size_t)(at - body.data) + sizeof salt_name - 1);
        if (who.len > SALT_BYTES) who.len = SALT_BYTES;
        const char *end = memchr(who.data, '}', who.len), *comma = memchr(who.data, ',', who.len);
        if (comma && (!end || comma < end)) end = comma;
        if (end) who.len = (size_t)(end - who.data);
    }
    return (uint32_t)(ek_hash(who, 0) % EK_TURNS_PLACES);
}

void ek_turns_had(struct ek_turns *t, uint64_t now_ns, uint32_t place, double seconds)
{
    MUST(place < EK_TURNS_PLACES && seconds >= 0);
    double part = exp2(-(double)ek_ns_since(now_ns, t->at_ns) / ((double)EK_TURNS_HALF_S * (double)EK_S_NS));
    for (size_t i = 0; i < EK_TURNS_PLACES; i++) t->had_s[i] *= part;
    t->had_s[place] += seconds;
    t->at_ns = now_ns;
}

bool ek_turns_before(const struct ek_turns *t, uint32_t a, uint32_t b)
{
    MUST(a < EK_TURNS_PLACES && b < EK_TURNS_PLACES);
    return t->had_s[a] < t->had_s[b];
}
