/* SPDX-License-Identifier: MIT */
/* The virtual twin of the loop: for tests and simulations. Time stands still while anything is left
 * to do and then jumps to the next timer. Listen and connect meet by address text. Bytes arrive in
 * pieces whose size is drawn from the seed, so that every test is also a test of split reads.
 * Children, signals and foreign descriptors do not exist here (ek_child_start returns NULL). */
#ifndef EK_BASE_LOOP_VIRTUAL_H
#define EK_BASE_LOOP_VIRTUAL_H

#include "base/loop.h"

struct ek_virtual_options {
    uint64_t seed;
    uint64_t start_unix_ns;
    size_t piece_bytes_max;  /* largest piece a `data` callback gets; 0 = 65536 */
    size_t window_bytes;     /* what a socket takes before writes queue; 0 = 65536 */
};

struct ek_loop *ek_loop_new_virtual(const struct ek_virtual_options *o);
/* Turn until nothing is left to do at this instant. Timers in the future are not waited for. */
void ek_virtual_settle(struct ek_loop *loop);
/* Let `ns` of virtual time pass, firing what comes due, settling after each. */
void ek_virtual_advance(struct ek_loop *loop, uint64_t ns);

#endif
