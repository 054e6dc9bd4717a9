/* SPDX-License-Identifier: MIT */
/* What the files of the office share. Nobody else includes this. */
#ifndef EK_OFFICE_OFFICE_INSIDE_H
#define EK_OFFICE_OFFICE_INSIDE_H

#include "office/admin.h"
#include "office/hook.h"
#include "office/office.h"

#include "base/list.h"

#define EK_OFFICE_MAGIC 0x0ff1ce00u
#define EK_OFFICE_TARGET_BYTES 1024u
#define EK_OFFICE_TIERS_BYTES 65536u /* of all names; beyond that they are not known */
#define EK_OFFICE_SLOTS 4096u /* of counted tries; addresses that share one share its tries */

enum ek_office_state { EK_OFFICE_READING, EK_OFFICE_QUEUED, EK_OFFICE_RUNNING, EK_OFFICE_LEARNT,
                       EK_OFFICE_HELD };
enum ek_office_lane_of { EK_OFFICE_LANE_ADMIN, EK_OFFICE_LANE_PUBLIC, EK_OFFICE_LANES };

/* Secrets in memory that is locked, guarded and in no core (sodium_malloc). */
struct ek_office_secrets {
    struct ek_secret keys;  /* of the ledger */
    struct ek_secret admin; /* the hash of the admin key */
    struct ek_hook_secrets topup, stripe;
};

struct ek_office_call {
    uint32_t magic; /* where struct ek_door_request has its own */
    enum ek_office_state state;
    struct ek_link link; /* on the office's calls */
    struct ek_link wait; /* on the lane's list while QUEUED */
    struct ek_office *office; /* NULL: it is gone, while this runs */
    struct ek_http_req *http; /* NULL: the client has left */
    enum ek_office_public what; /* NONE: the admin API */
    struct ek_timer hold;
    uint64_t arrived_ns;
    uint64_t known_at;        /* LEARNT: waits for ek_office_known of this */
    struct ek_now now;        /* when it began to run */
    size_t body_max;
    struct ek_buf body;
    char method[12];
    char target[EK_OFFICE_TARGET_BYTES]; /* path and query */
    size_t path_len;
    char name[256];           /* Idempotency-Key; of a hook, its signature is in `signature` */
    char signature[EK_HOOK_HEADER_BYTES_MAX + 1];
    char account[EK_LEDGER_NAME_MAX + 1];
    char who[EK_ADMIN_WHO_BYTES];
    struct ek_buf tiers;      /* of the configuration when it began to run */
    struct ek_admin_answer answer;
};

/* One connection to the database. Of the helper thread while `busy`. */
struct ek_office_lane {
    struct ek_office *office;       /* NULL: it is gone: the lane frees itself when its call is done */
    struct ek_ledger *ledger;       /* NULL: not connected */
    struct ek_office_call *running;
    struct ek_office_secrets *secrets;
    uint32_t *users;                /* of the secrets: they go with the last lane */
    char *url;
    char currency[8];
    uint64_t tolerance_ns;
    struct ek_list queue;
};

struct ek_office {
    uint32_t magic;
    struct ek_office_options o;
    char currency[8];
    struct ek_office_secrets *secrets;
    struct ek_http_server *server;
    struct ek_office_lane *lane[EK_OFFICE_LANES];
    struct ek_list calls;
    uint32_t under_way[EK_OFFICE_LANES]; /* of them: the public's cannot keep an administrator out */
    struct ek_office_counters counters;
    uint64_t seed;
    uint64_t tries_minute;            /* the minute that is counted, since 1970 */
    uint32_t tries_all;
    uint8_t tries[EK_OFFICE_SLOTS];
};

/* office.c */
struct ek_office_call *ek_office_call_new(struct ek_office *o, struct ek_http_req *http,
                                          const struct ek_http_head *head, enum ek_office_public what);
/* An answer without a call. */
void ek_office_refuse(struct ek_office *o, struct ek_http_req *http, enum ek_reason reason, bool public,
                      uint64_t retry_after_s);

/* office_public.c: what a public call asks of the books, on the helper thread. */
void ek_office_run_public(struct ek_office_call *c, const struct ek_office_secrets *secrets,
                          const struct ek_admin_books *books, uint64_t tolerance_ns);

#endif
