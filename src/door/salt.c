/* SPDX-License-Identifier: MIT */
/* The seed with which people, models and so the salts of engines' caches are hashed. Whoever knows it can
 * find out whose a hash is, so it is as secret as a key; and it should outlive the door, or an engine that
 * keeps computed prompts on disk (engine.kv_disk) never finds one again. In this order it is
 *
 *   that of the journal · that of what was learned · made from the file relay.salt_file, or DISK.salt
 *   beside the engine's folder · made from the ledger's secret · new with every start
 *
 * Two accounts have different salts all the same: the seed only says which ones. */
#include "door/door_state.h"

#include "ledger/secret.h"

#include <sodium.h>
#include <stdio.h>

#define SALT_LABEL "evenkeel: seed of hashes and cache salts"

static uint64_t derive(const struct ek_secret *s)
{
    uint8_t bytes[crypto_generichash_BYTES_MIN];
    uint64_t seed;
    int failed = crypto_generichash(bytes, sizeof bytes, (const unsigned char *)SALT_LABEL,
                                    sizeof SALT_LABEL - 1, s->key, sizeof s->key);
    MUST(failed == 0);
    memcpy(&seed, bytes, sizeof seed);
    return seed;
}

bool ek_door_salt_start(struct ek_door *d, char *why, size_t cap)
{
    const char *given = d->config->relay.salt_file, *disk = d->config->engine.kv_disk;
    const struct ek_secret *books = ek_door_money_secret(d);
    struct ek_secret secret;
    char path[4096];
    MUST(d->desk && cap > 0);
    if (d->journal) return true;
    size_t len = disk ? strlen(disk) : 0;
    while (len > 1 && disk[len - 1] == '/') len--;
    int n = len ? snprintf(path, sizeof path, "%.*s.salt", (int)len, disk) : 0;
    bool beside = !given && n > 0 && (size_t)n < sizeof path;
    if (given || beside) {
        bool read = ek_secret_load(given ? given : path, &secret, why, cap) == EK_OK;
        if (read) d->hash_seed = derive(&secret);
        ek_secret_wipe(&secret);
        if (given || read) return read;
        ek_warn(d->log, "the engine's disk will not be of use to the next door: %s", why);
    }
    if (books) d->hash_seed = derive(books);
    return true;
}
