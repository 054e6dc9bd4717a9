/* SPDX-License-Identifier: MIT */
/* cmocka wants four headers before its own; this is the one place that knows. */
#ifndef EK_TESTS_CM_H
#define EK_TESTS_CM_H
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#endif
