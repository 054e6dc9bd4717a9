/* SPDX-License-Identifier: MIT */
/* Typed access to GGUF metadata values: the half of gguf.h that runs after a file was accepted. It
 * reads views whose bounds gguf.c has checked, converts widths, and refuses what does not fit. */
#include "engine/gguf.h"

/* One integer of any width; false when the type is none or a u64 is beyond int64. */
static bool load_int(const uint8_t *at, enum ek_gguf_type type, int64_t *out)
{
    union {
        uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; uint64_t u64;
        int64_t i64;
    } v;
    switch (type) {
    case EK_GGUF_U8: *out = at[0]; return true;
    case EK_GGUF_I8: memcpy(&v.i8, at, 1); *out = v.i8; return true;
    case EK_GGUF_U16: memcpy(&v.u16, at, 2); *out = v.u16; return true;
    case EK_GGUF_I16: memcpy(&v.i16, at, 2); *out = v.i16; return true;
    case EK_GGUF_U32: memcpy(&v.u32, at, 4); *out = v.u32; return true;
    case EK_GGUF_I32: memcpy(&v.i32, at, 4); *out = v.i32; return true;
    case EK_GGUF_I64: memcpy(&v.i64, at, 8); *out = v.i64; return true;
    case EK_GGUF_U64:
        memcpy(&v.u64, at, 8);
        if (v.u64 > INT64_MAX) return false;
        *out = (int64_t)v.u64;
        return true;
    case EK_GGUF_F32: case EK_GGUF_BOOL: case EK_GGUF_STRING: case EK_GGUF_ARRAY: case EK_GGUF_F64:
        break;
    }
    return false;
}

static bool is_int(enum ek_gguf_type t)
{
    return t <= EK_GGUF_I32 || t == EK_GGUF_U64 || t == EK_GGUF_I64;
}

static unsigned int_bytes(enum ek_gguf_type t)
{
    if (t == EK_GGUF_U64 || t == EK_GGUF_I64) return 8;
    if (t <= EK_GGUF_I8 || t == EK_GGUF_BOOL) return 1;
    return t <= EK_GGUF_I16 ? 2 : 4;
}

enum ek_status ek_gguf_u64(const struct ek_gguf *g, const char *key, uint64_t *out)
{
    const struct ek_gguf_value *v = ek_gguf_find(g, key);
    int64_t n;
    if (!v) return EK_ABSENT;
    if (!load_int(v->at, v->type, &n) || n < 0) return EK_INVALID;
    *out = (uint64_t)n;
    return EK_OK;
}

enum ek_status ek_gguf_u32(const struct ek_gguf *g, const char *key, uint32_t *out)
{
    uint64_t n = 0;
    enum ek_status s = ek_gguf_u64(g, key, &n);
    if (s != EK_OK) return s;
    if (n > UINT32_MAX) return EK_INVALID;
    *out = (uint32_t)n;
    return EK_OK;
}

enum ek_status ek_gguf_f32(const struct ek_gguf *g, const char *key, float *out)
{
    const struct ek_gguf_value *v = ek_gguf_find(g, key);
    if (!v) return EK_ABSENT;
    if (v->type == EK_GGUF_F32) {
        memcpy(out, v->at, sizeof *out);
        return EK_OK;
    }
    if (v->type != EK_GGUF_F64) return EK_INVALID;
    double d;
    memcpy(&d, v->at, sizeof d);
    *out = (float)d;
    return EK_OK;
}

enum ek_status ek_gguf_bool(const struct ek_gguf *g, const char *key, bool *out)
{
    const struct ek_gguf_value *v = ek_gguf_find(g, key);
    if (!v) return EK_ABSENT;
    if (v->type != EK_GGUF_BOOL) return EK_INVALID;
    *out = v->at[0] != 0;
    return EK_OK;
}

/* A string lies in the file as u64 length and bytes. */
static struct ek_str load_str(const uint8_t *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof n);
    return ek_str_make((const char *)at + sizeof n, (size_t)n);
}

enum ek_status ek_gguf_str(const struct ek_gguf *g, const char *key, struct ek_str *out)
{
    const struct ek_gguf_value *v = ek_gguf_find(g, key);
    if (!v) return EK_ABSENT;
    if (v->type != EK_GGUF_STRING) return EK_INVALID;
    *out = load_str(v->at);
    return EK_OK;
}

enum ek_status ek_gguf_array(const struct ek_gguf *g, const char *key, enum ek_gguf_type elem,
                             struct ek_gguf_iter *it)
{
    const struct ek_gguf_value *v = ek_gguf_find(g, key);
    *it = (struct ek_gguf_iter){.elem = elem};
    if (!v) return EK_ABSENT;
    if (v->type != EK_GGUF_ARRAY) return EK_INVALID;
    bool fits = v->elem == elem || (elem == EK_GGUF_U64 && is_int(v->elem)) ||
                (elem == EK_GGUF_F32 && v->elem == EK_GGUF_F64);
    if (!fits) return EK_INVALID;
    *it = (struct ek_gguf_iter){.count = v->count, .elem = v->elem, .at = v->at};
    return EK_OK;
}

bool ek_gguf_next_str(struct ek_gguf_iter *it, struct ek_str *out)
{
    MUST(it->count == 0 || it->elem == EK_GGUF_STRING);
    if (it->index >= it->count) return false;
    *out = load_str(it->at);
    it->at += sizeof(uint64_t) + out->len;
    it->index++;
    return true;
}

bool ek_gguf_next_int(struct ek_gguf_iter *it, int64_t *out)
{
    MUST(it->count == 0 || is_int(it->elem) || it->elem == EK_GGUF_BOOL);
    if (it->index >= it->count) return false;
    if (!load_int(it->at, it->elem == EK_GGUF_BOOL ? EK_GGUF_U8 : it->elem, out)) return false;
    it->at += int_bytes(it->elem);
    it->index++;
    return true;
}

bool ek_gguf_next_f32(struct ek_gguf_iter *it, float *out)
{
    MUST(it->count == 0 || it->elem == EK_GGUF_F32 || it->elem == EK_GGUF_F64);
    if (it->index >= it->count) return false;
    if (it->elem == EK_GGUF_F32) {
        memcpy(out, it->at, sizeof *out);
        it->at += sizeof *out;
    } else {
        double d;
        memcpy(&d, it->at, sizeof d);
        *out = (float)d;
        it->at += sizeof d;
    }
    it->index++;
    return true;
}
