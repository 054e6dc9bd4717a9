/* SPDX-License-Identifier: MIT */
/* What the kernel tests share: seeded numbers, fills from harmless to extreme, buffers that end where
 * a page without access begins, and a walk over the instruction sets of this machine. */
#ifndef EK_TESTS_KERNEL_TEST_H
#define EK_TESTS_KERNEL_TEST_H

#include "cm.h"

#include "kernel/kernel.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct rng {
    uint64_t s;
};

static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline double rng_unit(struct rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }

/* EK_SEED in the environment repeats a run. */
static inline struct rng rng_seeded(void)
{
    const char *s = getenv("EK_SEED");
    struct rng r = {s ? strtoull(s, NULL, 10) : 20260101};
    print_message("seed %llu (EK_SEED)\n", (unsigned long long)r.s);
    return r;
}

/* FILL_MIXED spreads over 2^-20 .. 2^20. */
enum fill { FILL_UNIT, FILL_MIXED, FILL_HUGE, FILL_TINY, FILL_DENORMAL, FILL_ZERO, FILL_COUNT };

static inline float fill_value(struct rng *r, enum fill f)
{
    float u = (float)(rng_unit(r) * 2 - 1);
    switch (f) {
    case FILL_UNIT: return u;
    case FILL_MIXED: return ldexpf(u, (int)(rng_next(r) % 41) - 20);
    case FILL_HUGE: return u * 1e15f;
    case FILL_TINY: return u * 1e-15f;
    case FILL_DENORMAL: return u * 1e-39f;
    case FILL_ZERO: return rng_next(r) & 1 ? 0.0f : -0.0f;
    case FILL_COUNT: break;
    }
    return 0;
}

/* `bytes` bytes that end at a page without access; never given back (a test process is short). */
static inline void *guarded(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    uint8_t *map = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + room, page, PROT_NONE) != 0) abort();
    return map + room - bytes;
}

static inline void unguard(void *p, size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (bytes + page - 1) / page * page;
    munmap((uint8_t *)p + bytes - room, room + page);
}

static inline float *guarded_floats(struct rng *r, size_t n, enum fill f)
{
    float *x = guarded(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = fill_value(r, f);
    return x;
}

/* Run a check on each instruction set this machine has, saying which are missing. */
static inline void each_isa(void (*check)(const struct ek_kernels *))
{
    static const char *names[EK_ISA_COUNT] = {"generic", "avx2", "avx512"};
    for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
        const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
        if (!k) {
            print_message("%s: not on this machine, not tested\n", names[isa]);
            continue;
        }
        assert_string_equal(k->isa, names[isa]);
        check(k);
    }
}

#endif
