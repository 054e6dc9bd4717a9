/* SPDX-License-Identifier: MIT */
/* evenkeel serve: the door, from its configuration to its end.
 *
 *   SIGTERM, SIGINT   drain: what was accepted goes on until the drain deadline; a second one ends it
 *   SIGHUP            read the configuration again and swap it in, if there is nothing wrong with it */
#include "cli/cli.h"

#include "door/door.h"
#include "door/identity.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

struct serve {
    struct ek_loop *loop;
    struct ek_config *config;
    struct ek_door *door;
    struct ek_log log;
    struct ek_signal *on[3];
    bool draining;
    bool hopeless;
};

static void stopped(void *arg)
{
    struct serve *s = arg;
    ek_loop_stop(s->loop);
}

/* Whoever has just typed this wants to read the engine's complaint, not to watch it being repeated. */
static void on_hopeless(void *arg)
{
    struct serve *s = arg;
    s->hopeless = true;
    ek_error(&s->log, "the engine cannot start with this model; see above");
    ek_loop_stop(s->loop);
}

static void on_end(void *arg, int signo)
{
    struct serve *s = arg;
    if (s->draining) {
        ek_warn(&s->log, "signal %d again: ending at once", signo);
        ek_loop_stop(s->loop);
        return;
    }
    s->draining = true;
    ek_door_drain(s->door, stopped, s);
}

static void log_lines(struct serve *s, enum ek_log_level level, struct ek_buf *text)
{
    const char *at = ek_buf_cstr(text);
    while (at && *at) {
        const char *end = strchrnul(at, '\n');
        if (end > at) ek_log(&s->log, level, "%.*s", (int)(end - at), at);
        at = *end ? end + 1 : end;
    }
}

static void on_hangup(void *arg, int signo)
{
    struct serve *s = arg;
    (void)signo;
    struct ek_config *fresh = NULL;
    struct ek_buf why = ek_buf_make(1 << 18);
    if (!ek_config_path(s->config)) {
        ek_warn(&s->log, "there is no configuration file to read again: say --config FILE");
    } else if (ek_config_reload(s->config, &fresh, &why) != EK_OK) {
        log_lines(s, EK_LOG_ERROR, &why);
        ek_error(&s->log, "the configuration is wrong and was not taken; the old one stays in force");
    } else if (!ek_door_reload(s->door, fresh)) {
        ek_error(&s->log, "queue.waiting_max cannot grow that far without a restart; the old configuration "
                          "stays in force");
        ek_config_unref(&fresh);
    } else {
        log_lines(s, EK_LOG_WARN, &why);
        ek_info(&s->log, "the configuration was read again and is in force");
        ek_config_unref(&s->config);
        s->config = fresh;
        s->log.level = fresh->log_level;
    }
    ek_buf_free(&why);
}

/* Whoever can reach it may use it? Then it must have been said, not slipped into. */
static bool listening_is_safe(const struct ek_config *c)
{
    if (c->keys.count > 0 || c->ledger.url || c->access.open_to_all) return true;
    for (size_t i = 0; i < c->listen.count; i++) {
        const char *l = c->listen.item[i];
        bool local = strncmp(l, "unix:", 5) == 0 || strncmp(l, "[::1]:", 6) == 0 ||
                     strncmp(l, "localhost:", 10) == 0 || ek_address_is_loopback(ek_str_of(l));
        if (local) continue;
        fprintf(stderr, "evenkeel: %s can be reached from other machines, but there are no keys: add "
                        "`keys:` to the configuration, or say --open if everybody may use it\n", l);
        return false;
    }
    return true;
}

static void say_hello(struct serve *s)
{
    char at[256];
    if (!ek_door_address(s->door, 0, at, sizeof at)) return;
    bool local = strncmp(at, "unix:", 5) == 0;
    printf(local ? "evenkeel listens on %s\n" : "evenkeel listens on http://%s/v1\n", at);
    printf("ask it:  curl -N %s%s%s/v1/chat/completions -H 'Content-Type: application/json' "
           "-d '{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"What is 478 + 964?\"}]}'\n",
           local ? "--unix-socket " : "http://", local ? at + 5 : at, local ? " http://localhost" : "");
    fflush(stdout);
}

static void raise_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* what we get is enough, or the accept loop will wait */
}

static int run(struct serve *s)
{
    char why[512] = "";
    char self[4096];
    struct ek_door_options o = {.loop = s->loop, .config = s->config, .log = &s->log,
                                .hopeless = on_hopeless, .arg = s};
    if (ek_cli_self(self, sizeof self)) o.program = self;
    s->door = ek_door_start(&o, why, sizeof why);
    if (!s->door) {
        fprintf(stderr, "evenkeel: %s\n", why);
        return 1;
    }
    s->on[0] = ek_signal_on(s->loop, SIGTERM, on_end, s);
    s->on[1] = ek_signal_on(s->loop, SIGINT, on_end, s);
    s->on[2] = ek_signal_on(s->loop, SIGHUP, on_hangup, s);
    say_hello(s);
    ek_loop_run(s->loop);
    for (size_t i = 0; i < EK_COUNT(s->on); i++) ek_signal_close(&s->on[i]);
    ek_door_free(&s->door);
    return s->hopeless ? 1 : 0;
}

int ek_cli_serve(int argc, char **argv)
{
    int code = 0;
    struct serve s = {.log = {.name = "door", .level = EK_LOG_INFO, .fd = 2}};
    s.config = ek_cli_config(EK_PROGRAM_SERVE,
                             "evenkeel serve --model FILE | --upstream URL [--listen ADDRESS:PORT] "
                             "[--config FILE]", argc, argv, &code);
    if (!s.config) return code;
    s.log.level = s.config->log_level;
    if (!listening_is_safe(s.config)) {
        ek_config_unref(&s.config);
        return EK_EXIT_USAGE;
    }
    if (s.config->ledger.url) ek_cli_keep_private();
    raise_descriptors();
    signal(SIGPIPE, SIG_IGN);
    s.loop = ek_loop_new();
    code = run(&s);
    ek_config_unref(&s.config);
    ek_loop_free(&s.loop);
    return code;
}
