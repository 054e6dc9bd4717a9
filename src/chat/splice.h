/* SPDX-License-Identifier: MIT */
/* The body for the upstream: the caller's bytes with a few members set.
 *
 * The big body is never copied. An edit replaces one span of it or inserts at one place; the result is
 * a list of views, alternately of the body and of what is put in, ready for writev:
 *
 *      body   {"model":"fast","messages":[ ... 20 kB ... ],"stream":false}
 *      views  {"model":  "deepseek-r1"  ,"messages":[ ... ],"stream":  true  ,"seed":  17  }
 *
 * Every byte not named by an edit is identical and in place. Edits may be given in any order; each
 * member at most once. Views of the body and of the values live as long as the caller keeps those. */
#ifndef EK_CHAT_SPLICE_H
#define EK_CHAT_SPLICE_H

#include "base/buf.h"
#include "chat/request.h"

#define EK_SPLICE_EDITS_MAX (EK_MEMBER_COUNT + 2)
#define EK_SPLICE_PIECES_MAX (EK_SPLICE_EDITS_MAX * 3 + 11) /* body, name, value; the made objects */

struct ek_splice {
    const struct ek_request *request;
    struct ek_str body;
    struct ek_str value[EK_MEMBER_COUNT]; /* raw; data NULL = not set */
    struct ek_str message;                /* to append */
    struct ek_str prompt;                 /* to append, escaped */
    char seed_text[24];
    char limit_text[24];
    char budget_text[24];
    char model_text[EK_REQUEST_MODEL_BYTES_MAX * 6 + 2]; /* quoted and escaped */
};

/* Begin a splice of a body that was read into `request` (both stay until the pieces are used). */
void ek_splice_begin(struct ek_splice *s, const struct ek_request *request, struct ek_str body);

/* Set a member to a raw JSON value: replaced where it stands, else added. Works for every enum
 * ek_member; for one inside stream_options or thinking the others in that object stay, and the object
 * is made when it is absent or null. A value that already stands there byte for byte costs no edit.
 * `value` is the caller's and stays until the pieces are used.
 * Setting a member twice, or a member and its parent, is a bug. */
void ek_splice_set(struct ek_splice *s, enum ek_member m, struct ek_str value);

/* The common ones. Values are copied. */
void ek_splice_stream(struct ek_splice *s);    /* stream true, stream_options.include_usage true */
void ek_splice_model(struct ek_splice *s, struct ek_str name); /* <= EK_REQUEST_MODEL_BYTES_MAX */
void ek_splice_seed(struct ek_splice *s, int64_t seed);
void ek_splice_max_tokens(struct ek_splice *s, int64_t tokens); /* whichever limits were given */
void ek_splice_thinking_budget(struct ek_splice *s, enum ek_member m, int64_t tokens); /* one of its names */

/* Add a message (a raw JSON object) behind the last one: to continue an answer elsewhere. */
void ek_splice_append_message(struct ek_splice *s, struct ek_str message);

/* /v1/completions with prompt_is_text: put escaped text (no quotes) at the prompt's end. */
void ek_splice_extend_prompt(struct ek_splice *s, struct ek_str escaped);

/* The pieces in order, none empty. Returns their count (<= EK_SPLICE_PIECES_MAX); *bytes is their sum:
 * the Content-Length. */
size_t ek_splice_pieces(struct ek_splice *s, struct ek_str pieces[EK_SPLICE_PIECES_MAX],
                        uint64_t *bytes);

/* The same as one run of bytes at the end of out (out->failed when it does not fit). */
void ek_splice_flat(struct ek_splice *s, struct ek_buf *out);

#endif
