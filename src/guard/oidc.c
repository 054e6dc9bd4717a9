/* SPDX-License-Identifier: MIT */
/* Tokens: whose, whether, and the memory of those found good. */
#include "guard/oidc_inside.h"

#include "base/must.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define WAYS 4u /* places where one token may be remembered */

_Static_assert(EK_OIDC_REMEMBERED_MAX % WAYS == 0, "whole sets");

struct ek_oidc *ek_oidc_new(struct ek_loop *loop, struct ek_exchange_client *client, struct ek_log *log,
                            struct ek_config *config)
{
    struct ek_oidc *o = calloc(1, sizeof *o);
    MUST(o);
    MUST(config->oidc.count > 0 && config->oidc.count <= EK_OIDC_ISSUERS_MAX);
    o->good = calloc(EK_OIDC_REMEMBERED_MAX, sizeof *o->good);
    MUST(o->good); /* at the start */
    o->magic = EK_OIDC_MAGIC;
    o->loop = loop;
    o->client = client;
    o->log = log;
    o->config = ek_config_ref(config);
    o->issuers = (uint32_t)config->oidc.count;
    ek_loop_random(loop, o->hash_key, sizeof o->hash_key);
    for (uint32_t n = 0; n < o->issuers; n++) {
        struct ek_oidc_issuer *i = &o->issuer[n];
        const struct ek_oidc_options *p = &config->oidc.item[n];
        *i = (struct ek_oidc_issuer){
            .oidc = o, .o = p,
            .rules = {.issuer = p->issuer, .audiences = p->audiences, .account_claim = p->account_claim,
                      .tier_claim = p->tier_claim, .tier_values = p->tier_values,
                      .leeway_s = p->leeway_ns / EK_S_NS},
        };
        ek_oidc_fetch_begin(i);
    }
    return o;
}

void ek_oidc_free(struct ek_oidc **oo)
{
    struct ek_oidc *o = *oo;
    *oo = NULL;
    if (!o) return;
    MUST_OBJ(o, EK_OIDC_MAGIC);
    for (uint32_t n = 0; n < o->issuers; n++) ek_oidc_fetch_end(&o->issuer[n]);
    ek_config_unref(&o->config);
    sodium_memzero(o->hash_key, sizeof o->hash_key);
    free(o->good);
    o->magic = 0;
    free(o);
}

void ek_oidc_counters(const struct ek_oidc *o, struct ek_oidc_counters *out)
{
    MUST_OBJ(o, EK_OIDC_MAGIC);
    *out = o->counters;
    out->issuers = o->issuers;
    for (uint32_t n = 0; n < o->issuers; n++) out->ready += o->issuer[n].keys != NULL;
}

/* ---- the memory -------------------------------------------------------------------------------------- */

static struct ek_oidc_good *set_of(struct ek_oidc *o, const uint8_t hash[32])
{
    uint32_t n;
    memcpy(&n, hash, sizeof n);
    return &o->good[n % (EK_OIDC_REMEMBERED_MAX / WAYS) * WAYS];
}

static const struct ek_oidc_good *recall(struct ek_oidc *o, const uint8_t hash[32], uint64_t now_s)
{
    struct ek_oidc_good *set = set_of(o, hash);
    for (uint32_t w = 0; w < WAYS; w++) {
        struct ek_oidc_good *g = &set[w];
        if (!g->used || sodium_memcmp(g->hash, hash, sizeof g->hash) != 0) continue;
        const struct ek_oidc_issuer *i = &o->issuer[g->issuer];
        if (g->expires_unix_s <= now_s || g->generation != i->generation || !i->keys) continue;
        g->used = ++o->uses;
        return g;
    }
    return NULL;
}

static void remember(struct ek_oidc *o, const uint8_t hash[32], const struct ek_oidc_issuer *i,
                     const struct ek_jwt_claims *c)
{
    struct ek_oidc_good *set = set_of(o, hash), *oldest = set;
    for (uint32_t w = 0; w < WAYS; w++) {
        if (set[w].used < oldest->used) oldest = &set[w];
        if (!set[w].used || memcmp(set[w].hash, hash, sizeof set[w].hash) != 0) continue;
        oldest = &set[w];
        break;
    }
    memcpy(oldest->hash, hash, sizeof oldest->hash);
    oldest->generation = i->generation;
    oldest->expires_unix_s = c->expires_unix_s;
    oldest->used = ++o->uses;
    oldest->issuer = (uint32_t)(i - o->issuer);
    oldest->tier_value = c->tier_value;
    memcpy(oldest->account, c->account, sizeof oldest->account);
}

/* ---- answers ----------------------------------------------------------------------------------------- */

static struct ek_oidc_answer refuse(struct ek_oidc *o, enum ek_jwt_fault f)
{
    o->counters.refused++;
    return (struct ek_oidc_answer){.reason = EK_REASON_TOKEN_INVALID, .why = ek_jwt_fault_text(f)};
}

static struct ek_oidc_answer accept(struct ek_oidc *o, const struct ek_oidc_issuer *i, const char *account,
                                    int32_t tier_value)
{
    const struct ek_oidc_options *p = i->o;
    int n = snprintf(o->account, sizeof o->account, "%s%s", p->account_prefix, account);
    MUST(n > 0 && (size_t)n < sizeof o->account);
    MUST(tier_value < (int32_t)p->tier_names.count);
    o->counters.good++;
    return (struct ek_oidc_answer){.reason = EK_REASON_NONE, .account = o->account, .strangers = p->strangers,
                                   .tier = tier_value >= 0 ? p->tier_names.item[tier_value] : p->tier};
}

static struct ek_oidc_issuer *issuer_of(struct ek_oidc *o, struct ek_str token)
{
    char name[EK_JWT_CLAIM_BYTES_MAX + 1];
    if (!ek_jwt_issuer(token, name)) return NULL;
    for (uint32_t n = 0; n < o->issuers; n++)
        if (strcmp(o->issuer[n].o->issuer, name) == 0) return &o->issuer[n];
    return NULL;
}

/* One more signature in this second? */
static bool may_check(struct ek_oidc *o, struct ek_now now)
{
    uint64_t second = now.mono_ns / EK_S_NS;
    if (second != o->second) o->checks = 0;
    o->second = second;
    if (o->checks >= EK_OIDC_CHECKS_PER_S) return false;
    o->checks++;
    return true;
}

struct ek_oidc_answer ek_oidc_check(struct ek_oidc *o, struct ek_str token, struct ek_now now)
{
    uint8_t hash[32];
    struct ek_jwt_claims c;
    uint64_t now_s = now.unix_ns / EK_S_NS;
    MUST_OBJ(o, EK_OIDC_MAGIC);
    if (token.len > EK_JWT_BYTES_MAX) return refuse(o, EK_JWT_LENGTH);
    crypto_generichash(hash, sizeof hash, (const unsigned char *)token.data, token.len, o->hash_key,
                       sizeof o->hash_key);
    const struct ek_oidc_good *g = recall(o, hash, now_s);
    if (g) {
        o->counters.remembered++;
        return accept(o, &o->issuer[g->issuer], g->account, g->tier_value);
    }
    struct ek_oidc_issuer *i = issuer_of(o, token);
    if (!i) return refuse(o, EK_JWT_ISSUER);
    if (i->keys && ek_ns_since(now.mono_ns, i->fetched_ns) > EK_OIDC_STALE_NS) ek_jwks_free(&i->keys);
    if (!i->keys) {
        ek_oidc_fetch(i);
        return (struct ek_oidc_answer){.reason = EK_REASON_TOKEN_KEYS};
    }
    if (!may_check(o, now)) {
        o->counters.checks_full++;
        return (struct ek_oidc_answer){.reason = EK_REASON_TOKEN_BUSY};
    }
    enum ek_jwt_fault f = ek_jwt_check(token, i->keys, &i->rules, now_s, &c);
    if (f == EK_JWT_KEY && ek_ns_since(now.mono_ns, i->tried_ns) > EK_OIDC_COOLDOWN_NS) ek_oidc_fetch(i);
    if (f == EK_JWT_KEY && i->stage != EK_OIDC_RESTING) /* perhaps it is the new one */
        return (struct ek_oidc_answer){.reason = EK_REASON_TOKEN_KEYS};
    if (f != EK_JWT_NONE) return refuse(o, f);
    remember(o, hash, i, &c);
    return accept(o, i, c.account, c.tier_value);
}
