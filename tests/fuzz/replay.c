/* SPDX-License-Identifier: MIT */
/* Runs a fuzz target over the seeds of a folder, whole and cut short in sixteen places, so that what a
 * fuzzer once found stays found where there is no libFuzzer. An empty or missing folder runs the
 * empty input and a page of noise. */
#include "base/must.h"
#include "base/random.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_BYTES_MAX ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1); /* exactly as long as the input: over-reads are seen */
    MUST(copy != NULL);
    if (len) memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) return;
    uint8_t *bytes = malloc(SEED_BYTES_MAX);
    MUST(bytes != NULL);
    size_t len = fread(bytes, 1, SEED_BYTES_MAX, f);
    fclose(f);
    for (size_t i = 0; i <= 16; i++) run(bytes, len * i / 16);
    free(bytes);
}

int main(int argc, char **argv)
{
    unsigned files = 0;
    uint8_t noise[4096];
    struct ek_random r = ek_random_make(1);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)ek_random_u64(&r);
    run(noise, 0);
    run(noise, sizeof noise);
    DIR *dir = argc > 1 ? opendir(argv[1]) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        run_file(argv[1], e->d_name);
        files++;
    }
    if (dir) closedir(dir);
    printf("%u seeds replayed\n", files);
    return 0;
}
