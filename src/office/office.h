/* SPDX-License-Identifier: MIT */
/* The office: the loop's side of what people do about accounts and money. It owns the admin listener, and
 * on the door's own listeners the redeeming of codes and the web hooks that pay:
 *
 *      admin listener     /admin/v1/...           bearer: the admin key         ┐
 *      door's listeners   POST /v1/redeem         a code; a key, or a new name  ├▶ call ▶ lane ▶ ek_admin_do
 *                         POST /hooks/topup       signed by our secret          │
 *                         POST /hooks/stripe      signed as Stripe does         ┘
 *
 * Nothing here waits for a database on the loop. A lane is a connection and a list: one call at a time on a
 * helper thread, the others wait in order. There are two, so that an audit or an export holds up nobody who
 * pays. Both are apart from the store's writer, for whom settlements are waiting.
 *
 * A call's states:  READING ──body──▶ QUEUED ──▶ RUNNING ──▶ (HELD) ──▶ answered
 * HELD: a refused code is answered at a fixed beat after it came, so that the clock says nothing about
 * why. */
#ifndef EK_OFFICE_OFFICE_H
#define EK_OFFICE_OFFICE_H

#include "base/log.h"
#include "base/loop.h"
#include "base/reason.h"
#include "http/server.h"
#include "ledger/people.h"

#define EK_OFFICE_CALL_MAGIC 0x0ff1cecau
#define EK_OFFICE_CALLS_MAX 64u         /* under way at once, of either kind; beyond: admin_busy */
#define EK_OFFICE_TRIES_MAX 10u         /* codes tried a minute from one address (a /24, a /56) ... */
#define EK_OFFICE_ALL_TRIES_MAX 600u    /* ... and from all */
#define EK_OFFICE_BEAT_NS (250 * EK_MS_NS)

struct ek_office;

struct ek_office_options {
    struct ek_loop *loop;
    struct ek_log *log;
    const char *ledger_url;
    const struct ek_secret *secret; /* of keys and codes; copied */
    const char *currency;
    const char *listen;             /* NULL: no admin listener */
    const char *key_path;           /* file of the admin key; made where there is none */
    bool remote;                    /* peers other than this machine are let in */
    bool codes;                     /* POST /v1/redeem */
    const char *topup_secrets, *stripe_secrets; /* files; NULL: no such hook */
    uint64_t tolerance_ns;
    const struct ek_http_options *limits;
    struct ek_http_budget *budget;
    uint64_t *reasons;              /* [EK_REASON_COUNT], counted up */
    /* Accounts or keys have changed: feed the keyring. The answer is sent when ek_office_known is told the
     * number that this returns, or a higher one; 0: at once. NULL: nobody wants to know. */
    uint64_t (*changed)(void *arg);
    /* Writes the names of the configuration's tiers, a newline behind each. NULL: they are not known. */
    void (*tiers)(void *arg, struct ek_buf *out);
    /* Writes what the door has in memory of an account, as members of an object, each behind a comma. */
    void (*live)(void *arg, uint64_t account, const struct ek_account_limits *limits, struct ek_buf *out);
    void (*upstreams)(void *arg, struct ek_buf *out); /* the same; NULL: nothing is known of them */
    /* Adds header fields of every public answer (CORS). Returns n + added. NULL: none. */
    size_t (*headers)(void *arg, struct ek_http_header *out, size_t n);
    void *arg;
    bool listens_later; /* the owner says when: another process listens there now */
};

/* NULL and a sentence in why: an address that cannot be had, a key or secret that cannot be read. */
struct ek_office *ek_office_new(const struct ek_office_options *o, char *why, size_t cap);
/* The admin listener serves until then, also while the door drains. Connections are cut; what runs on a
 * helper ends by itself and is forgotten. */
void ek_office_free(struct ek_office **o);
/* A key that is shown works: answers wait until what they say is in the door's index. */
void ek_office_known(struct ek_office *o, uint64_t number);
struct ek_http_server *ek_office_server(const struct ek_office *o); /* of the admin listener there is */
bool ek_office_address(const struct ek_office *o, char *out, size_t cap); /* false: no listener */

enum ek_office_public { EK_OFFICE_NONE, EK_OFFICE_REDEEM, EK_OFFICE_TOPUP, EK_OFFICE_STRIPE };

/* Which of the public paths is this, and is it open here? */
enum ek_office_public ek_office_find(const struct ek_office *o, struct ek_str path);
/* A POST for one of them, from the door's listener; afterwards the request's user is a call of ours.
 * peer: the caller's address. account: whose key was shown with a code; "": none, an invitation. */
void ek_office_head(struct ek_office *o, enum ek_office_public what, struct ek_http_req *http,
                    const struct ek_http_head *head, struct ek_str peer, const char *account);
/* The rest of its life, forwarded by the door's handler. user: ek_http_user(). */
bool ek_office_is_call(const void *user);
void ek_office_body(void *user, const char *data, size_t len);
void ek_office_end(void *user);
void ek_office_gone(void *user);

struct ek_office_counters {
    uint64_t calls, refused, replayed, paid, redeemed; /* paid: by web hook */
    uint32_t under_way;
};
void ek_office_counters(const struct ek_office *o, struct ek_office_counters *out);

#endif
