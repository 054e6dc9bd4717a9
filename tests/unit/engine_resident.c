/* SPDX-License-Identifier: MIT */
/* How much memory an engine holds while it computes: at most its file, the KV cache, 64 MB and a
 * twentieth. A second copy of the weights, in whatever form, would show. */
#include "cm.h"

#include "engine/engine.h"
#include "engine/model.h"
#include "model_maker.h"

#include <semaphore.h>
#include <sys/stat.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { PROMPT = 96, ANSWER = 8, SLOTS = 4 };

/* V2's shape in small, most of it experts: about 190 MB in Q4_0. */
static const struct recipe recipe_large = {
    .name = "large", .embd = 1024, .layers = 3, .dense = 1, .heads = 8, .nope = 64, .rope = 32, .value = 64,
    .kv_lora = 256, .ff = 2048, .experts = 64, .used = 6, .expert_ff = 768, .shared = 2, .vocab = 12288,
    .yarn = true, .type = EK_GGML_Q4_0, .seed = 9,
};

/* The maker holds the file twice; a child does it, so that none of it stays here. */
static void make_file(char path[64])
{
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        maker_save(&recipe_large, path);
        _exit(write(pipe_ends[1], path, 64) == 64 ? 0 : 1);
    }
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(pipe_ends[0], path, 64), 64);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static uint64_t resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &all, &resident), 2);
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void ring(void *bell) { sem_post(bell); }

static void run_job(struct ek_engine *e, sem_t *bell)
{
    uint32_t ids[PROMPT];
    uint64_t id, seed = 1;
    char why[256] = "";
    struct ek_engine_event event = {0};
    for (size_t i = 0; i < PROMPT; i++) ids[i] = (uint32_t)(maker_random(&seed) % recipe_large.vocab);
    struct ek_engine_job job = {
        .prompt_ids = ids, .prompt_tokens = PROMPT, .max_tokens = ANSWER, .ignore_stop_ids = true,
        .thinking = {.open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED},
        .sampling = {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
    };
    if (ek_engine_submit(e, &job, &id, why, sizeof why) != EK_OK) fail_msg("%s", why);
    while (event.finish == EK_JOB_GOES_ON) {
        if (ek_engine_take(e, &event, 1) == 0) sem_wait(bell);
    }
    assert_int_equal(event.finish, EK_JOB_LENGTH);
}

static void holds_its_file_once(void **state)
{
    (void)state;
    char path[64], why[256] = "";
    struct stat st;
    struct ek_engine *e;
    sem_t bell;
    if (SANITIZED) {
        print_message("SKIP: memory means nothing under a sanitizer\n");
        skip();
    }
    make_file(path);
    assert_int_equal(stat(path, &st), 0);
    struct ek_engine_options o = {.model_path = path, .slots = SLOTS, .ctx_tokens = 512, .threads = 2};
    uint64_t before = resident_bytes();
    assert_int_equal(sem_init(&bell, 0, 0), 0);
    if (ek_engine_open(&o, ring, &bell, &e, why, sizeof why) != EK_OK) fail_msg("%s", why);
    run_job(e, &bell);
    uint64_t held = resident_bytes() - before, file = (uint64_t)st.st_size;
    uint64_t kv = (uint64_t)SLOTS * 512 * 3 * (256 + 32) * 2;
    print_message("file %.1f MB, KV %.1f MB, held %.1f MB\n", (double)file * 1e-6, (double)kv * 1e-6,
                  (double)held * 1e-6);
    assert_true(file > 150000000);
    assert_true(held <= file + kv + (64 << 20) + file / 20);
    ek_engine_close(&e);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(holds_its_file_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
