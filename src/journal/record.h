/* SPDX-License-Identifier: MIT */
/* A record of the journal as bytes: written, read, and found again behind damage. Pure.
 *
 *   a file      | head 24 | record | record | ... to its end
 *   a record    | head 80                                                       | payload | zeros to 8
 *
 *      0 mark      ff 'e' 'k' 'j': ff occurs in no UTF-8, so never inside a client's body
 *      4 state     'L' live, 'U' used, 'S' used and erased, 'E' erased unused; the one byte of a head that is
 *                  ever written again
 *      5 kind      what the payload is; the journal does not care
 *      6 zero
 *      8 head hash    of the 80 bytes with state and this as zeros
 *     16 seq          grows with each append; order in time
 *     24 owner        who may ask for it (a hash of the account)
 *     32 written_ns   unix
 *     40 key          16 bytes; with `part` the name of the record
 *     56 payload hash
 *     64 payload bytes, part   (32 bits each)
 *     72 zero
 *
 * All numbers are little-endian. Hashes are XXH3-64 with a secret seed, so a client cannot put into its
 * body what would be taken for a record. A payload is only ever changed to zeros, so one of zeros whose
 * hash does not fit was erased by a process that died before it could say so, and is no damage. */
#ifndef EK_JOURNAL_RECORD_H
#define EK_JOURNAL_RECORD_H

#include "base/str.h"

#define EK_RECORD_HEAD_BYTES 80u
#define EK_RECORD_STATE_AT 4u
#define EK_RECORD_PAYLOAD_MAX (64u << 20)
#define EK_SEGMENT_HEAD_BYTES 24u

enum ek_record_state {
    EK_RECORD_LIVE = 'L', EK_RECORD_USED = 'U', EK_RECORD_SPENT = 'S', EK_RECORD_ERASED = 'E'
};

struct ek_record {
    uint8_t key[16];
    uint64_t owner;
    uint64_t seq;
    uint64_t written_ns;
    uint64_t payload_hash;
    uint32_t payload_bytes; /* <= EK_RECORD_PAYLOAD_MAX */
    uint32_t part;
    uint8_t kind;
    uint8_t state;
};

/* Bytes of a record with so large a payload, padding included. */
static inline uint64_t ek_record_bytes(uint32_t payload_bytes)
{
    return ((uint64_t)EK_RECORD_HEAD_BYTES + payload_bytes + 7) / 8 * 8;
}

/* Hash of a payload in two pieces, as it will stand in the head. */
uint64_t ek_record_hash(struct ek_str first, struct ek_str second, uint64_t seed);
void ek_record_put_head(uint8_t out[EK_RECORD_HEAD_BYTES], const struct ek_record *r, uint64_t seed);
/* false: this is no head. Any state byte that is none of the four counts as used: better never served
 * than served twice. */
bool ek_record_read_head(struct ek_record *r, const uint8_t in[EK_RECORD_HEAD_BYTES], uint64_t seed);

void ek_segment_put_head(uint8_t out[EK_SEGMENT_HEAD_BYTES], uint64_t number);
/* Sound, but of another version than this program writes: its records are not to be touched. */
bool ek_segment_is_foreign(const uint8_t in[EK_SEGMENT_HEAD_BYTES]);
bool ek_segment_read_head(const uint8_t in[EK_SEGMENT_HEAD_BYTES], uint64_t *number);

/* A walk over a whole file's bytes. */
struct ek_record_walk {
    const uint8_t *bytes;
    size_t len;
    size_t at;            /* where to look next; begins behind the file's head */
    uint64_t seed;
    uint64_t lost_bytes;  /* skipped because they were no record; stretches of zeros do not count */
    uint32_t lost_count;  /* stretches of such bytes, and records whose payload was torn */
};

struct ek_record_found {
    struct ek_record record;
    size_t at;             /* of its head */
    struct ek_str payload; /* into the walk's bytes */
};

/* The next record; false at the end. A live record whose payload is not what was written is not given but
 * counted as lost, except that it comes as erased if it is all zeros. */
bool ek_record_next(struct ek_record_walk *w, struct ek_record_found *out);

#endif
