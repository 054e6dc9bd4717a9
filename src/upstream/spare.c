/* SPDX-License-Identifier: MIT */
/* Reading /proc and /sys/fs/cgroup. Owns nothing; a file that is missing or says something else is no
 * limit. */
#include "upstream/spare.h"

#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>

#define FILE_BYTES_MAX 16384u

/* The beginning of a file; "" when there is none. */
static void read_text(const char *path, char text[FILE_BYTES_MAX])
{
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, FILE_BYTES_MAX - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
}

/* The number behind a name that begins a line. */
static bool number_of(const char *text, const char *name, uint64_t *out)
{
    size_t len = strlen(name);
    for (const char *at = text; at && *at; at = strchr(at, '\n'), at += at != NULL) {
        char *end;
        if (strncmp(at, name, len) != 0) continue;
        *out = strtoull(at + len, &end, 10);
        return end > at + len;
    }
    return false;
}

static uint64_t from_kb(uint64_t kb)
{
    return kb > UINT64_MAX / 1024 ? UINT64_MAX : kb * 1024;
}

uint64_t ek_spare_private_bytes(int pid)
{
    char path[64], text[FILE_BYTES_MAX];
    uint64_t kb;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    read_text(path, text);
    return number_of(text, "RssAnon:", &kb) ? from_kb(kb) : 0;
}

/* What one group leaves us: its limit, less what nobody could take from it. */
static uint64_t left_of_group(const char *dir)
{
    char path[4400], text[FILE_BYTES_MAX];
    uint64_t limit, anon = 0;
    snprintf(path, sizeof path, "%s/memory.max", dir);
    read_text(path, text);
    if (!number_of(text, "", &limit)) return UINT64_MAX; /* "max", or no such file */
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    read_text(path, text);
    (void)number_of(text, "anon ", &anon);
    return limit > anon ? limit - anon : 0;
}

/* Our group and all above it. */
static uint64_t left_of_groups(const char *proc, const char *cgroup)
{
    char path[4200], text[FILE_BYTES_MAX], dir[4300];
    uint64_t least = UINT64_MAX;
    snprintf(path, sizeof path, "%s/self/cgroup", proc);
    read_text(path, text);
    const char *own = strncmp(text, "0::/", 4) == 0 ? text + 3 : strstr(text, "\n0::/");
    if (own && *own == '\n') own += 4;
    int len = own ? (int)strcspn(own, "\n") : 0;
    if (len > 4000) return UINT64_MAX;
    for (;;) {
        snprintf(dir, sizeof dir, "%.200s%.*s", cgroup, len, own ? own : "");
        uint64_t left = left_of_group(dir);
        if (left < least) least = left;
        if (len <= 0) return least;
        while (len > 0 && own[len - 1] != '/') len--;
        if (len > 0) len--;
    }
}

uint64_t ek_spare_bytes(const char *proc, const char *cgroup)
{
    char path[300], text[FILE_BYTES_MAX];
    uint64_t kb, groups = left_of_groups(proc, cgroup), machine = UINT64_MAX;
    snprintf(path, sizeof path, "%.200s/meminfo", proc);
    read_text(path, text);
    if (number_of(text, "MemAvailable:", &kb)) machine = from_kb(kb);
    return groups < machine ? groups : machine;
}
