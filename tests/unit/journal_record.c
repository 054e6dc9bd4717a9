/* SPDX-License-Identifier: MIT */
/* Records as bytes: what was written is found, whatever was done to the bytes around it; what was changed
 * is never taken for what was written. */
#include "cm.h"

#include "base/random.h"
#include "journal/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#define SEED 0x1234567890abcdefull
#define FILE_BYTES 65536u

struct file {
    uint8_t bytes[FILE_BYTES];
    size_t len;
    size_t at[64];
    uint32_t payload_bytes[64];
    uint32_t count;
};

static void begin(struct file *f)
{
    memset(f, 0, sizeof *f);
    ek_segment_put_head(f->bytes, 7);
    f->len = EK_SEGMENT_HEAD_BYTES;
}

static struct ek_record record_of(uint32_t n, uint32_t payload_bytes)
{
    struct ek_record r = {.owner = 100 + n, .seq = n + 1, .written_ns = 5000 + n, .part = n % 3, .kind = 9,
                          .payload_bytes = payload_bytes, .state = EK_RECORD_LIVE};
    memset(r.key, (int)(n + 1), sizeof r.key);
    return r;
}

static void add(struct file *f, struct ek_random *rng, uint32_t payload_bytes)
{
    struct ek_record r = record_of(f->count, payload_bytes);
    uint8_t *payload = f->bytes + f->len + EK_RECORD_HEAD_BYTES;
    assert_true(f->len + ek_record_bytes(payload_bytes) <= FILE_BYTES);
    for (uint32_t i = 0; i < payload_bytes; i++) payload[i] = (uint8_t)(1 + ek_random_below(rng, 127));
    uint32_t split = payload_bytes / 3;
    r.payload_hash = ek_record_hash(ek_str_make((char *)payload, split),
                                    ek_str_make((char *)payload + split, payload_bytes - split), SEED);
    ek_record_put_head(f->bytes + f->len, &r, SEED);
    f->at[f->count] = f->len;
    f->payload_bytes[f->count++] = payload_bytes;
    f->len += (size_t)ek_record_bytes(payload_bytes);
}

static struct ek_record_walk walk_of(const struct file *f, size_t len)
{
    return (struct ek_record_walk){.bytes = f->bytes, .len = len, .at = EK_SEGMENT_HEAD_BYTES, .seed = SEED};
}

/* Walks; every record given must be one that was written, with all it was written with. Returns how many. */
static uint32_t walk(const struct file *f, size_t len, struct ek_record_walk *w)
{
    struct ek_record_found r;
    uint32_t count = 0;
    *w = walk_of(f, len);
    while (ek_record_next(w, &r)) {
        uint32_t n = (uint32_t)r.record.seq - 1;
        assert_true(n < f->count);
        struct ek_record wanted = record_of(n, f->payload_bytes[n]);
        assert_int_equal(r.at, f->at[n]);
        assert_memory_equal(r.record.key, wanted.key, sizeof wanted.key);
        assert_int_equal(r.record.owner, wanted.owner);
        assert_int_equal(r.record.part, wanted.part);
        assert_int_equal(r.payload.len, wanted.payload_bytes);
        count++;
    }
    assert_int_equal(w->at, len);
    return count;
}

static void fill(struct file *f, struct ek_random *rng)
{
    begin(f);
    for (uint32_t i = 0; i < 20; i++) add(f, rng, (uint32_t)ek_random_below(rng, 900));
    add(f, rng, 0);
}

static void what_was_written_is_found(void **state)
{
    (void)state;
    struct file *f = malloc(sizeof *f);
    struct ek_random rng = ek_random_make(20261121);
    struct ek_record_walk w;
    uint64_t number;
    fill(f, &rng);
    assert_int_equal(walk(f, f->len, &w), f->count);
    assert_int_equal(w.lost_count, 0);
    assert_true(ek_segment_read_head(f->bytes, &number));
    assert_int_equal(number, 7);
    assert_false(ek_segment_is_foreign(f->bytes));
    uint8_t other[EK_SEGMENT_HEAD_BYTES];
    memcpy(other, f->bytes, sizeof other);
    other[6] = '9';
    assert_false(ek_segment_is_foreign(other)); /* damaged: what stands behind it proves itself */
    uint64_t hash = XXH3_64bits(other, 16);
    memcpy(other + 16, &hash, sizeof hash);
    assert_true(ek_segment_is_foreign(other)); /* written so: a version to come */
    f->bytes[9] ^= 1;
    assert_false(ek_segment_read_head(f->bytes, &number));
    w = walk_of(f, f->len); /* another journal's seed: nothing of it is believed */
    w.seed++;
    struct ek_record_found r;
    assert_false(ek_record_next(&w, &r));
    assert_true(w.lost_count > 0);
    free(f);
}

static void cut_anywhere(void **state)
{
    (void)state;
    struct file *f = malloc(sizeof *f);
    struct ek_random rng = ek_random_make(20261122);
    struct ek_record_walk w;
    fill(f, &rng);
    for (size_t len = EK_SEGMENT_HEAD_BYTES; len <= f->len; len++) {
        uint32_t whole = 0;
        for (uint32_t i = 0; i < f->count; i++)
            whole += f->at[i] + EK_RECORD_HEAD_BYTES + f->payload_bytes[i] <= len;
        assert_int_equal(walk(f, len, &w), whole);
    }
    free(f);
}

static void one_byte_changed(void **state)
{
    (void)state;
    struct file *f = malloc(sizeof *f);
    struct ek_random rng = ek_random_make(20261123);
    struct ek_record_walk w;
    fill(f, &rng);
    for (size_t at = EK_SEGMENT_HEAD_BYTES; at < f->len; at++) {
        uint8_t was = f->bytes[at];
        f->bytes[at] ^= (uint8_t)(1 + ek_random_below(&rng, 255));
        uint32_t found = walk(f, f->len, &w);
        bool harmless = found == f->count; /* a state byte, or padding */
        if (!harmless) {
            assert_int_equal(found, f->count - 1);
            assert_int_equal(w.lost_count, 1);
        }
        f->bytes[at] = was;
    }
    free(f);
}

static void states(void **state)
{
    (void)state;
    struct file *f = malloc(sizeof *f);
    struct ek_random rng = ek_random_make(4);
    struct ek_record_walk w;
    struct ek_record_found r;
    begin(f);
    for (int i = 0; i < 5; i++) add(f, &rng, 50);
    f->bytes[f->at[0] + EK_RECORD_STATE_AT] = EK_RECORD_USED;
    f->bytes[f->at[1] + EK_RECORD_STATE_AT] = 'x'; /* half written: used, never served again */
    memset(f->bytes + f->at[2] + EK_RECORD_HEAD_BYTES, 0, 50); /* erased before it could say so */
    memset(f->bytes + f->at[3] + EK_RECORD_HEAD_BYTES, 0, 20); /* torn */
    const uint8_t wanted[] = {EK_RECORD_USED, EK_RECORD_USED, EK_RECORD_ERASED, EK_RECORD_LIVE};
    w = walk_of(f, f->len);
    for (size_t i = 0; i < EK_COUNT(wanted); i++) {
        assert_true(ek_record_next(&w, &r));
        assert_int_equal(r.record.state, wanted[i]);
    }
    assert_int_equal(r.at, f->at[4]);
    assert_false(ek_record_next(&w, &r));
    assert_int_equal(w.lost_count, 1);
    free(f);
}

/* Somebody's body that looks like a record, and rubbish and zeros between records. */
static void impostors(void **state)
{
    (void)state;
    struct file *f = malloc(sizeof *f);
    struct ek_random rng = ek_random_make(5);
    struct ek_record_walk w;
    begin(f);
    add(f, &rng, 400);
    struct ek_record forged = record_of(40, 16);
    ek_record_put_head(f->bytes + f->at[0] + EK_RECORD_HEAD_BYTES + 40, &forged, SEED + 1);
    f->bytes[f->at[0] + 9] ^= 1; /* and the head before it is damaged, so that the walk comes by */
    f->len += 512;               /* a hole that a failed write left */
    add(f, &rng, 30);
    f->bytes[f->len + 3] = 0xff;
    f->len += 64;
    add(f, &rng, 30);
    struct ek_record_found r;
    w = walk_of(f, f->len);
    assert_true(ek_record_next(&w, &r));
    assert_int_equal(r.at, f->at[1]);
    assert_true(ek_record_next(&w, &r));
    assert_int_equal(r.at, f->at[2]);
    assert_false(ek_record_next(&w, &r));
    assert_true(w.lost_count >= 2 && w.lost_bytes >= 400);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_found), cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(one_byte_changed), cmocka_unit_test(states), cmocka_unit_test(impostors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
