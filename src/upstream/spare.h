/* SPDX-License-Identifier: MIT */
/* Memory: what one process has to itself, and how much more this machine, or the group that this process is
 * limited by, would give. Read from the kernel's files each time; for decisions that are made once. */
#ifndef EK_UPSTREAM_SPARE_H
#define EK_UPSTREAM_SPARE_H

#include <stdint.h>

/* Bytes that are this process's alone and in no file (RssAnon); 0: not known. */
uint64_t ek_spare_private_bytes(int pid);
/* What may still be had without taking it from others: MemAvailable, or less where a cgroup (v2) limits us.
 * UINT64_MAX: not known. proc, cgroup: "/proc" and "/sys/fs/cgroup", or a test's folders. */
uint64_t ek_spare_bytes(const char *proc, const char *cgroup);

#endif
