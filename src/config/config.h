/* SPDX-License-Identifier: MIT */
/* The configuration: an immutable snapshot of every option of every room, made from the defaults, one
 * YAML file and the command line, in this order, the later winning.
 *
 *      table.c (options) ──▶ load ──▶ struct ek_config, counted references, never changed again
 *                             ▲                │
 *              file, flags ───┘                └─ reload: a new one beside the old; the owner swaps
 *
 * Reading is strict. Unknown or repeated keys, wrong types, units and ranges, references to tiers that
 * do not exist: each gives one line "file:line:column: sentence", all of them in one go. A snapshot
 * exists only when there was nothing to complain about. Used by one thread; reading blocks on files. */
#ifndef EK_CONFIG_CONFIG_H
#define EK_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/log.h"
#include "base/status.h"
#include "base/strlist.h"
#include "door/options.h"
#include "engine/options.h"
#include "guard/options.h"
#include "http/options.h"
#include "journal/options.h"
#include "ledger/options.h"
#include "office/options.h"
#include "policy/options.h"
#include "upstream/options.h"

struct ek_config_memory;

struct ek_config {
    uint32_t magic;
    uint32_t refs;
    struct ek_config_memory *memory; /* everything the members below point at, and the source */

    struct ek_strlist listen; /* "ADDRESS:PORT", "[ADDRESS]:PORT" or "unix:PATH"; at least one */
    const char *zone;          /* whose midnight ends a day of limits; never NULL */
    const struct ek_zone *wall; /* the same, made by config; never NULL */
    struct ek_model_options model;
    struct ek_engine_options engine; /* model_path is model.file */
    struct ek_upstream_list upstreams;
    struct ek_relay_options relay;
    struct ek_queue_options queue;
    struct ek_waiting_options waiting;
    struct ek_streams_options streams;
    struct ek_http_options limits;
    struct ek_drain_options drain;
    struct ek_journal_options journal; /* dir NULL: none */
    struct ek_ledger_section ledger;   /* url NULL: none */
    struct ek_access_options access;
    struct ek_admin_section admin;
    struct ek_tier_list tiers;   /* one named "default" is always among them */
    struct ek_anonymous_list anonymous;
    struct ek_oidc_list oidc;
    struct ek_key_list keys;
    struct ek_hours_list hours;
    struct ek_price_list prices; /* one for "*" is always among them */
    enum ek_log_level log_level;
};

#define EK_CONFIG_BYTES_MAX (1u << 20) /* of the YAML file */

/* Which program's flags are accepted. */
enum ek_program { EK_PROGRAM_SERVE, EK_PROGRAM_ENGINE };

struct ek_config_source {
    enum ek_program program;
    const char *path;   /* YAML file; NULL: none, unless the flags have --config FILE */
    const char *text;   /* for tests: contents to read instead of the file; path is then only a name */
    int argc;           /* flags alone: without the program's and the subcommand's name */
    char *const *argv;  /* must outlive the snapshot and its successors (it is re-read at reload) */
};

/* EK_OK: *out is a snapshot with one reference. EK_INVALID: *out is NULL and `why` has one line for
 * every error. EK_ABSENT: the flags have -h or --help: the caller prints help. */
EK_CHECKED enum ek_status ek_config_load(const struct ek_config_source *source,
                                         struct ek_config **out, struct ek_buf *why);

/* Read the same source again. EK_OK: *out is a new snapshot for the owner to swap in; what cannot
 * change at run time kept its old value there, and `why` has one line "NAME needs a restart" for each
 * such option that differs (it is empty when there is none). Tiers keep their places in the list by name,
 * new ones come behind. EK_INVALID: as ek_config_load, or a tier is gone; the old snapshot stays good. */
EK_CHECKED enum ek_status ek_config_reload(const struct ek_config *old, struct ek_config **out,
                                           struct ek_buf *why);

struct ek_config *ek_config_ref(struct ek_config *c);
void ek_config_unref(struct ek_config **c); /* NULLs the pointer; frees with the last reference */

/* The path of the YAML file this was read from; NULL when there is none. */
const char *ek_config_path(const struct ek_config *c);

/* Flags for `evenkeel engine` that give a child the model and engine sections of this snapshot:
 * "--model=...", "--slots=..." and so on for every value that is not the default. Valid as long as
 * the snapshot. Listening is for the caller to add. */
struct ek_strlist ek_config_engine_flags(const struct ek_config *c);

/* The effective configuration as YAML, secrets left out: `evenkeel check --show`. */
void ek_config_print(const struct ek_config *c, struct ek_buf *out);

/* The table of options for people. */
enum ek_config_manual { EK_MANUAL_FLAGS, EK_MANUAL_MARKDOWN, EK_MANUAL_ROFF };
void ek_config_manual(enum ek_config_manual form, enum ek_program program, struct ek_buf *out);

#endif
