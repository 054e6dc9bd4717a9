/* SPDX-License-Identifier: MIT */
/* Reads the real clocks. Everything that decides takes `struct ek_now` as an argument instead. */
#include "base/clock.h"

#include "base/must.h"

#include <time.h>

struct ek_now ek_clock_read(void)
{
    struct timespec mono;
    struct timespec wall;
    MUST(clock_gettime(CLOCK_MONOTONIC, &mono) == 0);
    MUST(clock_gettime(CLOCK_REALTIME, &wall) == 0);
    return (struct ek_now){
        .mono_ns = (uint64_t)mono.tv_sec * EK_S_NS + (uint64_t)mono.tv_nsec,
        .unix_ns = (uint64_t)wall.tv_sec * EK_S_NS + (uint64_t)wall.tv_nsec,
    };
}
