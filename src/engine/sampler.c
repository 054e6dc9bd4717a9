/* SPDX-License-Identifier: MIT */
/* One token from one row of logits. Candidates are taken as a sorted head of the distribution that is
 * widened until it holds all that top_k and top_p can reach, so the whole vocabulary is only sorted
 * when the parameters really ask for it. Sums are in double and in a fixed order. */
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

struct ek_sampling ek_sampling_default(void)
{
    return (struct ek_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

struct ek_sampling ek_sampling_greedy(void)
{
    return (struct ek_sampling){.temperature = 0, .top_p = 1, .repetition_penalty = 1};
}

/* Written so that NaN fails every test. */
const char *ek_sampling_problem(const struct ek_sampling *s)
{
    if (!(s->temperature >= 0 && s->temperature <= 100)) return "temperature must be between 0 and 100";
    if (!(s->top_p > 0 && s->top_p <= 1)) return "top_p must be above 0 and at most 1";
    if (!(s->min_p >= 0 && s->min_p <= 1)) return "min_p must be between 0 and 1";
    if (!(s->repetition_penalty > 0 && s->repetition_penalty <= 100)) {
        return "repetition_penalty must be above 0 and at most 100";
    }
    if (!(fabsf(s->presence_penalty) <= 100)) return "presence_penalty must be between -100 and 100";
    if (!(fabsf(s->frequency_penalty) <= 100)) return "frequency_penalty must be between -100 and 100";
    return NULL;
}

static uint64_t mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The seed is scattered first: seeds 1 and 2 must not give shifted copies of one sequence. */
double ek_sample_noise(uint64_t seed, uint64_t index)
{
    uint64_t z = mix64(seed + 0x9e3779b97f4a7c15u) + index * 0x9e3779b97f4a7c15u;
    return (double)(mix64(mix64(z)) >> 11) * 0x1p-53;
}

static bool penalised(const struct ek_sampling *s)
{
    return s->repetition_penalty != 1 || s->presence_penalty != 0 || s->frequency_penalty != 0;
}

/* Logits as they are chosen from: penalties applied, everything that is not finite impossible. */
static void adjust(const struct ek_sampling *s, struct ek_sample_history h, const float *logits,
                   uint32_t vocab, float *out)
{
    bool penalties = penalised(s);
    MUST(!penalties || h.generated != NULL);
    for (uint32_t i = 0; i < vocab; i++) {
        float l = logits[i];
        out[i] = isfinite(l) ? l : -INFINITY;
        if (!penalties || !isfinite(l)) continue;
        bool seen = h.generated[i] > 0 || (h.prompt && h.prompt[i] > 0);
        if (seen && s->repetition_penalty != 1) {
            l = l > 0 ? l / s->repetition_penalty : l * s->repetition_penalty;
        }
        if (h.generated[i] > 0) {
            l -= s->presence_penalty + s->frequency_penalty * (float)h.generated[i];
        }
        out[i] = l < FLT_MAX ? l : FLT_MAX; /* a penalty may overflow, but not become infinite */
    }
}

static void restrict_to(struct ek_sample_history h, uint32_t vocab, float *out)
{
    for (uint32_t i = 0; i < h.bias_count; i++) {
        MUST(h.bias[i].id < vocab);
        out[h.bias[i].id] += h.bias[i].bias; /* -inf stays what it is */
    }
    for (uint32_t i = 0; i < h.barred_count; i++) out[h.barred[i]] = -INFINITY;
    for (uint32_t i = 0; h.allowed && i < vocab; i += 64) {
        uint64_t word = h.allowed[i / 64];
        uint32_t n = vocab - i < 64 ? vocab - i : 64;
        if (word == UINT64_MAX) continue;
        for (uint32_t k = 0; k < n; k++) {
            if (!(word >> k & 1)) out[i + k] = -INFINITY;
        }
    }
}

static uint32_t argmax(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (x[i] > x[best]) best = i;
    }
    return best;
}

static bool before(const float *l, uint32_t i, uint32_t j)
{
    return l[i] > l[j] || (l[i] == l[j] && i < j);
}

/* Heapsort, likeliest first: in place and without memory of its own, unlike the library's. */
static void sift(const float *l, uint32_t *id, uint32_t at, uint32_t n)
{
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(l, id[child], id[child + 1])) child++;
        if (before(l, id[child], id[at])) return; /* the heap's root is the last in order */
        uint32_t t = id[at];
        id[at] = id[child];
        id[child] = t;
    }
}

static void sort(const float *l, uint32_t *id, uint32_t n)
{
    for (uint32_t i = n / 2; i > 0; i--) sift(l, id, i - 1, n);
    for (uint32_t i = n; i > 1; i--) {
        uint32_t t = id[0];
        id[0] = id[i - 1];
        id[i - 1] = t;
        sift(l, id, 0, i - 1);
    }
}

/* All tokens within `depth` temperatures of the likeliest, sorted; their number. */
static uint32_t head(const float *l, uint32_t vocab, float max, double depth, float temperature, uint32_t *id)
{
    uint32_t n = 0;
    double least = (double)max - depth * (double)temperature;
    for (uint32_t i = 0; i < vocab; i++) {
        if ((double)l[i] >= least && l[i] > -INFINITY) id[n++] = i;
    }
    sort(l, id, n);
    return n;
}

static double share(float l, float max, float temperature)
{
    return exp(((double)l - (double)max) / (double)temperature);
}

/* Draw from the first n candidates of the sorted head. */
static uint32_t draw_sorted(const struct ek_sampling *s, const float *l, const uint32_t *id, uint32_t n,
                            float max, double top_p_mass, double u)
{
    double kept = 0, mass = 0;
    uint32_t count = 0;
    while (count < n) {
        double p = share(l[id[count]], max, s->temperature);
        if (p < (double)s->min_p) break; /* the likeliest has 1 */
        kept += p;
        count++;
        if (kept >= top_p_mass) break;
    }
    MUST(count > 0);
    for (uint32_t i = 0; i + 1 < count; i++) {
        mass += share(l[id[i]], max, s->temperature);
        if (u * kept < mass) return id[i];
    }
    return id[count - 1];
}

static uint32_t choose_sorted(const struct ek_sampling *s, const float *l, uint32_t vocab, uint32_t *id,
                              double u)
{
    float max = l[argmax(l, vocab)];
    double all = 0, depth = 8;
    for (uint32_t i = 0; i < vocab; i++) all += share(l[i], max, s->temperature);
    for (;; depth *= 4) {
        uint32_t n = head(l, vocab, max, depth, s->temperature, id);
        double mass = 0, reach = 0;
        uint32_t limit = s->top_k && s->top_k < n ? s->top_k : n;
        for (uint32_t i = 0; i < limit; i++) mass += share(l[id[i]], max, s->temperature);
        /* top_p counts within what top_k kept, or else within everything. */
        bool k_done = s->top_k && s->top_k <= n;
        reach = (double)s->top_p * (k_done ? mass : all);
        bool p_done = !s->top_k && s->top_p < 1 && mass >= reach;
        bool m_done = s->min_p > 0 && exp(-depth) < (double)s->min_p && !s->top_k && s->top_p >= 1;
        if (k_done || p_done || m_done || depth > 2000) {
            return draw_sorted(s, l, id, limit, max, s->top_p < 1 ? reach : INFINITY, u);
        }
    }
}

/* No filter: walk the vocabulary in its own order. */
static uint32_t choose_any(const struct ek_sampling *s, const float *l, uint32_t vocab, double u)
{
    float max = l[argmax(l, vocab)];
    double all = 0, mass = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < vocab; i++) all += share(l[i], max, s->temperature);
    for (uint32_t i = 0; i < vocab; i++) {
        double p = share(l[i], max, s->temperature);
        if (p == 0) continue;
        last = i;
        mass += p;
        if (u * all < mass) break;
    }
    return last;
}

static void fill_top(const float *logits, uint32_t vocab, double lse, uint32_t wanted,
                     struct ek_sample *out)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (!isfinite(logits[i])) continue;
        uint32_t at = n;
        while (at > 0 && logits[i] > logits[out->top[at - 1].id]) at--;
        if (at == wanted) continue;
        uint32_t last = n < wanted ? n++ : wanted - 1;
        for (uint32_t j = last; j > at; j--) out->top[j] = out->top[j - 1];
        out->top[at].id = i;
    }
    for (uint32_t i = 0; i < n; i++) out->top[i].logprob = (float)((double)logits[out->top[i].id] - lse);
    out->top_count = n;
}

static double logsumexp(const float *logits, uint32_t vocab)
{
    float max = -INFINITY;
    double sum = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        if (isfinite(logits[i]) && logits[i] > max) max = logits[i];
    }
    if (max == -INFINITY) return -INFINITY;
    for (uint32_t i = 0; i < vocab; i++) {
        if (isfinite(logits[i])) sum += (double)expf(logits[i] - max);
    }
    return (double)max + log(sum);
}

bool ek_sample_token(const struct ek_sampling *s, struct ek_sample_history history, const float *logits,
                     uint32_t vocab, uint64_t token_index, int64_t forced, uint32_t top_wanted,
                     float *scratch, struct ek_sample *out)
{
    MUST(vocab > 0 && forced < (int64_t)vocab);
    MUST(top_wanted <= EK_TOP_LOGPROBS_MAX);
    uint32_t id, *order = (uint32_t *)(void *)(scratch + vocab);
    double lse = logsumexp(logits, vocab);
    if (lse == -INFINITY) return false;
    if (forced >= 0) {
        id = (uint32_t)forced;
    } else {
        adjust(s, history, logits, vocab, scratch);
        restrict_to(history, vocab, scratch);
        if (scratch[argmax(scratch, vocab)] == -INFINITY) return false;
        double u = ek_sample_noise(s->seed, token_index);
        bool filtered = s->top_k > 0 || s->top_p < 1 || s->min_p > 0;
        if (s->temperature == 0) {
            id = argmax(scratch, vocab);
        } else if (filtered) {
            id = choose_sorted(s, scratch, vocab, order, u);
        } else {
            id = choose_any(s, scratch, vocab, u);
        }
    }
    out->id = id;
    out->logprob = (float)((double)logits[id] - lse);
    fill_top(logits, vocab, lse, top_wanted, out);
    return true;
}
