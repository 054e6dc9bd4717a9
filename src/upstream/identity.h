/* SPDX-License-Identifier: MIT */
/* Is it still the same model? A few fixed questions, asked greedily, have the same answers for as long as the
 * model and its arithmetic stay; a smaller one, another one or one that was quantised further answers
 * otherwise, or as before and less surely. Compared with what was recorded when somebody trusted it:
 *
 *      same    how far the texts agree from their beginnings, mean over the questions, 0 to 1
 *      drift   mean difference of the logarithms of the tokens' probabilities, as far as the texts agree
 *
 * Batches and kernels make even an honest server stray in the last bits, and once a text strays it goes its
 * own way; so the texts may differ late, the probabilities a little, and one bad round says nothing yet.
 * Pure. */
#ifndef EK_UPSTREAM_IDENTITY_H
#define EK_UPSTREAM_IDENTITY_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define EK_IDENTITY_ASKS 5u
#define EK_IDENTITY_TOKENS 48u /* of each answer */
#define EK_IDENTITY_TEXT_BYTES 1024u
#define EK_IDENTITY_SAME_LEAST 0.5  /* below: another model */
#define EK_IDENTITY_DRIFT_MOST 0.1  /* above: the same text, less surely or more so */

struct ek_identity_answer {
    uint32_t bytes, tokens;               /* tokens 0: no probabilities were told */
    char text[EK_IDENTITY_TEXT_BYTES];    /* thought and answer, one behind the other */
    float logprob[EK_IDENTITY_TOKENS];
    uint32_t end[EK_IDENTITY_TOKENS];     /* of the token, in bytes of text */
};

struct ek_identity_print {
    uint32_t answers;
    struct ek_identity_answer answer[EK_IDENTITY_ASKS];
};

struct ek_identity_verdict {
    double same, drift;
    bool drift_known;
    bool other; /* it is not the model that was recorded */
};

/* The body of question `ask` to that model. */
void ek_identity_body(uint32_t ask, const char *model, bool logprobs, struct ek_buf *out);
/* The answer to it; false when it is none. */
bool ek_identity_read(struct ek_str body, struct ek_identity_answer *out);
struct ek_identity_verdict ek_identity_compare(const struct ek_identity_print *recorded,
                                               const struct ek_identity_print *now);
/* As a file, JSON, and back; false when it is no such file. */
void ek_identity_write(const struct ek_identity_print *p, struct ek_buf *out);
bool ek_identity_parse(struct ek_str text, struct ek_identity_print *out);

#endif
