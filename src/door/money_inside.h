/* SPDX-License-Identifier: MIT */
/* The inside of the door's money, shared by money*.c and nobody else.
 *
 * An account is here from its first request until it has been at rest a while. At most one job of it is at
 * the store at a time (`busy`): a lease, or giving everything back. Who needs money meanwhile waits for
 * that. */
#ifndef EK_DOOR_MONEY_INSIDE_H
#define EK_DOOR_MONEY_INSIDE_H

#include "door/door_state.h"
#include "door/money.h"
#include "ledger/shared.h"

#define EK_DOOR_MONEY_MAGIC 0x4d0e1a7bu
#define EK_DOOR_PURSE_MAGIC 0x70a35e11u
#define EK_DOOR_ROWS_MAX 2000u      /* of accounts or keys, read in one refresh */
#define EK_DOOR_REFRESH_NS EK_S_NS
#define EK_DOOR_TICK_NS (EK_S_NS / 4)
#define EK_DOOR_REST_NS (5 * EK_S_NS) /* so long after its last request an account keeps its lease */
#define EK_DOOR_LOOK_NS (EK_S_NS / 4) /* how old knowledge of an empty balance may be for a 402 */
#define EK_DOOR_LEASE_NEEDS 8         /* of the largest need, leased ahead; doubling under load ... */
#define EK_DOOR_LEASE_NEEDS_MAX 1024  /* ... up to this; */
#define EK_DOOR_LEASE_NEEDS_SHARED 64 /* where other doors may be waiting for the same money: this */
#define EK_DOOR_SURPLUS_NS (2 * EK_S_NS) /* ... and what lies free beyond twice the first goes back */
#define EK_DOOR_ACCOUNTS_MAX 16384u   /* in use at once; those at rest leave */

/* What is at the store for an account. */
struct money_job {
    struct ek_store_op op;
    struct money_account *of;
    bool first; /* its balance is wanted, too */
    int64_t want_nano;
    uint64_t fence;          /* to give back: */
    struct ek_money part;    /* so much; or, where the account is giving, all */
    struct ek_lease lease;
    struct ek_balance balance;
};

struct money_account {
    struct ek_link link;       /* of the room's accounts */
    struct ek_link dirty_link; /* of those that the post will serve */
    struct ek_door_money *room;
    uint64_t id;
    uint64_t fence;           /* of the lease; 0: none */
    struct ek_list waiting;   /* purses, the oldest first */
    struct ek_list held;
    struct money_job job;
    uint64_t looked_ns;       /* when the store last said what there is; 0: never */
    uint64_t failed_ns;       /* when it last could not */
    uint64_t surplus_ns;      /* when it last gave back a part */
    uint64_t rest_ns;         /* since when nobody has wanted anything; 0: somebody does */
    uint32_t purses;          /* of it, in whatever state */
    uint32_t settling;        /* settlements on their way */
    uint32_t needs;           /* leased ahead: EK_DOOR_LEASE_NEEDS ... */
    bool busy;                /* the job is under way */
    bool giving;              /* ... and it gives everything back; stays set until that is known */
    bool entered;             /* the book knows it */
    bool empty_handed;        /* the last lease brought nothing */
};

enum purse_state {
    PURSE_NEW,      /* of a place of before the restart: nothing reserved */
    PURSE_WAITING,
    PURSE_HELD,
    PURSE_SETTLING,
};

struct ek_door_purse {
    uint32_t magic;
    uint8_t state;
    bool pays;       /* false: its tier is not charged */
    bool late;       /* its lease was lost */
    bool thirsty;    /* a running stream that wants more */
    bool paused;     /* ... and its upstream rests until the lease has come */
    enum ek_reason ending;
    struct ek_link link;
    struct money_account *of;
    struct ek_door_request *r; /* NULL: gone, only its settlement is left */
    uint64_t account, key;
    uint64_t user;             /* hash of its end user; 0: none */
    struct ek_id name;         /* of the reserve, in the book */
    struct ek_desk_price price;
    int64_t need_nano, least_nano, overdraft_nano, held_nano;
    uint64_t prompt_tokens;    /* not cached; estimated, until an engine says it */
    uint64_t cached_tokens;
    uint64_t since_ns, until_ns; /* waiting for money, at most until */
    struct ek_arrival *arrival;  /* goes to the desk when there is money */
    struct ek_action *start;     /* starts when there is */
    struct money_settlement *settlement; /* SETTLING */
};

struct money_settlement {
    struct ek_settle_op op;
    struct ek_door_purse *purse;
};

struct money_rows {
    struct ek_store_op op;
    struct ek_door_money *room;
    uint64_t accounts_version, keys_version;
    struct ek_account_row *account;
    struct ek_key_row *key;
    size_t accounts, keys;
};

struct money_renewal {
    struct ek_store_op op;
    struct ek_door_money *room;
    uint64_t *account, *fence; /* count of each */
    bool *valid;
    size_t count;
};

struct money_counters {
    uint64_t leases, leases_empty, given, renewed, lost, late;
    uint64_t reserved, waited, extended, settled, partial, released;
    uint64_t ended;     /* answers that ended with the balance */
    uint64_t cut_away;  /* ... with what the door could spend while the database was away */
    uint64_t overtime;  /* refused after waiting for money */
    uint64_t undurable; /* settlements that neither database nor spool took: tried again */
    int64_t charged_nano, forgiven_nano;
};

struct ek_door_money {
    uint32_t magic;
    struct ek_door *door;
    struct ek_store *store;
    struct ek_book *book;
    struct ek_keyring *keyring;
    struct ek_shared *shared;  /* of the door's windows; NULL: they are its own */
    struct ek_secret secret;
    struct ek_map accounts;    /* struct money_account, by number */
    struct ek_list all;        /* the same */
    struct ek_list dirty;
    struct ek_list unsent;     /* settlements the store did not take: ops, by op.link */
    struct ek_post serve;
    struct ek_timer tick, refresh, renew;
    struct money_rows rows;
    struct money_renewal renewal;
    struct money_counters count;
    struct ek_histogram finish_s; /* how long the ends of answers were held */
    uint32_t waiting;             /* purses that wait */
    uint32_t calls;
    bool loaded;                  /* the keys are known */
    bool several;                 /* the database is one that other doors may use */
    bool refreshing, renewing, closing;
    bool again;                   /* refresh once more when this one has come */
    uint64_t refreshed;           /* times everything new was read, or could not be */
};


static inline struct ek_door_purse *ek_door_purse_of(const struct ek_door_request *r)
{
    MUST(r->paying);
    MUST_OBJ(r->purse, EK_DOOR_PURSE_MAGIC);
    return r->purse;
}

/* Tokens so far. */
static inline uint64_t ek_door_made_by(const struct ek_door_request *r)
{
    return r->running->thought_tokens + r->running->answer_tokens;
}

/* money_account.c */
struct money_account *ek_door_account_get(struct ek_door_money *m, uint64_t id); /* NULL: no memory */
/* Soon: serve those who wait for money of this account. */
void ek_door_account_serve(struct money_account *a);
void ek_door_accounts_serve(struct ek_post *post); /* that post */
/* Ask the store for money, unless a job is under way. False: it cannot be asked. */
bool ek_door_account_lease(struct money_account *a);
/* The lease is gone: what runs under it ends, what waits reserves anew. */
void ek_door_account_lose(struct money_account *a, uint64_t fence);
void ek_door_accounts_tick(struct ek_door_money *m); /* retries, and accounts at rest */
void ek_door_accounts_renew(struct ek_door_money *m);
void ek_door_accounts_close(struct ek_door_money *m); /* gives back what can be, as jobs */
void ek_door_accounts_free(struct ek_door_money *m);
void ek_door_account_rests(struct money_account *a);  /* or does it? */

/* money_request.c */
/* One that waits, once more. EK_DOOR_UNPAID: it goes on waiting. */
enum ek_door_paid ek_door_purse_try(struct ek_door_purse *p);
void ek_door_purse_go_on(struct ek_door_purse *p); /* it has money now */
void ek_door_purse_drink(struct ek_door_purse *p); /* a lease came: a running stream asks again */
void ek_door_purse_free(struct ek_door_purse *p);
void ek_door_purse_take_off(struct ek_door_purse *p); /* its account's list, if it is on one */

/* money_settle.c */
void ek_door_purse_resend(struct ek_door_money *m);
void ek_door_purse_abandon(struct ek_door_money *m); /* the store is closed: what it did not take is lost */

#endif
