/* SPDX-License-Identifier: MIT */
/* Who may come in, as the configuration says: sections `access`, `anonymous`, `keys` and `oidc`. Plain data,
 * filled by config (defaults, ranges, texts: config/table.c). Durations are nanoseconds. */
#ifndef EK_GUARD_OPTIONS_H
#define EK_GUARD_OPTIONS_H

#include "base/strlist.h"

#include <stdbool.h>
#include <stdint.h>

struct ek_access_options {
    bool open_on_loopback; /* no key needed from 127.0.0.0/8, ::1 and Unix sockets */
    bool open_to_all;      /* no key needed from anywhere */
    const char *open_tier; /* tier of a caller without a key; never NULL */
    struct ek_strlist trusted_proxies; /* networks, or "unix": guard/proxy.h */
    const char *cors_origin; /* Access-Control-Allow-Origin of every answer; NULL: none */
};

/* A key of the static list. The secret itself is not kept: only its SHA-256. */
struct ek_key_options {
    uint8_t hash[32];    /* SHA-256 of the key's bytes */
    const char *name;    /* shown in logs; never NULL, unique */
    const char *account; /* who pays; never NULL: the key's name when not given */
    const char *tier;    /* never NULL; exists in the tier list */
    bool proven;         /* false: shares one budget with all unproven accounts of its address */
    const char *user;    /* fixed user of this key, or NULL: the caller's user_id counts */
};

struct ek_key_list {
    const struct ek_key_options *item;
    size_t count;
};

/* An identity provider whose tokens are accepted beside keys. */
struct ek_oidc_options {
    const char *issuer;            /* as its tokens say; https, or http on loopback */
    struct ek_strlist audiences;   /* at least one */
    const char *keys;              /* where its keys are; NULL: as its configuration says */
    const char *account_claim;     /* never NULL */
    const char *account_prefix;    /* before it, so that it is nobody else's name; never NULL */
    const char *tier;              /* never NULL; exists */
    const char *tier_claim;        /* NULL: all are of that tier */
    struct ek_strlist tiers;       /* "VALUE=TIER" */
    struct ek_strlist tier_values; /* the two halves, made by config */
    struct ek_strlist tier_names;
    bool strangers;                /* with a ledger: those without an account there are served, too */
    uint64_t refresh_ns, leeway_ns;
};

struct ek_oidc_list {
    const struct ek_oidc_options *item;
    size_t count;
};

/* Callers without a key, by where they come from. The first entry with their address counts. */
struct ek_anonymous_options {
    struct ek_strlist addresses; /* networks; at least one */
    const char *tier;            /* never NULL; exists */
};

struct ek_anonymous_list {
    const struct ek_anonymous_options *item;
    size_t count;
};

#endif
