/* The coordinator's table of states, and what is decided from Slurm's answers.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "coordinator/coordinator_states.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/slurm_plan.h"

static enum coordinator_state step(enum coordinator_state from,
                                   enum coordinator_event event)
{
    const struct coordinator_transition *t = coordinator_transition(from, event);

    return t ? t->to : from;
}

static enum coordinator_state walk(const enum coordinator_event *events)
{
    enum coordinator_state state = STATE_IDLE;

    for (; *events != EVENT_COUNT; events++) {
        ck_assert_ptr_nonnull(coordinator_transition(state, *events));
        state = step(state, *events);
    }
    return state;
}

static const struct {
    enum coordinator_event events[10];
    enum coordinator_state end;
} walks[] = {
    /* a periodic checkpoint */
    {{EVENT_START, EVENT_ALL_QUIESCED, EVENT_ALL_CAPTURED, EVENT_COMMITTED,
      EVENT_COUNT},
     STATE_IDLE},
    /* checkpoint --kill */
    {{EVENT_START, EVENT_ALL_QUIESCED, EVENT_ALL_CAPTURED, EVENT_COMMITTED_END,
      EVENT_ALL_GONE, EVENT_COUNT},
     STATE_OVER},
    /* the end of a stint */
    {{EVENT_START, EVENT_ALL_QUIESCED, EVENT_ALL_CAPTURED, EVENT_COMMITTED_HOLD,
      EVENT_REQUEUED, EVENT_ALL_GONE, EVENT_COUNT},
     STATE_OVER},
    /* Slurm refuses the requeue: the programs go on */
    {{EVENT_START, EVENT_ALL_QUIESCED, EVENT_ALL_CAPTURED, EVENT_COMMITTED_HOLD,
      EVENT_FAILED, EVENT_START, EVENT_COUNT},
     STATE_QUIESCE},
    /* programs that cannot be ended do not keep the coordinator */
    {{EVENT_STOP, EVENT_TIMEOUT, EVENT_COUNT}, STATE_OVER},
    {{EVENT_ALL_GONE, EVENT_COUNT}, STATE_OVER},
};

START_TEST(walks_through)
{
    ck_assert_int_eq(walk(walks[_i].events), walks[_i].end);
}
END_TEST

/* Whatever fails before the commit: the programs go on and another one can start. */
START_TEST(failure_leads_to_idle)
{
    for (int s = STATE_QUIESCE; s <= STATE_HELD; s++) {
        const struct coordinator_transition *t =
            coordinator_transition((enum coordinator_state)s, EVENT_FAILED);

        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->to, STATE_IDLE);
        /* what is committed is not dropped */
        ck_assert_int_eq(t->action, s == STATE_HELD ? ACTION_RESUME : ACTION_ABORT);
    }
}
END_TEST

/* No state can be left only by an event that need not come. */
START_TEST(ends_when_all_have_gone)
{
    ck_assert_int_eq(step(STATE_IDLE, EVENT_ALL_GONE), STATE_OVER);
    ck_assert_int_eq(step(STATE_QUIESCE, EVENT_ALL_GONE), STATE_OVER);
    ck_assert_int_eq(step(STATE_CAPTURE, EVENT_ALL_GONE), STATE_OVER);
    ck_assert_int_eq(step(STATE_ENDING, EVENT_ALL_GONE), STATE_OVER);
    /* the requeue that is under way answers within its own limit */
    ck_assert_int_eq(step(STATE_HELD, EVENT_ALL_GONE), STATE_HELD);
}
END_TEST

START_TEST(over_is_the_end)
{
    for (int e = 0; e < EVENT_COUNT; e++)
        ck_assert_ptr_null(
            coordinator_transition(STATE_OVER, (enum coordinator_event)e));
}
END_TEST

/* A late answer of an agent must not move anything. */
START_TEST(late_events_are_ignored)
{
    ck_assert_ptr_null(coordinator_transition(STATE_IDLE, EVENT_ALL_CAPTURED));
    ck_assert_ptr_null(coordinator_transition(STATE_IDLE, EVENT_FAILED));
    ck_assert_ptr_null(coordinator_transition(STATE_CAPTURE, EVENT_ALL_QUIESCED));
    ck_assert_ptr_null(coordinator_transition(STATE_CAPTURE, EVENT_START));
    ck_assert_ptr_null(coordinator_transition(STATE_ENDING, EVENT_REQUEUED));
    ck_assert_ptr_null(coordinator_transition(STATE_ENDING, EVENT_START));
}
END_TEST

START_TEST(states_have_names)
{
    for (int s = 0; s < STATE_COUNT; s++)
        for (int other = 0; other < s; other++)
            ck_assert_str_ne(coordinator_state_name((enum coordinator_state)s),
                             coordinator_state_name((enum coordinator_state)other));
}
END_TEST

/* --- Slurm --------------------------------------------------------------------- */

START_TEST(lead_time)
{
    struct slurm_info info = {.start_time = 1000, .end_time = 1000 + 3600};

    ck_assert_int_eq(slurm_lead(&info, 15, 0), 15);
    ck_assert_int_eq(slurm_lead(&info, 15, 2000), 15);
    ck_assert_int_eq(slurm_lead(&info, 15, 10000), 25);
    ck_assert_int_eq(slurm_lead(&info, 15, 10001), 26);
    ck_assert_int_eq(slurm_lead(&info, 120, 10000), 120);
    ck_assert_int_eq(slurm_lead(&info, 15, 3600000), 1200);
    info.end_time = 1000 + 60;
    ck_assert_int_eq(slurm_lead(&info, 15, 1000), 15);
    ck_assert_int_eq(slurm_lead(&info, 30, 1000), 20);
    info.end_time = 0;
    ck_assert_int_eq(slurm_lead(&info, 15, 10000), 25);
}
END_TEST

START_TEST(final_is_due)
{
    struct slurm_info info = {.start_time = 1000, .end_time = 2000};

    ck_assert(!slurm_is_final_due(&info, 15, 1984));
    ck_assert(slurm_is_final_due(&info, 15, 1985));
    ck_assert(slurm_is_final_due(&info, 15, 5000));
    info.preempt_time = 1100;
    ck_assert(slurm_is_final_due(&info, 15, 1100));
    info.preempt_time = 0;
    info.end_time = 0;
    ck_assert(!slurm_is_final_due(&info, 15, 5000));
    ck_assert_int_gt(slurm_poll_after(&info, 15, 5000), 5);
    info.end_time = 2000;
    ck_assert_int_gt(slurm_poll_after(&info, 15, 1100), 5);
    ck_assert_int_le(slurm_poll_after(&info, 15, 1960), 2);
    ck_assert_int_le(slurm_poll_after(&info, 15, 2960), 2);
}
END_TEST

static const struct {
    const char *state; /* NULL: Slurm does not answer */
    int64_t now, preempt;
    enum slurm_verdict verdict;
} sigterms[] = {
    {"CANCELLED", 1100, 0, SLURM_CANCELLED},
    {"CANCELLED", 4590, 0, SLURM_CANCELLED}, /* scancel just before the end */
    {"FAILED", 1100, 0, SLURM_CANCELLED},
    {"TIMEOUT", 4630, 0, SLURM_FINAL},
    {"PREEMPTED", 1100, 0, SLURM_FINAL},
    {"PENDING", 1100, 0, SLURM_FINAL},
    {"RUNNING", 1100, 0, SLURM_DELIVER}, /* scancel -s TERM */
    {"RUNNING", 4580, 0, SLURM_FINAL},   /* --signal=TERM@20 */
    {"RUNNING", 4520, 0, SLURM_FINAL},   /* ... which comes up to a minute early */
    {"RUNNING", 1100, 1099, SLURM_FINAL},
    {NULL, 1100, 0, SLURM_DELIVER},
    {NULL, 4580, 0, SLURM_FINAL},
};

START_TEST(sigterm_means)
{
    struct slurm_info last = {.start_time = 1000, .end_time = 4600, .state = "RUNNING"};
    struct slurm_info info = last;

    info.preempt_time = sigterms[_i].preempt;
    if (sigterms[_i].state)
        strcpy(info.state, sigterms[_i].state);
    ck_assert_int_eq(slurm_judge_sigterm(sigterms[_i].state ? &info : NULL, &last, 15,
                                         sigterms[_i].now),
                     sigterms[_i].verdict);
}
END_TEST

START_TEST(sigterm_without_any_knowledge)
{
    ck_assert_int_eq(slurm_judge_sigterm(NULL, NULL, 15, 1000), SLURM_DELIVER);
}
END_TEST

START_TEST(info_is_read)
{
    struct slurm_info info;
    struct stint_err err;

    ck_assert_int_eq(
        slurm_info_parse("{\"end_time\":4600,\"state\":\"RUNNING\",\"completing\":"
                         "false,\"restart_count\":3,\"requeue\":false,\"batch\":"
                         "true,\"preempt_time\":0,\"time_limit_s\":60,"
                         "\"work_dir\":\"/\",\"start_time\":1000}",
                         &info, &err),
        0);
    ck_assert_int_eq(info.end_time, 4600);
    ck_assert_int_eq(info.start_time, 1000);
    ck_assert_int_eq(info.restart_count, 3);
    ck_assert(!info.can_requeue);
    ck_assert(info.is_batch);
    ck_assert_str_eq(info.state, "RUNNING");
    ck_assert_int_eq(slurm_info_parse("{\"end_time\":4600,\"state\":\"RUNNING\","
                                      "\"time_limit_s\":-1}",
                                      &info, &err),
                     0);
    ck_assert_int_eq(info.end_time, 0);
}
END_TEST

START_TEST(info_is_not_trusted)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{}",
                                        "{\"state\":3,\"end_time\":1}",
                                        "{\"state\":\"RUNNING\",\"end_time\":\"1\"}"};
    struct slurm_info info;
    struct stint_err err;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ck_assert_int_lt(slurm_info_parse(texts[i], &info, &err), 0);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof(table[0])))

int main(void)
{
    Suite *suite = suite_create("coordinator-states");
    TCase *tcase = tcase_create("states");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tcase, walks_through, 0, COUNT(walks));
    tcase_add_test(tcase, failure_leads_to_idle);
    tcase_add_test(tcase, ends_when_all_have_gone);
    tcase_add_test(tcase, over_is_the_end);
    tcase_add_test(tcase, late_events_are_ignored);
    tcase_add_test(tcase, states_have_names);
    tcase_add_test(tcase, lead_time);
    tcase_add_test(tcase, final_is_due);
    tcase_add_loop_test(tcase, sigterm_means, 0, COUNT(sigterms));
    tcase_add_test(tcase, sigterm_without_any_knowledge);
    tcase_add_test(tcase, info_is_read);
    tcase_add_test(tcase, info_is_not_trusted);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
