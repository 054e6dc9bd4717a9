/* SPDX-License-Identifier: MIT */
/* Between ask.c and ask_members.c: reading one typed member of a JSON object. Every reader returns false
 * when the member has the wrong type or range, with the fault filled in; an absent or null member
 * leaves *out as it was. Private to these files. */
#ifndef EK_ENGINE_ASK_INSIDE_H
#define EK_ENGINE_ASK_INSIDE_H

#include "engine/ask.h"

#include <jansson.h>

struct ek_ask_reader {
    struct ek_ask *out;
    struct ek_ask_fault *fault;
    const char *under; /* "ek." inside that member, "" at the top */
    size_t ids_max;
};

/* Refuse: always false. `name` is the member; `format` continues the sentence "NAME ...". */
bool ek_ask_refuse(struct ek_ask_reader *r, enum ek_reason reason, const char *name, const char *format,
                   ...) EK_PRINTF(4, 5);

json_t *ek_ask_member(json_t *object, const char *name); /* NULL when absent or null */
struct ek_str ek_ask_view(const json_t *string);

bool ek_ask_bool(struct ek_ask_reader *r, json_t *object, const char *name, bool *out);
bool ek_ask_int(struct ek_ask_reader *r, json_t *object, const char *name, int64_t min, int64_t max,
                int64_t *out);
bool ek_ask_u32(struct ek_ask_reader *r, json_t *object, const char *name, uint32_t min, uint32_t max,
                uint32_t *out);
bool ek_ask_float(struct ek_ask_reader *r, json_t *object, const char *name, double min, double max,
                  float *out);
bool ek_ask_string(struct ek_ask_reader *r, json_t *object, const char *name, size_t bytes_max,
                   struct ek_str *out);
bool ek_ask_object(struct ek_ask_reader *r, json_t *object, const char *name, json_t **out);
bool ek_ask_ids(struct ek_ask_reader *r, json_t *array, const char *name, uint32_t **out, size_t *count);

/* The members of the parts. */
bool ek_ask_read_form(struct ek_ask_reader *r, json_t *root); /* response_format, tools, logit_bias, n */
bool ek_ask_read_messages(struct ek_ask_reader *r, json_t *root);

#endif
