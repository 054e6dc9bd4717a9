/* SPDX-License-Identifier: MIT */
/* A test on both databases: BOTH(f) makes f_sqlite and f_postgres of `static void f(bool postgres)`. main
 * sets no_postgres = !pg_start(...); where the server is missing, its half says that it was skipped. */
#ifndef EK_TESTS_BOTH_STORES_H
#define EK_TESTS_BOTH_STORES_H

#include "cm.h"
#include "pg_cluster.h"

static bool no_postgres;

#define BOTH(f) \
    static void f##_sqlite(void **state) \
    { \
        (void)state; \
        f(false); \
    } \
    static void f##_postgres(void **state) \
    { \
        (void)state; \
        if (no_postgres) skip(); \
        f(true); \
    }

#endif
