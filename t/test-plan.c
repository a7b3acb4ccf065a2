/* The restorer's plan: parents, sessions, groups; free addresses; vdso patching.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "runtime/restorer/plan.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "runtime/restorer/layout.h"
#include "runtime/restorer/vdso.h"

#define R STINT_MEMBER_RUNNING
#define Z STINT_MEMBER_ZOMBIE

static struct stint_numbers pids;
static struct stint_plan plan;

static void setup(void)
{
    ck_assert_int_eq(stint_numbers_init(&pids, 100000), 0);
    memset(&plan, 0, sizeof(plan));
}

static void teardown(void)
{
    stint_plan_deinit(&plan);
    stint_numbers_deinit(&pids);
}

/* pid, ppid, pgid, sid */
static int make(const struct stint_group *group, const struct stint_member *m, size_t n,
                bool outer, struct stint_err *err)
{
    const struct stint_member *pointers[16];
    bool subreaper[16] = {false};

    for (size_t i = 0; i < n; i++) {
        pointers[i] = &m[i];
        for (int k = 0; k < 4; k++)
            (void)stint_numbers_add(&pids, (&m[i].pid)[k]);
    }
    (void)stint_numbers_add(&pids, group->agent_pid);
    return stint_plan_init(&plan, group, pointers, subreaper, n, outer, &pids, err);
}

/* Play the plan: who is in which session when, and what becomes of orphans. */
static int32_t session_at_birth(const struct stint_node *node)
{
    const struct stint_node *creator;

    if (node->creator < 0)
        return 0;
    creator = &plan.nodes[node->creator];
    if (creator->leads_session && node->early)
        return session_at_birth(creator);
    return creator->sid;
}

static int32_t final_parent(const struct stint_node *node)
{
    const struct stint_node *creator = &plan.nodes[node->creator];

    while (creator->kind == STINT_NODE_TEMP || creator->kind == STINT_NODE_ZOMBIE) {
        /* dies: its children go to the nearest subreaper above */
        if (creator->creator < 0)
            return 1;
        creator = &plan.nodes[creator->creator];
        while (!creator->subreaper && creator->creator >= 0)
            creator = &plan.nodes[creator->creator];
    }
    return creator->pid;
}

static void check_plan(const struct stint_member *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct stint_node *node = &plan.nodes[stint_plan_find(&plan, m[i].pid)];

        if (!node->leads_session)
            ck_assert_int_eq(session_at_birth(node), node->sid);
        ck_assert_int_eq(final_parent(node), m[i].ppid);
        ck_assert_int_ge(stint_plan_find(&plan, node->pgid), 0);
    }
    for (int i = 0; i < plan.count; i++) {
        for (int k = 0; k < i; k++)
            ck_assert_int_ne(plan.nodes[i].pid, plan.nodes[k].pid);
    }
}

static const struct stint_group batch = {.agent_pid = 50, .agent_pgid = 50, .agent_sid = 40,
                                         .root_pid = 60};

START_TEST(test_simple)
{
    static const struct stint_member m[] = {
        {60, 50, 50, 40, R, .name_len = 1}, {61, 60, 50, 40, R, .name_len = 1},
        {62, 60, 62, 40, R, .name_len = 1}, {63, 62, 62, 40, Z, .name_len = 0}};
    struct stint_err err;

    ck_assert_int_eq(make(&batch, m, 4, true, &err), 0);
    check_plan(m, 4);
    ck_assert_int_ge(stint_plan_find(&plan, 40), 0); /* temporary leader of the session */
    ck_assert_int_eq(plan.nodes[0].pid, 50);
}
END_TEST

START_TEST(test_terminal)
{
    static const struct stint_member m[] = {{60, 50, 50, 40, R, .name_len = 1},
                                            {61, 60, 61, 61, R, .name_len = 1}};
    struct stint_err err;

    ck_assert_int_eq(make(&batch, m, 2, false, &err), 0);
    ck_assert_int_eq(plan.nodes[stint_plan_find(&plan, 60)].sid, 0);
    ck_assert_int_eq(plan.nodes[stint_plan_find(&plan, 61)].sid, 61);
    ck_assert_int_eq(stint_plan_find(&plan, 40), -1);
}
END_TEST

/* 61 made a child and then its own session: the child is in the old one. */
START_TEST(test_child_before_setsid)
{
    static const struct stint_member m[] = {
        {60, 50, 50, 40, R, .name_len = 1}, {61, 60, 61, 61, R, .name_len = 1},
        {62, 61, 50, 40, R, .name_len = 1}, {63, 61, 61, 61, R, .name_len = 1},
        {64, 62, 64, 64, R, .name_len = 1}};
    struct stint_err err;

    ck_assert_int_eq(make(&batch, m, 5, true, &err), 0);
    check_plan(m, 5);
    ck_assert(plan.nodes[stint_plan_find(&plan, 62)].early);
    ck_assert(!plan.nodes[stint_plan_find(&plan, 63)].early);
}
END_TEST

/* A daemon: orphan of a session whose leader is alive, dead, or a zombie. */
START_TEST(test_orphans)
{
    static const struct stint_member m[] = {
        {60, 50, 50, 40, R, .name_len = 1}, {61, 60, 61, 61, R, .name_len = 1},
        {70, 50, 61, 61, R, .name_len = 1}, {71, 50, 72, 72, R, .name_len = 1},
        {73, 60, 73, 73, Z, .name_len = 0}, {74, 50, 73, 73, R, .name_len = 1},
        {75, 74, 99, 73, R, .name_len = 1}};
    struct stint_err err;

    ck_assert_int_eq(make(&batch, m, 7, true, &err), 0);
    check_plan(m, 7);
    ck_assert_int_eq(plan.nodes[stint_plan_find(&plan, 72)].kind, STINT_NODE_TEMP);
    ck_assert_int_eq(plan.nodes[stint_plan_find(&plan, 99)].kind, STINT_NODE_TEMP);
}
END_TEST

START_TEST(test_agent_is_pid_1)
{
    static const struct stint_group group = {.agent_pid = 1, .agent_pgid = 1, .agent_sid = 1};
    static const struct stint_member m[] = {{7, 1, 1, 1, R, .name_len = 1},
                                            {8, 7, 8, 1, R, .name_len = 1}};
    struct stint_err err;

    ck_assert_int_eq(make(&group, m, 2, true, &err), 0);
    ck_assert_int_eq(plan.nodes[0].creator, STINT_CREATOR_NONE);
    ck_assert(plan.nodes[0].leads_session);
    check_plan(m, 2);
}
END_TEST

static const struct {
    struct stint_member m[2];
    int n;
} impossible[] = {
    {{{60, 59, 50, 40, R, .name_len = 1}}, 1},                                    /* no parent */
    {{{60, 60, 50, 40, R, .name_len = 1}}, 1},                                    /* own parent */
    {{{1, 50, 50, 40, R, .name_len = 1}}, 1},                                     /* init */
    {{{0, 50, 50, 40, R, .name_len = 1}}, 1},                                     /* zero */
    {{{60, 50, -1, 40, R, .name_len = 1}}, 1},                                    /* negative */
    {{{50, 50, 50, 40, R, .name_len = 1}}, 1},                                    /* the agent's */
    {{{60, 50, 50, 40, R, .name_len = 1}, {60, 50, 50, 40, R, .name_len = 1}}, 2}, /* twice */
    {{{60, 61, 50, 40, R, .name_len = 1}, {61, 60, 50, 40, R, .name_len = 1}}, 2}, /* circle */
};

START_TEST(test_impossible)
{
    struct stint_err err = {0};

    ck_assert_int_lt(make(&batch, impossible[_i].m, (size_t)impossible[_i].n, true, &err), 0);
    ck_assert_str_ne(err.text, "");
}
END_TEST

START_TEST(test_free_addresses)
{
    struct stint_layout layout = {0};
    uint64_t at;

    ck_assert_int_eq(stint_layout_add(&layout, 0x7000000000, 0x7ffffffff000, ""), 0);
    ck_assert_int_eq(stint_layout_add(&layout, 0x10000, 0x20000, ""), 0);
    ck_assert_int_eq(stint_layout_add(&layout, 0x18000, 0x1000000, "[vdso]"), 0);
    at = stint_layout_find_free(&layout, 0x5000);
    ck_assert_uint_ge(at, 0x1000000);
    ck_assert_uint_le(at + 0x5000, 0x7000000000);
    ck_assert_uint_eq(at % 4096, 0);
    ck_assert_uint_eq(stint_layout_find_free(&layout, 0x7000000000), 0);
    stint_layout_deinit(&layout);
}
END_TEST

/* Our own vdso, patched to lead to itself elsewhere: every jump has to hit. */
START_TEST(test_vdso_patch)
{
    const uint8_t *ours = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
    uint8_t *old = malloc(4096), *hostile = malloc(4096);
    int found;

    if (!ours) {
        free(old);
        free(hostile);
        return; /* booted with vdso=0 */
    }
    memcpy(old, ours, 4096);
    found = stint_vdso_patch(old, 4096, ours, 4096, 0x123450000000);
    ck_assert_int_gt(found, 3);
    for (int i = 0; i + 12 < 4096; i++) {
        uint64_t target;

        if (memcmp(old + i, ours + i, 12) == 0 || old[i] != 0x48 || old[i + 1] != 0xb8)
            continue;
        memcpy(&target, old + i + 2, 8);
        if (target >> 12 == 0x12345000)
            ck_assert_uint_eq(target & 0xfff, (uint64_t)i);
    }
    /* whatever bytes come from an image, reading them must stay inside */
    for (unsigned seed = 1, i = 0; i < 2000; i++) {
        memcpy(hostile, ours, 4096);
        for (int k = 0; k < 16; k++) {
            int at = rand_r(&seed) % (k % 2 ? 4096 : 512);

            hostile[at] = (uint8_t)rand_r(&seed);
        }
        (void)stint_vdso_patch(hostile, 4096, ours, 4096, 0x123450000000);
    }
    free(old);
    free(hostile);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("plan");
    TCase *tc = tcase_create("plan");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_simple);
    tcase_add_test(tc, test_terminal);
    tcase_add_test(tc, test_child_before_setsid);
    tcase_add_test(tc, test_orphans);
    tcase_add_test(tc, test_agent_is_pid_1);
    tcase_add_loop_test(tc, test_impossible, 0,
                        (int)(sizeof(impossible) / sizeof(impossible[0])));
    tcase_add_test(tc, test_free_addresses);
    tcase_add_test(tc, test_vdso_patch);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
