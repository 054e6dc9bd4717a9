/* SPDX-License-Identifier: MIT */
/* Load reports of other people's engines: whatever they say, what is read is within its bounds, and the same
 * text read twice says the same. */
#include "base/must.h"
#include "upstream/load_text.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct ek_load_text *t, bool known)
{
    MUST(t->running <= 1000000 && t->waiting <= 1000000);
    MUST(t->kv_used <= 1 && (t->kv_used >= 0 || !(t->kv_used > -1)));
    MUST(t->kv_total_tokens < 2000000000000000ull);
    if (!known) MUST(!t->running_known && !t->waiting_known && t->kv_used < 0 && !t->kv_total_tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_load_text t, again;
    char *copy = malloc(size ? size : 1); /* exact, so that a read past it is seen */
    MUST(copy);
    if (size) memcpy(copy, data, size);
    struct ek_str text = ek_str_make(copy, size);
    bool known = ek_load_read_metrics(text, &t);
    check(&t, known);
    MUST(ek_load_read_metrics(text, &again) == known && again.running == t.running);
    check(&t, ek_load_read_orca(text, &t));
    MUST(ek_load_read_slots(text) <= 1000000);
    free(copy);
    return 0;
}
