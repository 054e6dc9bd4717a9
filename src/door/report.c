/* SPDX-License-Identifier: MIT */
/* The door's numbers in Prometheus' text format. Labels are of low cardinality: states, reasons, kinds,
 * tiers, upstreams; never an account, a key, a model's user or an address. */
#include "door/door_state.h"

#include <stdio.h>

static void gauge(struct ek_buf *b, const char *name, const char *help, uint64_t value)
{
    ek_metric_help(b, name, "gauge", help);
    ek_metric_value(b, name, NULL, value);
}

static void counter(struct ek_buf *b, const char *name, const char *help, uint64_t value)
{
    ek_metric_help(b, name, "counter", help);
    ek_metric_value(b, name, NULL, value);
}

static void requests(const struct ek_door *d, struct ek_buf *b)
{
    const struct ek_door_counters *c = &d->counters;
    ek_metric_help(b, "evenkeel_requests_total", "counter", "Requests by how they ended.");
    ek_metric_value(b, "evenkeel_requests_total", "end=\"done\"", c->ended[EK_DOOR_DONE]);
    ek_metric_value(b, "evenkeel_requests_total", "end=\"refused\"", c->ended[EK_DOOR_REFUSED]);
    ek_metric_value(b, "evenkeel_requests_total", "end=\"gone\"", c->gone);
    ek_metric_help(b, "evenkeel_refusals_total", "counter",
                   "Refusals, failures and lost clients by reason.");
    for (int r = 0; r < EK_REASON_COUNT; r++) {
        char label[80];
        if (!c->reasons[r]) continue;
        snprintf(label, sizeof label, "reason=\"%s\"", ek_reason_code((enum ek_reason)r));
        ek_metric_value(b, "evenkeel_refusals_total", label, c->reasons[r]);
    }
    counter(b, "evenkeel_continued_total", "Answers that went on after their engine died.", c->continued);
    counter(b, "evenkeel_reprompted_total", "Broken answers that another was asked in words to go on with.",
            c->reprompted);
    counter(b, "evenkeel_retried_total", "Attempts made anew before the first token.", c->retried);
    counter(b, "evenkeel_words_total", "Queue comments, keep-alives and newlines written.", c->words);
    counter(b, "evenkeel_pauses_total", "Times an upstream was held back for a slow client.", c->pauses);
}

static void tokens(const struct ek_door *d, struct ek_buf *b)
{
    const struct ek_door_counters *c = &d->counters;
    ek_metric_help(b, "evenkeel_tokens_total", "counter", "Tokens of finished requests by kind.");
    ek_metric_value(b, "evenkeel_tokens_total", "kind=\"prompt\"", c->prompt_tokens);
    ek_metric_value(b, "evenkeel_tokens_total", "kind=\"cached\"", c->cached_tokens);
    ek_metric_value(b, "evenkeel_tokens_total", "kind=\"thought\"", c->thought_tokens);
    ek_metric_value(b, "evenkeel_tokens_total", "kind=\"answer\"", c->answer_tokens);
    ek_metric_help(b, "evenkeel_cost_total", "counter", "Price of finished requests, in the currency.");
    ek_metric_double(b, "evenkeel_cost_total", NULL, (double)c->cost_nano * 1e-9);
    counter(b, "evenkeel_unreported_usage_total", "Answers whose upstream told no usage.", c->unpriced);
}

static void queue(const struct ek_door *d, struct ek_buf *b)
{
    struct ek_desk_counts n = ek_desk_counts(d->desk);
    gauge(b, "evenkeel_running", "Requests in service at upstreams.", n.running);
    gauge(b, "evenkeel_slots",
          "Requests the upstreams that are up are sent at once: their slots, and one more each.", n.slots);
    ek_metric_help(b, "evenkeel_waiting", "gauge", "Requests in line, by tier.");
    for (size_t t = 0; t < d->config->tiers.count; t++) {
        char label[160];
        snprintf(label, sizeof label, "tier=\"%.100s\"", d->config->tiers.item[t].name);
        ek_metric_value(b, "evenkeel_waiting", label, ek_desk_waiting_of_tier(d->desk, (uint32_t)t));
    }
}

/* One value for each tier. */
struct by_tier {
    const char *name, *type, *help;
    uint64_t value[EK_DESK_TIERS_MAX];
};

static void put_by_tier(const struct ek_door *d, struct ek_buf *b, const struct by_tier *m)
{
    ek_metric_help(b, m->name, m->type, m->help);
    for (size_t t = 0; t < d->config->tiers.count; t++) {
        char label[160];
        snprintf(label, sizeof label, "tier=\"%.100s\"", d->config->tiers.item[t].name);
        ek_metric_value(b, m->name, label, m->value[t]);
    }
}

static void put_seconds_by_tier(const struct ek_door *d, struct ek_buf *b, const char *name, const char *help,
                                const double value[EK_DESK_TIERS_MAX])
{
    ek_metric_help(b, name, "gauge", help);
    for (size_t t = 0; t < d->config->tiers.count; t++) {
        char label[160];
        snprintf(label, sizeof label, "tier=\"%.100s\"", d->config->tiers.item[t].name);
        ek_metric_double(b, name, label, value[t]);
    }
}

/* How true the first estimates were: the metric by which the promise of honest waiting is scored. Coverage is
 * within_p50 and within_p90 over estimates; bias is error over estimates. */
static void estimates(const struct ek_door *d, struct ek_buf *b, const struct ek_desk_stats *s)
{
    struct by_tier shown = {"evenkeel_estimates_total", "counter",
                            "First tokens after an estimate was shown.", {0}};
    struct by_tier p50 = {"evenkeel_estimates_within_p50_total", "counter",
                          "Of them, within the first p50 shown (should be half).", {0}};
    struct by_tier p90 = {"evenkeel_estimates_within_p90_total", "counter",
                          "Of them, within the first p90 shown (should be nine of ten).", {0}};
    struct by_tier raised = {"evenkeel_estimates_raised_total", "counter",
                             "Times a shown p90 was raised, with its reason.", {0}};
    double wait_s[EK_DESK_TIERS_MAX], error_s[EK_DESK_TIERS_MAX], abs_s[EK_DESK_TIERS_MAX];
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
        const struct ek_desk_truth *truth = &s->truth[t];
        shown.value[t] = truth->shown;
        p50.value[t] = truth->within_p50;
        p90.value[t] = truth->within_p90;
        raised.value[t] = truth->raised;
        wait_s[t] = truth->wait_s;
        error_s[t] = truth->error_s;
        abs_s[t] = truth->error_abs_s;
    }
    put_by_tier(d, b, &shown);
    put_by_tier(d, b, &p50);
    put_by_tier(d, b, &p90);
    put_by_tier(d, b, &raised);
    put_seconds_by_tier(d, b, "evenkeel_estimates_wait_seconds",
                        "Sum of the waits for the first token since an estimate was shown.", wait_s);
    put_seconds_by_tier(d, b, "evenkeel_estimates_error_seconds",
                        "Sum of (true wait - first p50): over their number, the bias.", error_s);
    put_seconds_by_tier(d, b, "evenkeel_estimates_error_abs_seconds",
                        "Sum of the same without its sign.", abs_s);
}

/* What the desk does when more come than can be served, and for those who ask again. */
static void decisions(const struct ek_door *d, struct ek_buf *b, const struct ek_desk_stats *s)
{
    const struct ek_door_counters *c = &d->counters;
    struct by_tier percent = {"evenkeel_thinking_percent", "gauge",
                              "What is left of a usual thought under brownout; 100: all of it.", {0}};
    struct by_tier shortened = {"evenkeel_shortened_total", "counter",
                                "Requests started with a lowered thinking budget.", {0}};
    struct by_tier refused = {"evenkeel_line_refusals_total", "counter",
                              "Requests the desk refused, on arrival or out of the line.", {0}};
    for (uint32_t t = 0; t < EK_DESK_TIERS_MAX; t++) {
        percent.value[t] = s->thinking_percent[t];
        shortened.value[t] = c->shortened[t];
        refused.value[t] = c->refused[t];
    }
    put_by_tier(d, b, &percent);
    put_by_tier(d, b, &shortened);
    put_by_tier(d, b, &refused);
    counter(b, "evenkeel_auto_lighter_total", "Steps to a lighter model, of requests to auto under load.",
            c->auto_lighter);
    counter(b, "evenkeel_shed_total", "Requests refused by the cursor of last resort.", s->shed);
    counter(b, "evenkeel_late_total", "Requests refused at once: their deadline could not be met.", s->late);
    counter(b, "evenkeel_repeats_total", "Requests that an SDK said it sends again.", c->repeats);
    counter(b, "evenkeel_rejoined_total", "Requests that got back the place they had in line.", s->rejoined);
    counter(b, "evenkeel_queue_entries_total", "Places given out anew: without those that were got back.",
            c->entered + c->rejoins - s->rejoined);
    counter(b, "evenkeel_local_total", "Starts out of turn because their prefix was warm.", s->local);
}

static void upstreams(const struct ek_door *d, struct ek_buf *b)
{
    static const struct {
        const char *name, *type, *help;
    } row[] = {
        {"evenkeel_upstream_up", "gauge", "1 while the upstream answers."},
        {"evenkeel_upstream_slots", "gauge",
         "Requests it is sent at once, one that waits there included: reported, configured or learned."},
        {"evenkeel_upstream_running", "gauge", "Requests it says it works on."},
        {"evenkeel_upstream_kv_free_tokens", "gauge", "Free KV cache; 0 where it does not say."},
        {"evenkeel_upstream_inflight", "gauge", "Requests it has."},
        {"evenkeel_upstream_decoding", "gauge", "Of them, with a first token."},
        {"evenkeel_engine_restarts_total", "counter", "Restarts of the engine child."},
    };
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        ek_metric_help(b, row[i].name, row[i].type, row[i].help);
        for (uint32_t u = 0; u < ek_pool_count(d->pool); u++) {
            if (!ek_pool_is_there(d->pool, u)) continue;
            struct ek_upstream_load l = ek_pool_load(d->pool, u);
            struct ek_desk_upstream_stats s;
            ek_desk_upstream_stats(d->desk, u, &s);
            const uint64_t value[] = {l.up, s.slots, l.running, l.kv_free_tokens, s.inflight, s.decoding,
                                      ek_pool_restarts(d->pool, u)};
            char label[192];
            _Static_assert(EK_COUNT(value) == EK_COUNT(row), "one value a row");
            snprintf(label, sizeof label, "upstream=\"%s\"", ek_pool_name(d->pool, u));
            ek_metric_value(b, row[i].name, label, value[i]);
        }
    }
}

/* What became of what each provider was sent. */
static void scoreboard(const struct ek_door *d, struct ek_buf *b)
{
    static const char *const outcome[] = {"done", "cut", "failed", "busy", "refused", "left"};
    static const struct {
        const char *name, *type, *help;
    } row[] = {
        {"evenkeel_upstream_breaker", "gauge",
         "0: closed; 1: open; 2: one request is let through, to try it."},
        {"evenkeel_upstream_breaker_opened_total", "counter",
         "Times it was taken out for what became of its work."},
        {"evenkeel_upstream_first_token_seconds", "gauge",
         "Faded mean of the time to its first token; 0: none yet."},
        {"evenkeel_upstream_tokens_total", "counter", "Tokens of its streams behind the first ..."},
        {"evenkeel_upstream_stream_seconds_total", "counter", "... and the time those streams took."},
    };
    _Static_assert(EK_COUNT(outcome) == EK_OUTCOMES, "a word for each");
    ek_metric_help(b, "evenkeel_upstream_requests_total", "counter", "What became of requests sent to it.");
    for (uint32_t u = 0; u < ek_pool_count(d->pool); u++) {
        for (int o = 0; o < EK_OUTCOMES && ek_pool_is_there(d->pool, u); o++) {
            char label[256];
            snprintf(label, sizeof label, "upstream=\"%s\",outcome=\"%s\"", ek_pool_name(d->pool, u),
                     outcome[o]);
            ek_metric_value(b, "evenkeel_upstream_requests_total", label, ek_pool_health(d->pool,
                    u)->outcomes[o]);
        }
    }
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        ek_metric_help(b, row[i].name, row[i].type, row[i].help);
        for (uint32_t u = 0; u < ek_pool_count(d->pool); u++) {
            const struct ek_health *h = ek_pool_health(d->pool, u);
            const double value[] = {h->state, (double)h->opened, h->first_token_s, (double)h->tokens,
                                    h->stream_s};
            char label[192];
            _Static_assert(EK_COUNT(value) == EK_COUNT(row), "one value a row");
            if (!ek_pool_is_there(d->pool, u)) continue;
            snprintf(label, sizeof label, "upstream=\"%s\"", ek_pool_name(d->pool, u));
            ek_metric_double(b, row[i].name, label, value[i]);
        }
    }
}

/* Whether each is the model it was. */
static void identities(const struct ek_door *d, struct ek_buf *b)
{
    static const struct {
        const char *name, *type, *help;
    } row[] = {
        {"evenkeel_upstream_identity", "gauge", "1: the model it was; 0: another; -1: not compared yet."},
        {"evenkeel_upstream_identity_same", "gauge", "How far its answers agree with the recorded ones."},
        {"evenkeel_upstream_identity_drift", "gauge",
         "Mean difference of the logarithms of its tokens' probabilities."},
        {"evenkeel_upstream_identity_alarms_total", "counter", "Times it was found to be another."},
    };
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        bool said = false;
        for (uint32_t u = 0; u < ek_pool_count(d->pool); u++) {
            struct ek_pool_identity who;
            char label[192];
            ek_pool_identity(d->pool, u, &who);
            if (!who.watched || !ek_pool_is_there(d->pool, u)) continue;
            if (!said) ek_metric_help(b, row[i].name, row[i].type, row[i].help);
            said = true;
            const double value[] = {who.known ? !who.other : -1.0, who.same, who.drift, (double)who.alarms};
            _Static_assert(EK_COUNT(value) == EK_COUNT(row), "one value a row");
            snprintf(label, sizeof label, "upstream=\"%s\"", ek_pool_name(d->pool, u));
            ek_metric_double(b, row[i].name, label, value[i]);
        }
    }
}

static void connections(const struct ek_door *d, struct ek_buf *b)
{
    uint64_t open = 0, accepted = 0, in = 0, out = 0;
    for (uint32_t i = 0; i < d->servers; i++) {
        const struct ek_http_counters *c = ek_http_server_counters(d->server[i]);
        open += c->open;
        accepted += c->accepted;
        in += c->bytes_in;
        out += c->bytes_out;
    }
    gauge(b, "evenkeel_connections", "Open client connections.", open);
    counter(b, "evenkeel_connections_total", "Client connections accepted.", accepted);
    counter(b, "evenkeel_client_bytes_in_total", "Bytes read from clients.", in);
    counter(b, "evenkeel_client_bytes_out_total", "Bytes written to clients.", out);
    gauge(b, "evenkeel_body_bytes", "Request bodies held in memory.", d->budget.used_bytes);
    gauge(b, "evenkeel_body_bytes_max", "The most that may be held.", d->budget.max_bytes);
}

static void places(const struct ek_door *d, struct ek_buf *b)
{
    const struct ek_door_place_counters *p = &d->places;
    gauge(b, "evenkeel_places_kept", "Places kept for callers whose connection broke.",
          ek_desk_counts(d->desk).absent);
    const struct {
        const char *what;
        uint64_t value;
    } row[] = {{"left", p->left}, {"returned", p->returned}, {"forgotten", p->forgotten},
               {"restored", p->restored}, {"lost", p->lost}, {"not_durable", p->not_durable},
               {"unmarked", p->unmarked}};
    ek_metric_help(b, "evenkeel_places_total", "counter", "What became of places whose caller was away.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[64];
        snprintf(label, sizeof label, "what=\"%s\"", row[i].what);
        ek_metric_value(b, "evenkeel_places_total", label, row[i].value);
    }
}

static void journal(const struct ek_door *d, struct ek_buf *b)
{
    struct ek_journal_counters c = ek_journal_counters(d->journal);
    const struct {
        const char *what;
        uint64_t value;
    } row[] = {{"written", c.puts}, {"used", c.used}, {"erased", c.erased}, {"read", c.reads},
               {"expired", c.expired}, {"moved", c.moved}, {"found", c.found}, {"damaged", c.lost},
               {"refused_full", c.refused_full}, {"refused_trouble", c.refused_trouble},
               {"failed", c.failures}};
    ek_metric_help(b, "evenkeel_journal_records_total", "counter",
                   "Records of the journal by what was done.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[64];
        snprintf(label, sizeof label, "what=\"%s\"", row[i].what);
        ek_metric_value(b, "evenkeel_journal_records_total", label, row[i].value);
    }
    counter(b, "evenkeel_journal_syncs_total", "Times its files were synced.", c.syncs);
    gauge(b, "evenkeel_journal_live", "Records that a restart would find.", c.live);
    gauge(b, "evenkeel_journal_bytes", "Bytes of its files.", c.bytes);
    gauge(b, "evenkeel_journal_bytes_max", "The most they may take.", d->config->journal.bytes_max);
}

void ek_door_metrics(struct ek_door *d, struct ek_buf *b)
{
    struct ek_desk_stats s;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_desk_stats(d->desk, &s);
    requests(d, b);
    queue(d, b);
    estimates(d, b, &s);
    decisions(d, b, &s);
    tokens(d, b);
    upstreams(d, b);
    scoreboard(d, b);
    identities(d, b);
    ek_door_hedge_metrics(d, b);
    ek_door_borrow_metrics(d, b);
    connections(d, b);
    places(d, b);
    ek_door_swap_metrics(d, b);
    ek_door_streams_metrics(d, b);
    if (d->journal) journal(d, b);
    ek_door_limits_metrics(d, b);
    ek_door_money_metrics(d, b);
    ek_door_office_metrics(d, b);
    ek_metric_help(b, "evenkeel_wait_seconds", "histogram", "Arrival to start at an upstream.");
    ek_metric_histogram(b, "evenkeel_wait_seconds", NULL, &d->wait_s);
    ek_metric_help(b, "evenkeel_time_to_first_token_seconds", "histogram",
                   "Arrival to the first token of the thought and of the answer.");
    ek_metric_histogram(b, "evenkeel_time_to_first_token_seconds", "kind=\"thought\"",
                        &d->first_thought_s);
    ek_metric_histogram(b, "evenkeel_time_to_first_token_seconds", "kind=\"answer\"",
                        &d->first_answer_s);
    ek_metric_help(b, "evenkeel_request_seconds", "histogram", "Arrival to the end, answered requests.");
    ek_metric_histogram(b, "evenkeel_request_seconds", NULL, &d->request_s);
}
