/* A tiny harness: AM_TEST registers itself, main runs all of them and fails when one does.
 *
 *     AM_TEST(addition) { AM_CHECK(1 + 1 == 2); }
 *
 * One executable per file. AMBIGMNIST_ISA and AMBIGMNIST_STRICT=1 choose the kernels; the exit
 * status is 77 when this machine lacks that instruction set. With an argument only tests whose name
 * contains it are run. */
#ifndef AMBIG_TEST_H
#define AMBIG_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../csrc/kernels/kernels.h"

typedef struct am_test {
    const char *name;
    void (*run)(void);
    struct am_test *next;
} am_test;

static am_test *am_tests;
static int am_test_failures; /* of the running test */

static inline void
am_test_register(am_test *test)
{
    am_test **end = &am_tests;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = test;
}

#define AM_TEST(name)                                                 \
    static void am_test_##name(void);                                 \
    __attribute__((constructor)) static void am_register_##name(void) \
    {                                                                 \
        static am_test test = {#name, am_test_##name, NULL};          \
        am_test_register(&test);                                      \
    }                                                                 \
    static void am_test_##name(void)

#define AM_FAILED(...)                         \
    do {                                       \
        am_test_failures++;                    \
        printf("%s:%d: ", __FILE__, __LINE__); \
        printf(__VA_ARGS__);                   \
        printf("\n");                          \
    } while (0)

#define AM_CHECK(condition)                        \
    do {                                           \
        if (!(condition)) {                        \
            AM_FAILED("not true: %s", #condition); \
        }                                          \
    } while (0)

#define AM_CHECK_INT(got, expected)                                            \
    do {                                                                       \
        long long am_got = (got), am_expected = (expected);                    \
        if (am_got != am_expected) {                                           \
            AM_FAILED("%s is %lld, expected %lld", #got, am_got, am_expected); \
        }                                                                      \
    } while (0)

#define AM_CHECK_STR(got, expected)                                                \
    do {                                                                           \
        const char *am_got = (got), *am_expected = (expected);                     \
        if (strcmp(am_got, am_expected) != 0) {                                    \
            AM_FAILED("%s is \"%s\", expected \"%s\"", #got, am_got, am_expected); \
        }                                                                          \
    } while (0)

#define AM_CHECK_NEAR(got, expected, tolerance)                                             \
    do {                                                                                    \
        double am_got = (double)(got), am_expected = (double)(expected);                    \
        double am_off = am_got > am_expected ? am_got - am_expected : am_expected - am_got; \
        if (!(am_off <= (tolerance))) {                                                     \
            AM_FAILED("%s is %.17g, expected %.17g", #got, am_got, am_expected);            \
        }                                                                                   \
    } while (0)

/* The call succeeds; otherwise its message is printed. */
#define AM_CHECK_OK(call)                                                          \
    do {                                                                           \
        am_error err = {AM_OK, ""};                                                \
        if ((call) != AM_OK) {                                                     \
            AM_FAILED("%s: %s: %s", #call, am_status_name(err.code), err.message); \
        }                                                                          \
    } while (0)

int
main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    const char *isa = getenv("AMBIGMNIST_ISA"), *strict = getenv("AMBIGMNIST_STRICT");
    am_error err;
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(300); /* a hang is a failure */
    am_set_strict(strict != NULL && strcmp(strict, "1") == 0);
    if (am_select_isa(isa, &err) != AM_OK) {
        printf("%s: skipped: %s\n", argv[0], err.message);
        return 77;
    }
    for (am_test *test = am_tests; test != NULL; test = test->next) {
        if (argc > 1 && strstr(test->name, argv[1]) == NULL) {
            continue;
        }
        am_test_failures = 0;
        test->run();
        if (am_test_failures > 0) {
            printf("FAILED %s\n", test->name);
            failed++;
        }
        else {
            passed++;
        }
    }
    printf("%s [%s%s]: %d passed, %d failed\n", argv[0], am_isa_name(),
           am_get_strict() ? ", strict" : "", passed, failed);
    return failed > 0 || passed == 0;
}

#endif
