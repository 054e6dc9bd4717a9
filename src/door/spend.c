/* SPDX-License-Identifier: MIT */
/* What borrowed upstreams have cost in this hour and this day, in a file of its own, so that a restart does
 * not hand out their budgets a second time. Two places in the file are written in turn; the newer one whose
 * checksum holds is the truth:
 *
 *      [ magic | number | rows | checksum | name, windows, amounts ... ]  twice
 *
 * Written whenever an amount changes, before the loop's turn ends: it survives the process. Synced within a
 * second: so it survives the machine, but for that second. What runs is written as spent (borrow.c).
 *
 * Only who holds the lock writes. A door that starts while another one still ends with the same file has read
 * what there was, and writes as soon as the other has gone. */
#include "door/door_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define SPEND_MAGIC 0x31646e6570736b65u /* "ekspend1" */
#define SPEND_SEED 0x5eedu
#define PLACE_BYTES 8192
#define SYNC_NS EK_S_NS

struct row {
    uint64_t name; /* hash */
    uint64_t window[EK_PURSE_SPANS];
    int64_t spent_nano[EK_PURSE_SPANS];
};

struct image {
    uint64_t magic, number, rows, sum;
    struct row row[EK_POOL_UPSTREAMS_MAX];
};
_Static_assert(sizeof(struct image) <= PLACE_BYTES, "a place holds it");

struct ek_door_spend {
    struct ek_loop *loop;
    struct ek_log *log;
    struct ek_timer sync;
    struct image now;
    int fd;
    bool locked, changed, unsynced, syncing, failed;
    bool given; /* to another process, which writes now */
    bool sync_failed; /* of the helper while `syncing` */
    atomic_bool closed; /* while a helper syncs: it frees the rest */
};

static size_t image_bytes(const struct image *m)
{
    return offsetof(struct image, row) + m->rows * sizeof m->row[0];
}

static uint64_t sum_of(const struct image *m)
{
    struct image copy = *m;
    copy.sum = 0;
    return ek_hash(ek_str_make((const char *)&copy, image_bytes(m)), SPEND_SEED);
}

static bool read_place(int fd, int place, struct image *out)
{
    ssize_t n = pread(fd, out, sizeof *out, (off_t)place * PLACE_BYTES);
    if (n < (ssize_t)offsetof(struct image, row) || out->magic != SPEND_MAGIC) return false;
    if (out->rows > EK_POOL_UPSTREAMS_MAX || (size_t)n < image_bytes(out)) return false;
    for (uint64_t i = 0; i < out->rows; i++)
        for (int s = 0; s < EK_PURSE_SPANS; s++)
            if (out->row[i].spent_nano[s] < 0) return false;
    return out->sum == sum_of(out);
}

static uint64_t name_hash(const char *name)
{
    return ek_hash(ek_str_of(name), SPEND_SEED);
}

/* ---- syncing --------------------------------------------------------------------------------------- */

static void spend_free(struct ek_door_spend *s)
{
    close(s->fd);
    free(s);
}

static void sync_work(void *arg)
{
    struct ek_door_spend *s = arg;
    s->sync_failed = fdatasync(s->fd) != 0;
}

static void sync_done(void *arg)
{
    struct ek_door_spend *s = arg;
    MUST(s->syncing);
    s->syncing = false;
    s->failed = s->failed || s->sync_failed;
    if (atomic_load(&s->closed)) spend_free(s);
}

static void sync_due(struct ek_timer *t)
{
    struct ek_door_spend *s = EK_CONTAINER(t, struct ek_door_spend, sync);
    if (s->changed) ek_door_spend_write(s);
    if (s->unsynced && !s->syncing) {
        s->unsynced = false;
        s->syncing = true;
        if (ek_work_submit(s->loop, sync_work, sync_done, s) != EK_OK) {
            s->syncing = false;
            s->unsynced = true;
        }
    }
    if (s->unsynced || s->changed) ek_timer_set(s->loop, t, ek_loop_now(s->loop).mono_ns + SYNC_NS);
}

/* ---- birth and death ------------------------------------------------------------------------------- */

struct ek_door_spend *ek_door_spend_open(struct ek_loop *loop, struct ek_log *log, const char *path,
                                         char *why, size_t cap)
{
    struct ek_door_spend *s = calloc(1, sizeof *s);
    struct image *place = calloc(2, sizeof *place);
    MUST(s && place);
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0) {
        snprintf(why, cap, "%.200s cannot be opened: %s", path, strerror(errno));
        free(place);
        free(s);
        return NULL;
    }
    s->loop = loop;
    s->log = log;
    ek_timer_init(&s->sync, sync_due);
    bool good[2] = {read_place(s->fd, 0, &place[0]), read_place(s->fd, 1, &place[1])};
    if (good[0] && (!good[1] || place[0].number > place[1].number)) s->now = place[0];
    else if (good[1]) s->now = place[1];
    else if (lseek(s->fd, 0, SEEK_END) > 0)
        ek_warn(log, "%s is damaged: what borrowed upstreams have cost today is not known", path);
    s->now.magic = SPEND_MAGIC;
    s->locked = flock(s->fd, LOCK_EX | LOCK_NB) == 0;
    if (!s->locked) ek_info(log, "%s is in use by another door, which seems to be leaving", path);
    free(place);
    return s;
}

void ek_door_spend_close(struct ek_door_spend **sp)
{
    struct ek_door_spend *s = *sp;
    *sp = NULL;
    ek_door_spend_write(s);
    ek_timer_clear(s->loop, &s->sync);
    atomic_store(&s->closed, true);
    if (s->syncing) return; /* the helper's end frees it */
    if (s->unsynced) fdatasync(s->fd);
    spend_free(s);
}

/* ---- amounts --------------------------------------------------------------------------------------- */

static struct row *row_of(struct image *m, uint64_t name)
{
    for (uint64_t i = 0; i < m->rows; i++)
        if (m->row[i].name == name) return &m->row[i];
    return NULL;
}

bool ek_door_spend_find(const struct ek_door_spend *s, const char *name, struct ek_purse_kept *out)
{
    const struct row *r = row_of((struct image *)(uintptr_t)&s->now, name_hash(name));
    if (!r) return false;
    memcpy(out->window, r->window, sizeof out->window);
    memcpy(out->spent_nano, r->spent_nano, sizeof out->spent_nano);
    return true;
}

void ek_door_spend_put(struct ek_door_spend *s, const char *name, const struct ek_purse_kept *now)
{
    struct row *r = row_of(&s->now, name_hash(name));
    if (!r && s->now.rows == EK_POOL_UPSTREAMS_MAX) { /* of upstreams that are long gone: the first goes */
        memmove(&s->now.row[0], &s->now.row[1], (EK_POOL_UPSTREAMS_MAX - 1) * sizeof s->now.row[0]);
        s->now.rows--;
    }
    if (!r) {
        r = &s->now.row[s->now.rows++];
        *r = (struct row){.name = name_hash(name)};
    }
    if (memcmp(r->window, now->window, sizeof r->window) == 0 &&
        memcmp(r->spent_nano, now->spent_nano, sizeof r->spent_nano) == 0)
        return;
    memcpy(r->window, now->window, sizeof r->window);
    memcpy(r->spent_nano, now->spent_nano, sizeof r->spent_nano);
    s->changed = true;
}

/* Who has the lock late must write behind what the one before wrote last. */
static void try_lock(struct ek_door_spend *s)
{
    struct image *place = calloc(1, sizeof *place);
    MUST(place);
    s->locked = flock(s->fd, LOCK_EX | LOCK_NB) == 0;
    for (int i = 0; s->locked && i < 2; i++)
        if (read_place(s->fd, i, place) && place->number > s->now.number) s->now.number = place->number;
    free(place);
}

void ek_door_spend_hold(struct ek_door_spend *s, bool holds)
{
    if (!holds) ek_door_spend_write(s);
    s->given = !holds;
    if (s->given && s->locked) s->locked = flock(s->fd, LOCK_UN) != 0;
    s->changed = holds;
}

void ek_door_spend_write(struct ek_door_spend *s)
{
    if (!s->changed || s->given) return;
    if (!s->locked) try_lock(s);
    if (!s->locked) {
        if (!ek_timer_is_set(&s->sync))
            ek_timer_set(s->loop, &s->sync, ek_loop_now(s->loop).mono_ns + SYNC_NS);
        return;
    }
    s->changed = false;
    s->now.number++;
    s->now.sum = sum_of(&s->now);
    off_t at = (off_t)(s->now.number % 2) * PLACE_BYTES;
    ssize_t n = pwrite(s->fd, &s->now, image_bytes(&s->now), at);
    bool failed = n != (ssize_t)image_bytes(&s->now) || s->failed;
    if (failed) ek_error(s->log, "what borrowed upstreams cost cannot be written down: %s", strerror(errno));
    s->failed = false;
    s->unsynced = true;
    if (!s->syncing && !ek_timer_is_set(&s->sync))
        ek_timer_set(s->loop, &s->sync, ek_loop_now(s->loop).mono_ns + SYNC_NS);
}
