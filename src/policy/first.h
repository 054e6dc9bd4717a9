/* SPDX-License-Identifier: MIT */
/* From the start of a request to its first token: what a line adds beyond the turn itself. An engine is sent
 * one more than it has slots, so whoever starts out of a line waits inside for the next free one, and then
 * its prompt is read among the others'. learn.h knows the lower edge of reading, of prompts that nothing
 * disturbed; this is the mean of those who came out of the line, which is what a reader feels.
 *
 * A least-squares line over the length of the prompt, faded by requests, never by the clock:
 *
 *     took = a + b * prompt tokens,  b >= 0,  and the variance about it
 *
 * Pure: no clock, no allocation. */
#ifndef EK_POLICY_FIRST_H
#define EK_POLICY_FIRST_H

#include <stdint.h>

struct ek_first {
    double n, x, xx, y, xy, yy; /* faded sums of 1, x, x^2, y, xy, y^2: x tokens, y seconds */
};

struct ek_first_guess {
    double mean_s;
    double sd_s;  /* of one request about the mean */
    double known; /* requests it stands on, faded; 0: nothing is known, and the rest is 0 */
};

/* One that came out of the line had its first token took_s >= 0 after its start. */
void ek_first_learn(struct ek_first *f, uint32_t prompt_tokens, double took_s);
/* prompt_tokens 0: of the mean prompt. */
struct ek_first_guess ek_first_guess(const struct ek_first *f, uint32_t prompt_tokens);

#endif
