/* SPDX-License-Identifier: MIT */
/* Paths, guesses and load reports of the dialects. Fixtures follow the sources named in dialect.h and
 * load_text.h; figures in them are made up. */
#include "cm.h"

#include "upstream/dialect.h"
#include "upstream/load_text.h"

static void path_is(enum ek_dialect d, enum ek_api api, bool carried, const char *model, const char *version,
                    const char *expected)
{
    char path[EK_DIALECT_PATH_BYTES_MAX];
    assert_true(ek_dialect_path(d, api, carried, ek_str_of(model), version, path));
    assert_string_equal(path, expected);
}

static void each_dialect_is_asked_where_it_listens(void **state)
{
    (void)state;
    path_is(EK_DIALECT_OPENAI, EK_API_CHAT, false, "m", NULL, "/v1/chat/completions");
    path_is(EK_DIALECT_VLLM, EK_API_COMPLETIONS, true, "m", NULL, "/v1/completions");
    path_is(EK_DIALECT_DEEPSEEK, EK_API_CHAT, false, "m", NULL, "/v1/chat/completions");
    path_is(EK_DIALECT_DEEPSEEK, EK_API_CHAT, true, "m", NULL, "/beta/chat/completions");
    path_is(EK_DIALECT_AZURE, EK_API_CHAT, false, "my r1/é", NULL,
            "/openai/deployments/my%20r1%2F%C3%A9/chat/completions?api-version=2024-10-21");
    path_is(EK_DIALECT_AZURE, EK_API_CHAT, false, "d", "2025-01-01-preview",
            "/openai/deployments/d/chat/completions?api-version=2025-01-01-preview");
}

static void servers_are_known_by_what_they_say(void **state)
{
    (void)state;
    assert_int_equal(ek_dialect_guess(EK_STR("h"), EK_STR("llamacpp")), EK_DIALECT_LLAMACPP);
    assert_int_equal(ek_dialect_guess(EK_STR("h"), EK_STR("vllm")), EK_DIALECT_VLLM);
    assert_int_equal(ek_dialect_guess(EK_STR("h"), EK_STR("sglang")), EK_DIALECT_SGLANG);
    assert_int_equal(ek_dialect_guess(EK_STR("api.deepseek.com"), EK_STR("")), EK_DIALECT_DEEPSEEK);
    assert_int_equal(ek_dialect_guess(EK_STR("proxy"), EK_STR("deepseek")), EK_DIALECT_OPENAI);
    assert_int_equal(ek_dialect_guess(EK_STR("h"), EK_STR("")), EK_DIALECT_OPENAI);
}

static void load_reports_are_summed_over_replicas(void **state)
{
    (void)state;
    struct ek_load_text t;
    assert_true(ek_load_read_metrics(EK_STR(
        "# HELP vllm:num_requests_running Number of requests\n# TYPE vllm:num_requests_running gauge\n"
        "vllm:num_requests_running{engine=\"0\",model_name=\"a\"} 3.0\n"
        "vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 2.0\r\n"
        "vllm:num_requests_waiting{engine=\"0\",model_name=\"a\"} 1.0\n"
        "vllm:num_requests_waiting_by_reason{reason=\"x\"} 99.0\n"
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a\"} 0.25\n"
        "vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"a\"} 0.75\n"
        "vllm:cache_config_info{block_size=\"16\",cache_dtype=\"auto\",num_gpu_blocks=\"1000\"} 1.0\n"), &t));
    assert_int_equal(t.running, 5);
    assert_int_equal(t.waiting, 1);
    assert_true(t.kv_used == 0.5);
    assert_int_equal(t.kv_total_tokens, 16000);
    assert_true(ek_load_read_metrics(EK_STR("sglang:num_running_reqs{model_name=\"b\"} 7\n"
                                            "sglang:num_queue_reqs{model_name=\"b\"} 4\n"
                                            "sglang:token_usage{model_name=\"b\"} 0.28\n"
                                            "sglang:max_total_num_tokens{model_name=\"b\"} 4.5e+05"), &t));
    assert_int_equal(t.running, 7);
    assert_int_equal(t.waiting, 4);
    assert_int_equal(t.kv_total_tokens, 450000);
    assert_true(ek_load_read_metrics(EK_STR("llamacpp:requests_processing 1\n"
                                            "llamacpp:requests_deferred 2\n"), &t));
    assert_int_equal(t.running, 1);
    assert_int_equal(t.waiting, 2);
    assert_true(t.kv_used < 0 && t.kv_total_tokens == 0);
}

static void nonsense_says_nothing(void **state)
{
    (void)state;
    struct ek_load_text t;
    static const char *const bad[] = {
        "", "process_cpu_seconds_total 3\n", "vllm:num_requests_running\n", "vllm:num_requests_running NaN\n",
        "vllm:num_requests_running -1\n", "vllm:num_requests_running{x=\"1\" 3\n",
        "vllm:num_requests_running 1e999\n", "vllm:cache_config_info{block_size=\"16\"} 1\n", "<html>"};
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        assert_false(ek_load_read_metrics(ek_str_of(bad[i]), &t));
        assert_false(ek_load_read_orca(ek_str_of(bad[i]), &t));
    }
    assert_true(ek_load_read_metrics(EK_STR("vllm:num_requests_running 1e12\n"), &t));
    assert_int_equal(t.running, 1000000);
}

static void orca_heads_are_read_in_both_forms(void **state)
{
    (void)state;
    struct ek_load_text t;
    assert_true(ek_load_read_orca(EK_STR("TEXT named_metrics.kv_cache_usage_perc=0.4, "
                                         "named_metrics.num_requests_waiting=3.0"), &t));
    assert_true(t.kv_used == 0.4 && t.waiting == 3 && !t.running_known);
    assert_true(ek_load_read_orca(EK_STR("JSON {\"named_metrics\": {\"kv_cache_usage_perc\": 0.5, "
                                         "\"num_requests_waiting\": 2.0}}"), &t));
    assert_true(t.kv_used == 0.5 && t.waiting == 2);
    assert_false(ek_load_read_orca(EK_STR("BIN abc"), &t));
    assert_false(ek_load_read_orca(EK_STR("JSON {\"named_metrics\": 3}"), &t));
    assert_int_equal(ek_load_read_slots(EK_STR("{\"total_slots\":4,\"x\":1}")), 4);
    assert_int_equal(ek_load_read_slots(EK_STR("{\"total_slots\":\"4\"}")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_dialect_is_asked_where_it_listens),
        cmocka_unit_test(servers_are_known_by_what_they_say),
        cmocka_unit_test(load_reports_are_summed_over_replicas),
        cmocka_unit_test(nonsense_says_nothing),
        cmocka_unit_test(orca_heads_are_read_in_both_forms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
