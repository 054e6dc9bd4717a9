/* SPDX-License-Identifier: MIT */
/* One value of an option: from text, to text, compared, copied. Pure: no file, no clock, no log.
 * Numbers are exact: "1.5GiB" is a whole number of bytes or it is refused, "10" is not a duration
 * because nobody can know whether it means seconds, and "3x" is not 3. */
#include "config/option.h"

#include "base/strlist.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>

struct unit {
    const char *name;
    uint64_t scale; /* base units in one of these */
};

static const struct unit size_units[] = {
    {"GiB", UINT64_C(1) << 30}, {"MiB", UINT64_C(1) << 20}, {"KiB", 1024},
    {"GB", 1000000000},         {"MB", 1000000},            {"kB", 1000},
    {"B", 1},                   {NULL, 0},
};

static const struct unit duration_units[] = {
    {"d", UINT64_C(86400000000000)}, {"h", UINT64_C(3600000000000)}, {"min", UINT64_C(60000000000)},
    {"s", 1000000000},               {"ms", 1000000},                {"us", 1000},
    {"ns", 1},                       {NULL, 0},
};

static void quote(struct ek_buf *why, struct ek_str s)
{
    ek_buf_char(why, '"');
    for (size_t i = 0; i < s.len && i < 60; i++) {
        ek_buf_char(why, (unsigned char)s.data[i] < 0x20 ? '?' : s.data[i]);
    }
    ek_buf_lit(why, s.len > 60 ? "...\"" : "\"");
}

/* Digits, perhaps a fraction, at the front of s; value = digits / 10^places. Returns the bytes used,
 * 0 when s does not begin with a number. At most 18 digits, so that value * scale fits 128 bits. */
static size_t scan_number(struct ek_str s, uint64_t *digits, unsigned *places)
{
    size_t i = 0, count = 0;
    bool point = false;
    *digits = 0;
    *places = 0;
    for (; i < s.len; i++) {
        if (s.data[i] == '.' && !point && i > 0) {
            point = true;
            continue;
        }
        if (s.data[i] < '0' || s.data[i] > '9') break;
        if (++count > 18) return 0;
        *digits = *digits * 10 + (uint64_t)(s.data[i] - '0');
        *places += point;
    }
    if (count == 0 || s.data[i - 1] == '.') return 0;
    bool octal_looking = s.data[0] == '0' && count > 1 && s.data[1] != '.';
    return octal_looking ? 0 : i;
}

/* digits / 10^places * scale, if that is a whole number below 2^63. */
static bool scaled(uint64_t digits, unsigned places, uint64_t scale, uint64_t *out)
{
    unsigned __int128 product = (unsigned __int128)digits * scale;
    for (; places > 0; places--) {
        if (product % 10 != 0) return false;
        product /= 10;
    }
    if (product > INT64_MAX) return false;
    *out = (uint64_t)product;
    return true;
}

static void print_units(uint64_t v, const struct unit *units, struct ek_buf *out)
{
    for (; v != 0 && units->scale > 1; units++) {
        bool decimal_size = units->name[1] == 'B' && units->scale % 10 == 0;
        if (v % units->scale == 0 && !decimal_size) break;
    }
    while (v == 0 && units->scale > 1) {
        units++;
    }
    ek_buf_u64(out, v / units->scale);
    ek_buf_lit(out, v == 0 ? "" : units->name);
}

static void print_ppm(uint64_t ppm, struct ek_buf *out)
{
    ek_buf_printf(out, "%g%%", (double)ppm / 1e4);
}

static void print_number(const struct ek_option *o, uint64_t v, struct ek_buf *out)
{
    switch (o->type) {
    case EK_OPTION_SIZE: print_units(v, size_units, out); break;
    case EK_OPTION_DURATION: print_units(v, duration_units, out); break;
    case EK_OPTION_RATIO: print_ppm(v, out); break;
    case EK_OPTION_PRICE: ek_buf_printf(out, "%.10g", (double)v / 1e6); break;
    case EK_OPTION_MONEY: ek_buf_printf(out, "%.16g", (double)v / 1e9); break;
    default: ek_buf_u64(out, v); break;
    }
}

static bool in_range(const struct ek_option *o, uint64_t v, struct ek_str text, struct ek_buf *why)
{
    if (v >= o->min && v <= o->max) return true;
    quote(why, text);
    ek_buf_lit(why, v < o->min ? " is too small: the least is " : " is too large: the most is ");
    print_number(o, v < o->min ? o->min : o->max, why);
    return false;
}

static const char *unit_name_at(const void *ctx, size_t index)
{
    return ((const struct unit *)ctx)[index].name;
}

/* A number with a unit. The bare 0 needs none. */
static bool parse_units(const struct ek_option *o, struct ek_str text, const struct unit *units,
                        const char *example, uint64_t *out, struct ek_buf *why)
{
    uint64_t digits = 0;
    unsigned places = 0;
    size_t used = scan_number(text, &digits, &places);
    if (used == 0) {
        quote(why, text);
        ek_buf_printf(why, " is not a number with a unit, such as %s", example);
        return false;
    }
    struct ek_str name = ek_str_skip(text, used);
    if (name.len == 0 && digits == 0) {
        *out = 0;
        return in_range(o, 0, text, why);
    }
    if (name.len == 0) {
        quote(why, text);
        ek_buf_printf(why, " needs a unit, such as %s", example);
        return false;
    }
    for (const struct unit *u = units; u->name; u++) {
        if (!ek_str_eq(name, ek_str_of(u->name))) continue;
        if (!scaled(digits, places, u->scale, out)) {
            quote(why, text);
            ek_buf_lit(why, places ? " is not a whole number of the smallest unit" : " is too large");
            return false;
        }
        return in_range(o, *out, text, why);
    }
    quote(why, text);
    ek_buf_lit(why, " has the unit ");
    quote(why, name);
    ek_buf_printf(why, ", which is none; write it such as %s", example);
    const char *near = ek_suggest(name, unit_name_at, units);
    if (near) {
        ek_buf_printf(why, "; did you mean %.*s%s?", (int)used, text.data, near);
    }
    return false;
}

static bool parse_count(const struct ek_option *o, struct ek_str text, uint64_t *out,
                        struct ek_buf *why)
{
    uint64_t digits = 0;
    unsigned places = 0;
    size_t used = scan_number(text, &digits, &places);
    if (used == 0 || used != text.len || places != 0) {
        quote(why, text);
        ek_buf_lit(why, " is not a whole number");
        return false;
    }
    *out = digits;
    return in_range(o, digits, text, why);
}

/* Parts per million from 0.1 or 10%. */
static bool parse_ratio(const struct ek_option *o, struct ek_str text, double *out,
                        struct ek_buf *why)
{
    uint64_t digits = 0, ppm = 0;
    unsigned places = 0;
    size_t used = scan_number(text, &digits, &places);
    bool percent = used > 0 && used + 1 == text.len && text.data[used] == '%';
    if (used == 0 || (used != text.len && !percent) ||
        !scaled(digits, places, percent ? 10000 : 1000000, &ppm)) {
        quote(why, text);
        ek_buf_lit(why, " is not a ratio, such as 0.1 or 10%");
        return false;
    }
    if (!in_range(o, ppm, text, why)) return false;
    *out = (double)ppm / 1e6;
    return true;
}

/* A decimal number, kept as a whole number of its small units: `scale` of them in one. */
static bool parse_decimal(const struct ek_option *o, struct ek_str text, uint64_t scale,
                          const char *is_not, int64_t *out, struct ek_buf *why)
{
    uint64_t digits = 0, units = 0;
    unsigned places = 0;
    size_t used = scan_number(text, &digits, &places);
    if (used == 0 || used != text.len || !scaled(digits, places, scale, &units)) {
        quote(why, text);
        ek_buf_str(why, ek_str_of(is_not));
        return false;
    }
    if (!in_range(o, units, text, why)) return false;
    *out = (int64_t)units;
    return true;
}

/* pico-units a token */
static bool parse_price(const struct ek_option *o, struct ek_str text, int64_t *out,
                        struct ek_buf *why)
{
    return parse_decimal(o, text, 1000000,
                         " is not a price per million tokens with at most 6 decimals, such as 0.28",
                         out, why);
}

/* nano-units */
static bool parse_money(const struct ek_option *o, struct ek_str text, int64_t *out,
                        struct ek_buf *why)
{
    return parse_decimal(o, text, 1000000000,
                         " is not an amount of money with at most 9 decimals, such as 2.50", out,
                         why);
}

static bool parse_bool(struct ek_str text, bool *out, struct ek_buf *why)
{
    if (ek_str_eq(text, EK_STR("true")) || ek_str_eq(text, EK_STR("false"))) {
        *out = text.data[0] == 't';
        return true;
    }
    quote(why, text);
    ek_buf_lit(why, " is neither true nor false");
    static const char *const meant[] = {"true", "yes", "on", "1", "false", "no", "off", "0"};
    for (size_t i = 0; i < EK_COUNT(meant); i++) {
        if (ek_str_eq_nocase(text, ek_str_of(meant[i]))) {
            ek_buf_printf(why, "; did you mean %s?", i < 4 ? "true" : "false");
        }
    }
    return false;
}

static const char *choice_at(const void *ctx, size_t index)
{
    return ((const char *const *)ctx)[index];
}

static bool parse_choice(const struct ek_option *o, struct ek_str text, uint32_t *index,
                         struct ek_buf *why)
{
    for (uint32_t i = 0; o->choices[i]; i++) {
        if (ek_str_eq(text, ek_str_of(o->choices[i]))) {
            *index = i;
            return true;
        }
    }
    quote(why, text);
    ek_buf_lit(why, " is not ");
    ek_option_kind(o, why);
    const char *near = ek_suggest(text, choice_at, o->choices);
    if (near) {
        ek_buf_printf(why, "; did you mean %s?", near);
    }
    return false;
}

/* Controls, line ends of all alphabets, and what YAML could not hold outside an escape. */
static bool is_invisible(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == 0xfeff ||
           cp == 0xfffe || cp == 0xffff;
}

static bool text_is_clean(struct ek_str text, size_t bytes_max, struct ek_buf *why)
{
    if (text.len == 0) {
        ek_buf_lit(why, "is empty");
        return false;
    }
    if (text.len > bytes_max) {
        ek_buf_printf(why, "is %zu bytes long: the most is %zu", text.len, bytes_max);
        return false;
    }
    while (text.len > 0) {
        uint32_t cp = 0;
        int len = ek_utf8_step(text, &cp);
        if (len <= 0) {
            ek_buf_lit(why, "is not valid UTF-8");
            return false;
        }
        if (is_invisible(cp)) {
            ek_buf_lit(why, "holds a control character");
            return false;
        }
        text = ek_str_skip(text, (size_t)len);
    }
    return true;
}

#define ELEMENT_BYTES_MAX 4096u

static bool parse_element(const struct ek_option *o, struct ek_str text, struct ek_strlist *list,
                          struct ek_config_arena *a, struct ek_buf *why)
{
    if (!text_is_clean(text, ELEMENT_BYTES_MAX, why)) return false;
    if (list->count >= o->max) {
        ek_buf_printf(why, "has too many elements: the most is %" PRIu64, o->max);
        return false;
    }
    const char **grown = ek_config_alloc(a, (list->count + 1) * sizeof(*grown));
    for (size_t i = 0; i < list->count; i++) {
        grown[i] = list->item[i];
    }
    grown[list->count] = ek_config_strdup(a, text);
    *list = (struct ek_strlist){grown, list->count + 1};
    return true;
}

static bool parse_sha256(struct ek_str text, uint8_t out[32], struct ek_buf *why)
{
    uint8_t bytes[32];
    size_t got = 0;
    if (text.len == 64 &&
        sodium_hex2bin(bytes, sizeof(bytes), text.data, text.len, NULL, &got, NULL) == 0 &&
        got == sizeof(bytes)) {
        memcpy(out, bytes, sizeof(bytes));
        return true;
    }
    ek_buf_lit(why, "is not a SHA-256 of 64 hex digits (printf %s KEY | sha256sum)");
    return false;
}

/* Secrets travel in a header line: printable ASCII without spaces, and nothing a guess would find. */
static bool secret_is_clean(struct ek_str text, uint64_t bytes_min, struct ek_buf *why)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f) {
            ek_buf_lit(why, "is a secret and may hold printable ASCII without spaces only");
            return false;
        }
    }
    if (text.len < bytes_min || text.len > 512) {
        ek_buf_printf(why, "is a secret of %zu bytes: it must have %" PRIu64 " to 512", text.len,
                      bytes_min);
        return false;
    }
    return true;
}

static bool parse_text(const struct ek_option *o, struct ek_str text, void *field,
                       struct ek_config_arena *a, struct ek_buf *why)
{
    bool secret = o->type == EK_OPTION_SECRET || o->type == EK_OPTION_SECRET_HASH;
    if (secret ? !secret_is_clean(text, o->min, why) : !text_is_clean(text, o->max, why)) {
        return false;
    }
    uint32_t index = 0;
    if (o->choices && !parse_choice(o, text, &index, why)) return false;
    if (o->type == EK_OPTION_SECRET_HASH) {
        crypto_hash_sha256(field, (const unsigned char *)text.data, text.len);
        return true;
    }
    *(const char **)field = ek_config_strdup(a, text);
    return true;
}

bool ek_option_parse(const struct ek_option *o, struct ek_str text, void *field,
                     struct ek_config_arena *a, struct ek_buf *why)
{
    uint64_t v = 0;
    switch (o->type) {
    case EK_OPTION_BOOL: return parse_bool(text, field, why);
    case EK_OPTION_RATIO: return parse_ratio(o, text, field, why);
    case EK_OPTION_PRICE: return parse_price(o, text, field, why);
    case EK_OPTION_MONEY: return parse_money(o, text, field, why);
    case EK_OPTION_ENUM: return parse_choice(o, text, field, why);
    case EK_OPTION_LIST: return parse_element(o, text, field, a, why);
    case EK_OPTION_SHA256: return parse_sha256(text, field, why);
    case EK_OPTION_STRING:
    case EK_OPTION_PATH:
    case EK_OPTION_SECRET:
    case EK_OPTION_SECRET_HASH: return parse_text(o, text, field, a, why);
    case EK_OPTION_SIZE:
        if (!parse_units(o, text, size_units, "64KiB or 32MiB", &v, why)) return false;
        break;
    case EK_OPTION_DURATION:
        if (!parse_units(o, text, duration_units, "10s or 500ms", &v, why)) return false;
        break;
    case EK_OPTION_COUNT:
        if (o->zero && ek_str_eq(text, ek_str_of(o->zero))) break; /* v is 0 */
        if (!parse_count(o, text, &v, why)) return false;
        break;
    }
    MUST(o->bytes == 8 || (o->bytes == 4 && o->max <= UINT32_MAX));
    if (o->bytes == 4) {
        *(uint32_t *)field = (uint32_t)v;
    } else {
        *(uint64_t *)field = v;
    }
    return true;
}

static uint64_t number_of(const struct ek_option *o, const void *field)
{
    return o->bytes == 4 ? *(const uint32_t *)field : *(const uint64_t *)field;
}

void ek_option_print(const struct ek_option *o, const void *field, struct ek_buf *out)
{
    const struct ek_strlist *list = field;
    switch (o->type) {
    case EK_OPTION_BOOL: ek_buf_lit(out, *(const bool *)field ? "true" : "false"); break;
    case EK_OPTION_RATIO: print_ppm((uint64_t)llround(*(const double *)field * 1e6), out); break;
    case EK_OPTION_ENUM: ek_buf_lit(out, o->choices[*(const uint32_t *)field]); break;
    case EK_OPTION_SECRET:
    case EK_OPTION_SECRET_HASH:
    case EK_OPTION_SHA256: ek_buf_lit(out, "(secret)"); break;
    case EK_OPTION_STRING:
    case EK_OPTION_PATH: ek_buf_str(out, ek_str_of(*(const char *const *)field)); break;
    case EK_OPTION_LIST:
        for (size_t i = 0; i < list->count; i++) {
            ek_buf_lit(out, i ? ", " : "");
            ek_buf_lit(out, list->item[i]);
        }
        break;
    case EK_OPTION_COUNT:
        if (o->zero && number_of(o, field) == 0) {
            ek_buf_lit(out, o->zero);
            break;
        }
        print_number(o, number_of(o, field), out);
        break;
    case EK_OPTION_SIZE:
    case EK_OPTION_DURATION:
    case EK_OPTION_PRICE:
    case EK_OPTION_MONEY: print_number(o, number_of(o, field), out); break;
    }
}

void ek_option_kind(const struct ek_option *o, struct ek_buf *out)
{
    static const char *const kinds[] = {
        [EK_OPTION_COUNT] = "count",   [EK_OPTION_SIZE] = "size",
        [EK_OPTION_DURATION] = "duration", [EK_OPTION_RATIO] = "ratio",
        [EK_OPTION_BOOL] = "true or false", [EK_OPTION_PRICE] = "price per million tokens",
        [EK_OPTION_MONEY] = "amount of money",
        [EK_OPTION_STRING] = "text",   [EK_OPTION_PATH] = "path",
        [EK_OPTION_SECRET] = "secret", [EK_OPTION_SECRET_HASH] = "secret",
        [EK_OPTION_SHA256] = "64 hex digits", [EK_OPTION_LIST] = "list of text",
    };
    if (!o->choices) {
        ek_buf_lit(out, kinds[o->type]);
        return;
    }
    ek_buf_lit(out, "one of ");
    for (size_t i = 0; o->choices[i]; i++) {
        ek_buf_lit(out, i ? ", " : "");
        ek_buf_lit(out, o->choices[i]);
    }
}

static bool text_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool ek_option_equal(const struct ek_option *o, const void *a, const void *b)
{
    const struct ek_strlist *x = a, *y = b;
    switch (o->type) {
    case EK_OPTION_STRING:
    case EK_OPTION_PATH:
    case EK_OPTION_SECRET: return text_equal(*(const char *const *)a, *(const char *const *)b);
    case EK_OPTION_LIST:
        if (x->count != y->count) return false;
        for (size_t i = 0; i < x->count; i++) {
            if (!text_equal(x->item[i], y->item[i])) return false;
        }
        return true;
    default: return memcmp(a, b, o->bytes) == 0;
    }
}

void ek_option_copy(const struct ek_option *o, void *to, const void *from, struct ek_config_arena *a)
{
    const struct ek_strlist *list = from;
    switch (o->type) {
    case EK_OPTION_STRING:
    case EK_OPTION_PATH:
    case EK_OPTION_SECRET: {
        const char *text = *(const char *const *)from;
        *(const char **)to = text ? ek_config_strdup(a, ek_str_of(text)) : NULL;
        break;
    }
    case EK_OPTION_LIST: {
        const char **copy = ek_config_alloc(a, list->count * sizeof(*copy));
        for (size_t i = 0; i < list->count; i++) {
            copy[i] = ek_config_strdup(a, ek_str_of(list->item[i]));
        }
        *(struct ek_strlist *)to = (struct ek_strlist){list->count ? copy : NULL, list->count};
        break;
    }
    default: memcpy(to, from, o->bytes); break;
    }
}
