/* SPDX-License-Identifier: MIT */
/* Keys of callers: how they are made, and how they are remembered. A key is 192 random bits, shown once.
 * What is stored is its BLAKE2b, keyed with a secret of this installation that is not in the database: who
 * steals the database can neither use it nor try guesses against it. */
#ifndef EK_LEDGER_SECRET_H
#define EK_LEDGER_SECRET_H

#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

#define EK_TOKEN_BYTES 48u /* room for a key or code with its NUL */
#define EK_TOKEN_HASH_BYTES 32u

struct ek_secret {
    uint8_t key[32];
};

/* From a file (created with fresh randomness and mode 0600 where there is none; refused when others may read
 * it) or, path NULL, from the environment variable EVENKEEL_SECRET, which is then unset. At least 32
 * characters. EK_ABSENT: no path and no variable; EK_INVALID, EK_IO: why. */
EK_CHECKED enum ek_status ek_secret_load(const char *path, struct ek_secret *out, char *why, size_t cap);
void ek_secret_wipe(struct ek_secret *s);

/* "sk-ek-" or another prefix and 32 letters. */
void ek_token_make(const char *prefix, char out[EK_TOKEN_BYTES]);
void ek_token_hash(const struct ek_secret *s, struct ek_str token, uint8_t out[EK_TOKEN_HASH_BYTES]);

#endif
