/* SPDX-License-Identifier: MIT */
/* Fuzz the JSON reader: the first two bytes choose where the document is cut into three pieces. Whole and
 * cut must give the same events, and jansson must accept the same documents with the same values
 * (json_oracle.h lists the intended differences). */
#include "../unit/json_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096) return 0;
    size_t len = size - 2;
    char *doc = malloc(len + 1);
    MUST(doc);
    memcpy(doc, data + 2, len);
    doc[len] = '\0';
    oracle_check(doc, len);
    size_t cuts[2] = {data[0] % (len + 1), data[1] % (len + 1)};
    if (cuts[1] < cuts[0]) cuts[1] = cuts[0];
    oracle_split(doc, len, cuts, 2);
    free(doc);
    return 0;
}
