/* SPDX-License-Identifier: MIT */
/* evenkeel upstream: the scoreboard of a running door's upstreams as a table, and (upstream_probe.c) whether
 * one of them is still the model it was. Changes nothing anywhere, but for the file that --out names. */
#include "cli/upstream.h"

#include "cli/books.h"

#include <stdio.h>

static const char usage[] =
    "evenkeel upstream list [--admin URL] [--admin-key FILE] [--json]\n"
    "    How the upstreams of a running door fare: EVENKEEL_ADMIN and EVENKEEL_ADMIN_KEY will do.\n\n"
    "evenkeel upstream probe NAME --config FILE [--against FILE] [--out FILE]\n"
    "evenkeel upstream probe URL [--model M] [--dialect D] [--key-file FILE] [--against FILE] [--out FILE]\n"
    "    Asks it the five fixed questions of `upstreams[].identity` and prints its answers. With --out they\n"
    "    are written to a new file, as the door would record them; with --against, or where NAME has an\n"
    "    `identity` that is recorded, they are compared. Ends with 0 when they are those of the same model,\n"
    "    or there is nothing to compare with; 2 when it is another; 1 when it could not be asked.\n";

/* ---- the table ------------------------------------------------------------------------------------- */

static void put_part(const json_t *number, double scale, const char *unit, int width)
{
    char text[32];
    double value = json_number_value(number) * scale;
    if (json_is_number(number)) snprintf(text, sizeof text, "%.3g%s", value, unit);
    else snprintf(text, sizeof text, "-");
    printf(" %*s", width, text);
}

/* "0.12 of 5 an hour", of each window of its budget; "-": it is ours. */
static void put_budget(const json_t *borrowed)
{
    static const char *const spans[] = {"hour", "day"};
    bool any = false;
    for (size_t i = 0; i < EK_COUNT(spans); i++) {
        const json_t *window = json_object_get(borrowed, spans[i]);
        if (!json_is_string(json_object_get(window, "budget"))) continue;
        printf("%s%s of %s a%s %s", any ? ", " : "  ", ek_json_text(window, "spent"),
               ek_json_text(window, "budget"), i ? "" : "n", spans[i]);
        any = true;
    }
    printf("%s", any ? "" : "  -");
}

static void put_row(const json_t *u)
{
    const json_t *identity = json_object_get(u, "identity");
    bool up = json_is_true(json_object_get(u, "up"));
    const char *breaker = ek_json_text(u, "breaker");
    printf("%-24.24s %-9.9s %-7s", ek_json_text(u, "name"), ek_json_text(u, "dialect"),
           !up ? "down" : strcmp(breaker, "closed") == 0 ? "up" : breaker);
    printf(" %4lld/%-4lld", ek_json_number(u, "running"), ek_json_number(u, "slots"));
    put_part(json_object_get(u, "success"), 100, "%", 7);
    put_part(json_object_get(u, "first_token_s"), 1, "s", 8);
    put_part(json_object_get(u, "tokens_per_s"), 1, "/s", 9);
    printf("  %-8s", json_is_object(identity) ? ek_json_text(identity, "state") : "-");
    put_budget(json_object_get(u, "borrowed"));
    putchar('\n');
}

static int list(struct ek_books *b, bool raw)
{
    int code = 0;
    size_t i;
    json_t *said = ek_books_ask(b, "GET", "/upstreams", NULL, NULL, &code), *u;
    if (!said) return code;
    const json_t *all = json_object_get(said, "upstreams");
    if (raw) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        printf("%-24s %-9s %-7s %9s %7s %8s %9s  %-8s  %s\n", "NAME", "DIALECT", "STATE", "RUN/SLOTS",
               "SUCCESS", "FIRST", "TOKENS", "IDENTITY", "SPENT");
        json_array_foreach(all, i, u) put_row(u);
    }
    json_decref(said);
    return 0;
}

int ek_cli_upstream(int argc, char **argv)
{
    static const char *const allowed[] = {"--model", "--dialect", "--key-file", "--against", "--out", NULL};
    struct ek_books b = {.words = 0};
    bool raw = false;
    if (argc == 1 && strcmp(argv[0], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc > 0 && strcmp(argv[argc - 1], "--json") == 0) {
        raw = true;
        argc--;
    }
    if (!ek_books_read(&b, allowed, argc, argv)) return EK_EXIT_USAGE;
    if (b.words == 2 && strcmp(b.word[0], "probe") == 0 && !raw) {
        struct ek_upstream_ask ask = {
            .which = b.word[1], .config = ek_books_flag(&b, "--config"),
            .model = ek_books_flag(&b, "--model"), .dialect = ek_books_flag(&b, "--dialect"),
            .key_file = ek_books_flag(&b, "--key-file"), .against = ek_books_flag(&b, "--against"),
            .out = ek_books_flag(&b, "--out")};
        return ek_cli_upstream_probe(&ask);
    }
    if (b.words != 1 || strcmp(b.word[0], "list") != 0) {
        ek_books_puzzled("upstream", usage, &b);
        return EK_EXIT_USAGE;
    }
    if (!ek_books_flag(&b, "--admin") && !getenv("EVENKEEL_ADMIN")) {
        fprintf(stderr, "evenkeel: which door? --admin URL, or set EVENKEEL_ADMIN\n");
        return EK_EXIT_USAGE;
    }
    ek_cli_keep_private();
    int code = ek_books_open(&b, false, false) ? list(&b, raw) : 1;
    ek_books_close(&b);
    return code;
}
