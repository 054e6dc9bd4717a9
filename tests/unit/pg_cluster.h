/* SPDX-License-Identifier: MIT */
/* A private PostgreSQL for a test: its own cluster in a fresh folder, on a Unix socket there alone.
 * The server refuses to be root, so as root it runs as "nobody". It dies with the test. Where the server's
 * programs are missing, pg_start returns false and the test says that it was skipped. */
#ifndef EK_TESTS_PG_CLUSTER_H
#define EK_TESTS_PG_CLUSTER_H

#include "base/must.h"

#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct pg_cluster {
    char bin[256];
    char dir[64];  /* data and socket */
    char url[256];
    uid_t uid;
    gid_t gid;
    pid_t server;
};

static void pg_exec(const struct pg_cluster *c, const char *const argv[])
{
    char path[512];
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    if (!getenv("EK_PG_VERBOSE")) dup2(null, 2);
    if (getuid() == 0 && (setgroups(0, NULL) || setgid(c->gid) || setuid(c->uid))) _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* an immediate shutdown */
    if (chdir(c->dir) != 0) _exit(126);
    snprintf(path, sizeof path, "%s/%s", c->bin, argv[0]);
    const char *whole[24] = {path}; /* initdb finds its fellows beside argv[0] */
    for (size_t i = 1; argv[i]; i++) {
        MUST(i + 1 < sizeof whole / sizeof *whole);
        whole[i] = argv[i];
    }
    execv(path, (char *const *)(uintptr_t)whole);
    _exit(127);
}

static void pg_launch(struct pg_cluster *c)
{
    c->server = fork();
    MUST(c->server >= 0);
    if (c->server == 0)
        pg_exec(c, (const char *const[]){"postgres", "-D", c->dir, "-k", c->dir, "-c", "listen_addresses=",
                                         "-c", "max_connections=20", "-c", "shared_buffers=16MB", NULL});
}

static void pg_await(struct pg_cluster *c)
{
    for (int i = 0; i < 6000; i++) { /* a minute */
        if (PQping(c->url) == PQPING_OK) return;
        if (waitpid(c->server, NULL, WNOHANG) == c->server) pg_launch(c); /* a killed one's children linger */
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    WRONG("PostgreSQL did not start");
}

static void pg_up(struct pg_cluster *c)
{
    pg_launch(c);
    pg_await(c);
}

/* SIGKILL to the server and to its children: one that lives on for a moment may still commit. */
static inline void pg_kill(struct pg_cluster *c)
{
    char path[64], children[1024] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)c->server, (int)c->server);
    FILE *f = fopen(path, "r");
    MUST(f);
    if (!fgets(children, sizeof children, f)) children[0] = '\0';
    fclose(f);
    kill(c->server, SIGKILL);
    char *at = children;
    for (long pid; (pid = strtol(at, &at, 10)) > 0;) kill((pid_t)pid, SIGKILL);
    MUST(waitpid(c->server, NULL, 0) == c->server);
    c->server = 0;
    for (int i = 0; i < 1000 && PQping(c->url) == PQPING_OK; i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

static bool pg_start(struct pg_cluster *c)
{
    glob_t found;
    *c = (struct pg_cluster){.uid = getuid(), .gid = getgid()};
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0) {
        printf("SKIPPED: no PostgreSQL server is installed here\n");
        return false;
    }
    const char *last = found.gl_pathv[found.gl_pathc - 1];
    snprintf(c->bin, sizeof c->bin, "%.*s", (int)(strlen(last) - strlen("/initdb")), last);
    globfree(&found);
    struct passwd *nobody = getpwnam("nobody");
    if (getuid() == 0) {
        MUST(nobody);
        c->uid = nobody->pw_uid;
        c->gid = nobody->pw_gid;
    }
    snprintf(c->dir, sizeof c->dir, "/tmp/ek-pg-XXXXXX");
    MUST(mkdtemp(c->dir));
    MUST(chown(c->dir, c->uid, c->gid) == 0 && chmod(c->dir, 0700) == 0);
    snprintf(c->url, sizeof c->url, "postgresql://ek@/postgres?host=%s", c->dir);
    pid_t init = fork();
    MUST(init >= 0);
    if (init == 0)
        pg_exec(c, (const char *const[]){"initdb", "-D", c->dir, "-U", "ek", "-A", "trust", "-E",
                                         "UTF8",
                                         "--locale=C", "--no-sync", NULL});
    int status;
    MUST(waitpid(init, &status, 0) == init && status == 0);
    pg_up(c);
    return true;
}

static void pg_stop(struct pg_cluster *c)
{
    char command[128];
    if (!c->dir[0]) return;
    if (c->server > 0) {
        kill(c->server, SIGQUIT);
        MUST(waitpid(c->server, NULL, 0) == c->server);
    }
    snprintf(command, sizeof command, "rm -rf %s", c->dir);
    MUST(system(command) == 0);
    *c = (struct pg_cluster){0};
}

/* An empty database in the cluster; the url of it. */
static void pg_database(struct pg_cluster *c, const char *name, char *url, size_t cap)
{
    char text[128];
    PGconn *conn = PQconnectdb(c->url);
    MUST(PQstatus(conn) == CONNECTION_OK);
    snprintf(text, sizeof text, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name);
    PQclear(PQexec(conn, text));
    snprintf(text, sizeof text, "CREATE DATABASE %s", name);
    PGresult *r = PQexec(conn, text);
    MUST(PQresultStatus(r) == PGRES_COMMAND_OK);
    PQclear(r);
    PQfinish(conn);
    snprintf(url, cap, "postgresql://ek@/%s?host=%s", name, c->dir);
}

#endif
