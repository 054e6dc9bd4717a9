/* SPDX-License-Identifier: MIT */
/* What a clock can tell about keys, and what a million of them costs. Look-ups of keys that are refused,
 * of kinds an attacker could try, drawn in random order among each other:
 *
 *      unknown   the right form, never made
 *      tail      a real key with its last letter changed
 *      head      a real key with its first letter changed
 *      short     a real key without its last letter
 *      revoked   was real
 *      real      (is let in: its difference is no secret)
 *
 * For each kind median, mean and standard deviation of the time of a look-up (the slowest hundredth of
 * all left out: interrupts), and Welch's t of its mean against that of `unknown`. As in O. Reparaz, J.
 * Balasch and I. Verbauwhede, "Dude, is my code constant time?" (2017): |t| above 4.5 is a difference,
 * and then its size says whether it can be used.   bench_keys [KEYS] [LOOK-UPS] [SEED] */
#include "base/random.h"
#include "ledger/keyring.h"

#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum kind { UNKNOWN, TAIL, HEAD, SHORT, REVOKED, REAL, KINDS };

static const char *const names[KINDS] = {"unknown", "tail", "head", "short", "revoked", "real"};

struct sample {
    uint32_t ns;
    uint8_t kind;
};

static struct ek_secret secret;

/* Key number n, remade instead of kept: 32 letters behind the prefix, as real ones have. */
static size_t key_of(uint64_t n, char out[EK_TOKEN_BYTES])
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct ek_random rng = ek_random_make(n * 2654435761u + 1);
    memcpy(out, "sk-ek-", 6);
    for (size_t i = 6; i < 38; i++) out[i] = letters[ek_random_below(&rng, 64)];
    out[38] = '\0';
    return 38;
}

static struct ek_keyring *fill(uint64_t keys)
{
    struct ek_keyring *k = ek_keyring_new(&secret, 1);
    struct ek_account_row a = {.id = 1, .version = 1, .name = "ann", .tier = "gold"};
    struct ek_key_row row = {.account = 1, .name = "key-of-somebody"};
    char token[EK_TOKEN_BYTES];
    MUST(k && ek_keyring_account(k, &a) == EK_OK);
    for (uint64_t n = 0; n < keys; n++) {
        row.id = row.version = n + 1;
        ek_token_hash(&secret, ek_str_make(token, key_of(n, token)), row.hash);
        MUST(ek_keyring_key(k, &row) == EK_OK);
        if (n % 16 != 0) continue;
        row.version = keys + n + 1;
        row.revoked_unix_ns = 1;
        MUST(ek_keyring_key(k, &row) == EK_OK);
        row.revoked_unix_ns = 0;
    }
    return k;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One question of each kind is made ready, one of them asked: what goes before the clock starts is the
 * same for all, down to the state of the branch predictor as far as that can be had. */
static struct sample one(const struct ek_keyring *k, struct ek_random *rng, uint64_t keys)
{
    enum kind kind = (enum kind)ek_random_below(rng, KINDS);
    uint64_t group = ek_random_below(rng, keys / 16) * 16, n = group + 1 + ek_random_below(rng, 15);
    char token[KINDS][EK_TOKEN_BYTES], asked[EK_TOKEN_BYTES];
    size_t len[KINDS];
    struct ek_caller who;
    for (int i = 0; i < KINDS; i++)
        len[i] = key_of(i == UNKNOWN ? n + keys : i == REVOKED ? group : n, token[i]);
    token[TAIL][len[TAIL] - 1] = token[TAIL][len[TAIL] - 1] == 'x' ? 'y' : 'x';
    token[HEAD][6] = token[HEAD][6] == 'x' ? 'y' : 'x';
    len[SHORT]--;
    memcpy(asked, token[kind], sizeof asked);
    uint64_t from = now_ns();
    enum ek_reason said = ek_keyring_find(k, ek_str_make(asked, len[kind]), EK_STR("127.0.0.1"), 1, &who);
    uint64_t took = now_ns() - from;
    MUST(said == (kind == REAL ? EK_REASON_NONE : EK_REASON_KEY_UNKNOWN));
    return (struct sample){took < UINT32_MAX ? (uint32_t)took : UINT32_MAX, (uint8_t)kind};
}

static int by_time(const void *a, const void *b)
{
    uint32_t x = ((const struct sample *)a)->ns, y = ((const struct sample *)b)->ns;
    return x < y ? -1 : x > y;
}

struct figures {
    double count, mean, variance;
    uint32_t median;
};

/* s is sorted by time. */
static struct figures figures_of(const struct sample *s, size_t count, enum kind kind)
{
    struct figures f = {0};
    double squares = 0, seen = 0;
    for (size_t i = 0; i < count; i++) {
        if (s[i].kind != kind) continue;
        double d = s[i].ns - f.mean; /* Welford */
        f.mean += d / ++f.count;
        squares += d * (s[i].ns - f.mean);
    }
    f.variance = squares / (f.count - 1);
    for (size_t i = 0; i < count && seen <= f.count / 2; i++) {
        if (s[i].kind != kind) continue;
        f.median = s[i].ns;
        seen++;
    }
    return f;
}

/* Of the look-up alone: questions made before the clock starts. */
static double cpu_us(const struct ek_keyring *k, struct ek_random *rng, uint64_t keys)
{
    static char token[20000][EK_TOKEN_BYTES];
    struct timespec from, to;
    struct ek_caller who;
    for (size_t i = 0; i < EK_COUNT(token); i++) key_of(ek_random_below(rng, keys * 2), token[i]);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (size_t i = 0; i < EK_COUNT(token); i++)
        (void)ek_keyring_find(k, ek_str_make(token[i], 38), EK_STR("127.0.0.1"), 1, &who);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) * 1e-3 /
           (double)EK_COUNT(token);
}

int main(int argc, char **argv)
{
    uint64_t keys = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1200000;
    struct ek_random rng = ek_random_make(argc > 3 ? strtoull(argv[3], NULL, 10) : 1);
    MUST(keys >= 32 && count >= 1000);
    MUST(sodium_init() >= 0); /* chooses the fastest BLAKE2b */
    memset(&secret, 7, sizeof secret);
    struct ek_keyring *k = fill(keys);
    struct sample *s = calloc(count, sizeof *s);
    MUST(s);
    for (uint64_t i = 0; i < count / 10; i++) (void)one(k, &rng, keys); /* warm */
    for (uint64_t i = 0; i < count; i++) s[i] = one(k, &rng, keys);
    qsort(s, count, sizeof *s, by_time);
    printf("%llu keys, %.0f MB, %.2f us of CPU a look-up\n", (unsigned long long)keys,
           (double)ek_keyring_bytes(k) * 1e-6, cpu_us(k, &rng, keys));
    count -= count / 100;
    struct figures unknown = figures_of(s, count, UNKNOWN);
    printf("%-8s %9s %9s %9s %9s %9s %8s\n", "kind", "look-ups", "median ns", "mean ns", "sd ns", "diff ns",
           "t");
    for (int kind = 0; kind < KINDS; kind++) {
        struct figures f = figures_of(s, count, (enum kind)kind);
        double t = (f.mean - unknown.mean) / sqrt(f.variance / f.count + unknown.variance / unknown.count);
        printf("%-8s %9.0f %9u %9.1f %9.1f %9.1f %8.2f\n", names[kind], f.count, f.median, f.mean,
               sqrt(f.variance), f.mean - unknown.mean, t);
    }
    free(s);
    ek_keyring_free(&k);
    return 0;
}
