/* SPDX-License-Identifier: MIT */
/* Text as JSON strings: the one escaper of the house. Quote, backslash and control characters are
 * escaped, bad UTF-8 becomes U+FFFD, all else is copied as it is. Never fails but for room. */
#ifndef EK_BASE_JSON_WRITE_H
#define EK_BASE_JSON_WRITE_H

#include "base/buf.h"

/* Append text with quotes around it; or only its inside. */
void ek_json_put_string(struct ek_buf *out, struct ek_str text);
void ek_json_put_inside(struct ek_buf *out, struct ek_str text);

/* The inside into out[0..cap); the bytes written, -1 when they do not fit. 6 * text.len always do. */
int64_t ek_json_escape(struct ek_str text, char *out, size_t cap);

#endif
