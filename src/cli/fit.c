/* SPDX-License-Identifier: MIT */
/* Reading a load report and fitting the four numbers of sim/engine.h to it. A step of B streams lasts
 * B / tokens a second of that batch; a straight line through these times gives step_s and stream_s. What
 * context costs (kv_s) is in both and cannot be told apart here. */
#include "cli/fit.h"

#include "base/must.h"
#include "sim/scenario.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define REPORT_MAX 65536u
#define FETCH_S 10L

struct report {
    char text[REPORT_MAX];
    size_t len;
};

static size_t take(char *data, size_t size, size_t count, void *arg)
{
    struct report *r = arg;
    size_t n = size * count;
    if (n > sizeof r->text - r->len) return 0; /* no load report is that long */
    memcpy(r->text + r->len, data, n);
    r->len += n;
    return n;
}

static bool fetch(struct report *r, const char *url, char *why, size_t cap)
{
    char full[512];
    CURL *c = curl_easy_init();
    MUST(c);
    bool whole = strlen(url) > 5 && strcmp(url + strlen(url) - 5, "/load") == 0;
    int n = snprintf(full, sizeof full, "%s%s", url, whole ? "" : "/load");
    bool ok = n > 0 && (size_t)n < sizeof full;
    ok = ok && curl_easy_setopt(c, CURLOPT_URL, full) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_TIMEOUT, FETCH_S) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK;
    ok = ok && curl_easy_setopt(c, CURLOPT_WRITEDATA, r) == CURLE_OK;
    CURLcode code = ok ? curl_easy_perform(c) : CURLE_URL_MALFORMAT;
    if (code != CURLE_OK) snprintf(why, cap, "%.300s: %s", url, curl_easy_strerror(code));
    curl_easy_cleanup(c);
    return code == CURLE_OK;
}

static bool read_report(struct report *r, const char *path, char *why, size_t cap)
{
    FILE *f = fopen(path, "rb");
    if (f) r->len = fread(r->text, 1, sizeof r->text, f);
    bool ok = f && !ferror(f) && r->len < sizeof r->text;
    if (f) fclose(f);
    if (!ok) snprintf(why, cap, "%.300s: cannot be read as a load report", path);
    return ok;
}

/* t = step + stream * batch through all pairs; false: none has a meaning. */
static bool fit_line(const json_t *pairs, double *step_s, double *stream_s)
{
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    size_t i;
    const json_t *pair;
    json_array_foreach(pairs, i, pair) {
        double batch = json_number_value(json_array_get(pair, 0));
        double tps = json_number_value(json_array_get(pair, 1));
        if (!(batch >= 1 && batch <= 65536 && tps > 0 && tps < 1e9)) continue;
        double t = batch / tps;
        n += 1, x += batch, y += t, xx += batch * batch, xy += batch * t;
    }
    if (n < 1) return false;
    double spread = n * xx - x * x;
    *stream_s = spread > 0 ? fmax(0, (n * xy - x * y) / spread) : 0;
    *step_s = fmax((y - *stream_s * x) / n, 1e-5);
    return true;
}

static bool whole(const json_t *o, const char *name, double most, double *out)
{
    double value = json_number_value(json_object_get(o, name));
    if (!(value >= 1 && value <= most)) return false;
    *out = floor(value);
    return true;
}

static bool apply(struct ek_sim_scenario *s, const json_t *o)
{
    double value;
    bool slots = whole(o, "slots", 4096, &value);
    if (slots) s->engine.slots = (uint32_t)value;
    if (whole(o, "kv_total", 1e9, &value)) s->engine.kv_tokens = (uint64_t)value;
    double prefill = json_number_value(json_object_get(o, "prefill_tps"));
    if (prefill > 0 && prefill < 1e9) s->engine.prompt_s = 1.0 / prefill;
    bool decode = fit_line(json_object_get(o, "decode_tps"), &s->engine.step_s, &s->engine.stream_s);
    if (decode) s->engine.kv_s = 0;
    return slots && decode;
}

bool ek_cli_fit_engine(struct ek_sim_scenario *s, const char *from, char *why, size_t cap)
{
    static struct report r;
    r.len = 0;
    bool web = strncmp(from, "http://", 7) == 0 || strncmp(from, "https://", 8) == 0;
    if (!(web ? fetch(&r, from, why, cap) : read_report(&r, from, why, cap))) return false;
    json_t *o = json_loadb(r.text, r.len, JSON_REJECT_DUPLICATES, NULL);
    bool ok = json_is_object(o) && apply(s, o);
    if (!ok)
        snprintf(why, cap, "%.300s: no load report with slots and decode_tps (has it worked yet?)", from);
    json_decref(o);
    return ok;
}
