/* SPDX-License-Identifier: MIT */
/* What other people's engines say of their load: pure readers of Prometheus' text format (0.0.4) as vLLM,
 * SGLang and llama-server write it, of ORCA's response header, and of llama-server's /props. What they say is
 * seconds old (vllm-project/vllm#49538: up to 18 s), so nothing is admitted by it but the size of the KV
 * cache; the rest is for people. Whoever says nonsense is taken to have said nothing.
 *
 * Names: docs.vllm.ai "Production Metrics" (vllm:num_requests_running, vllm:num_requests_waiting,
 * vllm:kv_cache_usage_perc, formerly vllm:gpu_cache_usage_perc, and vllm:cache_config_info); docs.sglang.io
 * "Production Metrics" (sglang:num_running_reqs, num_queue_reqs, token_usage, max_total_num_tokens);
 * llama.cpp tools/server/README (llamacpp:requests_processing, requests_deferred, kv_cache_usage_ratio);
 * ORCA: cncf/xds orca_load_report.proto as vLLM's orca_metrics.py writes it. */
#ifndef EK_UPSTREAM_LOAD_TEXT_H
#define EK_UPSTREAM_LOAD_TEXT_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct ek_load_text {
    bool running_known, waiting_known;
    uint32_t running, waiting; /* all of a server's replicas together */
    double kv_used;            /* 0 ... 1; below 0: not known */
    uint64_t kv_total_tokens;  /* 0: not known */
};

/* false, and nothing known, when none of the names occurs. */
bool ek_load_read_metrics(struct ek_str text, struct ek_load_text *out);
/* The value of the header `endpoint-load-metrics`, TEXT or JSON. */
bool ek_load_read_orca(struct ek_str value, struct ek_load_text *out);
/* {"total_slots":N}; 0: it does not say. */
uint32_t ek_load_read_slots(struct ek_str body);

#endif
