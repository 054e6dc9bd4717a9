/* SPDX-License-Identifier: MIT */
/* evenkeel serve: the door, from its configuration to its end.
 *
 *   SIGTERM, SIGINT   drain: what was accepted goes on until the drain deadline; a second one ends it
 *   SIGHUP            read the configuration again and swap it in, if there is nothing wrong with it
 *   SIGUSR2           start this program anew, as it is on disk now; it takes over (swap.h) */
#include "cli/cli.h"
#include "cli/swap.h"

#include "door/door.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct serve {
    struct ek_loop *loop;
    struct ek_config *config;
    struct ek_door *door;
    struct ek_log log;
    struct ek_signal *on[4];
    int link;      /* of the one we take over from; 0: we were started otherwise */
    int first;     /* the pipe of the process that was started first (swap.h); -1 */
    struct ek_watch *first_watch; /* NULL: we are the first */
    pid_t heir;    /* started to take over from us; 0: none */
    uint64_t ends; /* signals to end */
    bool leaving;  /* another process serves */
    int keeper;    /* a link to it, when we stay for whoever watches us; -1 */
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

static void end(struct serve *s, int signo, bool again)
{
    if (s->draining && again) {
        ek_warn(&s->log, "signal %d again: ending at once", signo);
        ek_loop_stop(s->loop);
    } else if (!s->draining) {
        s->draining = true;
        ek_door_drain(s->door, stopped, s);
        ek_door_swap_tell_others(s->door, signo);
    }
}

static void on_end(void *arg, int signo)
{
    struct serve *s = arg;
    s->ends++;
    if (!s->link) (void)ek_door_swap_pass_signal(s->door, signo, s->ends); /* those who watch know only us */
    end(s, signo, true);
}

/* Whoever watches this service has seen it die: it must not go on unseen where the next start wants to be. */
static void on_first_gone(void *arg)
{
    struct serve *s = arg;
    ek_error(&s->log, "the first process of this service was killed: nothing more is accepted, what was "
                      "accepted ends");
    end(s, SIGTERM, false);
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
    struct ek_config *fresh = NULL;
    struct ek_buf why = ek_buf_make(1 << 18);
    if (ek_door_swap_pass_signal(s->door, signo, 1)) {
        ek_debug(&s->log, "another process serves: it reads the configuration again");
    } else if (!ek_config_path(s->config)) {
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

/* ---- a new program takes over ---- */

static void on_swap(void *arg, int signo)
{
    struct serve *s = arg;
    char why[256];
    int link;
    if (ek_door_swap_pass_signal(s->door, signo, 1)) return;
    pid_t pid;
    if (s->heir) {
        ek_warn(&s->log, "no new program is started: one is being started already");
        return;
    }
    if (!ek_cli_swap_spawn(&link, &s->first, &pid, why, sizeof why)) {
        ek_error(&s->log, "no new program is started: %s", why);
        return;
    }
    ek_info(&s->log, "process %ld is started to take over", (long)pid);
    s->heir = pid;
    if (ek_door_swap(s->door, link, (uint64_t)pid, why, sizeof why)) return;
    ek_error(&s->log, "it cannot take over: %s", why);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    s->heir = 0;
}

static void swap_begun(void *arg)
{
    (void)arg; /* the door has said so */
}

static void swap_taken(void *arg)
{
    struct serve *s = arg;
    s->leaving = true;
}

static void swap_left(void *arg)
{
    struct serve *s = arg;
    ek_info(&s->log, s->link ? "nothing is left here: this process ends"
                             : "nothing is left here: this process stays for whoever watches it");
    ek_loop_stop(s->loop);
}

/* Also when all are told to end and the one that serves is done before us: then nothing has failed. */
static void swap_failed(void *arg, const char *why)
{
    struct serve *s = arg;
    int status = 0;
    bool over = s->leaving || !s->heir, orderly = s->leaving && s->draining;
    if (s->heir && !s->leaving) kill(s->heir, SIGKILL); /* it has taken nothing */
    bool ended = s->heir && waitpid(s->heir, &status, s->leaving ? WNOHANG : 0) == s->heir;
    if (ended && WIFEXITED(status) && !(orderly && WEXITSTATUS(status) == 0))
        ek_error(&s->log, "the new process ended with exit code %d", WEXITSTATUS(status));
    if (!orderly) ek_error(&s->log, over ? "%s" : "the new program does not take over: %s", why);
    if (s->heir && !orderly) ek_warn(&s->log, "this process serves on");
    if (!s->heir) {
        s->hopeless = true;
        ek_loop_stop(s->loop);
    }
    s->leaving = false;
    s->heir = 0;
}

/* What one that leaves was told, which those who watch take for the one that serves. */
static void swap_told(void *arg, int signo, uint64_t times)
{
    struct serve *s = arg;
    if (signo == SIGHUP) on_hangup(s, signo);
    else if (signo == SIGUSR2) on_swap(s, signo);
    else if (signo == SIGTERM || signo == SIGINT) end(s, signo, times > 1);
}

static const struct ek_door_swap_events swap_events = {swap_begun, swap_taken, swap_left, swap_failed,
                                                       swap_told};

/* Whoever can reach it may use it? Then it must have been said, not slipped into. */
static bool listening_is_safe(const struct ek_config *c)
{
    const char *l = ek_cli_unguarded(c);
    if (!l) return true;
    fprintf(stderr, "evenkeel: %s can be reached from other machines, but there are no keys: add "
                    "`keys:` to the configuration, or say --open if everybody may use it\n", l);
    return false;
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
    o.swap_fd = s->link;
    s->door = ek_door_start(&o, why, sizeof why);
    if (!s->door) {
        fprintf(stderr, "evenkeel: %s\n", why);
        if (s->link) ek_door_swap_sorry(s->link, why);
        return 1;
    }
    ek_door_swap_events(s->door, &swap_events, s);
    s->on[0] = ek_signal_on(s->loop, SIGTERM, on_end, s);
    s->on[1] = ek_signal_on(s->loop, SIGINT, on_end, s);
    s->on[2] = ek_signal_on(s->loop, SIGHUP, on_hangup, s);
    s->on[3] = ek_signal_on(s->loop, SIGUSR2, on_swap, s);
    if (s->link) s->first_watch = ek_watch_eof(s->loop, s->first, on_first_gone, s);
    if (!s->link) say_hello(s);
    ek_loop_run(s->loop);
    uint64_t serving = 0;
    s->keeper = s->leaving && !s->link ? ek_door_swap_keep(s->door, &serving) : -1;
    s->heir = (pid_t)serving;
    if (s->keeper >= 0) ek_cli_swap_hold_signals();
    for (size_t i = 0; i < EK_COUNT(s->on); i++) ek_signal_close(&s->on[i]);
    if (s->first_watch) ek_watch_close(&s->first_watch);
    ek_door_free(&s->door);
    return s->hopeless ? 1 : 0;
}

int ek_cli_serve(int argc, char **argv)
{
    int code = 0;
    struct serve s = {.log = {.name = "door", .level = EK_LOG_INFO, .fd = 2}, .keeper = -1};
    s.link = ek_cli_swap_inherited(&s.first);
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
    return s.keeper >= 0 ? ek_cli_swap_keep(s.keeper, s.heir) : code;
}
