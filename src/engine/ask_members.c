/* SPDX-License-Identifier: MIT */
/* Typed members of a request's JSON: the one place that says "must be a whole number from 1 to 20".
 * Pure. Sentences never repeat what the caller wrote, only the member's name. */
#include "engine/ask_inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool ek_ask_refuse(struct ek_ask_reader *r, enum ek_reason reason, const char *name, const char *format, ...)
{
    struct ek_ask_fault *f = r->fault;
    f->reason = reason;
    snprintf(f->param, sizeof f->param, "%s%s", r->under, name);
    /* Without a name it is about the whole body. */
    int n = *f->param ? snprintf(f->text, sizeof f->text, "'%s' ", f->param) : 0;
    MUST(n >= 0 && (size_t)n < sizeof f->text);
    va_list args;
    va_start(args, format);
    vsnprintf(f->text + n, sizeof f->text - (size_t)n, format, args);
    va_end(args);
    return false;
}

json_t *ek_ask_member(json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);
    return v && !json_is_null(v) ? v : NULL;
}

struct ek_str ek_ask_view(const json_t *string)
{
    return ek_str_make(json_string_value(string), json_string_length(string));
}

bool ek_ask_bool(struct ek_ask_reader *r, json_t *object, const char *name, bool *out)
{
    const json_t *v = ek_ask_member(object, name);
    if (!v) return true;
    if (!json_is_boolean(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be true or false.");
    *out = json_is_true(v);
    return true;
}

bool ek_ask_int(struct ek_ask_reader *r, json_t *object, const char *name, int64_t min, int64_t max,
                int64_t *out)
{
    const json_t *v = ek_ask_member(object, name);
    if (!v) return true;
    if (!json_is_integer(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be a whole number.");
    int64_t i = json_integer_value(v);
    if (i < min || i > max) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, name, "must be from %lld to %lld.", (long long)min,
                             (long long)max);
    }
    *out = i;
    return true;
}

bool ek_ask_u32(struct ek_ask_reader *r, json_t *object, const char *name, uint32_t min, uint32_t max,
                uint32_t *out)
{
    int64_t i = *out;
    if (!ek_ask_int(r, object, name, min, max, &i)) return false;
    *out = (uint32_t)i; /* unchanged, or within min..max */
    return true;
}

bool ek_ask_float(struct ek_ask_reader *r, json_t *object, const char *name, double min, double max,
                  float *out)
{
    const json_t *v = ek_ask_member(object, name);
    if (!v) return true;
    if (!json_is_number(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be a number.");
    double d = json_number_value(v);
    if (!(d >= min && d <= max)) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, name, "must be from %g to %g.", min, max);
    }
    *out = (float)d;
    return true;
}

bool ek_ask_string(struct ek_ask_reader *r, json_t *object, const char *name, size_t bytes_max,
                   struct ek_str *out)
{
    const json_t *v = ek_ask_member(object, name);
    if (!v) return true;
    if (!json_is_string(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be a string.");
    if (json_string_length(v) > bytes_max) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, name, "may have at most %zu bytes.", bytes_max);
    }
    *out = ek_ask_view(v);
    return true;
}

bool ek_ask_object(struct ek_ask_reader *r, json_t *object, const char *name, json_t **out)
{
    json_t *v = ek_ask_member(object, name);
    *out = v;
    if (v && !json_is_object(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be an object.");
    return true;
}

bool ek_ask_ids(struct ek_ask_reader *r, json_t *array, const char *name, uint32_t **out, size_t *count)
{
    size_t n = json_array_size(array);
    if (n > r->ids_max) {
        return ek_ask_refuse(r, EK_REASON_CONTEXT_LENGTH, name, "has %zu tokens; the context holds %zu.", n,
                             r->ids_max);
    }
    *out = calloc(n + 1, sizeof **out);
    MUST(*out);
    for (*count = 0; *count < n; (*count)++) {
        const json_t *v = json_array_get(array, *count);
        int64_t id = json_is_integer(v) ? json_integer_value(v) : -1;
        if (id < 0 || id >= UINT32_MAX) {
            return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be a list of token ids.");
        }
        (*out)[*count] = (uint32_t)id;
    }
    return true;
}
