/* SPDX-License-Identifier: MIT */
/* What must outlive the process: named records in files, each with a payload that can be erased.
 *
 *   put ──▶ live ──▶ use ──▶ used ──▶ erased       erase: at once, from anywhere
 *
 * The door keeps in it the bodies of requests that wait; streams that can be resumed may keep their text.
 * A record has a kind (the journal does not care which), a name (16 bytes and a part number) and an owner.
 *
 *   put     appended to a file at once, by a helper thread; fsync follows within fsync_ns. So the death of
 *           this process loses nothing that was reported done, that of the machine at most fsync_ns of it.
 *   use     one byte of the record changes: from the moment this is done, a restart will not give it as
 *           live any more. The payload is overwritten with zeros right after.
 *   erase   the payload is overwritten with zeros in its file.
 *
 * Bounded: no put beyond bytes_max on disk (EK_FULL); files whose records are all erased are deleted; when
 * space gets short, what lives in the emptiest file is moved to the newest, so much a second. Records older
 * than ttl are erased. When the disk fails, puts fail (EK_IO, then EK_FULL for a second), a sentence is
 * logged once, and everything is tried again; marks and erasures need no space.
 *
 * One thread, one loop; nothing but open and close blocks. Callbacks are never made from inside the call
 * that registered them, except by ek_journal_close. docs/why/journal.md has the reasons. */
#ifndef EK_JOURNAL_JOURNAL_H
#define EK_JOURNAL_JOURNAL_H

#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"
#include "journal/options.h"

#define EK_JOURNAL_PENDING_MAX 8192u             /* operations not yet done; beyond: puts are EK_FULL */
#define EK_JOURNAL_PENDING_BYTES_MAX (64u << 20) /* of payloads not yet written or read; beyond: EK_FULL */

struct ek_journal;

/* The name of a record. */
struct ek_journal_name {
    uint8_t key[16];
    uint32_t part;
};

/* One operation, embedded by its owner, who leaves it alone from the call until `done`. */
struct ek_journal_op {
    void (*done)(struct ek_journal_op *op, enum ek_status s); /* may free the op; NULL is not legal */
    struct ek_link link; /* from here on the journal's */
    struct ek_journal *journal;
    struct ek_journal_segment *segment, *to;
    struct ek_journal_entry *entry;
    struct iovec payload[2];
    struct ek_buf *into;
    uint64_t at, to_at;
    uint64_t reserved; /* of EK_JOURNAL_PENDING_BYTES_MAX */
    uint32_t payload_bytes;
    int error; /* errno; 0: it went well */
    uint8_t what;
    uint8_t kind;
    uint8_t last; /* state byte of what is erased */
    uint64_t owner, seq, written_ns;
};

struct ek_journal_put {
    struct ek_journal_name name; /* not in the journal already */
    uint64_t owner;
    uint8_t kind;
    struct ek_str first, second; /* the payload; must stay as they are until `done` */
};

/* What was found when the journal was opened. */
struct ek_journal_found {
    struct ek_journal_name name;
    uint64_t owner;
    uint64_t written_ns; /* unix */
    uint8_t kind;
    bool used;             /* it was live once; the payload is gone */
    struct ek_str payload; /* valid in the call */
};

/* Numbers for /metrics. */
struct ek_journal_counters {
    uint64_t puts, put_bytes, used, erased, reads;
    uint64_t refused_full;    /* puts for which there was no room */
    uint64_t refused_trouble; /* puts while the disk did not work */
    uint64_t failures;        /* operations that the system refused */
    uint64_t syncs, batches, files_made, files_deleted, moved;
    uint64_t expired;         /* live records older than the time to live */
    uint64_t lost, lost_bytes; /* found damaged at the start */
    uint64_t found;           /* live ones found at the start */
    uint64_t live, live_bytes, bytes; /* now; bytes: of all files */
};

/* Opens (or makes) the directory and reads what is there. Blocks: for the start of a program. NULL with a
 * sentence in `why` when the directory cannot be used at all; damage is no such reason: it is counted, and
 * logged in one sentence. `log` outlives the journal. */
struct ek_journal *ek_journal_open(struct ek_loop *loop, const struct ek_journal_options *o,
                                   struct ek_log *log, char *why, size_t cap);
/* Everything that was found, oldest first; once, right after open. Blocks. */
void ek_journal_visit(struct ek_journal *j, void (*visit)(void *arg, const struct ek_journal_found *f),
                      void *arg);
/* Does what is pending, calling `done` for all of it, and syncs. Blocks. What lives stays on disk. */
void ek_journal_close(struct ek_journal **j);

/* What stays the same after each restart: a number that names this journal, a seed for hashes, and a secret
 * key from which its owner may derive what must be known again but not be guessed. */
struct ek_journal_identity {
    uint8_t secret[16];
    uint64_t hash_seed;
    uint32_t id;
};
const struct ek_journal_identity *ek_journal_identity(const struct ek_journal *j);

/* EK_OK: `done` follows, with EK_OK (it is written; with fsync_ns 0 also synced) or EK_IO (there is no such
 * record). EK_FULL: no room, or the disk is in trouble; nothing happens. EK_INVALID: payload too large. */
EK_CHECKED enum ek_status ek_journal_put(struct ek_journal *j, struct ek_journal_op *op,
                                         const struct ek_journal_put *p);
/* EK_OK: `done` follows, EK_OK when the mark is written. EK_ABSENT: there is no such live record. */
EK_CHECKED enum ek_status ek_journal_use(struct ek_journal *j, struct ek_journal_op *op,
                                         const struct ek_journal_name *name);
/* Overwrite and forget; also one whose put is not done yet. No-op when there is none. */
void ek_journal_erase(struct ek_journal *j, const struct ek_journal_name *name);
/* EK_OK: `done` follows; with EK_OK the payload has been appended to `into` and is what was written; with
 * EK_IO it could not be read. EK_ABSENT, EK_FULL as above. */
EK_CHECKED enum ek_status ek_journal_read(struct ek_journal *j, struct ek_journal_op *op,
                                          const struct ek_journal_name *name, struct ek_buf *into);
/* Is there such a live record (written or being written)? */
bool ek_journal_has(const struct ek_journal *j, const struct ek_journal_name *name);

struct ek_journal_counters ek_journal_counters(const struct ek_journal *j);
/* Every invariant, O(records); for tests. */
void ek_journal_check(const struct ek_journal *j);

#endif
