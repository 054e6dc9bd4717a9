/* SPDX-License-Identifier: MIT */
/* The calls of the journal, its index, and what the end of an operation changes. Everything here runs on
 * the loop; the files are lane.c's. */
#include "journal/journal_priv.h"

#include <errno.h>
#include <stdlib.h>

/* ---- the index ------------------------------------------------------------------------------- */

struct name {
    const uint8_t *key;
    uint32_t part;
};

static uint64_t hash_of(const uint8_t key[16], uint32_t part)
{
    uint64_t h; /* keys are random bits of our own: no need to mix them */
    memcpy(&h, key, sizeof h);
    return h ^ (uint64_t)part * 0x9e3779b97f4a7c15ull;
}

static bool is_it(const void *value, const void *key)
{
    const struct ek_journal_entry *e = value;
    const struct name *n = key;
    return e->part == n->part && memcmp(e->key, n->key, sizeof e->key) == 0;
}

struct ek_journal_entry *ek_journal_entry_find(const struct ek_journal *j, const uint8_t key[16],
                                               uint32_t part)
{
    return ek_map_find(&j->index, hash_of(key, part), is_it, &(struct name){key, part});
}

struct ek_journal_entry *ek_journal_entry_new(struct ek_journal *j, const uint8_t key[16], uint32_t part,
                                              uint32_t payload_bytes, uint64_t written_ns)
{
    struct ek_journal_entry *e = calloc(1, sizeof *e);
    MUST(!ek_journal_entry_find(j, key, part));
    if (!e) return NULL;
    memcpy(e->key, key, sizeof e->key);
    e->part = part;
    e->payload_bytes = payload_bytes;
    e->written_s = (uint32_t)(written_ns / EK_S_NS);
    if (ek_map_put(&j->index, hash_of(key, part), e) != EK_OK) {
        free(e);
        return NULL;
    }
    e->indexed = true;
    return e;
}

static void unindex(struct ek_journal *j, struct ek_journal_entry *e)
{
    if (!e->indexed) return;
    void *taken = ek_map_take(&j->index, hash_of(e->key, e->part), is_it, &(struct name){e->key, e->part});
    MUST(taken == e);
    e->indexed = false;
}

void ek_journal_entry_place(struct ek_journal_entry *e, struct ek_journal_segment *s, uint64_t at)
{
    MUST(!e->segment && !ek_link_linked(&e->link));
    MUST(at >= EK_SEGMENT_HEAD_BYTES && at <= UINT32_MAX);
    e->segment = s;
    e->at = (uint32_t)at;
    ek_list_append(&s->entries, &e->link);
    s->live_bytes += ek_record_bytes(e->payload_bytes);
}

void ek_journal_entry_unplace(struct ek_journal_entry *e)
{
    struct ek_journal_segment *s = e->segment;
    MUST(s && s->live_bytes >= ek_record_bytes(e->payload_bytes));
    s->live_bytes -= ek_record_bytes(e->payload_bytes);
    ek_list_remove(&s->entries, &e->link);
    e->segment = NULL;
}

/* Freed when nothing knows it any more. */
static void retire(struct ek_journal *j, struct ek_journal_entry *e)
{
    if (e->ops) return;
    MUST(e->state == ENTRY_FAILED || e->state == ENTRY_ERASING);
    if (e->segment) ek_journal_entry_unplace(e);
    unindex(j, e);
    free(e);
}

struct ek_journal_segment *ek_journal_segment_new(struct ek_journal *j, uint64_t number)
{
    struct ek_journal_segment *s = calloc(1, sizeof *s);
    MUST(s); /* few and small */
    MUST(number >= j->next_number);
    *s = (struct ek_journal_segment){.number = number, .bytes = EK_SEGMENT_HEAD_BYTES, .fd = -1,
                                     .failed_at = UINT64_MAX};
    ek_list_init(&s->entries);
    ek_list_append(&j->segments, &s->link);
    j->next_number = number + 1;
    j->counters.bytes += s->bytes;
    return s;
}

void ek_journal_segment_free(struct ek_journal *j, struct ek_journal_segment **s)
{
    MUST((*s)->pending == 0 && (*s)->entries.count == 0);
    MUST(!(*s)->syncing && j->counters.bytes >= (*s)->bytes);
    j->counters.bytes -= (*s)->bytes;
    ek_list_remove(&j->segments, &(*s)->link);
    free(*s);
    *s = NULL;
}

/* ---- operations ------------------------------------------------------------------------------ */

void ek_journal_submit(struct ek_journal *j, struct ek_journal_op *op, enum ek_journal_what what,
                       struct ek_journal_entry *e)
{
    MUST(op->done && !ek_link_linked(&op->link));
    op->journal = j;
    op->what = (uint8_t)what;
    op->entry = e;
    op->error = 0;
    if (e) e->ops++;
    ek_list_append(&j->pending, &op->link);
    ek_post_put(j->loop, &j->post);
}

static void own_done(struct ek_journal_op *op, enum ek_status s)
{
    (void)s; /* counted where it failed */
    free(op);
}

struct ek_journal_op *ek_journal_own_op(void)
{
    struct ek_journal_op *op = calloc(1, sizeof *op);
    MUST(op); /* small; as many as there are records */
    op->done = own_done;
    return op;
}

static bool is_full(struct ek_journal *j, uint64_t bytes)
{
    bool crowded = j->pending.count + j->in_batch >= EK_JOURNAL_PENDING_MAX ||
                   j->pending_bytes + bytes > EK_JOURNAL_PENDING_BYTES_MAX;
    /* Room that puts leave: for the head of a new file, and for what is moved out of a half empty one. */
    uint64_t reserve = j->segment_bytes / 2 + 2 * EK_SEGMENT_HEAD_BYTES;
    return crowded || j->counters.bytes + j->pending_bytes + bytes + reserve > j->options.bytes_max;
}

enum ek_status ek_journal_put(struct ek_journal *j, struct ek_journal_op *op, const struct ek_journal_put *p)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    MUST(p->first.data || !p->first.len);
    struct ek_now now = ek_loop_now(j->loop);
    if (p->first.len > EK_RECORD_PAYLOAD_MAX || p->second.len > EK_RECORD_PAYLOAD_MAX - p->first.len)
        return EK_INVALID;
    uint32_t payload = (uint32_t)(p->first.len + p->second.len);
    if (j->closed_for_good || now.mono_ns < j->trouble_until_ns) {
        j->counters.refused_trouble++;
        return EK_FULL;
    }
    if (is_full(j, ek_record_bytes(payload))) {
        j->counters.refused_full++;
        return EK_FULL;
    }
    struct ek_journal_entry *e = ek_journal_entry_new(j, p->name.key, p->name.part, payload, now.unix_ns);
    if (!e) {
        j->counters.refused_full++;
        return EK_FULL;
    }
    op->kind = p->kind;
    op->owner = p->owner;
    op->seq = j->next_seq++;
    op->written_ns = now.unix_ns;
    op->payload_bytes = payload;
    op->payload[0] = (struct iovec){(void *)(uintptr_t)p->first.data, p->first.len};
    op->payload[1] = (struct iovec){(void *)(uintptr_t)p->second.data, p->second.len};
    op->reserved = ek_record_bytes(payload);
    j->pending_bytes += op->reserved;
    ek_journal_submit(j, op, EK_JOURNAL_PUT, e);
    return EK_OK;
}

static struct ek_journal_entry *living(const struct ek_journal *j, const struct ek_journal_name *name)
{
    struct ek_journal_entry *e = ek_journal_entry_find(j, name->key, name->part);
    return e && (e->state == ENTRY_LIVE || e->state == ENTRY_PUTTING) ? e : NULL;
}

bool ek_journal_has(const struct ek_journal *j, const struct ek_journal_name *name)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    return living(j, name) != NULL;
}

static void no_longer_live(struct ek_journal *j, const struct ek_journal_entry *e)
{
    if (e->state != ENTRY_LIVE) return; /* not written yet: never counted */
    MUST(j->counters.live > 0 && j->counters.live_bytes >= e->payload_bytes);
    j->counters.live--;
    j->counters.live_bytes -= e->payload_bytes;
}

enum ek_status ek_journal_use(struct ek_journal *j, struct ek_journal_op *op,
                              const struct ek_journal_name *name)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    struct ek_journal_entry *e = living(j, name);
    if (!e) return EK_ABSENT;
    op->reserved = 0;
    no_longer_live(j, e);
    e->used = true;
    e->state = ENTRY_USING;
    ek_journal_submit(j, op, EK_JOURNAL_USE, e);
    return EK_OK;
}

void ek_journal_entry_erase(struct ek_journal *j, struct ek_journal_entry *e)
{
    MUST(e->state != ENTRY_FAILED);
    if (e->state == ENTRY_ERASING) return;
    no_longer_live(j, e);
    e->state = ENTRY_ERASING;
    ek_journal_submit(j, ek_journal_own_op(), EK_JOURNAL_ERASE, e);
}

void ek_journal_erase(struct ek_journal *j, const struct ek_journal_name *name)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    struct ek_journal_entry *e = ek_journal_entry_find(j, name->key, name->part);
    if (e && e->state != ENTRY_FAILED) ek_journal_entry_erase(j, e);
}

enum ek_status ek_journal_read(struct ek_journal *j, struct ek_journal_op *op,
                               const struct ek_journal_name *name, struct ek_buf *into)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    struct ek_journal_entry *e = living(j, name);
    if (!e) return EK_ABSENT;
    uint64_t bytes = ek_record_bytes(e->payload_bytes); /* readers may not take all memory, either */
    if (j->pending_bytes + bytes > EK_JOURNAL_PENDING_BYTES_MAX) return EK_FULL;
    if (!ek_buf_reserve(into, e->payload_bytes + EK_RECORD_HEAD_BYTES)) return EK_FULL;
    op->reserved = bytes;
    j->pending_bytes += bytes;
    op->into = into;
    op->payload_bytes = e->payload_bytes;
    ek_journal_submit(j, op, EK_JOURNAL_READ, e);
    return EK_OK;
}

/* ---- their ends ------------------------------------------------------------------------------ */

static void put_ended(struct ek_journal *j, struct ek_journal_op *op)
{
    struct ek_journal_entry *e = op->entry;
    if (!op->error) {
        j->counters.puts++;
        j->counters.put_bytes += op->payload_bytes;
        if (e->state != ENTRY_PUTTING) return; /* used or erased meanwhile */
        e->state = ENTRY_LIVE;
        j->counters.live++;
        j->counters.live_bytes += e->payload_bytes;
        return;
    }
    e->state = ENTRY_FAILED;
    if (e->segment) ek_journal_entry_unplace(e);
    unindex(j, e);
}

static void move_ended(struct ek_journal *j, struct ek_journal_op *op)
{
    struct ek_journal_entry *e = op->entry;
    e->moving = false;
    if (op->error || !op->to) return;
    ek_journal_entry_unplace(e);
    ek_journal_entry_place(e, op->to, op->to_at);
    j->counters.moved++;
}

static void erase_ended(struct ek_journal *j, struct ek_journal_op *op)
{
    MUST(op->entry->state == ENTRY_ERASING || op->entry->state == ENTRY_FAILED);
    if (!op->error) j->counters.erased++;
}

/* One operation of a batch has ended; calls its owner. */
void ek_journal_op_ended(struct ek_journal *j, struct ek_journal_op *op)
{
    struct ek_journal_entry *e = op->entry;
    bool use = op->what == EK_JOURNAL_USE;
    MUST(j->pending_bytes >= op->reserved);
    j->pending_bytes -= op->reserved;
    op->reserved = 0;
    if (op->error && op->error != ECANCELED && op->what != EK_JOURNAL_NOTHING) j->counters.failures++;
    switch ((enum ek_journal_what)op->what) {
    case EK_JOURNAL_PUT: put_ended(j, op); break;
    case EK_JOURNAL_USE: j->counters.used += !op->error; break;
    case EK_JOURNAL_ERASE: erase_ended(j, op); break;
    case EK_JOURNAL_READ:
        j->counters.reads++;
        if (!op->error) op->into->len += op->payload_bytes;
        break;
    case EK_JOURNAL_MOVE: move_ended(j, op); break;
    case EK_JOURNAL_MAKE: j->counters.files_made += !op->error; break;
    case EK_JOURNAL_DROP: j->counters.files_deleted++; break;
    case EK_JOURNAL_NOTHING: break;
    }
    if (e) {
        MUST(e->ops > 0);
        e->ops--;
        if (use && e->state == ENTRY_USING) ek_journal_entry_erase(j, e);
        else if (e->state == ENTRY_FAILED || e->state == ENTRY_ERASING) retire(j, e);
    }
    op->done(op, op->error ? EK_IO : EK_OK);
}

/* ---- looking --------------------------------------------------------------------------------- */

const struct ek_journal_identity *ek_journal_identity(const struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    return &j->identity;
}

struct ek_journal_counters ek_journal_counters(const struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    return j->counters;
}

void ek_journal_check(const struct ek_journal *j)
{
    uint64_t bytes = 0, placed = 0;
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    for (struct ek_link *n = ek_list_first(&j->segments); n; n = ek_list_next(&j->segments, n)) {
        const struct ek_journal_segment *s = EK_CONTAINER(n, struct ek_journal_segment, link);
        uint64_t live_bytes = 0;
        for (struct ek_link *m = ek_list_first(&s->entries); m; m = ek_list_next(&s->entries, m)) {
            const struct ek_journal_entry *e = EK_CONTAINER(m, struct ek_journal_entry, link);
            MUST(e->segment == s && e->at + ek_record_bytes(e->payload_bytes) <= s->bytes);
            live_bytes += ek_record_bytes(e->payload_bytes);
            placed += e->indexed;
        }
        MUST(live_bytes == s->live_bytes && s->live_bytes <= s->bytes);
        bytes += s->bytes;
    }
    MUST(bytes == j->counters.bytes);
    MUST(placed <= j->index.count && j->counters.live <= j->index.count);
}
