/* SPDX-License-Identifier: MIT */
/* What can be set about the engine's numbers and queue. Filled by config or the command line, checked
 * by ek_engine_open, which says in one sentence what it does not like. Zero means the default. */
#ifndef EK_ENGINE_OPTIONS_H
#define EK_ENGINE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

enum ek_kv_type {
    EK_KV_BF16 = 0, /* default */
    EK_KV_F16 = 1,
    EK_KV_F32 = 2, /* for comparison with golden outputs */
};

enum ek_activation {
    EK_ACT_Q8 = 0,  /* default: inputs of quantised feed-forward weights are rounded to int8 blocks */
    EK_ACT_F32 = 1, /* every product in f32: the arithmetic of the reference */
};

enum ek_speculation { /* changes no answer */
    EK_SPECULATION_AUTO = 0, /* default: guess when it pays */
    EK_SPECULATION_OFF = 1,
    EK_SPECULATION_ALWAYS = 2, /* for tests: guess whenever there is anything to guess */
};

struct ek_engine_options {
    const char *model_path; /* GGUF file */
    uint32_t slots;         /* sequences computed at once, 1..64; default 16 */
    uint32_t waiting_max;   /* accepted jobs beyond the slots; default 2 * slots. A backstop: the door
                             * keeps the real queue */
    uint32_t ctx_tokens;    /* prompt and generated tokens of one sequence; default: the file's
                             * context length, at most 8192 */
    uint32_t kv_tokens;     /* KV cache of all sequences together; default slots * ctx_tokens. Memory
                             * is touched only as it is used */
    uint32_t step_tokens;   /* prompt and decode rows computed in one step; default 256 */
    uint32_t threads;       /* workers of a step, 1..64; default: the CPUs we may run on, at most 8 */
    enum ek_kv_type kv_type;
    enum ek_activation activation;
    enum ek_speculation speculation;
    const char *kv_disk;          /* folder of the KV cache's disk tier (kv_disk.h); NULL: none */
    bool kv_disk_waits;           /* another engine may have it for now; not configured: a door's child */
    uint64_t kv_disk_limit_bytes; /* of this model's files there; default 10 GiB */
    uint32_t kv_disk_wait_ms;     /* a job waits for its pages from there at most so long; default 5000 */
    const char *isa; /* "generic", "avx2", "avx512"; NULL: the best this machine has */
};

#endif
