/* SPDX-License-Identifier: MIT */
/* Starting a new program beside this one, and keeping the first process there for whoever watches it. Owns no
 * door; what it hears on the link is refused unless it is plainly right (swap/message.h). */
#include "cli/swap.h"

#include "base/must.h"
#include "cli/cli.h"
#include "swap/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLE "EVENKEEL_SWAP" /* DESCRIPTORS:PROCESS, for the new program only */
#define LINK_FD 3
#define FIRST_FD 4
#define PASSED "3,4"
#define ARGUMENTS_BYTES_MAX (1u << 17)
#define ARGUMENTS_MAX 4096u

extern char **environ;

static bool is_pipe(int fd)
{
    struct stat about;
    return fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

int ek_cli_swap_inherited(int *first)
{
    const char *said = getenv(VARIABLE);
    char expected[64];
    *first = -1;
    if (!said) return 0;
    snprintf(expected, sizeof expected, PASSED ":%ld", (long)getppid());
    bool ours = strcmp(said, expected) == 0 && ek_swap_is_link(LINK_FD) && is_pipe(FIRST_FD);
    unsetenv(VARIABLE);
    if (!ours) return 0;
    fcntl(LINK_FD, F_SETFD, FD_CLOEXEC);
    fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
    *first = FIRST_FD;
    return LINK_FD;
}

/* What this process was started as: argv into list[], its bytes into *text (the caller frees). 0: unknown. */
static size_t arguments(char **text, char *list[ARGUMENTS_MAX + 1])
{
    size_t count = 0, len = 0;
    ssize_t n = 0;
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    *text = calloc(1, ARGUMENTS_BYTES_MAX + 1);
    MUST(*text);
    while (fd >= 0 && len < ARGUMENTS_BYTES_MAX) {
        n = read(fd, *text + len, ARGUMENTS_BYTES_MAX - len);
        if (n <= 0) break;
        len += (size_t)n;
    }
    if (fd >= 0) close(fd);
    for (char *at = *text; at < *text + len && count < ARGUMENTS_MAX; at += strlen(at) + 1)
        list[count++] = at;
    list[count] = NULL;
    return len < ARGUMENTS_BYTES_MAX ? count : 0;
}

/* Our environment and the variable; the caller frees the list. */
static char **environment(char *variable)
{
    size_t count = 0, n = 0;
    while (environ[count]) count++;
    char **list = calloc(count + 2, sizeof *list);
    MUST(list);
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], VARIABLE "=", sizeof VARIABLE) != 0) list[n++] = environ[i];
    list[n] = variable;
    return list;
}

/* Away from where the new program will look for another. */
static bool move_up(int *fd)
{
    int near = *fd;
    *fd = fcntl(near, F_DUPFD_CLOEXEC, FIRST_FD + 1);
    close(near);
    return *fd >= 0;
}

/* The pipe that says that the first process lives: its writing end closes with the process. */
static bool make_first(int *first)
{
    int ends[2];
    if (*first >= 0) return true;
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    if (move_up(&ends[0])) *first = ends[0];
    else close(ends[1]);
    return *first >= 0;
}

static bool make_ends(int ends[2], int *first)
{
    if (!make_first(first)) return false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
    bool good = move_up(&ends[1]);
    if (!good) close(ends[0]);
    return good;
}

bool ek_cli_swap_spawn(int *link, int *first, pid_t *pid, char *why, size_t cap)
{
    int ends[2];
    char *text, *list[ARGUMENTS_MAX + 1], variable[64], self[4096];
    posix_spawn_file_actions_t actions;
    if (!make_ends(ends, first)) {
        snprintf(why, cap, "no link to it can be made: %s", strerror(errno));
        return false;
    }
    MUST(*first != LINK_FD);
    snprintf(variable, sizeof variable, VARIABLE "=" PASSED ":%ld", (long)getpid());
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    size_t count = arguments(&text, list);
    char **env = environment(variable);
    MUST(posix_spawn_file_actions_init(&actions) == 0);
    MUST(posix_spawn_file_actions_adddup2(&actions, ends[1], LINK_FD) == 0);
    MUST(posix_spawn_file_actions_adddup2(&actions, *first, FIRST_FD) == 0);
    int error = count ? posix_spawnp(pid, list[0], &actions, NULL, list, env) : ENOENT;
    if (error == ENOENT && count && ek_cli_self(self, sizeof self))
        error = posix_spawn(pid, self, &actions, NULL, list, env);
    posix_spawn_file_actions_destroy(&actions);
    free(env);
    close(ends[1]);
    if (error) {
        snprintf(why, cap, "%.200s cannot be started: %s", count ? list[0] : "it", strerror(error));
        close(ends[0]);
    }
    free(text);
    *link = ends[0];
    return error == 0;
}

/* ---- the keeper ---------------------------------------------------------------------------------------- */

static void passed_on(sigset_t *set)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
    sigemptyset(set);
    for (size_t i = 0; i < EK_COUNT(signals); i++) sigaddset(set, signals[i]);
}

void ek_cli_swap_hold_signals(void)
{
    sigset_t set;
    passed_on(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

struct keeper {
    int link;
    pid_t serving;
    int code;       /* of the one that served last, or where another has reaped that, of the last we reaped */
    bool served;    /* it is the former */
    uint64_t times; /* it was told to end */
};

static void pass(struct keeper *k, int signo)
{
    bool ends = signo == SIGTERM || signo == SIGINT;
    k->times += ends;
    struct ek_swap_message m = {.kind = EK_SWAP_SIGNAL, .number = {(uint64_t)signo, ends ? k->times : 1}};
    if (k->link >= 0) (void)ek_swap_send(k->link, &m, -1);
}

/* False: nobody is left. */
static bool reap(struct keeper *k)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid == 0) return true;
        if (pid < 0) return errno == EINTR;
        if (k->served) continue;
        k->served = pid == k->serving;
        k->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static void hear(struct keeper *k, char *bytes)
{
    struct ek_swap_message m;
    int passed = -1;
    const char *no = ek_swap_receive(k->link, 0, bytes, &m, &passed);
    if (passed >= 0) close(passed);
    if (no) {
        close(k->link);
        k->link = -1;
    } else if (m.kind == EK_SWAP_I_AM && m.number[0] > 1 && m.number[0] <= INT32_MAX) {
        k->serving = (pid_t)m.number[0];
        k->served = false;
        /* Said once already, perhaps to one that is gone, or on a link that nobody read: whoever serves now
         * must know that this process holds no slots any more. */
        struct ek_swap_message bye = {.kind = EK_SWAP_BYE};
        (void)ek_swap_send(k->link, &bye, -1);
    }
}

int ek_cli_swap_keep(int link, pid_t serving)
{
    struct keeper k = {.link = link, .serving = serving, .code = 1};
    char *bytes = malloc(EK_SWAP_BYTES_MAX);
    sigset_t set;
    passed_on(&set);
    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    MUST(bytes && signals >= 0);
    while (reap(&k)) {
        struct pollfd p[2] = {{.fd = signals, .events = POLLIN}, {.fd = k.link, .events = POLLIN}};
        struct signalfd_siginfo got;
        if (poll(p, k.link >= 0 ? 2 : 1, -1) < 0) continue;
        if (k.link >= 0 && p[1].revents) hear(&k, bytes);
        while (read(signals, &got, sizeof got) == (ssize_t)sizeof got)
            if (got.ssi_signo != SIGCHLD) pass(&k, (int)got.ssi_signo);
    }
    close(signals);
    if (k.link >= 0) close(k.link);
    free(bytes);
    return k.code;
}
