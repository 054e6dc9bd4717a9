/* SPDX-License-Identifier: MIT */
/* A file of what was learned of answers, written by anybody. The first byte of the input says whether its
 * length and checksum are put right, so that the records are reached. Whatever is believed must predict
 * within its bounds, go on learning, and come back the same when it is saved and loaded again. */
#include "base/map.h"
#include "policy/predict.h"

#include <stdlib.h>

#define CELLS 64u
#define HEAD 24u
#define RECORD 88u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct ek_predict *p)
{
    struct ek_predict_key k = {.account = 7, .model = 3, .effort = 1, .prompt_tokens = 500};
    for (int i = 0; i < 20; i++) {
        struct ek_prediction o = ek_predict_output(p, &k), t = ek_predict_thought(p, &k);
        MUST(!o.known || (o.p50 >= 1 && o.p50 <= o.p90 && o.mean >= 0));
        MUST(!t.known || (t.p50 >= 1 && t.p50 <= t.p90));
        ek_predict_learn(p, &k, 1u << i, 1u << i >> 1);
    }
}

static void there_and_back(const struct ek_predict *p, uint64_t seed)
{
    struct ek_buf one = {.max = 1u << 16}, two = {.max = 1u << 16};
    struct ek_predict again;
    uint64_t seed_again = 0;
    const char *why = NULL;
    MUST(ek_predict_init(&again, CELLS));
    ek_predict_save(p, seed, &one);
    MUST(!one.failed && ek_predict_load(&again, ek_str_make(one.data, one.len), &seed_again, &why));
    MUST(seed_again == seed);
    ek_predict_save(&again, seed_again, &two);
    MUST(two.len == one.len);
    ek_predict_free(&again);
    ek_buf_free(&one);
    ek_buf_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 1u << 16) return 0;
    bool mend = data[0] & 1;
    size_t len = size - 1;
    char *bytes = malloc(len + 1); /* its end is the end of the memory, but for one byte */
    struct ek_predict p;
    uint64_t seed = 0;
    const char *why = NULL;
    MUST(bytes && ek_predict_init(&p, CELLS));
    if (len) memcpy(bytes, data + 1, len);
    if (mend && len >= HEAD + 8) {
        uint32_t records = (uint32_t)((len - HEAD - 8) / RECORD);
        len = HEAD + (size_t)records * RECORD + 8;
        memcpy(bytes, "EKLEARN1", 8);
        memcpy(bytes + 16, &records, sizeof records);
        uint64_t sum = ek_hash(ek_str_make(bytes, len - 8), 0);
        memcpy(bytes + len - 8, &sum, sizeof sum);
    }
    if (ek_predict_load(&p, ek_str_make(bytes, len), &seed, &why)) {
        MUST(!why);
        there_and_back(&p, seed);
        use(&p);
    } else {
        MUST(why);
    }
    ek_predict_free(&p);
    free(bytes);
    return 0;
}
