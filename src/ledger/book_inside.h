/* SPDX-License-Identifier: MIT */
/* What book.c (accounts, money in and out, checks) and book_hold.c (requests) share: the records, and the one
 * function that moves money. Nobody else includes this.
 *
 * Two hash tables with chains through the records themselves, so that adding and taking never allocate:
 *
 *      account_bucket[h] ─▶ account ─▶ account ─▶ NULL        (number)
 *      hold_bucket[h] ────▶ hold ────▶ NULL                   (128-bit name)
 *
 * A hold is on exactly one list, and that is its state:
 *
 *      spare ──reserve──▶ account.holds ──settle──▶ done (oldest first) ──forgotten──▶ spare
 */
#ifndef EK_LEDGER_BOOK_INSIDE_H
#define EK_LEDGER_BOOK_INSIDE_H

#include "base/list.h"
#include "ledger/book.h"

#define EK_BOOK_MAGIC 0xb00c6a17u

struct ek_book_account {
    uint64_t number;
    struct ek_book_account *next; /* in its bucket, or among the spare ones */
    struct ek_book_state now;
    struct ek_book_limits limits;
    int64_t overdraft_nano; /* the largest any request ever brought: the floor */
    uint32_t day, month;    /* of spent_day_nano, spent_month_nano */
    struct ek_list holds;
};

struct ek_book_hold {
    struct ek_id name;
    struct ek_book_hold *next; /* in its bucket */
    struct ek_link link;
    uint64_t account;
    uint64_t fence;
    struct ek_money held; /* of a late one: what it may still settle, though it left the book */
    struct ek_money charged;
    int64_t forgiven_nano;
    int64_t overdraft_nano;
    bool done, late, payment, refunded;
};

struct ek_book {
    uint32_t magic;
    struct ek_book_options o;
    struct ek_book_account *accounts; /* accounts_max of them */
    struct ek_book_account *spare_account;
    struct ek_book_account **account_bucket;
    struct ek_book_hold *holds; /* holds_max + done_max of them */
    struct ek_book_hold **hold_bucket;
    struct ek_list spare;
    struct ek_list done;
    uint32_t account_mask, hold_mask; /* buckets - 1 */
    struct ek_book_totals total;
};

struct ek_book_account *ek_book_find(const struct ek_book *b, uint64_t number);
struct ek_book_hold *ek_book_find_hold(const struct ek_book *b, struct ek_id name);

/* A record for `name`, on no list yet: a spare one, else the oldest that is done. NULL: none (never so
 * while fewer than holds_max requests are reserved). */
struct ek_book_hold *ek_book_take_hold(struct ek_book *b, struct ek_id name);

/* The only mover of money. */
void ek_book_move(struct ek_book *b, struct ek_book_account *a, enum ek_entry_kind kind,
                  enum ek_pocket from, enum ek_pocket to, struct ek_money amount,
                  const struct ek_book_hold *h);

/* The invariants of one account and of all, after a step: O(1). */
void ek_book_after(const struct ek_book *b, const struct ek_book_account *a);

/* Begin a new day or month of the account where `now` is in one. A clock set back begins nothing. */
void ek_book_roll(struct ek_book_account *a, struct ek_now now);

#endif
