/* SPDX-License-Identifier: MIT */
/* Keys are compared by their SHA-256, all of them each time: neither the length nor the place of a
 * match can be read from the clock. */
#include "guard/identity.h"

#include "base/address.h"
#include "base/map.h"

#include <sodium.h>

#define LEDGER_SEED 0x6c65646765726964u /* so that no name of the configuration is an account's number */

#define KEY_BYTES_MAX 1024u

static uint32_t tier_of(const struct ek_config *c, const char *name)
{
    for (size_t i = 0; i < c->tiers.count; i++)
        if (strcmp(c->tiers.item[i].name, name) == 0) return (uint32_t)i;
    return 0; /* config has checked the names; 0 is the first of at least one */
}

static bool open_access(const struct ek_config *c, struct ek_str peer)
{
    return c->access.open_to_all || (c->access.open_on_loopback && ek_address_is_loopback(peer));
}

static void be_open(const struct ek_config *c, struct ek_identity *out)
{
    MUST(c->access.open_tier);
    *out = (struct ek_identity){.account = "open", .key = "open",
                                .tier = tier_of(c, c->access.open_tier)};
}

struct ek_str ek_identity_token(struct ek_str authorization)
{
    if (authorization.len < 7 || strncasecmp(authorization.data, "bearer ", 7) != 0)
        return ek_str_make(NULL, 0);
    struct ek_str token = ek_str_skip(authorization, 7);
    while (token.len && token.data[0] == ' ') token = ek_str_skip(token, 1);
    return token;
}

enum ek_reason ek_identify(const struct ek_config *c, struct ek_str authorization, size_t count,
                           struct ek_str peer, struct ek_identity *out)
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    struct ek_str token = ek_identity_token(authorization);
    _Static_assert(sizeof hash == sizeof c->keys.item[0].hash, "SHA-256");
    if (count > 1) return EK_REASON_KEY_UNKNOWN; /* two answers to one question */
    if (token.len == 0 || token.len > KEY_BYTES_MAX) {
        if (!open_access(c, peer)) return token.len ? EK_REASON_KEY_UNKNOWN : EK_REASON_KEY_MISSING;
        be_open(c, out);
        return EK_REASON_NONE;
    }
    crypto_hash_sha256(hash, (const unsigned char *)token.data, token.len);
    size_t found = c->keys.count;
    for (size_t i = 0; i < c->keys.count; i++)
        if (sodium_memcmp(hash, c->keys.item[i].hash, sizeof hash) == 0) found = i;
    if (found == c->keys.count) {
        /* SDKs always send some key; where none exist and the door is open, any will do. */
        if (c->keys.count > 0 || !open_access(c, peer)) return EK_REASON_KEY_UNKNOWN;
        be_open(c, out);
        return EK_REASON_NONE;
    }
    const struct ek_key_options *k = &c->keys.item[found];
    *out = (struct ek_identity){.account = k->account, .key = k->name, .user = k->user,
                                .tier = tier_of(c, k->tier), .proven = k->proven, .listed = true};
    return EK_REASON_NONE;
}

uint64_t ek_identity_owner(const struct ek_identity *who, uint64_t seed)
{
    const uint64_t *id = &who->ledger_account;
    if (*id) return ek_hash(ek_str_make((const char *)id, sizeof *id), seed ^ LEDGER_SEED);
    return ek_hash(ek_str_of(who->account), seed);
}
