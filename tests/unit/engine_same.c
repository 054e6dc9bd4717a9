/* SPDX-License-Identifier: MIT */
/* Promise 6 at random: same request, same tokens. A schedule is one engine with its own slots, step size,
 * threads and room, into which requests of a cast (same_cast.h) arrive at random moments, in hurry or not,
 * with one salt or another, some from the middle of their answer, some several of one prompt together, some
 * cancelled half way; and every token that comes out is compared, bit for bit, with what the same request got
 * alone on a fresh engine.
 *
 * EK_SAME_SCHEDULES sets how many (make prove-same: 2,000), EK_SAME_FIRST the first, EK_SAME_CSV a table in
 * which schedules are noted and from which a run that was broken off goes on, EK_SAME_TAG what is proved:
 * a table with another tag is begun anew. */
#include "same_cast.h"

#include <signal.h>
#include <stdio.h>

enum { ENTRIES_MAX = 24, SAMPLED = 12, MANY = 200, FEW_EACH = 1, MANY_EACH = 20 };

struct entry {
    const struct cast_request *request;
    struct ek_engine_job job;
    uint32_t prefix[CAST_TOKENS_MAX];
    uint32_t after_events; /* submitted when so many events have been seen, */
    struct entry *after;   /* and this one, if any, has ended; or nobody is there any more */
    uint32_t cancel_at;    /* tokens; 0: never */
    uint32_t together;     /* handed in with so many: itself and those next to it; 0: with who leads */
    enum { ENTRY_TO_COME, ENTRY_THERE, ENTRY_OVER } state;
    uint64_t id;
    uint32_t seen;
    bool cancelled;
};

struct tally {
    uint64_t schedules, jobs, tokens, preempted, cancelled, seconds, resumed, hits, hit_schedules, refused;
    uint64_t restored, guessed, held; /* pages from disk; tokens */
    uint64_t formed;                  /* requests whose answer must have a form */
    uint64_t grouped;                 /* requests handed in together with others of their prompt */
};

struct schedule {
    uint64_t number, seed;
    struct cast *cast;
    struct ek_engine_options options;
    struct bench bench;
    struct entry entry[ENTRIES_MAX];
    uint32_t entries, there, over, events;
    bool crowd; /* most come at once */
    struct tally tally;
};

static uint64_t number_now, each; /* schedules of one cast */

/* A MUST that fails aborts: say which schedule it was. */
static void say_number(int number)
{
    (void)number;
    dprintf(2, "it was EK_SAME_FIRST=%llu EK_SAME_EACH=%llu EK_SAME_SCHEDULES=1\n",
            (unsigned long long)number_now, (unsigned long long)each);
}

/* ---- making a schedule ------------------------------------------------------------------------- */

/* Sizes of all magnitudes: 1 as likely as hundreds. */
static uint32_t magnitude(uint64_t *seed, uint32_t most)
{
    uint32_t top = 1;
    while (top < most && cast_below(seed, 5) > 0) top *= 2;
    return 1 + cast_below(seed, top < most ? top : most);
}

static void make_options(struct schedule *s)
{
    struct ek_engine_options *o = &s->options;
    *o = s->cast->alone;
    o->slots = magnitude(&s->seed, 32);
    o->step_tokens = magnitude(&s->seed, 512);
    if (o->step_tokens < o->slots) o->step_tokens = o->slots;
    o->threads = cast_below(&s->seed, 3) ? 1 : 2 + cast_below(&s->seed, 3);
    o->waiting_max = cast_below(&s->seed, 4) ? ENTRIES_MAX : 1 + cast_below(&s->seed, 3);
    if (cast_below(&s->seed, 2)) { /* what one schedule left there the next may find, or find damaged */
        o->kv_disk = s->cast->disk;
        o->kv_disk_limit_bytes = UINT64_C(1) << (cast_below(&s->seed, 3) ? 33 : 20 + cast_below(&s->seed, 4));
        if (cast_below(&s->seed, 6) == 0) cast_damage(s->cast, &s->seed);
    }
    o->speculation = (enum ek_speculation)cast_below(&s->seed, 3);
    s->crowd = cast_below(&s->seed, 3) == 0;
    if (!s->crowd) return;
    /* Then there is so little room that somebody has to give way. */
    o->kv_tokens = CAST_CTX + 64 * cast_below(&s->seed, 5);
    if (o->slots < 6) o->slots = 6 + cast_below(&s->seed, 8);
    if (o->step_tokens < 32) o->step_tokens = 32;
    o->waiting_max = ENTRIES_MAX;
}

/* What it asks, from where in its answer on, and when it has enough. */
static void make_job(struct schedule *s, struct entry *e, struct cast_request *request)
{
    uint32_t count = cast_alone(s->cast, request)->count;
    e->request = request;
    e->job = request->job;
    e->job.user = e;
    if (count > 1 && cast_below(&s->seed, 4) == 0) {
        e->job.prefix_tokens = 1 + cast_below(&s->seed, count - 1);
        for (uint32_t i = 0; i < e->job.prefix_tokens; i++)
            e->prefix[i] = e->request->alone.token[i].sample.id;
        e->job.prefix_ids = e->prefix;
    }
    if (cast_below(&s->seed, 6) == 0) e->cancel_at = e->job.prefix_tokens + 1 + magnitude(&s->seed, 64);
    s->tally.resumed += e->job.prefix_tokens > 0;
    s->tally.formed += e->request->guide != NULL;
}

/* The next entry and, where several want answers to its prompt, those handed in with it. */
static void make_entries(struct schedule *s, uint32_t index)
{
    struct entry *e = &s->entry[index];
    bool long_answer = s->crowd && cast_below(&s->seed, 2);
    uint32_t which = cast_below(&s->seed, long_answer ? CAST_TALKERS : CAST_SIZE);
    uint32_t most = s->entries - index < EK_ENGINE_GROUP_MAX ? s->entries - index : EK_ENGINE_GROUP_MAX;
    make_job(s, e, &s->cast->request[which]);
    e->job.priority = cast_below(&s->seed, 4);
    e->job.cache_salt = cast_below(&s->seed, 4) ? 0 : 1 + cast_below(&s->seed, 3);
    e->after_events = !s->crowd && cast_below(&s->seed, 4) ? magnitude(&s->seed, 600) : 0;
    /* A second turn comes when the first is answered, if that is in this schedule; some others queue too. */
    for (uint32_t i = 0; i < index && !e->after; i++) {
        bool first = which >= CAST_FIRSTS && s->entry[i].request == &s->cast->request[which - CAST_FIRSTS];
        if (first || (!s->crowd && cast_below(&s->seed, 24) == 0)) e->after = &s->entry[i];
    }
    s->tally.seconds += which >= CAST_FIRSTS;
    e->together = cast_choice(s->cast, which, 0) ? 1 + cast_below(&s->seed, most) : 1;
    for (uint32_t k = 1; k < e->together; k++) {
        make_job(s, &e[k], cast_choice(s->cast, which, k));
        e[k].job.priority = e->job.priority;
        e[k].job.cache_salt = e->job.cache_salt;
    }
    if (e->together > 1) s->tally.grouped += e->together;
}

static void make_schedule(struct schedule *s, struct cast *cast, uint64_t number)
{
    *s = (struct schedule){.number = number, .seed = number * 77 + 5, .cast = cast};
    make_options(s);
    s->entries = 2 + cast_below(&s->seed, ENTRIES_MAX / cast->brief - 1);
    if (s->entries < 10 && (s->crowd || cast->brief == 1)) s->entries = 10;
    for (uint32_t i = 0; i < s->entries; i += s->entry[i].together) make_entries(s, i);
    s->tally.schedules = 1;
    s->tally.jobs = s->entries;
}

/* ---- running it -------------------------------------------------------------------------------- */

static void differs(const struct schedule *s, const struct entry *e, const char *what, uint32_t at)
{
    const struct ek_engine_options *o = &s->options;
    fail_msg("schedule %llu (EK_SAME_EACH=%llu), %s on %s, kv type %d, activation %d, slots %u, step %u, "
             "threads %u, kv %u: request %zu (prompt %u, prefix %u, salt %llu) differs from itself alone "
             "in %s of token %u",
             (unsigned long long)s->number, (unsigned long long)each, s->cast->model, o->isa,
             (int)o->kv_type, (int)o->activation, o->slots, o->step_tokens, o->threads, o->kv_tokens,
             (size_t)(e->request - s->cast->request), e->job.prompt_tokens, e->job.prefix_tokens,
             (unsigned long long)e->job.cache_salt, what, at);
}

static bool same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

static void compare(const struct schedule *s, const struct entry *e, const struct ek_engine_event *event)
{
    uint32_t at = event->token_index;
    const struct cast_token *t = &e->request->alone.token[at];
    const struct ek_sample *a = &event->token, *b = &t->sample;
    if (at != e->job.prefix_tokens + e->seen || at >= e->request->alone.count)
        differs(s, e, "the number", at);
    if (a->id != b->id) differs(s, e, "the id", at);
    if (!same_bits(a->logprob, b->logprob)) differs(s, e, "the logprob", at);
    if (a->top_count != b->top_count) differs(s, e, "the count of alternatives", at);
    for (uint32_t i = 0; i < a->top_count; i++) {
        if (a->top[i].id != b->top[i].id || !same_bits(a->top[i].logprob, b->top[i].logprob))
            differs(s, e, "an alternative", at);
    }
    if (event->in_thought != t->in_thought || event->forced != t->forced ||
        event->thought_tokens != t->thought_tokens)
        differs(s, e, "the thought", at);
}

static bool due(const struct schedule *s, const struct entry *e)
{
    if (e->state != ENTRY_TO_COME || e->together == 0) return false;
    if (s->there == 0 && (!e->after || e->after->state == ENTRY_OVER)) return true;
    return s->events >= e->after_events && (!e->after || e->after->state == ENTRY_OVER);
}

/* It and those with it. False: refused. */
static bool submit(struct schedule *s, struct entry *e)
{
    const struct cast_request *requests[EK_ENGINE_GROUP_MAX];
    struct ek_engine_job jobs[EK_ENGINE_GROUP_MAX];
    uint64_t ids[EK_ENGINE_GROUP_MAX];
    for (uint32_t k = 0; k < e->together; k++) {
        requests[k] = e[k].request;
        jobs[k] = e[k].job;
    }
    if (cast_submit(s->bench.engine, requests, jobs, e->together, ids) == EK_FULL) return false;
    for (uint32_t k = 0; k < e->together; k++) {
        e[k].id = ids[k];
        e[k].state = ENTRY_THERE;
    }
    s->there += e->together;
    return true;
}

static void arrivals(struct schedule *s)
{
    for (uint32_t i = 0; i < s->entries; i++) {
        if (!due(s, &s->entry[i]) || submit(s, &s->entry[i])) continue;
        s->tally.refused++; /* it comes again after the next event */
        assert_true(s->there > 0);
        return;
    }
}

static void finished(struct schedule *s, struct entry *e, const struct ek_engine_event *event)
{
    const struct cast_answer *alone = &e->request->alone;
    bool cut = e->cancelled && event->finish == EK_JOB_CANCELLED;
    uint32_t known = e->job.prompt_tokens + e->job.prefix_tokens;
    if (!cut && event->finish != alone->finish) differs(s, e, "its end, instead", e->seen);
    if (!cut && e->job.prefix_tokens + e->seen != alone->count)
        differs(s, e, "its length, instead", e->seen);
    if (event->cached_tokens % 64 != 0 || event->cached_tokens >= known)
        differs(s, e, "what was found in the cache, instead", event->cached_tokens);
    s->tally.hits += event->cached_tokens > 0;
    s->tally.cancelled += cut;
    e->state = ENTRY_OVER;
    s->there--;
    s->over++;
}

static void take_one(struct schedule *s)
{
    struct ek_engine_event event = next_event(&s->bench);
    struct entry *e = event.user;
    assert_int_equal(event.job, e->id);
    assert_int_equal(e->state, ENTRY_THERE);
    s->events++;
    if (event.has_token) {
        compare(s, e, &event);
        e->seen++;
        s->tally.tokens++;
    }
    if (event.finish != EK_JOB_GOES_ON) {
        finished(s, e, &event);
    } else if (e->cancel_at && !e->cancelled && e->job.prefix_tokens + e->seen >= e->cancel_at) {
        e->cancelled = true;
        ek_engine_cancel(s->bench.engine, e->id);
    }
}

static void run_schedule(struct schedule *s)
{
    struct ek_engine_load load;
    bench_open(&s->bench, &s->options);
    while (s->over < s->entries) {
        arrivals(s);
        take_one(s);
    }
    ek_engine_load(s->bench.engine, &load);
    assert_int_equal(load.kv_free_tokens, load.kv_total_tokens);
    assert_int_equal(load.running + load.waiting, 0);
    s->tally.preempted = load.jobs_preempted;
    s->tally.guessed = load.guessed_tokens + load.ahead_tokens;
    s->tally.held = load.guesses_held + load.ahead_held;
    s->tally.restored = load.disk_restored_tokens / load.page_tokens;
    s->tally.hit_schedules = s->tally.hits > 0;
    ek_engine_close(&s->bench.engine);
}

/* ---- many of them ------------------------------------------------------------------------------ */

struct combination {
    const struct recipe *recipe;
    const char *isa;
};

static uint32_t combinations(struct combination out[EK_COUNT(cast_recipes) * EK_ISA_COUNT])
{
    uint32_t n = 0;
    for (size_t r = 0; r < EK_COUNT(cast_recipes); r++) {
        for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
            const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
            if (k) out[n++] = (struct combination){&cast_recipes[r], k->isa};
        }
    }
    return n;
}

static uint64_t asked(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : fallback;
}

static void add(struct tally *sum, const struct tally *t)
{
    sum->schedules += t->schedules;
    sum->jobs += t->jobs;
    sum->tokens += t->tokens;
    sum->preempted += t->preempted;
    sum->cancelled += t->cancelled;
    sum->seconds += t->seconds;
    sum->resumed += t->resumed;
    sum->hits += t->hits;
    sum->hit_schedules += t->hit_schedules;
    sum->refused += t->refused;
    sum->restored += t->restored;
    sum->guessed += t->guessed;
    sum->held += t->held;
    sum->formed += t->formed;
    sum->grouped += t->grouped;
}

/* A row of the table, the same for writing and reading: its numbers after the name of the engine. */
enum { NUMBERS = 13 };
#define NUMBERS_OUT "%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu\n"
#define NUMBERS_IN "%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu,%llu"
static const char heading[] = "schedule,model,isa,kv_type,activation,slots,step,threads,kv_tokens,"
                              "jobs,tokens,hits,preempted,cancelled,seconds,resumed,refused,restored,"
                              "guessed,held,formed,grouped\n";

static void note_row(FILE *csv, const struct schedule *s)
{
    const struct ek_engine_options *o = &s->options;
    const struct tally *t = &s->tally;
    const uint64_t from[NUMBERS] = {t->jobs, t->tokens, t->hits, t->preempted,
                                    t->cancelled, t->seconds, t->resumed, t->refused, t->restored,
                                    t->guessed, t->held, t->formed, t->grouped};
    unsigned long long v[NUMBERS];
    if (!csv) return;
    for (size_t i = 0; i < NUMBERS; i++) v[i] = from[i];
    fprintf(csv, "%llu,%s,%s,%d,%d,%u,%u,%u,%u,", (unsigned long long)s->number, s->cast->model, o->isa,
            (int)o->kv_type, (int)o->activation, o->slots, o->step_tokens, o->threads, o->kv_tokens);
    fprintf(csv, NUMBERS_OUT, v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8], v[9], v[10], v[11],
            v[12]);
    fflush(csv);
}

/* The rows that stand in the table already, added up: where to go on. */
static uint64_t read_rows(FILE *csv, struct tally *sum)
{
    char line[512];
    uint64_t next = 0;
    while (fgets(line, sizeof line, csv)) {
        unsigned long long n, v[NUMBERS];
        if (sscanf(line, "%llu,%*[^,],%*[^,],%*d,%*d,%*u,%*u,%*u,%*u," NUMBERS_IN, &n, &v[0], &v[1], &v[2],
                   &v[3], &v[4], &v[5], &v[6], &v[7], &v[8], &v[9], &v[10], &v[11],
                   &v[12]) != NUMBERS + 1)
            continue;
        struct tally t = {.schedules = 1, .jobs = v[0], .tokens = v[1], .hits = v[2],
                          .hit_schedules = v[2] > 0, .preempted = v[3], .cancelled = v[4],
                          .seconds = v[5], .resumed = v[6], .refused = v[7], .restored = v[8],
                          .guessed = v[9], .held = v[10], .formed = v[11],
                          .grouped = v[12]};
        add(sum, &t);
        next = n + 1;
    }
    return next;
}

static FILE *open_table(struct tally *sum, uint64_t *next)
{
    const char *path = getenv("EK_SAME_CSV"), *tag = getenv("EK_SAME_TAG");
    char first[256] = "", want[256];
    if (!path || !*path) return NULL;
    snprintf(want, sizeof want, "# %s\n", tag ? tag : "");
    FILE *csv = fopen(path, "a+");
    if (!csv) fail_msg("%s cannot be written", path);
    rewind(csv);
    if (fgets(first, sizeof first, csv) && strcmp(first, want) == 0) {
        *next = read_rows(csv, sum);
        fseek(csv, 0, SEEK_END);
        return csv;
    }
    csv = freopen(path, "w", csv);
    if (!csv) fail_msg("%s cannot be written", path);
    fputs(want, csv);
    fputs(heading, csv);
    return csv;
}

static void say_tally(const struct tally *t)
{
    print_message("%llu schedules, %llu requests, %llu tokens, all as alone\n",
                  (unsigned long long)t->schedules, (unsigned long long)t->jobs,
                  (unsigned long long)t->tokens);
    print_message("%llu schedules with hits of a page or more (%llu requests), %llu times preempted, "
                  "%llu cancelled, %llu second turns, %llu resumed, %llu refused by a full queue, "
                  "%llu pages brought back from disk, %llu tokens guessed, "
                  "%llu rightly, %llu answers of a form, %llu of several to one prompt\n",
                  (unsigned long long)t->hit_schedules, (unsigned long long)t->hits,
                  (unsigned long long)t->preempted, (unsigned long long)t->cancelled,
                  (unsigned long long)t->seconds, (unsigned long long)t->resumed,
                  (unsigned long long)t->refused, (unsigned long long)t->restored,
                  (unsigned long long)t->guessed, (unsigned long long)t->held,
                  (unsigned long long)t->formed, (unsigned long long)t->grouped);
}

static void same_tokens_whatever_else_happens(void **state)
{
    (void)state;
    struct combination all[EK_COUNT(cast_recipes) * EK_ISA_COUNT];
    uint32_t n = combinations(all);
    uint64_t count = asked("EK_SAME_SCHEDULES", SAMPLED), first = asked("EK_SAME_FIRST", 0);
    uint64_t next = first;
    struct tally sum = {0};
    struct cast *cast = NULL;
    uint64_t cast_number = UINT64_MAX;
    static struct schedule s;
    FILE *csv = open_table(&sum, &next);
    each = asked("EK_SAME_EACH", count >= MANY ? MANY_EACH : FEW_EACH);
    assert_true(each > 0);
    signal(SIGABRT, say_number);
    for (uint64_t i = next; i < first + count; i++) {
        number_now = i;
        if (i / each != cast_number) {
            cast_free(&cast);
            cast_number = i / each;
            const struct combination *c = &all[cast_number % n];
            cast = cast_new(c->recipe, c->isa, cast_number * 1000003 + 1);
        }
        make_schedule(&s, cast, i);
        run_schedule(&s);
        add(&sum, &s.tally);
        note_row(csv, &s);
    }
    cast_free(&cast);
    if (csv) fclose(csv);
    say_tally(&sum);
    /* What a schedule meets depends on how the threads run: certain only of many of them. */
    assert_true(count < SAMPLED || (sum.hits > 0 && sum.cancelled > 0 && sum.resumed > 0));
    assert_true(count < MANY || (sum.hit_schedules * 2 >= sum.schedules && sum.preempted > 0));
    assert_true(count < MANY || (sum.restored > 0 && sum.held > 0 && sum.guessed > sum.held));
    assert_true(count < SAMPLED || (sum.formed > 0 && sum.grouped > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_tokens_whatever_else_happens)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
