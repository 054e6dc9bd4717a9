/* SPDX-License-Identifier: MIT */
/* The table of account loads. The hash of an account is already random (keyed, from the door), so the
 * low bits choose the cell. */
#include "policy/accounts.h"

#include "base/must.h"

#include <stdlib.h>

static bool empty(const struct ek_account_load *c)
{
    return c->waiting == 0 && c->running == 0;
}

bool ek_accounts_init(struct ek_accounts *a, uint32_t requests_max)
{
    MUST(requests_max > 0 && requests_max < 1u << 20);
    uint32_t cells = 16;
    while (cells < requests_max * 2) cells *= 2;
    *a = (struct ek_accounts){.mask = cells - 1};
    a->cell = calloc(cells, sizeof *a->cell);
    return a->cell != NULL;
}

void ek_accounts_free(struct ek_accounts *a)
{
    free(a->cell);
    *a = (struct ek_accounts){0};
}

/* The cell of the account, or the empty one where it would go. */
static uint32_t find(const struct ek_accounts *a, uint64_t account)
{
    MUST(a->used <= a->mask);
    uint32_t i = (uint32_t)account & a->mask;
    while (!empty(&a->cell[i]) && a->cell[i].account != account) i = (i + 1) & a->mask;
    return i;
}

struct ek_account_load ek_accounts_get(const struct ek_accounts *a, uint64_t account)
{
    struct ek_account_load c = a->cell[find(a, account)];
    c.account = account;
    return c;
}

/* Close the gap at `hole`: move back every follower that would no longer be found. */
static void shift_back(struct ek_accounts *a, uint32_t hole)
{
    MUST(empty(&a->cell[hole]));
    for (uint32_t i = (hole + 1) & a->mask; !empty(&a->cell[i]); i = (i + 1) & a->mask) {
        uint32_t home = (uint32_t)a->cell[i].account & a->mask;
        if (((i - home) & a->mask) < ((i - hole) & a->mask)) continue;
        a->cell[hole] = a->cell[i];
        a->cell[i] = (struct ek_account_load){0};
        hole = i;
    }
}

void ek_accounts_add(struct ek_accounts *a, uint64_t account, int waiting, int running)
{
    uint32_t i = find(a, account);
    struct ek_account_load *c = &a->cell[i];
    if (empty(c)) a->used++;
    int64_t new_waiting = (int64_t)c->waiting + waiting;
    int64_t new_running = (int64_t)c->running + running;
    MUST(new_waiting >= 0);
    MUST(new_running >= 0);
    c->account = account;
    c->waiting = (uint32_t)new_waiting;
    c->running = (uint32_t)new_running;
    if (!empty(c)) return;
    a->used--;
    shift_back(a, i);
}
