/* SPDX-License-Identifier: MIT */
/* The table of dialects. */
#include "upstream/dialect.h"

#include <stdio.h>

static const struct ek_ways table[] = {
    [EK_DIALECT_AUTO] = {.name = "auto", .look_path = "/load", .look = EK_LOOK_LOAD},
    [EK_DIALECT_EVENKEEL] = {.name = "evenkeel", .look_path = "/load", .look = EK_LOOK_LOAD,
                             .carry = EK_CARRY_LAST, .ids = true, .thought_member = true,
                             .choices_max = 8},
    [EK_DIALECT_VLLM] = {.name = "vllm", .look_path = "/metrics", .look = EK_LOOK_METRICS,
                         .carry = EK_CARRY_FLAG, .thought_tags = true, .orca = true},
    [EK_DIALECT_SGLANG] = {.name = "sglang", .look_path = "/metrics", .look = EK_LOOK_METRICS,
                           .carry = EK_CARRY_FLAG, .thought_tags = true},
    [EK_DIALECT_LLAMACPP] = {.name = "llamacpp", .look_path = "/metrics", .look = EK_LOOK_METRICS,
                               .slots_path = "/props", .carry = EK_CARRY_FLAG},
    [EK_DIALECT_DEEPSEEK] = {.name = "deepseek", .look_path = "/v1/models", .look = EK_LOOK_MODELS,
                             .carry = EK_CARRY_PREFIX, .thought_member = true, .choices_max = 1},
    [EK_DIALECT_OPENAI] = {.name = "openai", .look_path = "/v1/models", .look = EK_LOOK_MODELS},
    [EK_DIALECT_AZURE] = {.name = "azure", .look_path = "/openai/models", .look = EK_LOOK_MODELS,
                          .deployments = true},
};

const struct ek_ways *ek_dialect_ways(enum ek_dialect d)
{
    MUST((unsigned)d < EK_COUNT(table));
    MUST(table[d].name);
    return &table[d];
}

/* RFC 3986: unreserved characters as they are. Returns the bytes written, cap when it does not fit. */
static size_t put_escaped(struct ek_str s, char *out, size_t cap)
{
    static const char digit[] = "0123456789ABCDEF";
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (n + 3 >= cap) return cap;
        if (plain) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = digit[c >> 4];
        out[n++] = digit[c & 15];
    }
    out[n] = '\0';
    return n;
}

bool ek_dialect_path(enum ek_dialect d, enum ek_api api, bool carried, struct ek_str their_model,
                     const char *version, char out[EK_DIALECT_PATH_BYTES_MAX])
{
    const struct ek_ways *w = ek_dialect_ways(d);
    const char *what = api == EK_API_CHAT ? "chat/completions" : "completions";
    char model[EK_REQUEST_MODEL_BYTES_MAX * 3 + 4];
    int n;
    if (w->deployments) {
        if (put_escaped(their_model, model, sizeof model) >= sizeof model) return false;
        n = snprintf(out, EK_DIALECT_PATH_BYTES_MAX, "/openai/deployments/%s/%s?api-version=%.32s", model,
                     what,
                     version ? version : EK_AZURE_VERSION);
    } else {
        n = snprintf(out, EK_DIALECT_PATH_BYTES_MAX, "/%s/%s",
                     carried && w->carry == EK_CARRY_PREFIX ? "beta" : "v1", what);
    }
    return n > 0 && (size_t)n < EK_DIALECT_PATH_BYTES_MAX;
}

enum ek_dialect ek_dialect_guess(struct ek_str host, struct ek_str owned_by)
{
    static const struct {
        struct ek_str owner;
        enum ek_dialect dialect;
    } known[] = {
        {{"llamacpp", 8}, EK_DIALECT_LLAMACPP}, {{"vllm", 4}, EK_DIALECT_VLLM},
        {{"sglang", 6}, EK_DIALECT_SGLANG},     {{"deepseek", 8}, EK_DIALECT_DEEPSEEK},
    };
    bool deepseek = ek_str_eq(host, EK_STR("api.deepseek.com"));
    for (size_t i = 0; i < EK_COUNT(known); i++) {
        if (!ek_str_eq(owned_by, known[i].owner)) continue;
        if (known[i].dialect == EK_DIALECT_DEEPSEEK && !deepseek) break; /* a proxy of theirs has no /beta */
        return known[i].dialect;
    }
    return deepseek ? EK_DIALECT_DEEPSEEK : EK_DIALECT_OPENAI;
}
