/* SPDX-License-Identifier: MIT */
/* Once a second: what has outlived its time is erased, files without a living record are deleted, and when
 * space gets short the emptiest file is emptied into the newest, so much a second. Also what is said when
 * the disk fails, and when it works again: one sentence each. */
#include "journal/journal_priv.h"

#include <string.h>

#define MOVE_BYTES_MAX (4u << 20) /* a second */
#define MOVE_COUNT_MAX 256u
#define EXPIRE_MAX 1024u          /* of each file, a second */

void ek_journal_in_trouble(struct ek_journal *j, int error)
{
    MUST(error != 0);
    j->trouble_until_ns = ek_loop_now(j->loop).mono_ns + EK_JOURNAL_TROUBLE_NS;
    if (j->trouble) return;
    j->trouble = true;
    ek_error(j->log, "the journal in %s cannot be written (%s): places given from now on do not outlive "
             "this process", j->dir, strerror(error));
}

void ek_journal_out_of_trouble(struct ek_journal *j)
{
    if (!j->trouble || ek_loop_now(j->loop).mono_ns < j->trouble_until_ns) return;
    j->trouble = false;
    ek_info(j->log, "the journal in %s can be written again", j->dir);
}

static void expire(struct ek_journal *j, struct ek_journal_segment *s, uint64_t unix_s)
{
    uint64_t ttl_s = j->options.ttl_ns / EK_S_NS;
    uint32_t looked = 0;
    EK_LIST_EACH(&s->entries, it) {
        struct ek_journal_entry *e = EK_CONTAINER(it, struct ek_journal_entry, link);
        if (e->written_s + ttl_s >= unix_s || ++looked > EXPIRE_MAX) return;
        if (e->state != ENTRY_LIVE) continue;
        j->counters.expired++;
        ek_journal_entry_erase(j, e);
    }
}

static void drop_empty(struct ek_journal *j)
{
    EK_LIST_EACH(&j->segments, it) {
        struct ek_journal_segment *s = EK_CONTAINER(it, struct ek_journal_segment, link);
        bool busy = s->pending || s->syncing || s->dropping || s->entries.count;
        if (!s->sealed && s->entries.count == 0 && s->bytes >= j->segment_bytes / 4) s->sealed = true;
        if (!s->sealed || busy) continue;
        s->dropping = true;
        struct ek_journal_op *op = ek_journal_own_op();
        op->segment = s;
        ek_journal_submit(j, op, EK_JOURNAL_DROP, NULL);
    }
}

/* The file that gives back most for least: at least half of it is dead. */
static struct ek_journal_segment *emptiest(const struct ek_journal *j)
{
    struct ek_journal_segment *best = NULL;
    for (struct ek_link *n = ek_list_first(&j->segments); n; n = ek_list_next(&j->segments, n)) {
        struct ek_journal_segment *s = EK_CONTAINER(n, struct ek_journal_segment, link);
        if (!s->sealed || s->dropping || s->entries.count == 0) continue;
        if (s->live_bytes > s->bytes / 2) continue;
        if (!best || s->live_bytes < best->live_bytes) best = s;
    }
    return best;
}

static void move_some(struct ek_journal *j)
{
    uint64_t bytes = 0;
    uint32_t count = 0;
    if (j->counters.bytes <= j->options.bytes_max / 4 * 3 || j->trouble) return;
    struct ek_journal_segment *s = emptiest(j);
    if (!s) return;
    EK_LIST_EACH(&s->entries, it) {
        struct ek_journal_entry *e = EK_CONTAINER(it, struct ek_journal_entry, link);
        if (e->state != ENTRY_LIVE || e->moving) continue;
        bytes += ek_record_bytes(e->payload_bytes);
        if (count > 0 && (bytes > MOVE_BYTES_MAX || count >= MOVE_COUNT_MAX)) return;
        count++;
        e->moving = true;
        ek_journal_submit(j, ek_journal_own_op(), EK_JOURNAL_MOVE, e);
    }
}

void ek_journal_tick(struct ek_timer *t)
{
    struct ek_journal *j = EK_CONTAINER(t, struct ek_journal, tick);
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    struct ek_now now = ek_loop_now(j->loop);
    uint64_t every_ns = EK_JOURNAL_TICK_NS;
    if (j->options.fsync_ns && j->options.fsync_ns < every_ns) every_ns = j->options.fsync_ns;
    ek_timer_set(j->loop, t, now.mono_ns + every_ns);
    ek_journal_hand_over(j);
    bool due = now.mono_ns + EK_MS_NS >= j->synced_ns + j->options.fsync_ns;
    if (j->options.fsync_ns && due) ek_journal_sync(j);
    for (struct ek_link *n = ek_list_first(&j->segments); n; n = ek_list_next(&j->segments, n))
        expire(j, EK_CONTAINER(n, struct ek_journal_segment, link), now.unix_ns / EK_S_NS);
    drop_empty(j);
    move_some(j);
}
