/* SPDX-License-Identifier: MIT */
/* The inside of the schema compiler, shared by schema*.c only. Emitters append to the automaton of the rule
 * that is being made: they begin at state `from` and return the state behind what they wrote. After a fault
 * they return 0 and nothing they wrote is used. */
#ifndef EK_ENGINE_SCHEMA_INSIDE_H
#define EK_ENGINE_SCHEMA_INSIDE_H

#include "base/str.h"
#include "engine/schema.h"

enum ek_json_kind { /* bits */
    EK_KIND_NULL = 1,
    EK_KIND_BOOLEAN = 2,
    EK_KIND_INTEGER = 4,
    EK_KIND_NUMBER = 8, /* implies INTEGER */
    EK_KIND_STRING = 16,
    EK_KIND_ARRAY = 32,
    EK_KIND_OBJECT = 64,
    EK_KIND_ALL = 127,
};

struct ek_schema_known {
    const json_t *schema;
    uint32_t rule;
};

struct ek_schema {
    struct ek_grammar *g;
    struct ek_nfa *n;  /* of the rule being made */
    json_t *root;      /* what #/... points into */
    json_t *made;      /* array: merged schemas, kept so that their addresses stay */
    struct ek_schema_known *known; /* schemas that have a rule */
    size_t known_count, known_cap;
    char place[120];   /* "#/properties/a", cut where it is long */
    size_t place_len;  /* as if it had not been cut */
    unsigned nested;
    unsigned work;
    struct ek_schema_fault *fault;
    bool failed;
};

/* Refuse: false, always. The first one counts. keyword NULL: the schema as a whole. */
bool ek_schema_refuse(struct ek_schema *c, const char *keyword, const char *format, ...) EK_PRINTF(3, 4);

/* Go into a member of the schema at hand, for the place in a refusal; leave with what enter returned. */
size_t ek_schema_enter(struct ek_schema *c, const char *keyword, const char *name); /* name may be NULL */
void ek_schema_leave(struct ek_schema *c, size_t before);

/* A value: written here, or as a call of a rule of its own. */
uint32_t ek_schema_value(struct ek_schema *c, json_t *schema, uint32_t from);
uint32_t ek_schema_call(struct ek_schema *c, json_t *schema, uint32_t from);

/* Member `name` of a schema object, NULL if absent. */
static inline json_t *ek_schema_get(const json_t *schema, const char *name)
{
    return json_object_get(schema, name);
}

/* Kinds that `type` allows; without one, those its keywords speak of, or all. 0: refused. */
unsigned ek_schema_kinds(struct ek_schema *c, json_t *schema);
unsigned ek_schema_kind_of_value(const json_t *v);
/* The schema a $ref points to, through chains of them; NULL: refused. `schema` itself without a $ref. */
json_t *ek_schema_resolve(struct ek_schema *c, json_t *schema);
/* Does it hold anything but annotations, and `except` (NULL: nothing excepted)? */
bool ek_schema_constrains(const json_t *schema, const char *except);

uint32_t ek_schema_string(struct ek_schema *c, json_t *schema, uint32_t from);
uint32_t ek_schema_number(struct ek_schema *c, json_t *schema, bool fractions, uint32_t from);
uint32_t ek_schema_object(struct ek_schema *c, json_t *schema, uint32_t from);
uint32_t ek_schema_array(struct ek_schema *c, json_t *schema, uint32_t from);
uint32_t ek_schema_space(struct ek_schema *c, uint32_t from);

/* A whole number from 0 on; absent: as it was. False: refused. */
bool ek_schema_count(struct ek_schema *c, json_t *schema, const char *keyword, uint32_t *out);

/* Both at once; NULL: refused. Kept by the compiler. */
json_t *ek_schema_merge(struct ek_schema *c, json_t *a, json_t *b);
/* Can no value fulfil both, as far as their kinds, constants and required members tell? */
bool ek_schema_disjoint(struct ek_schema *c, json_t *a, json_t *b);

#endif
