/* SPDX-License-Identifier: MIT */
/* The log line writer. Control bytes are replaced, so that nothing from outside can forge a line. */
#include "base/log.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES 1024

void ek_log(struct ek_log *log, enum ek_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn ", "info ", "debug"};
    MUST((unsigned)level < EK_COUNT(names));
    MUST(log && log->name);
    if (level > log->level || log->fd < 0) return;

    char line[LOG_LINE_BYTES];
    time_t s = (time_t)(ek_clock_read().unix_ns / EK_S_NS);
    unsigned ms = (unsigned)(ek_clock_read().unix_ns / EK_MS_NS % 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t at = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    at += (size_t)snprintf(line + at, sizeof line - at, ".%03uZ %s %s: ", ms, names[level], log->name);
    size_t text = at;

    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line + at, sizeof line - at - 1, fmt, args);
    va_end(args);
    if (n < 0) return;
    at += (size_t)n < sizeof line - at - 1 ? (size_t)n : sizeof line - at - 2;
    for (size_t i = text; i < at; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
    line[at++] = '\n';
    log->lines++;
    ssize_t put = write(log->fd, line, at);
    (void)put; /* a closed stderr must not stop the service */
}
