/* SPDX-License-Identifier: MIT */
/* One line of text a thing worth a person's time, to standard error, each with one write(2):
 *
 *      2026-11-21T20:15:02.123Z warn  door: upstream engine is down (exit 9), restarting
 *
 * Never on a hot path, never a secret, never a prompt. A struct passed down, not a global, so that
 * two engines in one test do not share a voice. */
#ifndef EK_BASE_LOG_H
#define EK_BASE_LOG_H

#include "base/must.h"

enum ek_log_level { EK_LOG_ERROR, EK_LOG_WARN, EK_LOG_INFO, EK_LOG_DEBUG };

struct ek_log {
    const char *name;        /* "door", "engine": outlives the log */
    enum ek_log_level level; /* what is less urgent than this is dropped */
    int fd;                  /* usually 2; -1 = silent */
    uint64_t lines;          /* written so far */
};

void ek_log(struct ek_log *log, enum ek_log_level level, const char *fmt, ...) EK_PRINTF(3, 4);

#define ek_error(log, ...) ek_log(log, EK_LOG_ERROR, __VA_ARGS__)
#define ek_warn(log, ...) ek_log(log, EK_LOG_WARN, __VA_ARGS__)
#define ek_info(log, ...) ek_log(log, EK_LOG_INFO, __VA_ARGS__)
#define ek_debug(log, ...) ek_log(log, EK_LOG_DEBUG, __VA_ARGS__)

#endif
