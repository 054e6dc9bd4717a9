/* SPDX-License-Identifier: MIT */
/* How much memory is left, as the kernel's files say: the machine's, and that of every group above us. */
#include "cm.h"

#include "upstream/spare.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB (UINT64_C(1) << 20)

static char root[64];

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static uint64_t spare(void)
{
    char proc[96], cgroup[96];
    snprintf(proc, sizeof proc, "%s/proc", root);
    snprintf(cgroup, sizeof cgroup, "%s/cgroup", root);
    return ek_spare_bytes(proc, cgroup);
}

static void test_machine_and_groups(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/evenkeel-spare-XXXXXX");
    assert_non_null(mkdtemp(root));
    assert_true(spare() == UINT64_MAX);
    put("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 5 kB\nMemAvailable:    4096 kB\n");
    assert_int_equal(spare(), 4 * MB);
    put("proc/self/cgroup", "0::/system.slice/evenkeel.service\n");
    put("cgroup/system.slice/evenkeel.service/memory.max", "max\n");
    assert_int_equal(spare(), 4 * MB);
    put("cgroup/system.slice/memory.max", "3145728\n"); /* of a group above */
    put("cgroup/system.slice/memory.stat", "anon 1048576\nfile 1000000000\n");
    assert_int_equal(spare(), 2 * MB);
    put("cgroup/system.slice/evenkeel.service/memory.max", "1048576\n");
    put("cgroup/system.slice/evenkeel.service/memory.stat", "file 5\nanon 1048000\n");
    assert_int_equal(spare(), 576);
    put("cgroup/system.slice/evenkeel.service/memory.stat", "anon 2000000\n");
    assert_int_equal(spare(), 0);
    put("proc/self/cgroup", "1:name=old:/x\n0::/\n"); /* a container: the root is ours */
    put("cgroup/memory.max", "2097152");
    assert_int_equal(spare(), 2 * MB);
    put("cgroup/memory.max", "much");
    assert_int_equal(spare(), 4 * MB);
}

static void test_own(void **state)
{
    (void)state;
    size_t bytes = 32 * MB;
    uint64_t before = ek_spare_private_bytes(getpid());
    assert_true(before > 0);
    volatile char *block = malloc(bytes);
    assert_non_null(block);
    for (size_t i = 0; i < bytes; i += 4096) block[i] = 1;
    assert_true(ek_spare_private_bytes(getpid()) >= before + bytes / 2);
    free((void *)(uintptr_t)block);
    assert_int_equal(ek_spare_private_bytes(-1), 0);
    assert_true(ek_spare_bytes("/proc", "/sys/fs/cgroup") < UINT64_MAX);
}

static int away(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(root, away, 8, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_machine_and_groups), cmocka_unit_test(test_own)};
    return cmocka_run_group_tests(tests, NULL, teardown);
}
