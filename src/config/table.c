/* SPDX-License-Identifier: MIT */
/* All options there are, one row each (a table: exempt from the length limit). Adding an option is a
 * field in the room's options.h and a row here; then run `make docs` for docs/options.md and the manual.
 *
 * A row: X(field, name, flag, type, min, max, default, restart, sentence). Sizes are in bytes,
 * durations in nanoseconds, ratios in parts per million, strings in bytes, lists in elements. */
#include "config/config.h"
#include "config/option.h"

#define NO_MAX ((uint64_t)INT64_MAX)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define MS UINT64_C(1000000)
#define S UINT64_C(1000000000)
#define HOUR (3600 * S)
#define PRICE_MAX UINT64_C(1000000000000) /* a million a million tokens */
#define MONEY_MAX UINT64_C(1000000000000000) /* a million */

/* The place of a field: its offset in `struct type` and its size. */
#define FIELD(type, field) .offset = offsetof(struct type, field), \
                           .bytes = sizeof(((struct type *)0)->field)

enum { LIVE = 0, RESTART = 1 }; /* can a reload change it? */

static const char *const dialects[] = {"auto", "evenkeel", "vllm", "sglang", "llamacpp",
                                       "deepseek", "openai", "azure", NULL};
static const char *const reasonings[] = {"field", "tags", "begun", NULL};
static const char *const budgets[] = {"none", "thinking_token_budget", "thinking_budget_tokens",
                                      "thinking.budget_tokens", NULL};
static const char *const speculations[] = {"auto", "off", "always", NULL};
static const char *const kv_types[] = {"bf16", "f16", "f32", NULL};
static const char *const activations[] = {"q8", "f32", NULL};
static const char *const isas[] = {"auto", "generic", "avx2", "avx512", NULL};
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

_Static_assert(EK_DIALECT_AZURE == 7 && EK_REASONING_BEGUN == 2 && EK_BUDGET_THINKING == 3,
               "the names above are indexed by these enums");
_Static_assert(EK_KV_F32 == 2 && EK_ACT_F32 == 1, "and these by the engine's enums");
_Static_assert(EK_LOG_DEBUG == 3, "and these by enum ek_log_level");

static const struct ek_option top_options[] = {
    {"listen", "listen", EK_OPTION_LIST, FIELD(ek_config, listen), 1, 16, "127.0.0.1:8080",
     .restart = RESTART,
     .text = "Where clients connect: ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH."},
    {"zone", NULL, EK_OPTION_STRING, FIELD(ek_config, zone), 1, 64, "UTC",
     .text = "Whose midnight ends a day of day_thoughts, and of a lender's budget_day: a zone of tzdata, "
             "UTC, or UTC+5:30. (The days and months of accounts' budgets are UTC's.)"},
};

static const struct ek_option model_options[] = {
    {"file", "model", EK_OPTION_PATH, FIELD(ek_model_options, file), 1, 4095, NULL,
     .restart = RESTART, .text = "GGUF file of the model; an engine is started and watched for it."},
    {"name", NULL, EK_OPTION_STRING, FIELD(ek_model_options, name), 1, 128, NULL,
     .restart = RESTART,
     .text = "The name clients ask for; unset: the file's name without its ending."},
    {"aliases", NULL, EK_OPTION_LIST, FIELD(ek_model_options, aliases), 0, 64, NULL,
     .restart = RESTART, .text = "Further names for the same model."},
    {"chat_template", "chat-template", EK_OPTION_STRING, FIELD(ek_model_options, chat_template), 1, 16,
     NULL, .restart = RESTART,
     .text = "How messages become a prompt: v2, v3, r1 or v3.1; unset: as the file says."},
};

static const struct ek_option engine_options[] = {
    {"slots", "slots", EK_OPTION_COUNT, FIELD(ek_engine_options, slots), 1, 64, "16",
     .restart = RESTART, .text = "Requests computed at once."},
    {"waiting", NULL, EK_OPTION_COUNT, FIELD(ek_engine_options, waiting_max), 0, 4096, "0",
     .restart = RESTART,
     .text = "Requests the engine itself holds beyond its slots (a backstop); 0: twice the slots."},
    {"ctx_tokens", "ctx", EK_OPTION_COUNT, FIELD(ek_engine_options, ctx_tokens), 0, 1048576, "0",
     .restart = RESTART,
     .text = "Longest prompt and answer together, in tokens; 0: as the file says, at most 8192."},
    {"kv_tokens", NULL, EK_OPTION_COUNT, FIELD(ek_engine_options, kv_tokens), 0, UINT32_MAX, "0",
     .restart = RESTART, .text = "Room of the KV cache, in tokens; 0: slots times ctx_tokens."},
    {"kv_type", "kv-type", EK_OPTION_ENUM, FIELD(ek_engine_options, kv_type), 0, 0, "bf16",
     kv_types, .restart = RESTART, .text = "Number format of the KV cache."},
    {"speculation", "speculation", EK_OPTION_ENUM, FIELD(ek_engine_options, speculation), 0, 0, "auto",
     speculations, .restart = RESTART,
     .text = "Compute likely tokens ahead, found in the text or by the model's own block for it (NextN): "
             "auto: when it pays; no answer changes. always is for tests."},
    {"kv_disk", "kv-disk", EK_OPTION_PATH, FIELD(ek_engine_options, kv_disk), 1, 1024, NULL,
     .restart = RESTART,
     .text = "Folder in which computed prompts are kept beyond memory and restarts; unset: none."},
    {"kv_disk_limit", "kv-disk-limit", EK_OPTION_SIZE, FIELD(ek_engine_options, kv_disk_limit_bytes),
     1 << 20, INT64_MAX, "10GiB", .restart = RESTART,
     .text = "Most that one model's files may take there."},
    {"step_tokens", NULL, EK_OPTION_COUNT, FIELD(ek_engine_options, step_tokens), 0, 4096, "0",
     .restart = RESTART, .text = "Tokens computed in one step; 0: 256."},
    {"threads", "threads", EK_OPTION_COUNT, FIELD(ek_engine_options, threads), 0, 64, "0",
     .restart = RESTART, .text = "Threads that compute; 0: the CPUs there are, at most 8."},
    {"activations", NULL, EK_OPTION_ENUM, FIELD(ek_engine_options, activation), 0, 0, "q8",
     activations, .restart = RESTART,
     .text = "Number format of what meets quantised feed-forward weights; f32 is slower and exact."},
    {"isa", NULL, EK_OPTION_STRING, FIELD(ek_engine_options, isa), 1, 16, "auto", isas,
     .restart = RESTART, .text = "Instruction set of the kernels; auto: the best this machine has."},
};

static const struct ek_option upstreams_options[] = {
    {"name", NULL, EK_OPTION_STRING, FIELD(ek_upstream_options, name), 1, 255, NULL,
     .text = "Its name in logs and metrics; unset: the host of the URL."},
    {"url", "upstream", EK_OPTION_STRING, FIELD(ek_upstream_options, url), 1, 1024, NULL,
     .required = true,
     .text = "Where it listens: http://HOST:PORT, https://HOST or unix:PATH, with or without /v1."},
    {"key", NULL, EK_OPTION_SECRET, FIELD(ek_upstream_options, key), 1, 512, NULL,
     .text = "The bearer token it wants."},
    {"dialect", NULL, EK_OPTION_ENUM, FIELD(ek_upstream_options, dialect), 0, 0, "auto", dialects,
     .text = "What kind of server it is; auto: found out by asking."},
    {"models", NULL, EK_OPTION_LIST, FIELD(ek_upstream_options, models), 0, 64, NULL,
     .text = "Models it serves, each NAME or NAME=ITS-OWN-NAME (so a model may have several names); unset: "
             "it is asked."},
    {"slots", NULL, EK_OPTION_COUNT, FIELD(ek_upstream_options, slots), 0, 65536, "auto",
     .zero = "auto",
     .text = "Requests it works on at once; auto (or 0): it is asked, else it is learned."},
    {"weight", NULL, EK_OPTION_COUNT, FIELD(ek_upstream_options, weight), 1, 1000, "10",
     .text = "Its part of the work, relative to the others that serve the same model."},
    {"reasoning", NULL, EK_OPTION_ENUM, FIELD(ek_upstream_options, reasoning), 0, 0, "field", reasonings,
     .text = "Where thoughts stand in what it sends: in a field, in the text between <think> tags, or begun: "
             "the same without the opening tag."},
    {"thinking_budget", NULL, EK_OPTION_ENUM, FIELD(ek_upstream_options, thinking_budget), 0, 0, "none",
     budgets,
     .text = "The member of a request in which it obeys a limit on the tokens of its thought, so that "
             "thinking may be shortened there before people are refused: thinking_token_budget (vLLM started "
             "with --reasoning-config), thinking_budget_tokens (llama-server), thinking.budget_tokens; none: "
             "it is left alone. Our own engine needs no word."},
    {"api_version", NULL, EK_OPTION_STRING, FIELD(ek_upstream_options, api_version), 1, 32, NULL,
     .text = "Of Azure's API; unset: 2024-10-21."},
    {"identity", NULL, EK_OPTION_PATH, FIELD(ek_upstream_options, identity), 1, 4000, NULL,
     .text = "File with its answers to a few fixed questions, recorded where there is none; it is asked "
             "again and again, and an alarm is raised when it seems to be another model."},
    {"borrowed", NULL, EK_OPTION_BOOL, FIELD(ek_upstream_options, borrowed), 0, 0, "false",
     .text = "It is not ours and costs money: it gets what would wait longer here than its tier's "
             "overflow_after, or cannot be served here at all."},
    {"price", NULL, EK_OPTION_STRING, FIELD(ek_upstream_options, price), 1, 128, NULL,
     .text = "Borrowed: the entry of `prices` (its `model`, any name) with what it charges us; unset: that "
             "of \"*\"."},
    {"budget_hour", NULL, EK_OPTION_MONEY, FIELD(ek_upstream_options, budget_nano[0]), 0, MONEY_MAX, "0",
     .text = "Borrowed: what it may cost in an hour of the clock; 0: no limit but the day's."},
    {"budget_day", NULL, EK_OPTION_MONEY, FIELD(ek_upstream_options, budget_nano[1]), 0, MONEY_MAX, "0",
     .text = "Borrowed: what it may cost in a day, which ends at midnight of `zone`; 0: no limit but the "
             "hour's. One of the two is needed."},
};

static const struct ek_option relay_options[] = {
    {"connect", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, connect_ns), 10 * MS, 300 * S,
     "5s", .text = "Longest time to connect to an upstream."},
    {"first_token", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, first_token_ns), S, 24 * HOUR,
     "10min", .text = "Longest time from sending a request to its first token."},
    {"stall", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, stall_ns), 100 * MS, HOUR, "60s",
     .text = "Longest time between two tokens; then the answer is continued elsewhere."},
    {"probe", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, probe_ns), 50 * MS, HOUR, "1s",
     .text = "Time between two looks at an upstream's health and load."},
    {"attempts", NULL, EK_OPTION_COUNT, FIELD(ek_relay_options, attempts_max), 1, 16, "4",
     .text = "How often one request is sent without getting further, the first time included."},
    {"restart_min", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, restart_min_ns), MS, 60 * S,
     "100ms", .text = "Pause before a dead engine is started again, doubling each time ..."},
    {"restart_max", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, restart_max_ns), MS, HOUR,
     "30s", .text = "... up to this."},
    {"start", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, start_ns), S, 24 * HOUR, "10min",
     .text = "Longest time an engine may take to load its model."},
    {"floor", NULL, EK_OPTION_COUNT, FIELD(ek_relay_options, floor_tokens), 0, 60000, "12",
     .text = "Tokens a minute: a stream that makes fewer counts as stalled; 0: no floor."},
    {"identity_every", NULL, EK_OPTION_DURATION, FIELD(ek_relay_options, identity_ns), S, 720 * HOUR, "6h",
     .restart = RESTART, .text = "Time between two looks at whether an upstream with `identity` is the model "
             "it was."},
    {"salt_file", NULL, EK_OPTION_PATH, FIELD(ek_relay_options, salt_file), 1, 4000, NULL, .restart = RESTART,
     .text = "File of the secret that the salts of engines' caches are made with, made where there is none; "
             "unset: engine.kv_disk with .salt behind, else the ledger's secret, else new with every start: "
             "then what engines keep on disk is never found again. A journal has one of its own."},
    {"ca_file", NULL, EK_OPTION_PATH, FIELD(ek_relay_options, ca_file), 1, 4095, NULL, .restart = RESTART,
     .text = "Certificates (PEM) trusted for https upstreams beside the system's."},
};

static const struct ek_option queue_options[] = {
    {"waiting_max", "queue", EK_OPTION_COUNT, FIELD(ek_queue_options, waiting_max), 0, 100000,
     "400", .text = "Requests that may wait, all tiers together; more are refused with 429. "
             "Half of a heavier tier's share by weight is kept for it."},
    {"brownout", NULL, EK_OPTION_BOOL, FIELD(ek_queue_options, brownout), 0, 0, "true",
     .text = "Thoughts are shortened before lines grow, in tiers with a delay_target."},
    {"auto", NULL, EK_OPTION_LIST, FIELD(ek_queue_options, automatic), 0, 16, NULL,
     .text = "Models that requests to the model auto go to, the best first; under load, when thoughts are as "
             "short as they get and there is a line, to the next. Unset: there is no model auto."},
    {"shed", NULL, EK_OPTION_BOOL, FIELD(ek_queue_options, shed), 0, 0, "false",
     .text = "Last resort: while waits exceed a tier's patience, some callers are refused for the hour."},
    {"accounts", NULL, EK_OPTION_COUNT, FIELD(ek_queue_options, accounts_max), 1024, 4194304, "65536",
     .restart = RESTART, .text = "Accounts whose share of the work is remembered."},
    {"hedge_after", NULL, EK_OPTION_DURATION, FIELD(ek_queue_options, hedge_after_ns), 0, HOUR, "0s",
     .text = "In tiers with hedge: a first token that is later is asked for elsewhere, too; 0s: later than "
             "19 of the last 20 at its upstream for prompts of its length."},
    {"hedge_budget", NULL, EK_OPTION_RATIO, FIELD(ek_queue_options, hedge_part), 0, 500000, "5%",
     .text = "Second attempts, of the requests of those tiers."},
    {"tpot_target", NULL, EK_OPTION_DURATION, FIELD(ek_queue_options, tpot_target_ns), 0, 60 * S, "0s",
     .text = "An upstream that takes longer for a token of a stream gets no more of them; 0s: no limit."},
    {"learned", NULL, EK_OPTION_PATH, FIELD(ek_queue_options, learned), 1, 4000, NULL, .restart = RESTART,
     .text = "File that keeps what was learned about the lengths of answers; unset: forgotten at the end."},
    {"learned_every", NULL, EK_OPTION_DURATION, FIELD(ek_queue_options, learned_ns), S, 24 * HOUR, "5min",
     .text = "How often that file is written, beside the end of the program."},
    {"quantum", NULL, EK_OPTION_COUNT, FIELD(ek_queue_options, quantum_nano), 0, NO_MAX / 4, "0",
     .text = "How far a warm prefix may lead an account ahead, in nano-units of the currency; "
             "0: four mean requests."},
};

static const struct ek_option waiting_options[] = {
    {"comment", NULL, EK_OPTION_DURATION, FIELD(ek_waiting_options, comment_ns), 100 * MS, 300 * S,
     "10s", .text = "Longest silence on a waiting stream before its place is told again."},
    {"comment_min", NULL, EK_OPTION_DURATION, FIELD(ek_waiting_options, comment_min_ns), 10 * MS,
     300 * S, "1s", .text = "Shortest time between two such comments."},
    {"change", NULL, EK_OPTION_RATIO, FIELD(ek_waiting_options, change), 0, 1000000, "10%",
     .text = "Change of the place or the estimate that is worth a comment at once."},
    {"hold", NULL, EK_OPTION_DURATION, FIELD(ek_waiting_options, hold_ns), 0, 300 * S, "12s",
     .text = "How long a request without streaming may wait before its status 200 is sent."},
    {"newline", NULL, EK_OPTION_DURATION, FIELD(ek_waiting_options, newline_ns), 100 * MS, 300 * S,
     "10s", .text = "After that: time between the newlines that keep its connection open."},
    {"gather", NULL, EK_OPTION_DURATION, FIELD(ek_waiting_options, gather_ns), 0, 60 * S, "2s",
     .text = "After a restart with a journal nothing starts for so long, or until all who waited are back, "
             "so that they are served in their old order."},
};

static const struct ek_option streams_options[] = {
    {"window", NULL, EK_OPTION_SIZE, FIELD(ek_streams_options, window_bytes), 0, GIB, "1MiB",
     .text = "Events of one stream kept for readers whose connection broke: about ten bytes a token; 0B: "
             "none."},
    {"memory", NULL, EK_OPTION_SIZE, FIELD(ek_streams_options, memory_bytes), 0, NO_MAX, "256MiB",
     .text = "The same of all streams; beyond, those that have ended go first, then windows shrink."},
    {"disk", NULL, EK_OPTION_SIZE, FIELD(ek_streams_options, disk_bytes), 0, 1024 * GIB, "1GiB",
     .restart = RESTART,
     .text = "With a journal: disk for the streams of tiers that linger, so that a restart goes on with "
             "them; 0B: none."},
    {"retention", NULL, EK_OPTION_DURATION, FIELD(ek_streams_options, retention_ns), 0, 30 * 24 * HOUR,
     "300s", .text = "How long a stream can be read again after its end."},
};

static const struct ek_option limits_options[] = {
    {"head_bytes", NULL, EK_OPTION_SIZE, FIELD(ek_http_options, head_bytes_max), KIB, MIB, "32KiB",
     .text = "Largest request head; beyond: 431."},
    {"body_bytes", NULL, EK_OPTION_SIZE, FIELD(ek_http_options, body_bytes_max), KIB, 4 * GIB,
     "32MiB", .text = "Largest request body; beyond: 413."},
    {"bodies_bytes", NULL, EK_OPTION_SIZE, FIELD(ek_http_options, bodies_bytes_max), KIB,
     NO_MAX, "512MiB", .text = "All bodies held at once; beyond: 503 body_budget."},
    {"connections", NULL, EK_OPTION_COUNT, FIELD(ek_http_options, connections_max), 1, 1000000,
     "10000", .text = "Connections of clients open at once."},
    {"address_connections", NULL, EK_OPTION_COUNT, FIELD(ek_http_options, address_connections_max),
     1, 1000000, "1000", .text = "Connections open at once from one address."},
    {"head_deadline", NULL, EK_OPTION_DURATION, FIELD(ek_http_options, head_deadline_ns), 10 * MS,
     HOUR, "10s", .text = "A request head must be complete this long after its first byte."},
    {"body_grace", NULL, EK_OPTION_DURATION, FIELD(ek_http_options, body_grace_ns), 10 * MS, HOUR,
     "10s", .text = "A body may take this long, and ..."},
    {"body_rate", NULL, EK_OPTION_SIZE, FIELD(ek_http_options, body_rate_min), 1, GIB, "16KiB",
     .text = "... one second more for each such amount of it."},
    {"write_stall", NULL, EK_OPTION_DURATION, FIELD(ek_http_options, write_stall_ns), 10 * MS, HOUR,
     "30s", .text = "A client that takes no byte for this long is gone."},
    {"idle", NULL, EK_OPTION_DURATION, FIELD(ek_http_options, idle_ns), 10 * MS, 24 * HOUR, "75s",
     .text = "How long a connection may rest between two requests."},
    {"write_buffer", NULL, EK_OPTION_SIZE, FIELD(ek_http_options, write_buffer_bytes), KIB, GIB,
     "64KiB", .text = "Unsent bytes of one client above which its upstream is paused."},
};

static const struct ek_option journal_options[] = {
    {"dir", "journal", EK_OPTION_PATH, FIELD(ek_journal_options, dir), 1, 4000, NULL, .restart = RESTART,
     .text = "Directory in which the places of those who wait outlive a restart; unset: they do not."},
    {"bytes", NULL, EK_OPTION_SIZE, FIELD(ek_journal_options, bytes_max), 4 * MIB, 1024 * GIB, "1GiB",
     .restart = RESTART, .text = "Disk it may take; beyond, a ticket says durable=0."},
    {"ttl", NULL, EK_OPTION_DURATION, FIELD(ek_journal_options, ttl_ns), S, 30 * 24 * HOUR, "1h",
     .restart = RESTART, .text = "What is older is erased, whatever became of it."},
    {"fsync", NULL, EK_OPTION_DURATION, FIELD(ek_journal_options, fsync_ns), 0, 60 * S, "1s",
     .restart = RESTART,
     .text = "Longest time until it is safe from the death of the machine, too; 0s: before it is called "
             "durable."},
};

static const struct ek_option ledger_options[] = {
    {"url", "ledger", EK_OPTION_SECRET, FIELD(ek_ledger_section, url), 1, 500, NULL, .restart = RESTART,
     .text = "Accounts, keys and money: a SQLite file or postgres://...; unset: nobody is charged."},
    {"secret", NULL, EK_OPTION_PATH, FIELD(ek_ledger_section, secret), 1, 4000, NULL, .restart = RESTART,
     .text = "File of the secret that keys are hashed with; unset: EVENKEEL_SECRET, else the SQLite file's "
             "name and .secret."},
    {"spool", NULL, EK_OPTION_PATH, FIELD(ek_ledger_section, spool), 1, 4000, NULL, .restart = RESTART,
     .text = "File for settlements while the database is away; unset: the SQLite file's name and .spool."},
    {"spool_bytes", NULL, EK_OPTION_SIZE, FIELD(ek_ledger_section, spool_bytes), MIB, 1024 * GIB, "256MiB",
     .restart = RESTART, .text = "The most that file may take (400,000 settlements at the default)."},
    {"door", NULL, EK_OPTION_STRING, FIELD(ek_ledger_section, door), 1, 64, NULL, .restart = RESTART,
     .text = "This door's name among those that share the ledger; each has its own. Unset: the host's."},
    {"lease", NULL, EK_OPTION_DURATION, FIELD(ek_ledger_section, lease_ns), S, HOUR, "60s",
     .restart = RESTART,
     .text = "What a door may spend without asking is its own so long; then others may take it back."},
    {"redis", NULL, EK_OPTION_STRING, FIELD(ek_ledger_section, redis), 1, 255, NULL, .restart = RESTART,
     .text = "Redis or Valkey through which doors share rate limits: HOST:PORT or unix:PATH."},
    {"redis_prefix", NULL, EK_OPTION_STRING, FIELD(ek_ledger_section, redis_prefix), 1, 64, "evenkeel",
     .restart = RESTART, .text = "What all its keys begin with."},
    {"currency", NULL, EK_OPTION_STRING, FIELD(ek_ledger_section, currency), 3, 3, "USD",
     .restart = RESTART, .text = "The currency of prices and balances, in three letters."},
    {"top_up", NULL, EK_OPTION_STRING, FIELD(ek_ledger_section, top_up), 1, 500, NULL,
     .text = "A sentence for those whose balance is used up: where to pay, or whom to ask."},
};

static const struct ek_option admin_options[] = {
    {"listen", "admin", EK_OPTION_STRING, FIELD(ek_admin_section, listen), 1, 255, NULL, .restart = RESTART,
     .text = "Where the admin API listens: ADDRESS:PORT or unix:PATH; unset: nowhere."},
    {"key", NULL, EK_OPTION_PATH, FIELD(ek_admin_section, key), 1, 4000, NULL, .restart = RESTART,
     .text = "File of the admin key, made where there is none; unset: the SQLite file's name, .admin-key."},
    {"remote", NULL, EK_OPTION_BOOL, FIELD(ek_admin_section, remote), 0, 0, "false", .restart = RESTART,
     .text = "Other machines may use the admin API. It speaks plain HTTP: put TLS before it."},
    {"codes", NULL, EK_OPTION_BOOL, FIELD(ek_admin_section, codes), 0, 0, "true", .restart = RESTART,
     .text = "People may redeem codes by themselves, with POST /v1/redeem."},
    {"topup_hook", NULL, EK_OPTION_PATH, FIELD(ek_admin_section, topup_hook), 1, 4000, NULL,
     .restart = RESTART,
     .text = "File of the secrets that sign POST /hooks/topup, one a line; unset: no hook."},
    {"stripe_hook", NULL, EK_OPTION_PATH, FIELD(ek_admin_section, stripe_hook), 1, 4000, NULL,
     .restart = RESTART,
     .text = "File of Stripe's signing secrets (whsec_...) for POST /hooks/stripe; unset: no hook."},
    {"hook_tolerance", NULL, EK_OPTION_DURATION, FIELD(ek_admin_section, hook_tolerance_ns), S, HOUR, "5min",
     .restart = RESTART, .text = "A hook's message signed longer ago than this is refused."},
};

static const struct ek_option drain_options[] = {
    {"deadline", NULL, EK_OPTION_DURATION, FIELD(ek_drain_options, deadline_ns), 0, 24 * HOUR,
     "60s", .text = "After SIGTERM, how long what was accepted may still go on."},
};

static const struct ek_option access_options[] = {
    {"open_on_loopback", NULL, EK_OPTION_BOOL, FIELD(ek_access_options, open_on_loopback), 0, 0,
     "true", .text = "Callers of this machine need no key, unless they come through a proxy."},
    {"open_to_all", "open", EK_OPTION_BOOL, FIELD(ek_access_options, open_to_all), 0, 0, "false",
     .text = "Nobody needs a key."},
    {"open_tier", NULL, EK_OPTION_STRING, FIELD(ek_access_options, open_tier), 1, 64, "default",
     .text = "The tier of callers without a key."},
    {"trusted_proxies", NULL, EK_OPTION_LIST, FIELD(ek_access_options, trusted_proxies), 0, 64, NULL,
     .text = "Networks of proxies whose X-Forwarded-For is believed: 127.0.0.1, 10.0.0.0/8; "
             "unix is a Unix socket."},
    {"cors_origin", NULL, EK_OPTION_STRING, FIELD(ek_access_options, cors_origin), 1, 255, NULL,
     .text = "Web pages of this origin may ask from a browser; * is any; unset: none."},
};

static const struct ek_option anonymous_options[] = {
    {"addresses", NULL, EK_OPTION_LIST, FIELD(ek_anonymous_options, addresses), 1, 64, NULL, .required = true,
     .text = "Networks: 10.0.0.0/8, 2001:db8::/32, or single addresses. Who comes from there needs no key."},
    {"tier", NULL, EK_OPTION_STRING, FIELD(ek_anonymous_options, tier), 1, 64, "default",
     .text = "Their tier; its limits hold for each neighbourhood (/24 of IPv4, /56 of IPv6) as for an "
             "account."},
};

static const struct ek_option oidc_options[] = {
    {"issuer", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, issuer), 1, 255, NULL, .required = true,
     .restart = RESTART, .text = "The provider's address, exactly as its tokens say: https, or http on "
                                 "loopback."},
    {"audiences", NULL, EK_OPTION_LIST, FIELD(ek_oidc_options, audiences), 1, 16, NULL, .required = true,
     .restart = RESTART, .text = "A token must be made for one of these."},
    {"keys", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, keys), 1, 400, NULL, .restart = RESTART,
     .text = "Where its keys (JWKS) are; unset: as ISSUER/.well-known/openid-configuration says."},
    {"account_claim", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, account_claim), 1, 64, "sub",
     .restart = RESTART, .text = "The claim that names the account."},
    {"account_prefix", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, account_prefix), 1, 64, "oidc:",
     .restart = RESTART, .text = "What stands before it in the account's name here."},
    {"tier", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, tier), 1, 64, "default", .restart = RESTART,
     .text = "The tier of those whom no other is given."},
    {"tier_claim", NULL, EK_OPTION_STRING, FIELD(ek_oidc_options, tier_claim), 1, 64, NULL,
     .restart = RESTART,
     .text = "A claim that decides the tier: a text or a list, such as groups."},
    {"tiers", NULL, EK_OPTION_LIST, FIELD(ek_oidc_options, tiers), 0, 16, NULL, .restart = RESTART,
     .text = "VALUE=TIER each; the first whose value the claim has counts."},
    {"strangers", NULL, EK_OPTION_BOOL, FIELD(ek_oidc_options, strangers), 0, 0, "false", .restart = RESTART,
     .text = "With a ledger: people without an account there are served, too, and pay nothing."},
    {"refresh", NULL, EK_OPTION_DURATION, FIELD(ek_oidc_options, refresh_ns), 10 * S, 24 * HOUR, "1h",
     .restart = RESTART, .text = "How often the keys are fetched anew."},
    {"leeway", NULL, EK_OPTION_DURATION, FIELD(ek_oidc_options, leeway_ns), 0, HOUR, "60s",
     .restart = RESTART,
     .text = "How far the provider's clock may be from ours."},
};

static const struct ek_option tiers_options[] = {
    {"name", NULL, EK_OPTION_STRING, FIELD(ek_tier_options, name), 1, 64, NULL, .required = true,
     .text = "The tier's name."},
    {"weight", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, weight), 1, 1000000, "1",
     .text = "Its share of the work under load, relative to the other tiers."},
    {"waiting_max", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, waiting_max), 0, 1000000, "0",
     .text = "Requests of this tier that may wait; 0: only queue.waiting_max counts."},
    {"account_running_max", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, account_running_max), 0,
     1000000, "0", .text = "Requests of one account running at once; 0: no limit."},
    {"account_waiting_max", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, account_waiting_max), 0,
     1000000, "0", .text = "Requests of one account waiting at once; 0: no limit."},
    {"patience", NULL, EK_OPTION_DURATION, FIELD(ek_tier_options, patience_ns), 0, 24 * HOUR, "0s",
     .text = "A request that could not start for so long is refused, unless it says X-Deadline-Ms; "
             "0s: it waits."},
    {"return_grace", NULL, EK_OPTION_DURATION, FIELD(ek_tier_options, return_grace_ns), 0, 24 * HOUR,
     "60s", .text = "A waiting caller whose connection broke keeps its place for so long; 0s: not at all."},
    {"linger", NULL, EK_OPTION_DURATION, FIELD(ek_tier_options, linger_ns), 0, 24 * HOUR, "0s",
     .text = "A streamed answer whose reader has left goes on for so long, and can be read again; 0s: it is "
             "stopped at once."},
    {"prepaid", NULL, EK_OPTION_BOOL, FIELD(ek_tier_options, prepaid), 0, 0, "true",
     .text = "Accounts of the ledger pay from their balance; false: they need none and are charged nothing."},
    {"delay_target", NULL, EK_OPTION_DURATION, FIELD(ek_tier_options, delay_target_ns), 0, HOUR, "0s",
     .text = "Thinking is shortened, and the caller told so, while newcomers would wait longer; 0s: never."},
    {"minute_requests", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, minute_requests), 0, 1000000000, "0",
     .text = "Requests a minute of one account that has no limit of its own; beyond: 429; 0: no limit."},
    {"minute_tokens", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, minute_tokens), 0, NO_MAX, "0",
     .text = "Its tokens a minute, of prompts and answers; 0: no limit."},
    {"running_limit", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, running_limit), 0, 1000000, "0",
     .text = "Its requests at once, waiting ones included; beyond: 429 (with account_running_max they wait); "
             "0: no limit."},
    {"day_thoughts", NULL, EK_OPTION_COUNT, FIELD(ek_tier_options, day_thoughts), 0, 1000000000, "0",
     .text = "Its requests with deep thinking a day; 0: no limit."},
    {"borrow", NULL, EK_OPTION_BOOL, FIELD(ek_tier_options, borrow), 0, 0, "true",
     .text = "May prompts of callers without an account in the ledger go to borrowed upstreams? An account "
             "has an answer of its own."},
    {"overflow_after", NULL, EK_OPTION_DURATION, FIELD(ek_tier_options, overflow_after_ns), 0, 24 * HOUR,
     "10s", .text = "Who is foreseen to wait longer goes to a borrowed upstream, if there is one; "
                     "0s: never."},
    {"hedge", NULL, EK_OPTION_BOOL, FIELD(ek_tier_options, hedge), 0, 0, "false",
     .text = "A first token that is late (queue.hedge_after) is asked for at a second upstream of our own, "
             "too, while both are below 70 % of their slots; the first that has it goes on."},
    {"reprompt", NULL, EK_OPTION_BOOL, FIELD(ek_tier_options, reprompt), 0, 0, "false",
     .text = "A streamed answer that broke off, with which no upstream has a way to go on, is given to "
             "another as a message with the demand to go on; it says so. false: it ends with an error."},
    {"models", NULL, EK_OPTION_LIST, FIELD(ek_tier_options, models), 0, 64, NULL,
     .text = "Models its accounts may use; demo* names all that begin so; unset: all."},
};

static const struct ek_option keys_options[] = {
    {"name", NULL, EK_OPTION_STRING, FIELD(ek_key_options, name), 1, 64, NULL, .required = true,
     .text = "The key's name in logs."},
    {"key", NULL, EK_OPTION_SECRET_HASH, FIELD(ek_key_options, hash), 8, 512, NULL,
     .text = "The key itself; only its SHA-256 is kept in memory."},
    {"sha256", NULL, EK_OPTION_SHA256, FIELD(ek_key_options, hash), 0, 0, NULL,
     .text = "Or the SHA-256 of the key."},
    {"account", NULL, EK_OPTION_STRING, FIELD(ek_key_options, account), 1, 64, NULL,
     .text = "Who pays; unset: the key's name."},
    {"tier", NULL, EK_OPTION_STRING, FIELD(ek_key_options, tier), 1, 64, "default",
     .text = "The tier its requests belong to."},
    {"user", NULL, EK_OPTION_STRING, FIELD(ek_key_options, user), 1, 512, NULL,
     .text = "A fixed user for all its requests; unset: what the request says."},
    {"proven", NULL, EK_OPTION_BOOL, FIELD(ek_key_options, proven), 0, 0, "true",
     .text = "false: a young account that never paid; all of those at one address share one account's part."},
};

static const struct ek_option hours_options[] = {
    {"name", NULL, EK_OPTION_STRING, FIELD(ek_hours_options, name), 1, 64, NULL, .required = true,
     .text = "Their name, for `when`."},
    {"zone", NULL, EK_OPTION_STRING, FIELD(ek_hours_options, zone), 1, 64, "UTC",
     .text = "Whose wall clock: a zone of the system's tzdata (Asia/Shanghai), UTC, or UTC+5:30."},
    {"days", NULL, EK_OPTION_LIST, FIELD(ek_hours_options, days), 1, 7, "mon-sun",
     .text = "Days on which the times begin: mon, or mon-fri."},
    {"times", NULL, EK_OPTION_LIST, FIELD(ek_hours_options, times), 1, 16, "00:00-24:00",
     .text = "HH:MM-HH:MM each; one that passes midnight belongs to the day on which it begins."},
    {"except", NULL, EK_OPTION_LIST, FIELD(ek_hours_options, except), 0, 128, NULL,
     .text = "Holidays, on which no time begins: 2026-10-01, or 2026-10-01..2026-10-07."},
};

/* The default price list is the proportion of a large model's public off-peak prices (DeepSeek, flash,
 * November 2026): an answer's token is the work of four prompt tokens, a cached one nearly free. */
static const struct ek_option prices_options[] = {
    {"model", NULL, EK_OPTION_STRING, FIELD(ek_price_options, model), 1, 128, NULL,
     .required = true, .text = "The model's public name, or \"*\" for all others."},
    {"when", NULL, EK_OPTION_STRING, FIELD(ek_price_options, when), 1, 64, NULL,
     .text = "Only during these hours (by name); of several that hold the first counts. Unset: at all "
             "other times."},
    {"cached", NULL, EK_OPTION_PRICE, FIELD(ek_price_options, cached_pico), 0, PRICE_MAX, "0.003",
     .text = "Prompt tokens found in the cache."},
    {"prompt", NULL, EK_OPTION_PRICE, FIELD(ek_price_options, prompt_pico), 0, PRICE_MAX, "0.15",
     .text = "Prompt tokens computed."},
    {"output", NULL, EK_OPTION_PRICE, FIELD(ek_price_options, output_pico), 0, PRICE_MAX, "0.6",
     .text = "Tokens generated, thinking included."},
};

static const struct ek_option log_options[] = {
    {"level", "log", EK_OPTION_ENUM, FIELD(ek_config, log_level), 0, 0, "info", log_levels,
     .text = "The least urgent lines that are still written to standard error."},
};

#define ROWS(table) table, EK_COUNT(table)
#define AT(member) offsetof(struct ek_config, member)
#define BOTH (EK_FOR_SERVE | EK_FOR_ENGINE)

/* In the order of reading: tiers before what refers to them. */
static const struct ek_option_group groups[] = {
    {"", "The top level of the file.", ROWS(top_options), 0, 0, 0, BOTH},
    {"model", "The model of the built-in engine.", ROWS(model_options), AT(model), 0, 0, BOTH},
    {"engine", "How the built-in engine computes.", ROWS(engine_options), AT(engine), 0, 0, BOTH},
    {"upstreams", "Servers behind the door, instead of the built-in engine or beside it.",
     ROWS(upstreams_options), AT(upstreams), sizeof(struct ek_upstream_options), 64, EK_FOR_SERVE},
    {"relay", "Deadlines of the work behind the door.", ROWS(relay_options), AT(relay), 0, 0,
     EK_FOR_SERVE},
    {"queue", "How many may wait.", ROWS(queue_options), AT(queue), 0, 0, EK_FOR_SERVE},
    {"waiting", "What those who wait are told, and when.", ROWS(waiting_options), AT(waiting), 0, 0,
     EK_FOR_SERVE},
    {"streams", "Answers that can be read again: GET /v1/streams/ID.", ROWS(streams_options), AT(streams), 0,
     0, EK_FOR_SERVE},
    {"limits", "What one client, and all together, may use up.", ROWS(limits_options), AT(limits),
     0, 0, BOTH},
    {"journal", "What outlives the process: the requests of those who wait.", ROWS(journal_options),
     AT(journal), 0, 0, EK_FOR_SERVE},
    {"ledger", "Accounts, keys, balances.", ROWS(ledger_options), AT(ledger), 0, 0, EK_FOR_SERVE},
    {"admin", "Who looks after accounts: the admin API, codes, web hooks. Needs a ledger.",
     ROWS(admin_options), AT(admin), 0, 0, EK_FOR_SERVE},
    {"drain", "Leaving.", ROWS(drain_options), AT(drain), 0, 0, EK_FOR_SERVE},
    {"tiers", "Classes of callers. One named default is added when the list has none.",
     ROWS(tiers_options), AT(tiers), sizeof(struct ek_tier_options), 16, EK_FOR_SERVE},
    {"access", "Who needs a key.", ROWS(access_options), AT(access), 0, 0, EK_FOR_SERVE},
    {"anonymous", "Callers without a key, by where they come from; the first entry with their address "
                  "counts.",
     ROWS(anonymous_options), AT(anonymous), sizeof(struct ek_anonymous_options), 16, EK_FOR_SERVE},
    {"oidc", "Identity providers (OpenID Connect) whose tokens are accepted beside keys.", ROWS(oidc_options),
     AT(oidc), sizeof(struct ek_oidc_options), 8, EK_FOR_SERVE},
    {"keys", "The keys of callers. Each element has either key or sha256.", ROWS(keys_options),
     AT(keys), sizeof(struct ek_key_options), 2000, EK_FOR_SERVE},
    {"hours", "Hours of the week that prices can be bound to.", ROWS(hours_options), AT(hours),
     sizeof(struct ek_hours_options), 16, EK_FOR_SERVE},
    {"prices", "Prices in currency per million tokens: the measure of work, even where nobody is "
     "billed. One for \"*\" is added when the list has none.",
     ROWS(prices_options), AT(prices), sizeof(struct ek_price_options), 64, EK_FOR_SERVE},
    {"log", "Lines for people.", ROWS(log_options), 0, 0, 0, BOTH},
};

const struct ek_option_group *ek_option_groups(size_t *count)
{
    *count = EK_COUNT(groups);
    return groups;
}
