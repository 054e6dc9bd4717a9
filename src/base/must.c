/* SPDX-License-Identifier: MIT */
/* The one place where the program gives up on itself. It must not allocate, lock or return. */
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

_Noreturn void ek_must_fail(const char *expr, const char *file, int line, const char *func)
{
    char text[512];
    int n = snprintf(text, sizeof text, "evenkeel: bug at %s:%d in %s: %s does not hold\n", file,
                     line, func, expr);
    if (n > 0) {
        size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
        ssize_t put = write(STDERR_FILENO, text, len);
        (void)put; /* nobody is left to be told */
    }
    abort();
}
