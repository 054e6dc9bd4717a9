/* SPDX-License-Identifier: MIT */
/* Several processes of one door, each with a journal of its own (while one takes over from the other): berth
 * 0 is the journal's directory itself, the others are folders in it, `berth1` and so on. All have the first
 * one's identity, so tickets and hashes mean the same in each, and what a process left in its berth can be
 * moved into the first as it is: files of records under new numbers, tapes under their names. */
#ifndef EK_JOURNAL_BERTH_H
#define EK_JOURNAL_BERTH_H

#include "base/log.h"
#include "base/str.h"

#define EK_JOURNAL_BERTHS 8u

/* The directory of that berth into out, made and with the identity of the first. False with a sentence.
 * Blocks. */
bool ek_journal_berth(const char *dir, uint32_t berth, char *out, size_t cap, char *why, size_t why_cap);
/* What was left in berths that nobody is in is moved into the first, before that is opened. Blocks. */
void ek_journal_gather(const char *dir, struct ek_log *log);
/* Is that the name of a berth's folder? */
bool ek_journal_is_berth(const char *name);

#endif
