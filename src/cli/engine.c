/* SPDX-License-Identifier: MIT */
/* `evenkeel engine`: one model file behind the OpenAI-style API. The first SIGTERM or SIGINT lets running
 * answers end, the second ends them. Started by a door (--orphan-fd), it is the door who says when: the
 * signals are left to it, and when it is gone (end of file), so are we. */
#include "cli/cli.h"

#include "engine/serve.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct program {
    struct ek_loop *loop;
    struct ek_serve *serve;
    struct ek_log log;
    struct ek_signal *term, *interrupt;
    struct ek_watch *orphan;
    int stops; /* asked to stop so many times */
    bool orphaned;
};

static void on_closed(void *arg)
{
    struct program *p = arg;
    ek_loop_stop(p->loop);
}

static void on_signal(void *arg, int signo)
{
    struct program *p = arg;
    if (p->orphan) { /* a service manager stops all of a unit at once; the door still has guests to serve */
        ek_info(&p->log, "signal %d: when this engine ends is for its door to say", signo);
        return;
    }
    p->stops++;
    ek_info(&p->log, "%s: %s", signo == SIGTERM ? "SIGTERM" : "SIGINT",
            p->stops == 1 ? "running answers may end" : "ending now");
    if (p->stops == 1) ek_serve_drain(p->serve, on_closed, p);
    else ek_serve_close(p->serve, on_closed, p);
}

static void on_orphaned(void *arg)
{
    struct program *p = arg;
    ek_info(&p->log, "the door is gone, so this engine ends");
    p->orphaned = true;
    ek_serve_close(p->serve, on_closed, p);
}

/* The door made a folder for our socket alone and cannot take it away any more. What is not empty, and so
 * not such a folder, stays. */
static void remove_private_folder(const struct ek_strlist *listen)
{
    for (size_t i = 0; i < listen->count; i++) {
        char dir[256];
        if (strncmp(listen->item[i], "unix:", 5) != 0) continue;
        if (!ek_str_copy(ek_str_of(listen->item[i] + 5), dir, sizeof dir)) continue;
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir || !strstr(dir, "/evenkeel-")) continue;
        *slash = '\0';
        (void)rmdir(dir);
    }
}

static int run(struct program *p, const struct ek_config *config, int orphan_fd)
{
    char why[300] = "", address[300];
    struct ek_serve_options o = {.engine = config->engine, .limits = config->limits, .listen = config->listen,
                                 .model_name = config->model.name, .aliases = config->model.aliases,
                                 .chat_template = config->model.chat_template, .log = &p->log};
    o.engine.kv_disk_waits = orphan_fd >= 0; /* the door's last engine may still have it (docs/why/swap.md) */
    p->loop = ek_loop_new();
    enum ek_status s = ek_serve_start(&p->serve, p->loop, &o, why, sizeof why);
    if (s != EK_OK) {
        ek_error(&p->log, "%s", why);
    } else {
        p->term = ek_signal_on(p->loop, SIGTERM, on_signal, p);
        p->interrupt = ek_signal_on(p->loop, SIGINT, on_signal, p);
        if (orphan_fd >= 0) p->orphan = ek_watch_eof(p->loop, orphan_fd, on_orphaned, p);
        for (size_t i = 0; i < config->listen.count; i++) {
            ek_serve_address(p->serve, i, address, sizeof address);
            bool path = strncmp(address, "unix:", 5) == 0;
            printf("%s (template %s) on %s%s\n", ek_serve_model(p->serve), ek_serve_template(p->serve),
                   path ? "" : "http://", address);
        }
        fflush(stdout);
        ek_loop_run(p->loop);
        ek_serve_free(&p->serve);
        if (p->orphaned) remove_private_folder(&config->listen);
        if (p->orphan) ek_watch_close(&p->orphan);
        ek_signal_close(&p->term);
        ek_signal_close(&p->interrupt);
    }
    ek_loop_free(&p->loop);
    return s == EK_OK ? 0 : 1;
}

/* Take "--orphan-fd N" out of the flags: it is between the door and us, not an option for people. */
static bool take_orphan_fd(int *argc, char **argv, int *fd)
{
    static const char name[] = "--orphan-fd";
    *fd = -1;
    for (int i = 0; i < *argc; i++) {
        if (strncmp(argv[i], name, sizeof name - 1) != 0) continue;
        const char *value = argv[i][sizeof name - 1] == '=' ? argv[i] + sizeof name : NULL;
        int used = value ? 1 : 2;
        if (!value) value = i + 1 < *argc ? argv[i + 1] : "";
        char *end;
        long n = strtol(value, &end, 10);
        if (*value == '\0' || *end != '\0' || n < 0 || n > 1 << 20) return false;
        *fd = (int)n;
        for (int k = i; k + used < *argc; k++) argv[k] = argv[k + used];
        *argc -= used;
        return true;
    }
    return true;
}

int ek_cli_engine(int argc, char **argv)
{
    struct program p = {.log = {.name = "engine", .level = EK_LOG_INFO, .fd = STDERR_FILENO}};
    int code = 0, orphan_fd;
    char **flags = calloc((size_t)argc + 1, sizeof *flags);
    MUST(flags);
    for (int i = 0; i < argc; i++) flags[i] = argv[i];
    if (!take_orphan_fd(&argc, flags, &orphan_fd)) {
        fputs("evenkeel engine: --orphan-fd needs a file descriptor\n", stderr);
        free(flags);
        return EK_EXIT_USAGE;
    }
    struct ek_config *config =
        ek_cli_config(EK_PROGRAM_ENGINE, "evenkeel engine --model FILE [--listen ADDRESS:PORT]", argc, flags,
                      &code);
    if (config) {
        p.log.level = config->log_level;
        code = run(&p, config, orphan_fd);
        ek_config_unref(&config);
    }
    free(flags);
    return code;
}
