/* SPDX-License-Identifier: MIT */
/* What the door itself is told: sections `waiting`, `streams`, `access`, `anonymous`, `keys`,
 * `oidc` and `drain`. Plain data, filled by
 * config (defaults, ranges, texts: config/table.c). Durations are nanoseconds. */
#ifndef EK_DOOR_OPTIONS_H
#define EK_DOOR_OPTIONS_H

#include "base/strlist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a waiting request hears (DESIGN: WAITING). */
struct ek_waiting_options {
    uint64_t comment_ns;     /* longest silence on a waiting stream */
    uint64_t comment_min_ns; /* no two comments closer than this ... */
    double change;           /* ... and only when position or estimate moved by this ratio */
    uint64_t hold_ns;        /* non-stream: the status stays open this long, then 200 ... */
    uint64_t newline_ns;     /* ... and a newline this often until the answer */
    uint64_t gather_ns;      /* after a restart nothing starts so long while holders of places are away */
};

/* Streams that can be read again. */
struct ek_streams_options {
    uint64_t window_bytes;  /* of one stream's events, as they are kept; 0: none are */
    uint64_t memory_bytes;  /* of all of them */
    uint64_t disk_bytes;    /* of all of them in the journal's directory; 0: none outlives the process */
    uint64_t retention_ns;  /* so long after its end one is kept */
};

struct ek_access_options {
    bool open_on_loopback; /* no key needed from 127.0.0.0/8, ::1 and Unix sockets */
    bool open_to_all;      /* no key needed from anywhere */
    const char *open_tier; /* tier of a caller without a key; never NULL */
    struct ek_strlist trusted_proxies; /* networks, or "unix": door/proxy.h */
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

/* The office: admin API, codes, web hooks. Nothing of it without a ledger. */
struct ek_admin_section {
    const char *listen;      /* NULL: no admin API */
    const char *key;         /* file; NULL: beside a SQLite ledger */
    bool remote;             /* others than this machine may connect */
    bool codes;              /* POST /v1/redeem */
    const char *topup_hook;  /* files of secrets; NULL: no such hook */
    const char *stripe_hook;
    uint64_t hook_tolerance_ns;
};

struct ek_drain_options {
    uint64_t deadline_ns; /* after SIGTERM running requests may go on this long */
};

#endif
