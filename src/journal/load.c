/* SPDX-License-Identifier: MIT */
/* Opening and closing. What is found on disk may be damaged anywhere, cut short, written half, twice, or by
 * somebody else: whatever is not proved by its hash is left behind, counted, and said in one sentence. */
#include "journal/berth.h"
#include "journal/journal_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDENTITY_BYTES 56u /* mark 8, id 4, zero 4, secret 16, two seeds 16, hash of all that 8 */
#define IDENTITY_HASH_AT 48u
#define SEGMENTS_WANTED 16u           /* bytes_max in so many files ... */
#define SEGMENT_BYTES_MIN (1u << 20)  /* ... of sizes that suit a disk */
#define SEGMENT_BYTES_MAX (64u << 20)
#define FILE_BYTES_MAX (1u << 30)     /* longer ones are not ours */

struct ek_journal_piece { /* one record found */
    struct ek_record record;
    struct ek_journal_segment *segment;
    uint64_t at;
    bool stale; /* a later copy of it counts */
};

void ek_journal_file_name(uint64_t number, char out[32])
{
    int n = snprintf(out, 32, "%016" PRIx64 ".journal", number);
    MUST(n > 0 && n < 32);
}

static bool is_file_name(const char *name, uint64_t *number)
{
    char again[32];
    char *end;
    *number = strtoull(name, &end, 16);
    if (*number == 0 || *number >= UINT64_MAX / 2 || strcmp(end, ".journal") != 0) return false;
    ek_journal_file_name(*number, again);
    return strcmp(again, name) == 0;
}

/* ---- the directory --------------------------------------------------------------------------- */

/* What stands in a directory of a journal, whatever became of it; and what disks come with. */
static bool is_own_name(const char *name)
{
    static const char *const own[] = {".", "..", "lock", "identity", "identity.new", "lost+found", "streams"};
    uint64_t number;
    for (size_t i = 0; i < EK_COUNT(own); i++)
        if (strcmp(name, own[i]) == 0) return true;
    return is_file_name(name, &number) || ek_journal_is_berth(name);
}

static bool is_plain_file(int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return errno == ENOENT;
    return S_ISREG(st.st_mode);
}

/* Is it a journal's, or empty? --journal /dev is a slip of the hand, and files made there a mess. */
static bool is_own_dir(struct ek_journal *j, char *why, size_t cap)
{
    struct dirent **entry = NULL;
    struct stat st;
    char stranger[80] = "";
    if (fstat(j->dir_fd, &st) == 0 && (st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX)) {
        snprintf(why, cap, "the journal's directory %s can be written by everybody: it holds what people "
                 "have asked", j->dir);
        return false;
    }
    int count = scandirat(j->dir_fd, ".", &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        bool own = is_own_name(entry[i]->d_name);
        if (!own && !stranger[0]) snprintf(stranger, sizeof stranger, "%.70s", entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    if (stranger[0])
        snprintf(why, cap, "%s is not the directory of a journal (there is \"%s\" in it); it wants one "
                 "of its own", j->dir, stranger);
    else if (!is_plain_file(j->dir_fd, "lock") || !is_plain_file(j->dir_fd, "identity"))
        snprintf(why, cap, "the journal's directory %s: \"lock\" and \"identity\" must be plain files",
                 j->dir);
    else return true;
    return false;
}

static bool open_dir(struct ek_journal *j, char *why, size_t cap)
{
    if (mkdir(j->dir, 0700) != 0 && errno != EEXIST) goto bad;
    j->dir_fd = open(j->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (j->dir_fd < 0) goto bad;
    if (!is_own_dir(j, why, cap)) return false;
    j->lock_fd = openat(j->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->lock_fd < 0) goto bad;
    if (flock(j->lock_fd, LOCK_EX | LOCK_NB) == 0) return true;
    snprintf(why, cap, "the journal in %s is in use by another door", j->dir);
    return false;
bad:
    snprintf(why, cap, "the journal cannot be opened in %s: %s", j->dir, strerror(errno));
    return false;
}

static bool parse_identity(struct ek_journal *j, const uint8_t in[IDENTITY_BYTES])
{
    uint64_t sum;
    struct ek_str all = ek_str_make((const char *)in, IDENTITY_HASH_AT);
    memcpy(&sum, in + IDENTITY_HASH_AT, sizeof sum);
    if (memcmp(in, "ekjid1\n", 8) != 0 || sum != ek_record_hash(all, ek_str_make(NULL, 0), 0)) return false;
    memcpy(&j->identity.id, in + 8, sizeof j->identity.id);
    memcpy(j->identity.secret, in + 16, sizeof j->identity.secret);
    memcpy(&j->identity.hash_seed, in + 32, sizeof j->identity.hash_seed);
    memcpy(&j->record_seed, in + 40, sizeof j->record_seed);
    return true;
}

static int write_identity(struct ek_journal *j, const uint8_t in[IDENTITY_BYTES])
{
    int fd = openat(j->dir_fd, "identity.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    ssize_t n = write(fd, in, IDENTITY_BYTES);
    int error = n == (ssize_t)IDENTITY_BYTES ? 0 : n < 0 ? errno : ENOSPC;
    if (!error && fsync(fd) != 0) error = errno;
    close(fd);
    if (!error && renameat(j->dir_fd, "identity.new", j->dir_fd, "identity") != 0) error = errno;
    if (error) unlinkat(j->dir_fd, "identity.new", 0);
    if (!error && fsync(j->dir_fd) != 0) error = errno;
    return error;
}

static void new_identity(struct ek_journal *j)
{
    uint8_t out[IDENTITY_BYTES] = "ekjid1\n";
    ek_loop_random(j->loop, out + 8, 4);
    ek_loop_random(j->loop, out + 16, IDENTITY_HASH_AT - 16);
    struct ek_str all = ek_str_make((const char *)out, IDENTITY_HASH_AT);
    uint64_t sum = ek_record_hash(all, ek_str_make(NULL, 0), 0);
    memcpy(out + IDENTITY_HASH_AT, &sum, sizeof sum);
    bool ok = parse_identity(j, out);
    MUST(ok);
    int error = write_identity(j, out);
    if (!error) return;
    j->closed_for_good = true; /* without it nothing could be read again */
    ek_error(j->log, "the journal in %s cannot be begun (%s): until a restart, places do not outlive this "
             "process", j->dir, strerror(error));
}

static void read_identity(struct ek_journal *j)
{
    uint8_t in[IDENTITY_BYTES];
    int fd = openat(j->dir_fd, "identity", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, in, sizeof in) : -1;
    if (fd >= 0) close(fd);
    if (n == (ssize_t)sizeof in && parse_identity(j, in)) return;
    if (fd >= 0)
        ek_warn(j->log, "the journal's identity in %s is damaged: what is there cannot be read", j->dir);
    new_identity(j);
}

/* ---- what is there --------------------------------------------------------------------------- */

/* The whole file; empty when it cannot be read. */
static struct ek_buf read_file(const struct ek_journal_segment *s)
{
    struct ek_buf b = ek_buf_make(FILE_BYTES_MAX);
    char *room = ek_buf_reserve(&b, s->bytes ? s->bytes : 1);
    while (room && b.len < s->bytes) {
        ssize_t n = pread(s->fd, b.data + b.len, s->bytes - b.len, (off_t)b.len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        b.len += (size_t)n;
    }
    return b;
}

static void remember(struct ek_journal *j, struct ek_journal_segment *s, const struct ek_record_found *r)
{
    if (j->piece_count == j->piece_cap) {
        j->piece_cap = j->piece_cap ? j->piece_cap * 2 : 256;
        j->piece = realloc(j->piece, j->piece_cap * sizeof *j->piece);
        MUST(j->piece); /* bounded by what fits on the journal's part of the disk */
    }
    j->piece[j->piece_count++] = (struct ek_journal_piece){.record = r->record, .segment = s, .at = r->at};
}

static void walk_file(struct ek_journal *j, struct ek_journal_segment *s)
{
    struct ek_buf b = read_file(s);
    struct ek_record_found r;
    if (b.len < s->bytes) { /* a bad sector: what comes before it is good */
        j->counters.lost++;
        j->counters.lost_bytes += s->bytes - b.len;
    }
    struct ek_record_walk w = {.bytes = (const uint8_t *)b.data, .len = b.len,
                               .at = EK_SEGMENT_HEAD_BYTES, .seed = j->record_seed};
    if (b.len < EK_SEGMENT_HEAD_BYTES) w.len = w.at = 0;
    while (ek_record_next(&w, &r))
        if (r.record.state != EK_RECORD_ERASED) remember(j, s, &r);
    j->counters.lost += w.lost_count;
    j->counters.lost_bytes += w.lost_bytes;
    ek_buf_free(&b);
}

static void walk_dir(struct ek_journal *j)
{
    struct dirent **entry = NULL;
    int count = scandirat(j->dir_fd, ".", &entry, NULL, alphasort); /* names sort by number */
    for (int i = 0; i < count; i++) {
        uint64_t number;
        struct stat st;
        bool ours = is_file_name(entry[i]->d_name, &number) && j->segments.count < EK_JOURNAL_FILES_MAX;
        int fd = ours ? openat(j->dir_fd, entry[i]->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
        bool good = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX;
        uint8_t head[EK_SEGMENT_HEAD_BYTES];
        bool whole = good && pread(fd, head, sizeof head, 0) == (ssize_t)sizeof head;
        if (whole && ek_segment_is_foreign(head)) { /* left as it is: a later version will know it */
            ek_warn(j->log, "the journal in %s: %s was written by another version; it is left alone", j->dir,
                    entry[i]->d_name);
            if (number >= j->next_number) j->next_number = number + 1;
            good = false;
        }
        free(entry[i]);
        if (!good) {
            if (ours) j->counters.lost++;
            if (fd >= 0) close(fd);
            continue;
        }
        struct ek_journal_segment *s = ek_journal_segment_new(j, number);
        j->counters.bytes -= s->bytes;
        uint64_t size = (uint64_t)st.st_size;
        s->bytes = size > EK_SEGMENT_HEAD_BYTES ? size : EK_SEGMENT_HEAD_BYTES;
        j->counters.bytes += s->bytes;
        s->fd = fd;
        s->made = s->sealed = true;
        walk_file(j, s);
    }
    free(entry);
}

static int by_name_then_seq(const void *a, const void *b)
{
    const struct ek_journal_piece *x = a, *y = b;
    int order = memcmp(x->record.key, y->record.key, sizeof x->record.key);
    if (order) return order;
    if (x->record.part != y->record.part) return x->record.part < y->record.part ? -1 : 1;
    if (x->record.state != y->record.state) return x->record.state == EK_RECORD_LIVE ? -1 : 1;
    return x->segment->number < y->segment->number ? -1 : x->segment->number > y->segment->number;
}

static int by_seq(const void *a, const void *b)
{
    const struct ek_journal_piece *x = a, *y = b;
    return x->record.seq < y->record.seq ? -1 : x->record.seq > y->record.seq;
}

/* A record that was being moved is there twice: the last one counts, and used beats live. */
static void mark_copies(struct ek_journal *j)
{
    if (j->piece_count < 2) return;
    if (!j->piece_count) return;
    qsort(j->piece, j->piece_count, sizeof *j->piece, by_name_then_seq);
    for (size_t i = 1; i < j->piece_count; i++) {
        struct ek_journal_piece *before = &j->piece[i - 1];
        const struct ek_record *x = &before->record, *y = &j->piece[i].record;
        before->stale = memcmp(x->key, y->key, sizeof x->key) == 0 && x->part == y->part;
    }
    qsort(j->piece, j->piece_count, sizeof *j->piece, by_seq);
}

/* ---- taking it in ---------------------------------------------------------------------------- */

/* Overwritten here and now: it was read, and nothing refers to it. */
static void wipe(struct ek_journal *j, const struct ek_journal_piece *p)
{
    uint8_t last = p->record.state == EK_RECORD_USED && !p->stale ? EK_RECORD_SPENT : EK_RECORD_ERASED;
    static const char zeros[4096];
    uint64_t at = p->at + EK_RECORD_HEAD_BYTES, left = p->record.payload_bytes;
    bool ok = true;
    while (ok && left > 0) {
        size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        ok = pwrite(p->segment->fd, zeros, n, (off_t)at) == (ssize_t)n;
        at += n;
        left -= n;
    }
    ok = ok && pwrite(p->segment->fd, &last, 1, (off_t)(p->at + EK_RECORD_STATE_AT)) == 1;
    p->segment->dirty = true;
    if (ok) j->counters.erased++;
    else j->counters.failures++;
}

static bool read_payload(const struct ek_journal_piece *p, struct ek_buf *b)
{
    ek_buf_clear(b);
    if (!ek_buf_reserve(b, p->record.payload_bytes + 1u)) return false;
    b->len = p->record.payload_bytes;
    return pread(p->segment->fd, b->data, b->len, (off_t)(p->at + EK_RECORD_HEAD_BYTES)) == (ssize_t)b->len;
}

static void take_in(struct ek_journal *j)
{
    uint64_t now_ns = ek_loop_now(j->loop).unix_ns;
    for (size_t i = 0; i < j->piece_count; i++) {
        struct ek_journal_piece *p = &j->piece[i];
        const struct ek_record *r = &p->record;
        bool live = !p->stale && r->state == EK_RECORD_LIVE;
        bool expired = live && ek_ns_since(now_ns, r->written_ns) > j->options.ttl_ns;
        if (r->seq >= j->next_seq) j->next_seq = r->seq + 1;
        j->counters.expired += expired;
        struct ek_journal_entry *e = NULL;
        if (live && !expired) e = ek_journal_entry_new(j, r->key, r->part, r->payload_bytes, r->written_ns);
        if (!e) {
            if (r->state != EK_RECORD_SPENT) wipe(j, p);
            continue;
        }
        e->state = ENTRY_LIVE;
        ek_journal_entry_place(e, p->segment, p->at);
        j->counters.live++;
        j->counters.live_bytes += r->payload_bytes;
        j->counters.found++;
    }
}

void ek_journal_visit(struct ek_journal *j, void (*visit)(void *arg, const struct ek_journal_found *f),
                      void *arg)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    MUST(!j->batch && j->pending.count == 0);
    struct ek_buf b = ek_buf_make(EK_RECORD_PAYLOAD_MAX + 4096u);
    for (size_t i = 0; i < j->piece_count; i++) {
        struct ek_journal_piece *p = &j->piece[i];
        const struct ek_record *r = &p->record;
        struct ek_journal_found found = {.owner = r->owner, .written_ns = r->written_ns, .kind = r->kind,
                                         .used = r->state != EK_RECORD_LIVE};
        memcpy(found.name.key, r->key, sizeof r->key);
        found.name.part = r->part;
        if (p->stale || (!found.used && !ek_journal_has(j, &found.name))) continue;
        if (!found.used && !read_payload(p, &b)) { /* it could be read a moment ago */
            j->counters.lost++;
            ek_journal_erase(j, &found.name);
            continue;
        }
        if (!found.used) found.payload = ek_buf_view(&b);
        visit(arg, &found);
    }
    ek_buf_free(&b);
    free(j->piece);
    j->piece = NULL;
    j->piece_count = j->piece_cap = 0;
}

static void say(const struct ek_journal *j)
{
    const struct ek_journal_counters *c = &j->counters;
    if (c->found) ek_info(j->log, "the journal in %s holds %" PRIu64 " places", j->dir, c->found);
    if (c->lost)
        ek_warn(j->log, "the journal in %s is damaged: %" PRIu64 " records or pieces of them (%" PRIu64
                " bytes) could not be read and are lost", j->dir, c->lost, c->lost_bytes);
}

static void post_launch(struct ek_post *p)
{
    ek_journal_launch(EK_CONTAINER(p, struct ek_journal, post));
}

struct ek_journal *ek_journal_open(struct ek_loop *loop, const struct ek_journal_options *o,
                                   struct ek_log *log, char *why, size_t cap)
{
    struct ek_journal *j = calloc(1, sizeof *j);
    MUST(j && o->dir);
    *j = (struct ek_journal){.magic = EK_JOURNAL_MAGIC, .loop = loop, .log = log, .options = *o,
                             .dir = strdup(o->dir), .dir_fd = -1, .lock_fd = -1, .next_number = 1,
                             .next_seq = 1};
    MUST(j->dir);
    j->options.dir = j->dir;
    j->segment_bytes = o->bytes_max / SEGMENTS_WANTED;
    if (j->segment_bytes < SEGMENT_BYTES_MIN) j->segment_bytes = SEGMENT_BYTES_MIN;
    if (j->segment_bytes > SEGMENT_BYTES_MAX) j->segment_bytes = SEGMENT_BYTES_MAX;
    ek_list_init(&j->segments);
    ek_list_init(&j->pending);
    ek_timer_init(&j->tick, ek_journal_tick);
    ek_post_init(&j->post, post_launch);
    if (!open_dir(j, why, cap)) {
        ek_journal_close(&j);
        return NULL;
    }
    read_identity(j);
    walk_dir(j);
    mark_copies(j);
    take_in(j);
    say(j);
    ek_timer_set(loop, &j->tick, ek_loop_now(loop).mono_ns + EK_JOURNAL_TICK_NS);
    return j;
}

void ek_journal_close(struct ek_journal **jj)
{
    struct ek_journal *j = *jj;
    if (!j) return;
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    *jj = NULL;
    ek_timer_clear(j->loop, &j->tick);
    ek_post_clear(j->loop, &j->post);
    ek_journal_settle(j);
    ek_post_clear(j->loop, &j->post);
    EK_LIST_EACH(&j->segments, it) {
        struct ek_journal_segment *s = EK_CONTAINER(it, struct ek_journal_segment, link);
        EK_LIST_EACH(&s->entries, ie) {
            struct ek_journal_entry *e = EK_CONTAINER(ie, struct ek_journal_entry, link);
            MUST(e->ops == 0);
            free(e);
        }
        if (s->fd >= 0 && s->dirty) (void)fdatasync(s->fd); /* nobody is left to tell */
        if (s->fd >= 0) close(s->fd);
        ek_list_remove(&j->segments, it);
        free(s);
    }
    ek_map_free(&j->index);
    free(j->piece);
    if (j->lock_fd >= 0) close(j->lock_fd);
    if (j->dir_fd >= 0) close(j->dir_fd);
    free(j->dir);
    j->magic = 0;
    free(j);
}
