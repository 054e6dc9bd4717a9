/* SPDX-License-Identifier: MIT */
/* Members of a body, by a table, strictly: what is missing, unknown, of another type or out of range is
 * refused with a sentence that names it. And values the other way, into answers. Pure. */
#include "office/admin_inside.h"

#include "base/address.h"
#include "base/utf8.h"

#include <stdio.h>

/* A member's name as complaints call it. */
struct called {
    char text[64];
};

static struct called name_of(const char *prefix, const char *name)
{
    struct called c;
    snprintf(c.text, sizeof c.text, "%s%s", prefix, name);
    return c;
}

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
    return true;
}

/* A string without control characters (jansson takes no NUL); NULL: it is none such. */
static const char *plain_text(const json_t *v)
{
    const char *text = json_string_value(v);
    return text && is_plain(text) ? text : NULL;
}

static bool wrong(struct ek_admin_call *c, const char *at, enum ek_reason reason, const char *must)
{
    return ek_admin_refuse(c, reason, at, "'%s' must be %s.", at, must);
}

static bool read_text(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                      const char *at)
{
    const char *text = plain_text(v);
    if (!json_is_string(v)) return wrong(c, at, EK_REASON_WRONG_TYPE, "a string");
    if (!text) return wrong(c, at, EK_REASON_BAD_VALUE, "without control characters");
    if (f->kind == EK_ADMIN_NAME && !ek_name_is_good(ek_str_of(text)))
        return wrong(c, at, EK_REASON_BAD_VALUE,
                     "1 to 64 printable ASCII characters without blanks, quotes, backslash, # and comma");
    size_t cap = f->kind == EK_ADMIN_NAME ? EK_LEDGER_NAME_MAX + 1 : f->cap;
    if (strlen(text) >= cap)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, at, "'%s' must be shorter than %zu bytes.", at, cap);
    memcpy(f->out, text, strlen(text) + 1);
    return true;
}

static bool read_amount(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                        const char *at)
{
    int64_t nano;
    if (!json_is_string(v))
        return wrong(c, at, EK_REASON_WRONG_TYPE, "a string like \"12.5\" (a JSON number would be rounded)");
    const char *text = plain_text(v);
    if (!text || !ek_amount_parse(text, f->minus, &nano) || nano > EK_MONEY_MAX || nano < -EK_MONEY_MAX)
        return wrong(c, at, EK_REASON_BAD_VALUE,
                     f->minus ? "an amount like \"12.5\" or \"-1\", with nine digits behind the point at most"
                              : "an amount like \"12.5\", not below 0, with nine digits behind it at most");
    *(int64_t *)f->out = nano;
    return true;
}

static bool read_number(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                        const char *at)
{
    bool time = f->kind == EK_ADMIN_TIME;
    if (time && json_is_null(v)) {
        *(uint64_t *)f->out = 0;
        return true;
    }
    json_int_t n = json_integer_value(v), max = time ? 9000000000 : INT32_MAX;
    if (!json_is_integer(v))
        return wrong(c, at, EK_REASON_WRONG_TYPE,
                     time ? "unix seconds, or null for never" : "a whole number");
    if (n < (time ? 1 : 0) || n > max)
        return wrong(c, at, EK_REASON_BAD_VALUE,
                     time ? "unix seconds from 1 to 9000000000, or null" : "from 0 to 2147483647");
    *(uint64_t *)f->out = (uint64_t)n * (time ? EK_S_NS : 1);
    return true;
}

/* One word of a list: no blanks. Of addresses, one that a network contains. */
static bool word_is_good(const char *word, bool network)
{
    size_t slash = word ? strcspn(word, "/") : 0;
    if (!word || !*word) return false;
    for (const char *at = word; *at; at++)
        if (*at <= 0x20 || *at >= 0x7f) return false;
    return !network || ek_list_has_address(word, ek_str_make(word, slash));
}

static bool read_words(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                       const char *at)
{
    char list[EK_PEOPLE_LIST_MAX + 1] = "";
    size_t len = 0, i;
    const json_t *word;
    bool network = strcmp(f->name, "addresses") == 0;
    if (!json_is_array(v)) return wrong(c, at, EK_REASON_WRONG_TYPE, "an array of strings");
    json_array_foreach(v, i, word) {
        const char *text = plain_text(word);
        if (!word_is_good(text, network))
            return wrong(c, at, EK_REASON_BAD_VALUE,
                         network ? "an array of addresses and networks like \"10.0.0.0/8\""
                                 : "an array of words without blanks");
        if (len + strlen(text) + 2 > sizeof list)
            return wrong(c, at, EK_REASON_BAD_VALUE, "512 bytes at most, all words together");
        len += (size_t)snprintf(list + len, sizeof list - len, "%s%s", len ? " " : "", text);
    }
    memcpy(f->out, list, len + 1);
    return true;
}

static bool read_choice(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                        const char *at)
{
    const char *text = json_string_value(v);
    char all[96] = "";
    if (!text) return wrong(c, at, EK_REASON_WRONG_TYPE, "a string");
    for (unsigned i = 0; f->words[i]; i++) {
        if (json_string_length(v) == strlen(f->words[i]) && strcmp(text, f->words[i]) == 0) {
            *(unsigned *)f->out = i;
            return true;
        }
        size_t len = strlen(all);
        snprintf(all + len, sizeof all - len, "%s%s", len ? ", " : "", f->words[i]);
    }
    return ek_admin_refuse(c, EK_REASON_BAD_VALUE, at, "'%s' must be one of: %s.", at, all);
}

static bool read_field(struct ek_admin_call *c, const struct ek_admin_field *f, const json_t *v,
                       const char *at)
{
    switch (f->kind) {
    case EK_ADMIN_NAME: case EK_ADMIN_TEXT: return read_text(c, f, v, at);
    case EK_ADMIN_AMOUNT: return read_amount(c, f, v, at);
    case EK_ADMIN_COUNT: case EK_ADMIN_TIME: return read_number(c, f, v, at);
    case EK_ADMIN_WORDS: return read_words(c, f, v, at);
    case EK_ADMIN_CHOICE: return read_choice(c, f, v, at);
    case EK_ADMIN_FLAG: break;
    }
    if (!json_is_boolean(v)) return wrong(c, at, EK_REASON_WRONG_TYPE, "true or false");
    *(bool *)f->out = json_is_true(v);
    return true;
}

bool ek_admin_read(struct ek_admin_call *c, const json_t *object, const char *prefix,
                   const struct ek_admin_field *field, size_t count)
{
    size_t found = 0;
    if (!json_is_object(object)) { /* "limits." is what its members begin with: it is called "limits" */
        struct called whole = name_of("", prefix);
        if (*prefix) whole.text[strlen(prefix) - 1] = '\0';
        return wrong(c, whole.text, EK_REASON_WRONG_TYPE, "an object");
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_object_get(object, field[i].name);
        struct called at = name_of(prefix, field[i].name);
        if (!v && field[i].must)
            return ek_admin_refuse(c, EK_REASON_MISSING_PARAM, at.text, "'%s' is missing.", at.text);
        if (v && field[i].kind == EK_ADMIN_NAME && field[i].cap && json_string_length(v) == 0 &&
            json_is_string(v)) { /* cap of a name: it may be empty */
            *(char *)field[i].out = '\0';
        } else if (v && !read_field(c, &field[i], v, at.text)) {
            return false;
        }
        if (field[i].given) *field[i].given = v != NULL;
        found += v != NULL;
    }
    if (found == json_object_size(object)) return true;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        bool known = false;
        for (size_t i = 0; i < count; i++) known = known || strcmp(field[i].name, key) == 0;
        struct called at = name_of(prefix, is_plain(key) ? key : "?");
        if (!known)
            return ek_admin_refuse(c, EK_REASON_UNKNOWN_PARAM, at.text, "'%s' is not known here.", at.text);
    }
    WRONG("a member that is neither known nor unknown");
}

/* ---- the other way ---------------------------------------------------------------------------- */

json_t *ek_admin_amount(int64_t nano)
{
    char text[EK_AMOUNT_BYTES];
    return json_string(ek_amount_text(nano, text));
}

json_t *ek_admin_time(uint64_t unix_ns)
{
    return unix_ns ? json_integer((json_int_t)(unix_ns / EK_S_NS)) : json_null();
}

json_t *ek_admin_id(uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)id);
    return json_string(text);
}

json_t *ek_admin_words(const char *list)
{
    json_t *all = json_array();
    for (const char *at = list; *at;) {
        size_t word = strcspn(at, " ");
        if (word) json_array_append_new(all, json_stringn(at, word));
        at += word + (at[word] == ' ');
    }
    return all;
}
