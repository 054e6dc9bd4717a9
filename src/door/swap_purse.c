/* SPDX-License-Identifier: MIT */
/* The page and its lock. What is read there was written by another process, perhaps of another version,
 * perhaps killed in the middle: amounts below zero are none, sums stop at the largest. */
#include "door/swap_purse.h"

#include "door/door_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MAGIC 0x3165737275706b65u /* "ekpurse1" */
#define NAME_SEED 0x5eedu
#define TRIES 20000u /* whoever has the lock has it for microseconds; who stopped there stops no one */

struct row {
    uint64_t name; /* hash of the lender's; 0: none */
    uint64_t window[EK_PURSE_SPANS];
    int64_t spent_nano[EK_PURSE_SPANS];
    int64_t reserved_nano;
    uint32_t running;
    uint32_t overdrawn;
};

struct page {
    uint64_t magic;
    struct row row[EK_SWAP_BERTHS][EK_POOL_UPSTREAMS_MAX];
};

struct ek_swap_purse {
    struct page *page;
    int fd;
    uint32_t open; /* how often: who decides in there may be told of tokens */
    bool locked;
};

static uint64_t name_of(const struct ek_door *d, uint32_t upstream)
{
    return ek_hash(ek_str_of(ek_pool_name(d->pool, upstream)), NAME_SEED) | 1;
}

static int64_t sum(int64_t a, int64_t b)
{
    int64_t all;
    if (b <= 0) return a;
    return __builtin_add_overflow(a, b, &all) ? INT64_MAX / 4 : all < INT64_MAX / 4 ? all : INT64_MAX / 4;
}

/* ---- the page ------------------------------------------------------------------------------------------ */

static bool map(struct ek_door *d, int fd)
{
    struct page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) return false;
    d->purse = calloc(1, sizeof *d->purse);
    MUST(d->purse);
    *d->purse = (struct ek_swap_purse){.page = page, .fd = fd};
    return true;
}

bool ek_swap_purse_make(struct ek_door *d)
{
    if (d->purse) return true;
    int fd = memfd_create("evenkeel-purse", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return false;
    bool good = ftruncate(fd, sizeof(struct page)) == 0 &&
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0 && map(d, fd);
    if (!good) close(fd);
    if (good) d->purse->page->magic = PAGE_MAGIC;
    return good;
}

const char *ek_swap_purse_take(struct ek_door *d, int fd)
{
    struct stat about;
    int seals = fcntl(fd, F_GET_SEALS);
    bool good = !d->purse && fstat(fd, &about) == 0 && about.st_size == (off_t)sizeof(struct page) &&
                seals >= 0 && (seals & F_SEAL_SHRINK) && map(d, fd);
    if (!good) return "what it has of purses is no page of ours";
    return d->purse->page->magic == PAGE_MAGIC ? NULL : "its page of purses is another version's";
}

int ek_swap_purse_copy(const struct ek_door *d)
{
    return d->purse ? fcntl(d->purse->fd, F_DUPFD_CLOEXEC, 3) : -1;
}

void ek_swap_purse_close(struct ek_door *d)
{
    if (!d->purse) return;
    munmap(d->purse->page, sizeof *d->purse->page);
    close(d->purse->fd);
    free(d->purse);
    d->purse = NULL;
}

static bool lock(const struct ek_swap_purse *p, short kind)
{
    struct flock all = {.l_type = kind, .l_whence = SEEK_SET};
    for (uint32_t i = 0; i < TRIES; i++) {
        if (fcntl(p->fd, F_SETLK, &all) == 0) return true;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) return false;
        sched_yield();
    }
    return false;
}

/* ---- what the others have ------------------------------------------------------------------------------ */

static void add(struct ek_purse_elsewhere *e, const struct row *r, const struct ek_purse_kept *kept)
{
    for (int s = 0; s < EK_PURSE_SPANS; s++)
        if (r->window[s] == kept->window[s]) e->spent_nano[s] = sum(e->spent_nano[s], r->spent_nano[s]);
    e->reserved_nano = sum(e->reserved_nano, r->reserved_nano);
    e->running = e->running > UINT32_MAX - r->running ? UINT32_MAX : e->running + r->running;
    e->overdrawn = e->overdrawn || r->overdrawn;
}

static void look(struct ek_door *d, uint32_t upstream)
{
    const struct ek_swap_purse *p = d->purse;
    struct ek_lender own = ek_desk_lender(d->desk, ek_door_now(d), upstream);
    struct ek_purse_elsewhere e = {.running = p->locked ? 0 : UINT32_MAX}; /* not now, then */
    uint64_t name = name_of(d, upstream);
    for (uint32_t b = 0; b < EK_SWAP_BERTHS; b++)
        for (uint32_t i = 0; i < EK_POOL_UPSTREAMS_MAX && b != d->swap->berth; i++)
            if (p->page->row[b][i].name == name) add(&e, &p->page->row[b][i], &own.kept);
    ek_desk_lender_elsewhere(d->desk, upstream, &e);
}

void ek_swap_purse_open(struct ek_door *d)
{
    struct ek_swap_purse *p = d->purse;
    if (!p || !d->swap || !d->pool) return;
    if (p->open++) return;
    p->locked = lock(p, F_WRLCK);
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++)
        if (ek_pool_loan(d->pool, i)->borrowed) look(d, i);
}

/* ---- what we have -------------------------------------------------------------------------------------- */

static void say(struct ek_door *d, uint32_t upstream)
{
    struct ek_lender own = ek_desk_lender(d->desk, ek_door_now(d), upstream);
    struct row *r = &d->purse->page->row[d->swap->berth][upstream];
    struct ek_desk_upstream_stats u;
    ek_desk_upstream_stats(d->desk, upstream, &u);
    *r = (struct row){.name = name_of(d, upstream), .reserved_nano = own.reserved_nano,
                      .running = u.inflight, .overdrawn = own.overdrawn};
    memcpy(r->window, own.kept.window, sizeof r->window);
    memcpy(r->spent_nano, own.kept.spent_nano, sizeof r->spent_nano);
}

void ek_swap_purse_shut(struct ek_door *d)
{
    struct ek_swap_purse *p = d->purse;
    if (!p || !d->swap || !p->open || --p->open) return;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++)
        if (ek_pool_loan(d->pool, i)->borrowed) say(d, i);
    if (p->locked) (void)lock(p, F_UNLCK);
    p->locked = false;
}

/* ---- what others had ----------------------------------------------------------------------------------- */

/* Nothing of it runs any more: what it may have cost is taken as its cost. */
static void settle(struct row *r)
{
    for (int s = 0; s < EK_PURSE_SPANS; s++) r->spent_nano[s] = sum(r->spent_nano[s], r->reserved_nano);
    r->reserved_nano = 0;
    r->running = r->overdrawn = 0;
}

void ek_swap_purse_bury(struct ek_door *d, uint32_t berth)
{
    struct ek_swap_purse *p = d->purse;
    if (!p || berth >= EK_SWAP_BERTHS) return;
    MUST(!p->open && berth != d->swap->berth);
    bool locked = lock(p, F_WRLCK);
    for (uint32_t i = 0; i < EK_POOL_UPSTREAMS_MAX; i++) settle(&p->page->row[berth][i]);
    if (locked) (void)lock(p, F_UNLCK);
}

void ek_swap_purse_inherit(struct ek_door *d)
{
    struct ek_swap_purse *p = d->purse;
    if (!p) return;
    ek_swap_purse_open(d);
    for (uint32_t i = 0; i < EK_POOL_UPSTREAMS_MAX; i++) {
        struct row *r = &p->page->row[d->swap->berth][i];
        struct ek_purse_kept kept;
        settle(r);
        memcpy(kept.window, r->window, sizeof kept.window);
        memcpy(kept.spent_nano, r->spent_nano, sizeof kept.spent_nano);
        for (uint32_t u = 0; u < ek_pool_count(d->pool); u++)
            if (r->name == name_of(d, u) && ek_pool_loan(d->pool, u)->borrowed)
                ek_desk_lender_restore(d->desk, ek_door_now(d), u, &kept);
    }
    memset(p->page->row[d->swap->berth], 0, sizeof p->page->row[0]);
    ek_swap_purse_shut(d);
}
