/* SPDX-License-Identifier: MIT */
/* A page of the KV cache as a file: what its rows depend on, then the rows. Pure.
 *
 *   "ekkvpg1\n" | fingerprint 16 | rows_bytes 8 | name 16 | before 16 | roles 8 | ids 4 * 64 |
 *   checksum 16 | rows
 *
 * Numbers as they lie in memory: a file is read by the machine that wrote it or its like, and the checksum
 * (XXH3-128 over everything else) tells whether it is whole. Nothing in a file is believed beyond "these are
 * the rows that were written for exactly this key": whoever reads says which key that must be. */
#ifndef EK_ENGINE_KV_FILE_H
#define EK_ENGINE_KV_FILE_H

#include "engine/kv.h"

#include <stdint.h>

enum { EK_KV_FILE_HEAD = 8 + 16 + 8 + 16 + 16 + 8 + 4 * EK_KV_PAGE + 16 };

/* All that the rows of a page depend on, but for what a whole folder has in common (the fingerprint). */
struct ek_kv_key {
    struct ek_kv_name name, before;
    uint64_t generated; /* bit t set = token t has the role generated */
    uint32_t ids[EK_KV_PAGE];
};

struct ek_kv_fingerprint { /* of model file, numerics, engine version and shape */
    uint64_t lo, hi;
};

/* Complete the head in front of the rows: file [EK_KV_FILE_HEAD + rows_bytes], whose rows are there. */
void ek_kv_file_seal(uint8_t *file, size_t rows_bytes, struct ek_kv_fingerprint whose,
                     const struct ek_kv_key *key);

/* True: file [bytes] is whole and holds the rows of this key. */
EK_CHECKED bool ek_kv_file_good(const uint8_t *file, size_t bytes, size_t rows_bytes,
                                struct ek_kv_fingerprint whose, const struct ek_kv_key *key);

#endif
