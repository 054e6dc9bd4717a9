/* SPDX-License-Identifier: MIT */
/* What one upstream can take, learned from what comes out of it; for servers that report nothing of
 * themselves. Two things are learned, and neither from the time of whole requests (that is the length of
 * their answers):
 *
 *   in front   A request that was sent and has no first token is being read, or waits inside. How long
 *              reading takes is learned: base = fixed + per_token * uncached tokens, the lower edge of what
 *              was seen. What is without a first token beyond that waits for a slot:
 *
 *                  q = (mean of sent without first token) - first tokens a second * 1.5 * base
 *
 *              This is the queue estimate of TCP Vegas (and of Netflix's limiter), taken of the time to the
 *              first token. A server of S slots that is sent S + k has q = k, so the limit goes straight to
 *              limit - q + 1: one waits inside, as with servers that report their slots. q < 1/2: more.
 *
 *   inside     Seconds per token against streams at once, a + b * B, over buckets of B. What another stream
 *              adds is a / (a + b B) of its share; below a quarter (Gradient2's tolerance, wider) it only
 *              makes the others slower: the knee. A machine that got slower multiplies a and b alike, so the
 *              knee stays and only the speed is learned anew. With a target for the time per token the knee
 *              is where the line reaches it.
 *
 * A round is some first tokens long and judges only after what the last change set in motion is over. While
 * nothing is too much the limit doubles, afterwards it grows by a sixteenth; every sixteenth round one less
 * is sent, so that base is seen without the one who waits. Pure; no memory of its own. */
#ifndef EK_POLICY_LEARN_H
#define EK_POLICY_LEARN_H

#include <stdbool.h>
#include <stdint.h>

#define EK_LEARN_BUCKETS 24u /* of streams at once, two an octave */
#define EK_LEARN_LIMIT_MAX 2048.0
#define EK_LEARN_LIMIT_FIRST 4.0

struct ek_learn_bucket {
    float streams; /* mean */
    float token_s;
    uint32_t seen;
};

struct ek_learn {
    uint64_t at_ns; /* up to which everything is counted */
    uint32_t inflight; /* sent and not ended */
    uint32_t decoding; /* of them, with a first token */
    uint64_t reading_tokens; /* uncached, of those without one */
    /* reading: faded sums of weight, tokens, tokens^2, seconds, tokens * seconds; and what follows */
    double fit[5];
    double fixed_s, per_token_s;
    double late; /* time to first token over base, where nobody had to wait: what decoding costs it */
    uint64_t firsts; /* all first tokens */
    uint64_t end_ns; /* when a request ended last */
    /* decoding */
    uint64_t begin_ns; /* of the interval that is measured */
    double interval_tokens, interval_stream_s;
    double lump; /* tokens told at once */
    struct ek_learn_bucket bucket[EK_LEARN_BUCKETS];
    double a_s, b_s; /* 0: not known */
    double drift;    /* log of time per token over the usual one, faded */
    bool changing;   /* the machine has become another one: the speed is learned anew */
    double token_s;  /* lately; 0: not known */
    double life_s, ends; /* faded: stream-seconds and ends, for the mean life of a stream */
    /* the limit */
    double limit; /* sent at once, the one that waits inside included */
    double target_s; /* wanted time per token; 0: none */
    uint32_t settle; /* first tokens until the round counts, or ... */
    uint64_t settle_ns; /* ... when all that had to be read should have been */
    uint32_t samples;
    uint32_t rounds;
    uint32_t calm; /* full rounds in a row that found nobody waiting */
    double sure;   /* sent at once without anybody waiting for a slot */
    double waiting_s, base_s, span_s, full_s; /* of the round */
    double ahead_s; /* base_s and the reading of what was there before */
    double queue; /* q of the last round that was judged */
    uint64_t began_ns; /* the round */
    bool measured; /* an interval of decoding lay wholly in the round */
    bool fast;    /* nothing was too much yet: the limit doubles */
    bool probing; /* one less is sent in this round */
};

/* One request in service, kept by the caller. */
struct ek_learn_mark {
    uint64_t sent_ns;
    uint32_t fresh_tokens; /* of the prompt, not cached */
    uint32_t ahead_tokens; /* fresh, of others that were being read when it was sent */
    bool first;            /* has its first token */
    bool clean;            /* a slot was free for it, as far as was known */
};

void ek_learn_init(struct ek_learn *l);
/* It died or was restarted: what was learned of its size is doubted, its speed remembered. */
void ek_learn_restarted(struct ek_learn *l);

/* The life of a request: sent, first, end; tokens in between. Times are monotonic and never fall. */
void ek_learn_sent(struct ek_learn *l, uint64_t now_ns, uint32_t fresh_tokens, struct ek_learn_mark *m);
void ek_learn_first(struct ek_learn *l, uint64_t now_ns, struct ek_learn_mark *m);
void ek_learn_tokens(struct ek_learn *l, uint64_t now_ns, uint32_t tokens);
void ek_learn_end(struct ek_learn *l, uint64_t now_ns, const struct ek_learn_mark *m);
/* It said that it is full (429, 503). */
void ek_learn_full(struct ek_learn *l, uint64_t now_ns);

/* Requests that may be at it at once, the one that waits inside included; >= 1. */
uint32_t ek_learn_limit(const struct ek_learn *l);
/* Streams at which another one is no gain, or the target is reached; EK_LEARN_LIMIT_MAX: not known. */
double ek_learn_knee(const struct ek_learn *l);
/* Seconds to the first token of a prompt sent now, its slot being free; 0: not known. */
double ek_learn_ttft_s(const struct ek_learn *l, uint32_t fresh_tokens);
/* Streams that will decode when a prompt sent now has been read: those that decode now, less those that will
 * have ended, and all that are read before it. Itself not counted. */
double ek_learn_decoding_then(const struct ek_learn *l, uint32_t fresh_tokens);
/* Seconds per token with so many streams, at the speed of late; 0: not known. */
double ek_learn_token_s(const struct ek_learn *l, double streams);

#endif
