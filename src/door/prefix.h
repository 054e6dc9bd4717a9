/* SPDX-License-Identifier: MIT */
/* What prompts have in common, found in the bytes of the body: nobody here tokenises. Pure.
 *
 * A chain of prefixes tells where a prompt may be in some engine's cache. It is cut behind the first message
 * and the last ones, which is where the next turn of a conversation, or another question to the same long
 * instructions, departs from it; and at three fixed lengths, for long texts shared inside one message. A
 * cut's hash depends on the bytes before it only, never on where else was cut. Both functions cost 0.1 ns a
 * byte, up to 4 MiB of them. */
#ifndef EK_DOOR_PREFIX_H
#define EK_DOOR_PREFIX_H

#include "chat/request.h"
#include "policy/desk.h"

/* Of a body whose reader has just finished; `seed` is the model's. Shortest first; returns how many, at most
 * EK_DESK_PREFIX_MAX, 0 for short prompts. Tokens are shared out of prompt_tokens by bytes. */
uint32_t ek_prefix_chain(const struct ek_request_reader *reader, struct ek_str body, uint64_t seed,
                         uint32_t prompt_tokens, struct ek_prefix out[EK_DESK_PREFIX_MAX]);

/* A hash of everything up to the first message of a user, which is the same in each turn; `seed` is the
 * account's. 0: there is no such message. */
uint64_t ek_prefix_conversation(const struct ek_request_reader *reader, struct ek_str body, uint64_t seed);

#endif
