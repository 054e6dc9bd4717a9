/* SPDX-License-Identifier: MIT */
/* Between the two files of the collector only (collect.c adds, collect_write.c writes).
 *
 *   ek_collect --> choice[index] --> content, reasoning       texts, escaped
 *                                --> tool[slot]               id, type, name, arguments, the rest
 *                                --> extra[..]                unknown members and those of logprobs */
#ifndef EK_CHAT_COLLECT_INSIDE_H
#define EK_CHAT_COLLECT_INSIDE_H

#include "base/buf.h"
#include "chat/collect.h"

#define EK_COLLECT_MAGIC 0x636f6c6cu

enum collect_place { PLACE_CHOICE, PLACE_DELTA, PLACE_LOGPROBS };
enum collect_kind { KIND_RAW, KIND_STRING, KIND_ARRAY };

struct collect_extra {
    char name[48]; /* as in the payload, with quotes, NUL behind it */
    uint8_t place; /* enum collect_place */
    uint8_t kind;  /* enum collect_kind */
    struct ek_buf value; /* raw; or the inside of the string or array */
};

struct collect_tool {
    uint64_t index;
    struct ek_buf id; /* raw values ... */
    struct ek_buf type;
    struct ek_buf name;
    struct ek_buf arguments; /* ... this one the inside, joined */
    struct ek_buf rest;      /* ,"name":value of unknown members, each once */
};

struct collect_choice {
    bool content_seen;
    bool reasoning_seen;
    enum ek_finish finish;
    struct ek_buf finish_raw; /* inside */
    struct ek_buf content;
    struct ek_buf reasoning;
    uint32_t tool_count;
    struct collect_tool *tool[EK_COLLECT_TOOLS_MAX];
    uint32_t extra_count;
    struct collect_extra extra[EK_COLLECT_EXTRAS_MAX];
};

struct ek_collect {
    uint32_t magic;
    enum ek_api api;
    size_t bytes;
    size_t bytes_max;
    enum ek_status failed; /* EK_OK while all is well */
    uint64_t extras_dropped;
    bool usage_seen;
    struct ek_usage usage;
    struct ek_buf fingerprint;  /* raw */
    struct ek_buf service_tier; /* raw */
    struct collect_choice *choice[EK_REQUEST_CHOICES_MAX];
};

#endif
