/* SPDX-License-Identifier: MIT */
/* evenkeel chat: a conversation in the terminal with any OpenAI-style server.
 *
 * Reading a line blocks, on purpose: nothing else happens then, and Ctrl-C at the prompt leaves as it
 * does everywhere. While an answer runs the loop runs, and Ctrl-C stops the answer. */
#include "cli/chat.h"

#include "cli/cli.h"
#include "config/option.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PROMPT_BYTES_MAX (16u << 20)
#define RETRIES_MAX 100
#define RETRY_AFTER_DEFAULT_S 5
enum { EXIT_BUSY = 75, EXIT_STOPPED = 130 }; /* sysexits.h: EX_TEMPFAIL; 128 + SIGINT */

enum thinking { THINK_DEFAULT, THINK_ON, THINK_OFF };

struct chat {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_exchange_target target;
    struct ek_screen screen;
    struct ek_call call;
    struct ek_buf answer;  /* text of the running answer, for the history */
    struct ek_timer retry; /* once a second until the next try */
    int64_t retry_left_s;
    bool stopped;          /* Ctrl-C */
    json_t *messages;      /* the conversation so far */

    const char *url, *key;
    char *model;           /* own memory; NULL: ask the server */
    enum thinking thinking;
    bool retries;          /* come back when Retry-After says */
    bool interactive;
    struct ek_buf prompt;  /* from the command line or standard input */
};

/* ---- one question --------------------------------------------------------------------------- */

static void on_place(void *arg, const struct ek_place_told *place)
{
    struct chat *c = arg;
    ek_screen_place(&c->screen, place);
}

static void on_thought(void *arg, struct ek_str text)
{
    struct chat *c = arg;
    ek_screen_thought(&c->screen, text);
}

static void on_answer(void *arg, struct ek_str text)
{
    struct chat *c = arg;
    ek_buf_str(&c->answer, text);
    ek_screen_answer(&c->screen, text);
}

static void on_done(void *arg)
{
    struct chat *c = arg;
    ek_loop_stop(c->loop);
}

static const struct ek_call_events call_events = {on_place, on_thought, on_answer, on_done};

static void on_interrupt(void *arg, int signo)
{
    struct chat *c = arg;
    (void)signo;
    c->stopped = true;
    ek_call_stop(&c->call);
    ek_timer_clear(c->loop, &c->retry);
    ek_loop_stop(c->loop);
}

static const char *path_for(const struct chat *c, bool models)
{
    size_t len = strlen(c->target.base);
    bool has_v1 = len >= 3 && strcmp(c->target.base + len - 3, "/v1") == 0;
    if (models) return has_v1 ? "/models" : "/v1/models";
    return has_v1 ? "/chat/completions" : "/v1/chat/completions";
}

/* Run one call to its end, or until Ctrl-C. */
static void run_call(struct chat *c, const char *path, struct ek_str json)
{
    struct ek_signal *s = ek_signal_on(c->loop, SIGINT, on_interrupt, c);
    ek_call_start(&c->call, c->client, &c->target, ek_str_of(path), json, c->key, &call_events, c);
    ek_loop_run(c->loop);
    MUST(c->call.end != EK_CALL_RUNNING);
    ek_signal_close(&s);
}

static unsigned columns_of(int fd)
{
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 ? w.ws_col : 0;
}

static void on_retry_second(struct ek_timer *t)
{
    struct chat *c = EK_CONTAINER(t, struct chat, retry);
    if (c->retry_left_s <= 0) {
        ek_loop_stop(c->loop);
        return;
    }
    char note[600];
    snprintf(note, sizeof(note), "trying again in %lld s: %.400s", (long long)c->retry_left_s,
             c->call.sentence);
    c->screen.columns = columns_of(STDERR_FILENO); /* a window may have been resized meanwhile */
    ek_screen_note(&c->screen, note);
    c->retry_left_s--;
    ek_timer_set(c->loop, t, ek_loop_now(c->loop).mono_ns + EK_S_NS);
}

/* Wait as long as the refusal asked for; false after Ctrl-C. */
static bool wait_to_retry(struct chat *c)
{
    struct ek_signal *s = ek_signal_on(c->loop, SIGINT, on_interrupt, c);
    c->retry_left_s = c->call.retry_after_s >= 0 ? c->call.retry_after_s : RETRY_AFTER_DEFAULT_S;
    ek_timer_init(&c->retry, on_retry_second);
    ek_timer_set(c->loop, &c->retry, ek_loop_now(c->loop).mono_ns);
    ek_loop_run(c->loop);
    ek_signal_close(&s);
    return !c->stopped;
}

static bool is_busy(const struct ek_call *call)
{
    return call->end == EK_CALL_REFUSED && (call->status == 429 || call->status == 503);
}

/* The model to ask for when none was named: the first the server lists. */
static bool find_model(struct chat *c)
{
    if (c->model) return true;
    run_call(c, path_for(c, true), (struct ek_str){NULL, 0});
    json_t *list = c->call.end == EK_CALL_DONE
                       ? json_loadb(c->call.body.data ? c->call.body.data : "", c->call.body.len, 0, NULL)
                       : NULL;
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(list, "data"), 0), "id"));
    if (id) {
        c->model = strdup(id);
        MUST(c->model);
    } else if (c->call.end == EK_CALL_DONE) {
        snprintf(c->call.sentence, sizeof(c->call.sentence),
                 "the server lists no model; name one by --model");
        c->call.end = EK_CALL_FAILED;
    }
    json_decref(list);
    ek_screen_end(&c->screen);
    if (id) {
        ek_call_free(&c->call);
    }
    return id != NULL;
}

static char *request_json(const struct chat *c)
{
    json_t *request = json_pack("{s:s, s:O, s:b, s:{s:b}}", "model", c->model, "messages", c->messages,
                                "stream", 1, "stream_options", "include_usage", 1);
    MUST(request);
    if (c->thinking != THINK_DEFAULT) {
        const char *type = c->thinking == THINK_ON ? "enabled" : "disabled";
        int failed = json_object_set_new(request, "thinking", json_pack("{s:s}", "type", type));
        MUST(failed == 0);
    }
    char *text = json_dumps(request, JSON_COMPACT);
    MUST(text);
    json_decref(request);
    return text;
}

/* One clear sentence, and the exit code that goes with it. */
static int report(struct chat *c)
{
    const struct ek_call *call = &c->call;
    if (call->end == EK_CALL_STOPPED) {
        fputs(c->screen.err_tty ? "(stopped)\n" : "", stderr);
        return EXIT_STOPPED;
    }
    if (call->end == EK_CALL_DONE) {
        if (call->cut_by_length) {
            fputs("evenkeel chat: the answer stops at its token limit\n", stderr);
        }
        return 0;
    }
    struct ek_buf clean = ek_buf_make(2048);
    ek_screen_clean(ek_str_of(call->sentence), &clean);
    fprintf(stderr, "evenkeel chat: %s", ek_buf_cstr(&clean));
    ek_buf_free(&clean);
    if (call->retry_after_s >= 0 && call->end == EK_CALL_REFUSED) {
        fprintf(stderr, "; try again in %lld s", (long long)call->retry_after_s);
    }
    fputc('\n', stderr);
    return is_busy(call) ? EXIT_BUSY : 1;
}

/* Ask the question at the end of the history; keep the answer there, or take the question back. */
static int ask(struct chat *c, struct ek_str question)
{
    json_t *said = json_pack("{s:s, s:s%}", "role", "user", "content", question.data, question.len);
    if (!said) {
        fputs("evenkeel chat: the question is not valid UTF-8\n", stderr);
        return 1;
    }
    json_array_append_new(c->messages, said);
    c->stopped = false;
    ek_buf_clear(&c->answer);

    if (find_model(c)) {
        char *json = request_json(c);
        for (int tries = 0;; tries++) {
            run_call(c, path_for(c, false), ek_str_of(json));
            if (!c->retries || !is_busy(&c->call) || tries >= RETRIES_MAX || !wait_to_retry(c)) break;
            ek_call_free(&c->call);
        }
        free(json);
        ek_screen_end(&c->screen);
    }
    if (c->stopped) {
        c->call.end = EK_CALL_STOPPED;
    } else if (c->call.end == EK_CALL_DONE && !c->call.is_stream) {
        snprintf(c->call.sentence, sizeof(c->call.sentence), "the server answered, but did not stream");
        c->call.end = EK_CALL_FAILED;
    }
    int code = report(c);
    bool heard = c->answer.len > 0 && !c->answer.failed;
    json_t *answer = heard ? json_pack("{s:s, s:s%}", "role", "assistant", "content", c->answer.data,
                                       c->answer.len) : NULL;
    if (answer) {
        json_array_append_new(c->messages, answer);
    } else {
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    }
    ek_call_free(&c->call);
    return code;
}

/* ---- the conversation ----------------------------------------------------------------------- */

static const char *const orders[] = {"/help", "/new", "/think", "/model", "/quit", NULL};

static const char *order_at(const void *ctx, size_t index)
{
    (void)ctx;
    return orders[index];
}

static void set_model(struct chat *c, const char *name)
{
    free(c->model);
    c->model = strdup(name);
    MUST(c->model);
}

/* A line that begins with a slash. False: leave. */
static bool obey(struct chat *c, const char *line)
{
    if (strcmp(line, "/quit") == 0 || strcmp(line, "/exit") == 0) return false;
    if (strcmp(line, "/new") == 0) {
        json_array_clear(c->messages);
        fputs("a new conversation\n", stderr);
    } else if (strcmp(line, "/think on") == 0) {
        c->thinking = THINK_ON;
    } else if (strcmp(line, "/think off") == 0) {
        c->thinking = THINK_OFF;
    } else if (strncmp(line, "/model ", 7) == 0 && line[7]) {
        set_model(c, line + 7);
    } else if (strcmp(line, "/help") == 0 || strcmp(line, "/think") == 0 || strcmp(line, "/model") == 0) {
        fputs("/new            forget the conversation\n"
              "/think on|off   think before answering, or not\n"
              "/model NAME     ask another model\n"
              "/quit           leave (so does Ctrl-D); Ctrl-C stops an answer\n", stderr);
    } else {
        const char *near = ek_suggest(ek_str_make(line, strcspn(line, " ")), order_at, NULL);
        fprintf(stderr, "there is no such order%s%s%s\n", near ? ", did you mean " : "; /help lists them",
                near ? near : "", near ? "?" : "");
    }
    return true;
}

static int converse(struct chat *c)
{
    char *line = NULL;
    size_t cap = 0;
    int code = 0;

    for (;;) {
        if (c->screen.err_tty) {
            fputs("> ", stderr);
            fflush(stderr);
        }
        ssize_t len = getline(&line, &cap, stdin);
        if (len < 0) break;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) {
            line[--len] = '\0';
        }
        if (len == 0) {
            continue;
        }
        if (line[0] == '/') {
            if (!obey(c, line)) break;
            continue;
        }
        code = ask(c, ek_str_make(line, (size_t)len));
        fputc('\n', c->screen.out_tty ? stdout : stderr);
    }
    free(line);
    return isatty(STDIN_FILENO) ? 0 : code;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

static const char usage[] =
    "evenkeel chat [--url URL] [--key KEY] [--model NAME] [--no-think] [PROMPT]\n\n"
    "Talks with a server. With a PROMPT, or with standard input that is no terminal, it prints the\n"
    "answer and leaves. The thought is shown dimmed, on a terminal only.\n\n"
    "  --url URL        where it listens [http://127.0.0.1:8080]; http://, https:// or unix:PATH\n"
    "  --key KEY        the key it wants [the environment's EVENKEEL_KEY]\n"
    "  --model NAME     which model [the first it lists]\n"
    "  --think          think before answering [as the model does by itself]\n"
    "  --no-think       answer at once\n"
    "  --retry          when refused for lack of room, come back when the server says\n"
    "  --interactive    a conversation even when standard input is no terminal\n\n"
    "In a conversation: /new, /think on, /think off, /model NAME, /help, /quit. Ctrl-C stops the\n"
    "answer, Ctrl-C again leaves. Exit codes: 0 answered, 1 failed, 64 wrong flags, 75 the server has\n"
    "no room now, 130 stopped.\n";

/* The value of a flag "--name VALUE" or "--name=VALUE" at argv[*i]; false when it is another flag. */
static bool take(int argc, char **argv, int *i, const char *name, const char **value)
{
    size_t len = strlen(name);
    if (strncmp(argv[*i], name, len) != 0) return false;
    if (argv[*i][len] == '=') {
        *value = argv[*i] + len + 1;
        return true;
    }
    if (argv[*i][len] != '\0' || *i + 1 >= argc) return false;
    *value = argv[++*i];
    return true;
}

static const char *const flags[] = {"--url", "--key", "--model", "--think", "--no-think", "--retry",
                                    "--interactive", "--help", NULL};

static const char *flag_at(const void *ctx, size_t index)
{
    (void)ctx;
    return flags[index];
}

/* -1: go on; else the exit code. */
static int read_flags(struct chat *c, int argc, char **argv)
{
    const char *model = NULL;
    bool words = false; /* behind "--" everything is prompt */
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (words || arg[0] != '-' || strcmp(arg, "-") == 0) {
            ek_buf_lit(&c->prompt, c->prompt.len ? " " : "");
            ek_buf_lit(&c->prompt, arg);
        } else if (strcmp(arg, "--") == 0) {
            words = true;
        } else if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        } else if (strcmp(arg, "--think") == 0 || strcmp(arg, "--no-think") == 0) {
            c->thinking = arg[2] == 't' ? THINK_ON : THINK_OFF;
        } else if (strcmp(arg, "--retry") == 0) {
            c->retries = true;
        } else if (strcmp(arg, "--interactive") == 0) {
            c->interactive = true;
        } else if (!take(argc, argv, &i, "--url", &c->url) && !take(argc, argv, &i, "--key", &c->key) &&
                   !take(argc, argv, &i, "--model", &model)) {
            const char *near = ek_suggest(ek_str_of(arg), flag_at, NULL);
            bool known = near && strcmp(near, arg) == 0;
            const char *what = known ? "needs a value" : near ? "is no flag, did you mean "
                                                              : "is no flag; --help lists them";
            bool suggest = near && !known;
            fprintf(stderr, "evenkeel chat: %.100s %s%s%s\n", arg, what, suggest ? near : "",
                    suggest ? "?" : "");
            return EK_EXIT_USAGE;
        }
    }
    if (model) {
        set_model(c, model);
    }
    return -1;
}

/* All of standard input as one prompt. */
static bool read_stdin(struct ek_buf *prompt)
{
    for (;;) {
        char *room = ek_buf_reserve(prompt, 4096);
        ssize_t got = room ? read(STDIN_FILENO, room, 4096) : -1;
        if (got < 0 && room && errno == EINTR) {
            continue;
        }
        if (got < 0) return false;
        if (got == 0) break;
        prompt->len += (size_t)got;
    }
    while (prompt->len > 0 && prompt->data[prompt->len - 1] == '\n') {
        prompt->len--;
    }
    return prompt->len > 0;
}

static bool key_is_clean(const char *key)
{
    size_t len = key ? strlen(key) : 1;
    for (size_t i = 0; key && i < len; i++) {
        if (key[i] <= 0x20 || key[i] >= 0x7f) return false;
    }
    return len > 0 && len <= 512;
}

static int run(struct chat *c)
{
    char why[300];
    enum ek_status s = ek_exchange_target_parse(ek_str_of(c->url), &c->target, why, sizeof(why));
    if (s != EK_OK) {
        fprintf(stderr, "evenkeel chat: --url: %s\n", why);
        return EK_EXIT_USAGE;
    }
    if (!key_is_clean(c->key)) {
        fputs("evenkeel chat: a key is printable ASCII without spaces, at most 512 bytes\n", stderr);
        return EK_EXIT_USAGE;
    }
    bool one = c->prompt.len > 0;
    if (!one && !c->interactive && !isatty(STDIN_FILENO)) {
        if (!read_stdin(&c->prompt)) {
            fputs("evenkeel chat: standard input has no prompt of at most 16 MiB\n", stderr);
            return EK_EXIT_USAGE;
        }
        one = true;
    }
    c->loop = ek_loop_new();
    const struct ek_exchange_options options = {.ca_file = getenv("SSL_CERT_FILE")};
    c->client = ek_exchange_client_new(c->loop, &options);
    c->messages = json_array();
    MUST(c->messages);
    int code = one ? ask(c, ek_buf_view(&c->prompt)) : converse(c);
    json_decref(c->messages);
    ek_exchange_client_free(&c->client);
    ek_loop_free(&c->loop);
    return code;
}

int ek_cli_chat(int argc, char **argv)
{
    const char *no_color = getenv("NO_COLOR");
    const char *key = getenv("EVENKEEL_KEY");
    struct chat c = {
        .url = "http://127.0.0.1:8080",
        .key = key && *key ? key : NULL,
        .screen = {.out = stdout, .err = stderr, .out_tty = isatty(STDOUT_FILENO),
                   .err_tty = isatty(STDERR_FILENO), .colour = !no_color || !*no_color,
                   .columns = columns_of(STDERR_FILENO)},
        .answer = ek_buf_make(PROMPT_BYTES_MAX),
        .prompt = ek_buf_make(PROMPT_BYTES_MAX),
    };
    int code = read_flags(&c, argc, argv);
    if (code < 0) {
        code = run(&c);
    }
    free(c.model);
    ek_buf_free(&c.answer);
    ek_buf_free(&c.prompt);
    return code;
}
