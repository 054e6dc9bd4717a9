/* SPDX-License-Identifier: MIT */
/* JSON Schema into a grammar (drafts 7 to 2020-12, and OpenAPI's `nullable`).
 *
 * Everything the grammar lets through is valid; not everything valid is let through: members come in the
 * order of `properties`, white space is bounded, numbers have at most 15 digits, members that the schema does
 * not name are only written where additionalProperties asks for them. What cannot be enforced is refused with
 * the keyword and its place, never passed over; annotations are free. docs/structured.md has the list.
 *
 *   schema.c         what kind of schema this is; alternatives, references, enum, const
 *   schema_merge.c   allOf, and keywords beside anyOf or $ref: two schemas into one
 *   schema_object.c  objects and arrays          schema_scalar.c  strings, numbers
 *
 * Pure but for memory. All sizes have limits, because schemas come from strangers. */
#ifndef EK_ENGINE_SCHEMA_H
#define EK_ENGINE_SCHEMA_H

#include "engine/grammar.h"

#include <jansson.h>

enum {
    EK_SCHEMA_BYTES_MAX = 256 * 1024, /* of the JSON text; the caller's to check */
    EK_SCHEMA_NESTED_MAX = 64,        /* schemas within schemas, references counted once */
    EK_SCHEMA_WORK_MAX = 20000,       /* schemas looked at, merged ones included */
    EK_SCHEMA_COMPARED = 256,         /* so many comparisons of values are as much work */
    EK_SCHEMA_PROPERTIES_MAX = 1000,  /* of one object */
    EK_SCHEMA_ITEMS_MAX = 1000,       /* an array is never longer where it is counted */
    EK_SCHEMA_EXTRA_MAX = 100,        /* members beyond the named ones, where maxProperties counts them */
    EK_SCHEMA_COUNTED_MAX = 1000,     /* maxLength beside a pattern or format */
};

struct ek_schema_fault {
    char text[360]; /* "'pattern' at #/properties/id: uses a back reference, which is not regular" */
};

/* Add the rules for `schema`; *rule is the one for a value. The grammar is then as good as lost when this
 * returns false. `schema` is only read, and need not live on. */
EK_CHECKED bool ek_schema_compile(struct ek_grammar *g, json_t *schema, uint32_t *rule,
                                  struct ek_schema_fault *fault);
/* The same for a value that is an object, whatever else the schema allows; refused where it allows none. */
EK_CHECKED bool ek_schema_compile_object(struct ek_grammar *g, json_t *schema, uint32_t *rule,
                                         struct ek_schema_fault *fault);

#endif
