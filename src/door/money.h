/* SPDX-License-Identifier: MIT */
/* The door's side of the ledger: what of a request's life is about money. For the files of this room only.
 *
 *      PRICED      ek_door_money_reserve    the book ───────────────┬▶ on to the desk
 *                                             ▲                     ├▶ waits for money (PRICED, off the desk)
 *                                             └── lease came, ──────┘   └▶ 402, 429, 503
 *                                                 another settled
 *      START       ek_door_money_start      places of before a restart reserve only here
 *      STREAMING   ek_door_money_spent      when the reserve comes to its end: extend, or the answer ends
 *      SETTLING    ek_door_money_settle     book, then store; ek_door_settled when it is durable
 *      any end     ek_door_money_let_go     what was delivered is charged, the rest is released
 *
 * A purse is what one request has of this. It is on one list of its account, which is its state:
 *
 *      (none) ──▶ waiting ──▶ held ──▶ (settling: its request may be gone by then) ──▶ freed
 *
 * Everything here runs on the loop. The store works on its own thread; what it has done comes back as a post
 * would, never inside a call. Whom a settlement or a lease frees is served by a post, too, so that no call
 * into this file ends another request than the one it was called for. */
#ifndef EK_DOOR_MONEY_H
#define EK_DOOR_MONEY_H

#include "guard/identity.h"
#include "http/parse.h"
#include "ledger/book.h"
#include "ledger/keyring.h"
#include "ledger/store.h"
#include "policy/desk.h"

struct ek_door;
struct ek_door_money; /* NULL where no ledger is configured */
struct ek_door_purse;
struct ek_door_request;
struct ek_http_req;

#define EK_DOOR_CALL_MAGIC 0x3ca11e47u
#define EK_DOOR_CALLS_MAX 256u /* answers from the store under way at once */
#define EK_DOOR_AMOUNT_BYTES 32u

/* ---- the room (money.c) ------------------------------------------------------------------------ */

/* Opens store, book and keyring; d->money stays NULL without a ledger. False, and a sentence, when
 * there is something that no waiting will mend. on_loop: as in struct ek_store_options. */
bool ek_door_money_open(struct ek_door *d, bool on_loop, char *why, size_t cap);
/* When every request is freed: settles what is on its way, gives leases back. */
void ek_door_money_close(struct ek_door *d);
/* Nobody waits for money any more: they are refused with `draining`. */
void ek_door_money_drain(struct ek_door *d);
/* Another process of this door pays from the same accounts: what is leased and not needed goes back soon. */
void ek_door_money_shares(struct ek_door *d);
void ek_door_money_metrics(struct ek_door *d, struct ek_buf *out);

struct ek_store *ek_door_money_store(const struct ek_door *d); /* these are NULL without a ledger */
struct ek_book *ek_door_money_book(const struct ek_door *d);
struct ek_keyring *ek_door_money_keyring(const struct ek_door *d);
bool ek_door_money_loaded(const struct ek_door *d); /* the keys are known */
const struct ek_secret *ek_door_money_secret(const struct ek_door *d);
/* Accounts or keys were changed: ask for them now, not at the next second. When ek_door_office_known is told
 * this number or a higher one they are known here; 0: there is nothing to wait for. */
uint64_t ek_door_money_refresh(struct ek_door *d);

/* ---- one request (money_request.c) -------------------------------------------------------------- */

enum ek_door_paid {
    EK_DOOR_PAID,   /* go on; also where there is nothing to pay */
    EK_DOOR_UNPAID, /* it waits for money, and goes on later by itself */
    EK_DOOR_BROKE,  /* it was refused */
};

/* PRICED. account 0: nothing to pay. *a is copied where it has to wait. */
enum ek_door_paid ek_door_money_reserve(struct ek_door_request *r, uint64_t account, uint64_t key,
                                        const struct ek_arrival *a);
/* The same for a place of before a restart, which reserves when it starts. */
void ek_door_money_restored(struct ek_door_request *r, uint64_t account, uint64_t key,
                            const struct ek_arrival *a);
/* WAITING, about to start. EK_DOOR_UNPAID: r->starting is set, and it starts later. */
enum ek_door_paid ek_door_money_start(struct ek_door_request *r, const struct ek_action *start);
/* So many tokens may be made before ek_door_money_spent is to be called; UINT64_MAX: never. */
uint64_t ek_door_money_tokens(const struct ek_door_request *r);
/* So many tokens its prompt has in fact. The same answer. */
uint64_t ek_door_money_prompt(struct ek_door_request *r, uint64_t prompt_tokens, uint64_t cached_tokens);
/* They were made. NONE: it goes on, perhaps with the upstream paused until a lease comes. Else the answer
 * ends here: the money did (balance_end, budget_day, budget_month), or what may be spent without the books,
 * which cannot be asked (ledger_away). */
enum ek_reason ek_door_money_spent(struct ek_door_request *r, uint64_t made_tokens);
/* When one waiting for money is to be refused at the latest (monotonic); UINT64_MAX: never, or it has some.
 * */
uint64_t ek_door_money_due_ns(const struct ek_door_request *r);
void ek_door_money_late(struct ek_door_request *r); /* that time has come */

/* What a request has used, and what that costs. */
struct ek_door_bill {
    uint64_t prompt_tokens, cached_tokens, thought_tokens, output_tokens;
    int64_t cost_nano;
};

/* The answer is whole. True: ek_door_settled(r) is called when that is durable. False: nothing to wait for.
 * */
bool ek_door_money_settle(struct ek_door_request *r, const struct ek_door_bill *bill, enum ek_reason ending);
/* It ends otherwise, `ending` says how; before ek_door_money_let_go. */
void ek_door_money_ending(struct ek_door_request *r, enum ek_reason ending);
void ek_door_money_let_go(struct ek_door_request *r);                             /* part of ek_door_let_go */
void ek_door_money_pass(struct ek_door_request *old, struct ek_door_request *r); /* of ek_door_take_place */
/* The price decided at its arrival; NULL: it pays nothing. */
const struct ek_desk_price *ek_door_money_price(const struct ek_door_request *r);
bool ek_door_money_pays(const struct ek_door_request *r); /* its tier is charged, and it has an account */
/* Numbers of the ledger, 0: none. */
uint64_t ek_door_money_account(const struct ek_door_request *r);
uint64_t ek_door_money_key(const struct ek_door_request *r);

/* "12.5" of nano-units. Returns out. */
const char *ek_door_amount(int64_t nano, char out[EK_DOOR_AMOUNT_BYTES]);

/* ---- one answer from the store (money_ask.c) ----------------------------------------------------- */

/* A request that needs no desk but the database: `run` works on the writer's thread and touches only the
 * call; `reply` answers on the loop, unless the client has left. Embed it first in a struct of your own, from
 * calloc; it is freed here. */
struct ek_door_call {
    uint32_t magic; /* where struct ek_door_request has its own: both are users of a struct ek_http_req */
    struct ek_store_op op;
    struct ek_door *door;
    struct ek_http_req *http; /* NULL: the client has left */
    void (*reply)(struct ek_door_call *call); /* op.status is set, EK_OK or another */
};

/* Refuses by itself (ledger_away, no_memory) where the store cannot be asked; call is freed then, too. */
void ek_door_call_store(struct ek_door *d, struct ek_http_req *http, struct ek_door_call *call,
                        ek_store_run_fn *run, void (*reply)(struct ek_door_call *call));
void ek_door_call_gone(struct ek_door_call *call); /* its client left */
/* GET /user/balance */
void ek_door_reply_balance(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who);

#endif
