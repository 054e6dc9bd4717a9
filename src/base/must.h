/* SPDX-License-Identifier: MIT */
/* Assertions that stay on in production.
 *
 *   MUST(x)          x false is a bug in this program: say where, abort. Never for input from outside.
 *   MUST_OBJ(p, M)   p points at a live object whose first member `magic` is M.
 *   OUGHT(x)         a case we know of and do not handle yet: same as MUST today, but greppable.
 *   DIAG(x)          an invariant too costly for production: only in builds with EK_DIAG.
 *
 * Every long-lived struct begins with `uint32_t magic`, set when born and wiped when freed, so that a
 * stale pointer is caught at the door of the next function and not three rooms later. */
#ifndef EK_BASE_MUST_H
#define EK_BASE_MUST_H

#include <stdint.h>

/* Prints "file:line function: MUST(expr)" to standard error with one write(2) and aborts. */
_Noreturn void ek_must_fail(const char *expr, const char *file, int line, const char *func);

#define MUST(x) ((x) ? (void)0 : ek_must_fail(#x, __FILE__, __LINE__, __func__))
#define MUST_OBJ(p, m) \
    (((p) != 0 && (p)->magic == (m)) ? (void)0 : \
     ek_must_fail(#p " is a live " #m, __FILE__, __LINE__, __func__))
#define OUGHT(x) MUST(x)
#ifdef EK_DIAG
#define DIAG(x) MUST(x)
#else
#define DIAG(x) ((void)sizeof(x))
#endif
#define WRONG(why) ek_must_fail(why, __FILE__, __LINE__, __func__)

#define EK_CHECKED __attribute__((warn_unused_result))
#define EK_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Ask the cache for the first bytes of what p points to; anything may be there, and nothing is read. Worth it
 * where many objects take turns and something else is to be done first. */
#define EK_NEAR(p, bytes)                                                                              \
    do {                                                                        \
        for (uintptr_t ek_near = 0; ek_near < (bytes); ek_near += 64)           \
            __builtin_prefetch((const void *)((uintptr_t)(p) + ek_near));       \
    } while (0)

#define EK_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define EK_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
