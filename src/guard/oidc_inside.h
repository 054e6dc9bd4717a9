/* SPDX-License-Identifier: MIT */
/* What oidc.c (tokens) and oidc_fetch.c (keys) share. */
#ifndef EK_GUARD_OIDC_INSIDE_H
#define EK_GUARD_OIDC_INSIDE_H

#include "base/buf.h"
#include "guard/oidc.h"
#include "guard/jwt.h"

#define EK_OIDC_MAGIC 0x0d1c7a93u
#define EK_OIDC_URL_BYTES_MAX 512u

enum ek_oidc_stage { EK_OIDC_RESTING, EK_OIDC_CONFIGURATION, EK_OIDC_KEYS };

struct ek_oidc_issuer {
    struct ek_oidc *oidc;
    const struct ek_oidc_options *o;
    struct ek_jwt_rules rules;
    struct ek_jwks *keys;      /* NULL: none yet */
    uint64_t generation;       /* of the keys: what was found good under others is looked at anew */
    uint64_t fetched_ns;       /* when the keys came */
    uint64_t tried_ns;         /* when the last fetch began; 0: never */
    uint32_t failures;         /* in a row */
    enum ek_oidc_stage stage;
    struct ek_exchange *x;
    struct ek_buf body;
    int status;
    struct ek_timer timer;
};

/* A token found good. */
struct ek_oidc_good {
    uint8_t hash[32]; /* keyed: the token itself is not kept */
    uint64_t generation, expires_unix_s, used;
    uint32_t issuer;
    int32_t tier_value;
    char account[EK_JWT_CLAIM_BYTES_MAX + 1];
};

struct ek_oidc {
    uint32_t magic;
    uint32_t issuers;
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_log *log;
    struct ek_config *config;
    struct ek_oidc_issuer issuer[EK_OIDC_ISSUERS_MAX];
    struct ek_oidc_good *good; /* EK_OIDC_REMEMBERED_MAX */
    uint8_t hash_key[32];
    uint64_t uses, second, checks; /* signatures checked in that second */
    struct ek_oidc_counters counters;
    char account[EK_JWT_CLAIM_BYTES_MAX + 80];
};

/* Begin to fetch, unless it is under way. */
void ek_oidc_fetch(struct ek_oidc_issuer *i);
void ek_oidc_fetch_begin(struct ek_oidc_issuer *i); /* of life */
void ek_oidc_fetch_end(struct ek_oidc_issuer *i);

/* "https://host/a/b?c" into "https://host/a" (a target) and "/b?c". False: it is no such address. */
bool ek_oidc_split(struct ek_str url, struct ek_exchange_target *target, char path[EK_OIDC_URL_BYTES_MAX]);

#endif
