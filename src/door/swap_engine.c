/* SPDX-License-Identifier: MIT */
/* A door with an engine of its own is taken over from: the new process has one, too, of the new program,
 * which is up before anything is taken; the old one's goes on with what runs and waits there, and ends as
 * soon as nothing does, whatever else the old process still keeps. Both have the slots of one (swap_slots.c):
 * they stand on the same processors. */
#include "door/door_state.h"

#include "upstream/spare.h"

#include <inttypes.h>
#include <stdio.h>

#define MB (1u << 20)

uint64_t ek_swap_engine_start_ns(const struct ek_door *d)
{
    return d->config->model.file ? d->config->relay.start_ns : 0;
}

bool ek_swap_engine_fits(const struct ek_door *d, char *why, size_t cap)
{
    int pid = ek_pool_child_pid(d->pool);
    uint64_t has = pid > 0 ? ek_spare_private_bytes(pid) : 0;
    uint64_t spare = has ? ek_spare_bytes("/proc", "/sys/fs/cgroup") : UINT64_MAX;
    if (has <= spare) return true;
    snprintf(why, cap, "its engine would need %" PRIu64 " MB beside ours, and %" PRIu64 " MB are free: stop "
             "and start, or run the engine by itself (docs/why/swap.md)", has / MB, spare / MB);
    return false;
}

enum ek_swap_engine ek_swap_engine_look(const struct ek_door *d)
{
    bool late = ek_door_now(d).mono_ns >= d->swap->deadline_ns;
    if (ek_pool_child(d->pool) == EK_POOL_CHILD_STARTS)
        return late ? EK_SWAP_ENGINE_NEVER : EK_SWAP_ENGINE_STARTS;
    return EK_SWAP_ENGINE_GOOD;
}

void ek_swap_engine_leaves(struct ek_door *d)
{
    MUST(d->swap->state == EK_SWAP_LEAVING);
    ek_pool_child_sleep(d->pool, !ek_swap_works(d));
}
