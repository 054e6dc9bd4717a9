/* SPDX-License-Identifier: MIT */
/* Who runs and who waits. A job gets pages for what is known of it and then page by page as it grows; when
 * there are none left, the least urgent and youngest gives its own back and waits again with all it said.
 * What it had computed stays in the cache as long as nobody needs the room, and what is gone is computed
 * again in the same roles: its tokens are the same bits either way, and nobody else notices.
 *
 * The most urgent and oldest is never stopped, and the pool holds at least one context, so there is always
 * one that gets to its end. Copying pages out to memory instead was left: they lie in memory already. With a
 * disk tier (engine_disk.c) pages that made room come back from there instead of being computed again. The
 * last page of a sequence, which is not full, is neither kept nor written: that is at most 63 rows, less than
 * a step's work.
 *
 * Of jobs handed in together the first begins: the others stand behind it in the line, are passed over until
 * its prompt is computed, and then find its pages. */
#include "engine/engine_priv.h"

#include <stdlib.h>

enum { LOOKED_AT_MAX = 16 }; /* of those that wait for the disk, in one turn */

void ek_engine_publish_load(struct ek_engine *e)
{
    struct ek_kv_counters c;
    ek_kv_counters(e->kv, &c);
    e->load.running = e->n_running;
    e->load.waiting = (uint32_t)e->waiting.count;
    e->load.kv_free_tokens = ek_kv_pages_free(e->kv) * EK_KV_PAGE;
    e->load.cached_tokens = c.hit_pages * EK_KV_PAGE;
    e->load.cache_asked_tokens = c.asked_pages * EK_KV_PAGE;
    e->load.cache_evicted_tokens = c.evicted_pages * EK_KV_PAGE;
    e->load.disk_restored_tokens = c.restored_pages * EK_KV_PAGE;
    e->load.disk_lost_tokens = c.lost_pages * EK_KV_PAGE;
}

void ek_engine_enqueue(struct ek_engine *e, struct ek_job *job)
{
    struct ek_link *at = ek_list_first(&e->waiting), *last = ek_list_last(&e->waiting);
    MUST(job->state == EK_JOB_WAITING && !ek_link_linked(&job->link));
    if (!last || ek_job_before(EK_CONTAINER(last, struct ek_job, link), job)) {
        ek_list_append(&e->waiting, &job->link);
        return;
    }
    while (ek_job_before(EK_CONTAINER(at, struct ek_job, link), job)) at = ek_list_next(&e->waiting, at);
    ek_list_insert_before(&e->waiting, at, &job->link);
}

struct ek_job *ek_engine_pop_cancelled(struct ek_engine *e)
{
    EK_LIST_EACH(&e->waiting, it) {
        struct ek_job *job = EK_CONTAINER(it, struct ek_job, link);
        if (!job->cancelled) continue;
        if (job == e->restoring) ek_engine_forget_restore(e);
        ek_list_remove(&e->waiting, it);
        e->load.jobs_done++;
        e->load.jobs_cancelled++;
        ek_engine_job_over(e, job);
        return job;
    }
    return NULL;
}

void ek_engine_job_over(struct ek_engine *e, struct ek_job *job)
{
    struct ek_job_group *group = job->group;
    job->group = NULL;
    MUST(e->n_requests > 0);
    if (group) {
        MUST(group->members > 0);
        group->ready = group->ready || job->leads;
        if (--group->members > 0) return;
        free(group);
    }
    e->n_requests--;
}

void ek_engine_prompt_done(struct ek_engine *e, struct ek_job *job)
{
    MUST(job->group && job->leads);
    MUST(job->seq.tokens >= job->prompt_tokens);
    pthread_mutex_lock(&e->lock);
    job->group->ready = true;
    pthread_mutex_unlock(&e->lock);
    job->leads = false;
}

/* Its leader's prompt is not computed yet. */
static bool is_held(const struct ek_job *job)
{
    return job->group && !job->leads && !job->group->ready;
}

/* Pages for what is known of a job, of which some may be filled already; and one for each that runs must be
 * left, or somebody would have to make room at once. False: not now. */
static bool get_pages(struct ek_engine *e, struct ek_job *job)
{
    struct ek_kv_text text = {.ids = job->ids, .count = job->n_ids, .prompt = job->prompt_tokens,
                              .salt = job->cache_salt};
    if (ek_kv_begin(e->kv, &job->seq, &text, job->n_ids, e->n_running) != EK_OK) return false;
    MUST(job->seq.tokens < job->n_ids);
    if (!job->begun) job->cached_tokens = job->seq.tokens;
    job->begun = true;
    return true;
}

/* The first of those that wait, but for those whose beginning is on its way from the disk, and those whose
 * leader computes it: they keep their place and hold nobody up. */
static struct ek_job *next_job(struct ek_engine *e)
{
    unsigned looked_at = 0;
    EK_LIST_EACH(&e->waiting, it) {
        struct ek_job *job = EK_CONTAINER(it, struct ek_job, link);
        if (is_held(job)) continue; /* behind one of few leaders */
        if (!ek_engine_from_disk(e, job)) return job;
        if (++looked_at == LOOKED_AT_MAX) break;
    }
    return NULL;
}

/* Fill free slots from the list: a job that does not get its pages holds up those behind it, so that a large
 * one is never overtaken for ever. */
void ek_engine_admit(struct ek_engine *e)
{
    for (size_t slot = 0; slot < e->options.slots && e->waiting.count > 0; slot++) {
        if (e->running[slot]) continue;
        struct ek_job *job = next_job(e);
        if (!job) break;
        if (!get_pages(e, job)) {
            MUST(e->n_running > 0); /* alone there is room for any */
            break;
        }
        ek_list_remove(&e->waiting, &job->link);
        ek_job_set_state(job, EK_JOB_RUNNING);
        e->running[slot] = e->live[slot] = job;
        e->n_running++;
    }
    e->stalled = e->n_running == 0 && e->waiting.count > 0;
    MUST(!e->stalled || e->restoring);
}

void ek_engine_leave(struct ek_engine *e, size_t slot)
{
    struct ek_job *job = e->running[slot];
    MUST(job && e->live[slot] == job);
    MUST(e->n_running > 0);
    ek_kv_release(e->kv, &job->seq);
    e->running[slot] = e->live[slot] = NULL;
    e->n_running--;
}

static void preempt(struct ek_engine *e, size_t slot)
{
    struct ek_job *job = e->running[slot];
    pthread_mutex_lock(&e->lock);
    ek_engine_leave(e, slot);
    ek_job_set_state(job, EK_JOB_WAITING);
    job->disk_since_ns = 0;
    job->disk_asked = false; /* what it had to give up may be there when its turn comes */
    ek_engine_enqueue(e, job);
    e->load.jobs_preempted++;
    pthread_mutex_unlock(&e->lock);
}

/* The slot of the first, or last, of those marked; slots when none is. */
static size_t pick(const struct ek_engine *e, const bool *marked, bool first)
{
    size_t best = e->options.slots;
    for (size_t i = 0; i < e->options.slots; i++) {
        if (!e->running[i] || !marked[i]) continue;
        if (best == e->options.slots || ek_job_before(e->running[i], e->running[best]) == first) best = i;
    }
    return best;
}

void ek_engine_make_room(struct ek_engine *e, uint32_t grant[EK_ENGINE_SLOTS_MAX])
{
    bool all[EK_ENGINE_SLOTS_MAX], todo[EK_ENGINE_SLOTS_MAX];
    for (size_t i = 0; i < EK_ENGINE_SLOTS_MAX; i++) all[i] = todo[i] = true;
    for (;;) {
        size_t slot = pick(e, todo, true);
        if (slot == e->options.slots) return;
        struct ek_job *job = e->running[slot];
        todo[slot] = false;
        while (e->running[slot] == job &&
               ek_kv_grow(e->kv, &job->seq, job->seq.tokens + grant[slot]) != EK_OK) {
            size_t victim = pick(e, all, false);
            MUST(e->n_running > 1);
            grant[victim] = 0;
            preempt(e, victim); /* perhaps itself */
        }
    }
}
