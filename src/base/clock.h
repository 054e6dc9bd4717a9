/* SPDX-License-Identifier: MIT */
/* The two clocks of the house, always passed in as an argument, never read by policy or parsers.
 *   mono_ns  never jumps: deadlines, waits, rates.
 *   unix_ns  what people and ledgers call the time: prices, hours, journals. */
#ifndef EK_BASE_CLOCK_H
#define EK_BASE_CLOCK_H

#include <stdint.h>

struct ek_now {
    uint64_t mono_ns;
    uint64_t unix_ns;
};

#define EK_US_NS 1000ull
#define EK_MS_NS 1000000ull
#define EK_S_NS 1000000000ull

struct ek_now ek_clock_read(void); /* the real clocks; only loops and programs call it */

/* a - b, or 0 where b is later: for spans that must not wrap. */
static inline uint64_t ek_ns_since(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns > b_ns ? a_ns - b_ns : 0;
}

#endif
