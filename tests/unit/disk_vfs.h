/* SPDX-License-Identifier: MIT */
/* A disk in memory, as a VFS of SQLite, that forgets: at a power cut each write since its file's last
 * xSync is kept, dropped or torn, by a seed. It can also be full (ENOSPC) or broken (EIO) for a stretch
 * of operations.
 *
 *      xWrite, xTruncate ──▶ now (what the process reads)  and  pending (since the last sync)
 *      xSync             ──▶ pending is applied to synced
 *      power cut         ──▶ some of pending, some in pieces, is applied to synced; now = synced
 *
 * Bytes outside a write are never harmed (what SQLite calls powersafe overwrite, its default). A file
 * deleted may be back until the folder is synced, which happens (as in SQLite's own VFS for Unix) when a
 * journal or a log is synced for the first time after it was made: without that, a rollback journal come
 * back would undo all that was committed since. Locks are real, for several connections in one process;
 * `disk.lock` guards all. A failed sync leaves its writes unsynced. Test code: it owns one global disk. */
#ifndef EK_TESTS_DISK_VFS_H
#define EK_TESTS_DISK_VFS_H

#include "base/must.h"
#include "base/random.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_FILES 8u
#define DISK_NAME 200u
#define DISK_SECTOR 512
#define DISK_REGIONS 16

struct disk_write {
    sqlite3_int64 at; /* of a truncation: the new size */
    int len;          /* -1: a truncation */
    uint8_t *data;
};

struct disk_bytes {
    uint8_t *at;
    size_t len, cap;
};

struct disk_handle;

struct disk_file {
    char name[DISK_NAME]; /* "": free */
    bool exists;
    struct disk_bytes now, synced;
    struct disk_write *pending;
    size_t pendings, pendings_cap;
    int shared; /* how many hold at least a shared lock */
    const struct disk_handle *reserved, *waiting; /* RESERVED or more; PENDING or EXCLUSIVE */
    void *region[DISK_REGIONS];
    int shm_users, shm_shared[SQLITE_SHM_NLOCK];
    bool shm_exclusive[SQLITE_SHM_NLOCK];
};

struct disk_handle {
    sqlite3_file base;
    struct disk_file *file;
    int level;
    bool has_shm;
    unsigned shm_shared, shm_exclusive; /* masks of what this connection holds */
    bool delete_on_close, is_new; /* is_new: its first sync is one of the folder too */
};

static struct disk {
    pthread_mutex_t lock;
    struct disk_file file[DISK_FILES];
    struct ek_random rng;
    uint64_t ops, crash_at; /* 0: never */
    uint64_t fail_from, fail_to;
    bool full;              /* what fails in between: room (only writes), or everything */
    bool off;
    uint64_t cuts, failed, torn, dropped, kept;
    void (*crashed)(void *arg);
    void *arg;
    sqlite3_vfs vfs;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

enum disk_op { DISK_READ, DISK_WRITE, DISK_SYNC, DISK_OTHER };

/* One operation: SQLITE_OK, or why it fails. *cut: the power goes in the middle of this one. */
static int disk_step(enum disk_op op, int error, bool *cut)
{
    if (cut) *cut = false;
    if (disk.off) return error;
    disk.ops++;
    if (disk.crash_at && disk.ops >= disk.crash_at && op != DISK_READ) {
        disk.off = true;
        disk.cuts++;
        if (cut) *cut = true;
        if (disk.crashed) disk.crashed(disk.arg);
        return error;
    }
    if (disk.ops < disk.fail_from || disk.ops >= disk.fail_to) return SQLITE_OK;
    if (disk.full && op != DISK_WRITE) return SQLITE_OK;
    disk.failed++;
    return disk.full ? SQLITE_FULL : error;
}

static void disk_resize(struct disk_bytes *b, size_t len)
{
    if (len > b->cap) {
        b->cap = len * 2;
        b->at = realloc(b->at, b->cap);
        MUST(b->at);
    }
    if (len > b->len) memset(b->at + b->len, 0, len - b->len);
    b->len = len;
}

static void disk_put(struct disk_bytes *b, sqlite3_int64 at, const uint8_t *data, int len)
{
    if (len <= 0) return;
    size_t end = (size_t)at + (size_t)len;
    if (end > b->len) disk_resize(b, end);
    memcpy(b->at + at, data, (size_t)len);
}

static void disk_apply(struct disk_bytes *b, const struct disk_write *w)
{
    if (w->len < 0) disk_resize(b, (size_t)w->at);
    else disk_put(b, w->at, w->data, w->len);
}

static void disk_pend(struct disk_file *f, sqlite3_int64 at, const void *data, int len)
{
    if (f->pendings == f->pendings_cap) {
        f->pendings_cap = f->pendings_cap ? f->pendings_cap * 2 : 64;
        f->pending = realloc(f->pending, f->pendings_cap * sizeof *f->pending);
        MUST(f->pending);
    }
    struct disk_write w = {.at = at, .len = len};
    if (len > 0) {
        w.data = malloc((size_t)len);
        MUST(w.data);
        memcpy(w.data, data, (size_t)len);
    }
    f->pending[f->pendings++] = w;
    disk_apply(&f->now, &w);
}

static void disk_forget_pending(struct disk_file *f)
{
    for (size_t i = 0; i < f->pendings; i++) free(f->pending[i].data);
    f->pendings = 0;
}

/* A write in pieces: each sector of it there or not, the last one perhaps only begun. */
static void disk_tear(struct disk_bytes *b, const struct disk_write *w)
{
    for (int from = 0; from < w->len;) {
        int to = from + DISK_SECTOR - (int)((w->at + from) % DISK_SECTOR);
        if (to > w->len) to = w->len;
        int part = to - from;
        if (ek_random_below(&disk.rng, 6) == 0) part = (int)ek_random_below(&disk.rng, (uint64_t)part + 1);
        if (ek_random_below(&disk.rng, 2)) disk_put(b, w->at + from, w->data + from, part);
        from = to;
    }
}

/* The power comes back. mood: of one cut most writes share a fate, of another each has its own. */
static void disk_power_on(void)
{
    pthread_mutex_lock(&disk.lock);
    uint64_t mood = ek_random_below(&disk.rng, 4);
    for (size_t i = 0; i < DISK_FILES; i++) {
        struct disk_file *f = &disk.file[i];
        if (!f->name[0]) continue;
        MUST(f->shared == 0 && f->shm_users == 0); /* every connection of the former life is closed */
        for (size_t k = 0; k < f->pendings; k++) {
            uint64_t fate = mood < 3 && ek_random_below(&disk.rng, 8) ? mood : ek_random_below(&disk.rng,
            3);
            if (fate == 1) disk_apply(&f->synced, &f->pending[k]);
            if (fate == 2) disk_tear(&f->synced, &f->pending[k]);
            disk.dropped += fate == 0;
            disk.kept += fate == 1;
            disk.torn += fate == 2;
        }
        disk_forget_pending(f);
        if (!f->exists && f->synced.len > 0) f->exists = ek_random_below(&disk.rng, 2) == 0;
        if (!f->exists) disk_resize(&f->synced, 0);
        disk_resize(&f->now, 0);
        disk_put(&f->now, 0, f->synced.at, (int)f->synced.len);
    }
    disk.off = false;
    disk.crash_at = disk.fail_from = disk.fail_to = 0;
    pthread_mutex_unlock(&disk.lock);
}

static struct disk_file *disk_find(const char *name, bool create)
{
    struct disk_file *spare = NULL;
    for (size_t i = 0; i < DISK_FILES; i++) {
        if (strcmp(disk.file[i].name, name) == 0) return &disk.file[i];
        if (!disk.file[i].name[0] && !spare) spare = &disk.file[i];
    }
    if (!create) return NULL;
    MUST(spare && strlen(name) < DISK_NAME);
    snprintf(spare->name, sizeof spare->name, "%s", name);
    return spare;
}

/* ---- a file ---------------------------------------------------------------------------------- */

static struct disk_handle *disk_handle_of(sqlite3_file *h) { return (struct disk_handle *)h; }

static int disk_read(sqlite3_file *h, void *to, int len, sqlite3_int64 at)
{
    struct disk_file *f = disk_handle_of(h)->file;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_READ, SQLITE_IOERR_READ, NULL);
    if (code == SQLITE_OK) {
        size_t have = (size_t)at < f->now.len ? f->now.len - (size_t)at : 0;
        if (have > (size_t)len) have = (size_t)len;
        if (have) memcpy(to, f->now.at + at, have);
        memset((char *)to + have, 0, (size_t)len - have);
        if (have < (size_t)len) code = SQLITE_IOERR_SHORT_READ;
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_write(sqlite3_file *h, const void *from, int len, sqlite3_int64 at)
{
    bool cut;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_WRITE, SQLITE_IOERR_WRITE, &cut);
    if (code == SQLITE_OK || cut) disk_pend(disk_handle_of(h)->file, at, from, len);
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_truncate(sqlite3_file *h, sqlite3_int64 size)
{
    bool cut;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_OTHER, SQLITE_IOERR_TRUNCATE, &cut);
    if (code == SQLITE_OK || cut) disk_pend(disk_handle_of(h)->file, size, NULL, -1);
    pthread_mutex_unlock(&disk.lock);
    return code;
}

/* What was deleted stays so. */
static void disk_sync_folder(void)
{
    for (size_t i = 0; i < DISK_FILES; i++) {
        if (disk.file[i].exists) continue;
        disk_forget_pending(&disk.file[i]);
        disk_resize(&disk.file[i].synced, 0);
    }
}

static int disk_sync(sqlite3_file *h, int flags)
{
    struct disk_file *f = disk_handle_of(h)->file;
    (void)flags;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_SYNC, SQLITE_IOERR_FSYNC, NULL);
    for (size_t i = 0; code == SQLITE_OK && i < f->pendings; i++) disk_apply(&f->synced, &f->pending[i]);
    if (code == SQLITE_OK) disk_forget_pending(f);
    if (code == SQLITE_OK && disk_handle_of(h)->is_new) disk_sync_folder();
    if (code == SQLITE_OK) disk_handle_of(h)->is_new = false;
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_size(sqlite3_file *h, sqlite3_int64 *size)
{
    pthread_mutex_lock(&disk.lock);
    *size = (sqlite3_int64)disk_handle_of(h)->file->now.len;
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

/* long: the lock table of sqlite3.h as a switch */
static int disk_lock(sqlite3_file *file, int level)
{
    struct disk_handle *h = disk_handle_of(file);
    struct disk_file *f = h->file;
    int code = SQLITE_OK;
    pthread_mutex_lock(&disk.lock);
    if (level <= h->level) {
        pthread_mutex_unlock(&disk.lock);
        return SQLITE_OK;
    }
    if (h->level == SQLITE_LOCK_NONE) {
        if (f->waiting) code = SQLITE_BUSY;
        else f->shared++;
        if (code == SQLITE_OK) h->level = SQLITE_LOCK_SHARED;
    }
    if (code == SQLITE_OK && level >= SQLITE_LOCK_RESERVED) {
        if (f->reserved && f->reserved != h) code = SQLITE_BUSY;
        else f->reserved = h;
        if (code == SQLITE_OK && h->level < SQLITE_LOCK_RESERVED) h->level = SQLITE_LOCK_RESERVED;
    }
    if (code == SQLITE_OK && level == SQLITE_LOCK_EXCLUSIVE) {
        f->waiting = h;
        h->level = SQLITE_LOCK_PENDING;
        if (f->shared > 1) code = SQLITE_BUSY;
        else h->level = SQLITE_LOCK_EXCLUSIVE;
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static void disk_release(struct disk_handle *h, int level)
{
    struct disk_file *f = h->file;
    if (level >= h->level) return;
    if (f->waiting == h) f->waiting = NULL;
    if (f->reserved == h) f->reserved = NULL;
    if (level == SQLITE_LOCK_NONE) f->shared--;
    h->level = level;
}

static int disk_unlock(sqlite3_file *h, int level)
{
    pthread_mutex_lock(&disk.lock);
    disk_release(disk_handle_of(h), level);
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

static int disk_check_reserved(sqlite3_file *h, int *out)
{
    pthread_mutex_lock(&disk.lock);
    *out = disk_handle_of(h)->file->reserved != NULL;
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

static int disk_control(sqlite3_file *h, int op, void *arg)
{
    (void)h, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int disk_sector(sqlite3_file *h)
{
    (void)h;
    return DISK_SECTOR;
}

static int disk_character(sqlite3_file *h)
{
    (void)h;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- shared memory of the write-ahead log: not on the disk, gone with the process -------------- */

static int disk_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **out)
{
    struct disk_handle *h = disk_handle_of(file);
    pthread_mutex_lock(&disk.lock);
    MUST(region < DISK_REGIONS);
    if (!h->has_shm) h->file->shm_users++;
    h->has_shm = true;
    void **at = &h->file->region[region];
    if (!*at && extend) *at = calloc(1, (size_t)size);
    *out = *at;
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

static int disk_shm_lock(sqlite3_file *file, int first, int count, int flags)
{
    struct disk_handle *h = disk_handle_of(file);
    struct disk_file *f = h->file;
    unsigned mask = ((1u << count) - 1) << first;
    bool shared = (flags & SQLITE_SHM_SHARED) != 0;
    int code = SQLITE_OK;
    pthread_mutex_lock(&disk.lock);
    if (flags & SQLITE_SHM_UNLOCK) {
        for (int i = first; i < first + count; i++) {
            if (h->shm_shared & (1u << i)) f->shm_shared[i]--;
            if (h->shm_exclusive & (1u << i)) f->shm_exclusive[i] = false;
        }
        h->shm_shared &= ~mask;
        h->shm_exclusive &= ~mask;
    } else {
        for (int i = first; i < first + count; i++) {
            bool mine = (h->shm_shared & (1u << i)) != 0;
            if (f->shm_exclusive[i] && !(h->shm_exclusive & (1u << i))) code = SQLITE_BUSY;
            if (!shared && f->shm_shared[i] > mine) code = SQLITE_BUSY;
        }
        for (int i = first; code == SQLITE_OK && i < first + count; i++) {
            if (shared && !(h->shm_shared & (1u << i))) f->shm_shared[i]++;
            if (!shared) f->shm_exclusive[i] = true;
        }
        if (code == SQLITE_OK) *(shared ? &h->shm_shared : &h->shm_exclusive) |= mask;
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static void disk_shm_barrier(sqlite3_file *h)
{
    (void)h;
    pthread_mutex_lock(&disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

static void disk_shm_leave(struct disk_handle *h)
{
    if (!h->has_shm) return;
    h->has_shm = false;
    if (--h->file->shm_users > 0) return;
    for (int i = 0; i < DISK_REGIONS; i++) {
        free(h->file->region[i]);
        h->file->region[i] = NULL;
    }
}

static int disk_shm_unmap(sqlite3_file *h, int delete)
{
    (void)delete;
    pthread_mutex_lock(&disk.lock);
    disk_shm_leave(disk_handle_of(h));
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

static void disk_drop(struct disk_file *f)
{
    f->exists = false;
    disk_pend(f, 0, NULL, -1);
}

static int disk_close(sqlite3_file *file)
{
    struct disk_handle *h = disk_handle_of(file);
    pthread_mutex_lock(&disk.lock);
    disk_release(h, SQLITE_LOCK_NONE);
    disk_shm_leave(h);
    if (h->delete_on_close) disk_drop(h->file);
    pthread_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

/* ---- the file system -------------------------------------------------------------------------- */

static const sqlite3_io_methods disk_methods = {
    .iVersion = 2, .xClose = disk_close, .xRead = disk_read, .xWrite = disk_write, .xTruncate =
        disk_truncate,
    .xSync = disk_sync, .xFileSize = disk_size, .xLock = disk_lock, .xUnlock = disk_unlock,
    .xCheckReservedLock = disk_check_reserved, .xFileControl = disk_control, .xSectorSize = disk_sector,
    .xDeviceCharacteristics = disk_character, .xShmMap = disk_shm_map, .xShmLock = disk_shm_lock,
    .xShmBarrier = disk_shm_barrier, .xShmUnmap = disk_shm_unmap,
};

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
    struct disk_handle *h = disk_handle_of(file);
    (void)vfs;
    *h = (struct disk_handle){.delete_on_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0};
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_OTHER, SQLITE_CANTOPEN, NULL);
    struct disk_file *f = disk_find(name ? name : "(temporary)", true);
    if (code == SQLITE_OK && !f->exists && !(flags & SQLITE_OPEN_CREATE)) code = SQLITE_CANTOPEN;
    if (code == SQLITE_OK) {
        h->is_new = !f->exists && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) != 0;
        f->exists = true;
        h->file = f;
        h->base.pMethods = &disk_methods;
        if (out) *out = flags;
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    bool cut;
    (void)vfs;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_OTHER, SQLITE_IOERR_DELETE, &cut);
    struct disk_file *f = disk_find(name, false);
    if (code == SQLITE_OK && (!f || !f->exists)) {
        code = SQLITE_IOERR_DELETE_NOENT;
    } else if (f && (code == SQLITE_OK || cut)) {
        disk_drop(f);
        if (sync_folder && code == SQLITE_OK) disk_sync_folder();
    }
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_access(sqlite3_vfs *vfs, const char *name, int flags, int *out)
{
    (void)vfs, (void)flags;
    pthread_mutex_lock(&disk.lock);
    int code = disk_step(DISK_OTHER, SQLITE_IOERR_ACCESS, NULL);
    const struct disk_file *f = disk_find(name, false);
    *out = f && f->exists && f->now.len > 0; /* an empty one is none, as with unix */
    pthread_mutex_unlock(&disk.lock);
    return code;
}

static int disk_path(sqlite3_vfs *vfs, const char *name, int cap, char *out)
{
    (void)vfs;
    MUST(snprintf(out, (size_t)cap, "%s", name) < cap);
    return SQLITE_OK;
}

/* Becomes SQLite's file system in this process. */
static void disk_install(void)
{
    sqlite3_vfs *unix_vfs = sqlite3_vfs_find(NULL);
    MUST(unix_vfs);
    disk.vfs = (sqlite3_vfs){
        .iVersion = 2, .szOsFile = (int)sizeof(struct disk_handle), .mxPathname = DISK_NAME, .zName =
            "disk",
        .xOpen = disk_open, .xDelete = disk_delete, .xAccess = disk_access, .xFullPathname = disk_path,
        .xRandomness = unix_vfs->xRandomness, .xSleep = unix_vfs->xSleep,
        .xCurrentTime = unix_vfs->xCurrentTime, .xGetLastError = unix_vfs->xGetLastError,
        .xCurrentTimeInt64 = unix_vfs->xCurrentTimeInt64};
    MUST(sqlite3_vfs_register(&disk.vfs, 1) == SQLITE_OK);
}

/* An empty disk. */
static void disk_format(uint64_t seed)
{
    for (size_t i = 0; i < DISK_FILES; i++) {
        struct disk_file *f = &disk.file[i];
        MUST(f->shared == 0 && f->shm_users == 0);
        disk_forget_pending(f);
        free(f->pending);
        free(f->now.at);
        free(f->synced.at);
        *f = (struct disk_file){0};
    }
    disk.rng = ek_random_make(seed);
    disk.off = false;
    disk.ops = disk.crash_at = disk.fail_from = disk.fail_to = 0;
}

#endif
