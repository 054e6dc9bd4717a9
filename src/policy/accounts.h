/* SPDX-License-Identifier: MIT */
/* How many requests each account has waiting and running: a fixed table by account hash, made once,
 * holding only accounts that have at least one request. Open addressing, linear probing, deletion by
 * shifting back, so it stays fast for ever. Pure; owns its array. */
#ifndef EK_POLICY_ACCOUNTS_H
#define EK_POLICY_ACCOUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct ek_account_load {
    uint64_t account;
    uint32_t waiting;
    uint32_t running; /* waiting + running == 0: the cell is empty */
};

struct ek_accounts {
    struct ek_account_load *cell;
    uint32_t mask; /* cells - 1, a power of two minus one */
    uint32_t used;
};

/* Room for `requests_max` accounts at once. false: no memory. */
bool ek_accounts_init(struct ek_accounts *a, uint32_t requests_max);
void ek_accounts_free(struct ek_accounts *a);
/* The counts of one account; zeros when it has none. */
struct ek_account_load ek_accounts_get(const struct ek_accounts *a, uint64_t account);
/* Add the (signed) differences; a count may not fall below zero. */
void ek_accounts_add(struct ek_accounts *a, uint64_t account, int waiting, int running);

#endif
