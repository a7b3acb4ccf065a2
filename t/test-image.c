/* Images: round trip, torn at every place, bit-flipped, hostile lengths.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "common/image_objects.h"
#include "common/image_read.h"
#include "common/image_write.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static char dir[] = "/tmp/stint-test-image.XXXXXX";
static char path[64];
static const uint8_t gen_id[16] = "sixteen bytes id";

static void setup(void)
{
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.img", dir);
}

static void teardown(void)
{
    (void)unlink(path); /* a test may have removed it */
    (void)rmdir(dir);
}

static void put(struct stint_image_writer *w, enum stint_record_type type, const void *a,
                size_t alen, const void *b, size_t blen)
{
    struct iovec parts[2] = {{(void *)a, alen}, {(void *)b, blen}};
    struct stint_err err;

    ck_assert_int_eq(stint_image_writer_record(w, type, STINT_RECORD_REQUIRED, parts, 2, &err),
                     0);
}

/* A group image with one process, one pipe with contents, one segment. */
static void write_group(int extra_flags)
{
    struct stint_group group = {.name = "main", .agent_pid = 10, .nmembers = 2, .nobjects = 1};
    struct stint_member member = {.pid = 11, .state = STINT_MEMBER_RUNNING, .name_len = 6};
    struct stint_member zombie = {.pid = 12, .ppid = 11, .state = STINT_MEMBER_ZOMBIE};
    struct stint_object object = {.id = 1, .kind = STINT_OBJ_PIPE, .path_len = 5,
                                  .extra_len = 3};
    struct stint_fds fds = {.pid = 11, .count = 2};
    struct stint_fd fd[2] = {{.fd = 0, .object_id = 1}, {.fd = 7, .object_id = 1}};
    struct stint_image_writer *w;
    struct stint_err err;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | extra_flags, 0600);

    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(stint_image_writer_new(&w, file, path, STINT_IMAGE_GROUP, 12, gen_id,
                                            &err), 0);
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(stint_image_writer_data(w, "contents!", 9, &err), 0);
    ck_assert_int_eq(stint_image_writer_data_end(w, &object.data_offset, &object.data_len,
                                                 &object.data_xxh3, &err), 0);
    ck_assert_uint_eq(object.data_len, 45000);
    put(w, STINT_REC_GROUP, &group, sizeof(group), NULL, 0);
    put(w, STINT_REC_MEMBER, &member, sizeof(member), "a.img", 6);
    put(w, STINT_REC_MEMBER, &zombie, sizeof(zombie), NULL, 0);
    put(w, STINT_REC_OBJECT, &object, sizeof(object), "/tmp\0abc", 8);
    put(w, STINT_REC_FDS, &fds, sizeof(fds), fd, sizeof(fd));
    ck_assert_int_eq(stint_image_writer_finish(w, NULL, &err), 0);
    stint_image_writer_free(w);
    close(file);
}

static void put_vma(struct stint_image_writer *w, uint64_t start, uint64_t end)
{
    struct stint_vma vma = {.start = start, .end = end, .prot = 3, .kind = STINT_VMA_ANON};

    put(w, STINT_REC_VMA, &vma, sizeof(vma), NULL, 0);
}

/* A process image with two extents; `shift` moves the second one. */
static void write_process(uint64_t shift, uint32_t nthreads)
{
    static uint8_t memory[8192];
    struct stint_process process = {.pid = 11, .nthreads = nthreads};
    struct stint_thread thread = {.tid = 11};
    struct stint_sigaction actions[64] = {{0}};
    struct stint_file_id exe = {.size = 1};
    struct stint_extent e[2] = {
        {.addr = 0x1000, .len = 8192, .stored_len = 8192, .encoding = STINT_ENC_RAW},
        {.addr = 0x9000 + shift, .len = 4096, .stored_len = 4096, .encoding = STINT_ENC_RAW}};
    struct stint_image_writer *w;
    struct stint_err err;
    uint64_t len;
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_eq(stint_image_writer_new(&w, file, path, STINT_IMAGE_PROCESS, 12, gen_id,
                                            &err), 0);
    for (int i = 0; i < 2; i++) {
        memset(memory, 'a' + i, sizeof(memory));
        ck_assert_int_eq(stint_image_writer_data(w, memory, e[i].len, &err), 0);
        ck_assert_int_eq(stint_image_writer_data_end(w, &e[i].offset, &len, &e[i].xxh3, &err),
                         0);
    }
    put(w, STINT_REC_PROCESS, &process, sizeof(process), NULL, 0);
    put(w, STINT_REC_THREAD, &thread, sizeof(thread), NULL, 0);
    put(w, STINT_REC_SIGACTIONS, actions, sizeof(actions), NULL, 0);
    put(w, STINT_REC_CWD, "/", 2, NULL, 0);
    put(w, STINT_REC_EXE, &exe, sizeof(exe), "/bin/true", 10);
    put_vma(w, 0x1000, 0x2000);
    put_vma(w, 0x2000, 0x3000);
    put_vma(w, 0x9000, 0xa000);
    put(w, STINT_REC_EXTENTS, e, sizeof(e), NULL, 0);
    ck_assert_int_eq(stint_image_writer_finish(w, NULL, &err), 0);
    stint_image_writer_free(w);
    close(file);
}

static void expect_refused(int code)
{
    struct stint_image *image = NULL;
    struct stint_err err = {0};
    int r = stint_image_open(&image, AT_FDCWD, path, 0, &err);

    if (r == 0) {
        r = stint_image_verify(image, &err);
        stint_image_close(image);
    }
    ck_assert_int_lt(r, 0);
    if (code)
        ck_assert_int_eq(r, code);
    ck_assert_ptr_nonnull(strstr(err.text, path));
}

static void check_group_reads(void)
{
    struct stint_image *image;
    struct stint_image_record rec;
    struct stint_err err;
    size_t cursor = 0;
    const struct stint_object *object;
    char *contents;

    ck_assert_int_eq(stint_image_open(&image, AT_FDCWD, path, STINT_IMAGE_GROUP, &err), 0);
    ck_assert_uint_eq(image->header.generation, 12);
    ck_assert_int_eq(memcmp(image->header.gen_id, gen_id, 16), 0);
    ck_assert_int_eq(stint_image_group(image)->agent_pid, 10);
    ck_assert_int_eq(stint_image_next_of(image, STINT_REC_MEMBER, &cursor, &rec), 1);
    ck_assert_str_eq(stint_member_name(rec.payload), "a.img");
    ck_assert_int_eq(stint_image_next_of(image, STINT_REC_MEMBER, &cursor, &rec), 1);
    ck_assert_str_eq(stint_member_name(rec.payload), "");
    ck_assert_int_eq(stint_image_next_of(image, STINT_REC_MEMBER, &cursor, &rec), 0);
    object = stint_image_find(image, STINT_REC_OBJECT, NULL);
    ck_assert_str_eq(stint_object_path(object), "/tmp");
    ck_assert_int_eq(memcmp(stint_object_extra(object), "abc", 3), 0);
    contents = malloc(object->data_len);
    ck_assert_int_eq(stint_image_read_data(image, object->data_offset, object->data_len,
                                           object->data_xxh3, contents, &err), 0);
    ck_assert_int_eq(memcmp(contents + 44991, "contents!", 9), 0);
    free(contents);
    ck_assert_int_eq(stint_image_verify(image, &err), 0);
    stint_image_close(image);
}

START_TEST(test_round_trip_group)
{
    write_group(0);
    check_group_reads();
}
END_TEST

START_TEST(test_round_trip_direct)
{
    int probe = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);

    if (probe < 0)
        return; /* this file system has no O_DIRECT */
    close(probe);
    write_group(O_DIRECT);
    check_group_reads();
}
END_TEST

START_TEST(test_round_trip_process)
{
    struct stint_image *image;
    struct stint_err err;

    write_process(0, 1);
    ck_assert_int_eq(stint_image_open(&image, AT_FDCWD, path, STINT_IMAGE_PROCESS, &err), 0);
    ck_assert_int_eq(stint_image_process(image)->pid, 11);
    ck_assert_int_eq(stint_image_verify(image, &err), 0);
    stint_image_close(image);
    ck_assert_int_lt(stint_image_open(&image, AT_FDCWD, path, STINT_IMAGE_GROUP, &err), 0);
}
END_TEST

START_TEST(test_truncated)
{
    struct stat st;

    write_group(0);
    ck_assert_int_eq(stat(path, &st), 0);
    for (off_t len = st.st_size - 512; len >= 0; len -= 512) {
        ck_assert_int_eq(truncate(path, len), 0);
        expect_refused(-EBADMSG);
    }
}
END_TEST

static void flip(off_t at, int bit)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    ck_assert_int_eq(pread(file, &byte, 1, at), 1);
    byte ^= (uint8_t)(1 << bit);
    ck_assert_int_eq(pwrite(file, &byte, 1, at), 1);
    close(file);
}

/* Every byte of the header's page, and all of the rest in strides. Padding of the
 * data area behind an extent's end is covered by no checksum and is never used. */
START_TEST(test_bit_flipped)
{
    struct stat st;

    write_process(0, 1);
    ck_assert_int_eq(stat(path, &st), 0);
    for (off_t at = 0; at < st.st_size; at += at < 256 ? 1 : 97) {
        struct stint_image *image;
        struct stint_err err;

        if (at > 4096 * 4) {
            ck_assert_int_eq(stint_image_open(&image, AT_FDCWD, path, 0, &err), 0);
            bool padding = (uint64_t)at >= image->header.meta_offset + image->header.meta_len;
            stint_image_close(image);
            if (padding)
                break;
        }
        flip(at, (int)(at % 8));
        expect_refused(0);
        flip(at, (int)(at % 8));
    }
}
END_TEST

/* Change a field of the header or the first record, and put the checksums right. */
static void patch(off_t at, const void *bytes, size_t len)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    struct stint_image_header h;
    struct stint_record *rec;
    uint8_t *meta;

    ck_assert_int_eq(pread(file, &h, sizeof(h), 0), sizeof(h));
    meta = calloc(1, h.meta_len);
    ck_assert_int_eq(pread(file, meta, h.meta_len, (off_t)h.meta_offset), h.meta_len);
    if (at >= 0)
        memcpy((uint8_t *)&h + at, bytes, len);
    else
        memcpy(meta + (-at - 1), bytes, len);
    rec = (void *)meta;
    if (rec->len < 4096)
        rec->xxh3 = XXH3_64bits(rec + 1, rec->len);
    if (at < 0) {
        h.meta_xxh3 = XXH3_64bits(meta, h.meta_len);
        ck_assert_int_eq(pwrite(file, meta, h.meta_len, (off_t)h.meta_offset), h.meta_len);
    }
    h.header_xxh3 = 0;
    h.header_xxh3 = XXH3_64bits(&h, sizeof(h));
    ck_assert_int_eq(pwrite(file, &h, sizeof(h), 0), sizeof(h));
    free(meta);
    close(file);
}

static const struct {
    size_t offset;
    uint64_t value;
} hostile_header[] = {
    {offsetof(struct stint_image_header, data_offset), 0},
    {offsetof(struct stint_image_header, data_offset), UINT64_MAX - 4095},
    {offsetof(struct stint_image_header, data_len), UINT64_MAX - 4095},
    {offsetof(struct stint_image_header, data_len), 1ull << 40},
    {offsetof(struct stint_image_header, meta_offset), UINT64_MAX - 4095},
    {offsetof(struct stint_image_header, meta_offset), 1ull << 40},
    {offsetof(struct stint_image_header, meta_offset), 4096},
    {offsetof(struct stint_image_header, meta_len), UINT64_MAX - 7},
    {offsetof(struct stint_image_header, meta_len), 1ull << 31},
    {offsetof(struct stint_image_header, meta_len), 8},
    {offsetof(struct stint_image_header, file_len), 0},
    {offsetof(struct stint_image_header, file_len), UINT64_MAX},
};

START_TEST(test_hostile_header)
{
    write_group(0);
    patch((off_t)hostile_header[_i].offset, &hostile_header[_i].value, 8);
    expect_refused(-EBADMSG);
}
END_TEST

START_TEST(test_hostile_record_length)
{
    static const uint64_t lens[] = {0, 1, 1 << 20, 1ull << 40, UINT64_MAX, UINT64_MAX - 7,
                                    UINT64_MAX - 31};

    write_group(0);
    patch(-1 - (off_t)offsetof(struct stint_record, len), &lens[_i], 8);
    expect_refused(-EBADMSG);
}
END_TEST

START_TEST(test_other_versions)
{
    uint32_t version = 2, arch = 183, type = 4711;

    write_group(0);
    patch((off_t)offsetof(struct stint_image_header, version), &version, 4);
    expect_refused(-EPROTONOSUPPORT);
    write_group(0);
    patch((off_t)offsetof(struct stint_image_header, arch), &arch, 4);
    expect_refused(-ENOEXEC);
    write_group(0);
    patch(-1 - (off_t)offsetof(struct stint_record, type), &type, 4);
    expect_refused(-EPROTONOSUPPORT);
}
END_TEST

START_TEST(test_memory_outside_of_mappings)
{
    write_process(0x1000, 1);
    expect_refused(-EBADMSG);
    write_process(0x700000000000, 1);
    expect_refused(-EBADMSG);
}
END_TEST

START_TEST(test_wrong_thread_count)
{
    write_process(0, 2);
    expect_refused(-EBADMSG);
}
END_TEST

/* A group image with one saved file of 9000 bytes: 4000, a hole, 4000. */
static void write_saved(struct stint_saved_file file, struct stint_saved_piece second,
                        uint64_t count)
{
    struct stint_group group = {.name = "main", .agent_pid = 10};
    struct stint_saved saved = {.count = count};
    struct stint_saved_piece pieces[2] = {{0, 4000}, second};
    char more[40] = "/a/name";
    struct stint_image_writer *w;
    struct stint_err err;
    int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    memcpy(more + 8, pieces, sizeof(pieces)); /* the name fills its 8 bytes */
    ck_assert_int_eq(stint_image_writer_new(&w, out, path, STINT_IMAGE_GROUP, 12, gen_id, &err),
                     0);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(stint_image_writer_data(w, "contents", 8, &err), 0);
    ck_assert_int_eq(stint_image_writer_data_end(w, &saved.data_offset, &saved.data_len,
                                                 &saved.data_xxh3, &err), 0);
    put(w, STINT_REC_GROUP, &group, sizeof(group), NULL, 0);
    put(w, STINT_REC_SAVED, &saved, sizeof(saved), NULL, 0);
    put(w, STINT_REC_SAVED_FILE, &file, sizeof(file), more, sizeof(more));
    ck_assert_int_eq(stint_image_writer_finish(w, NULL, &err), 0);
    stint_image_writer_free(w);
    close(out);
}

static const struct stint_saved_file saved_file = {
    .mode = S_IFREG | 0600, .size = 9000, .path_len = 8, .npieces = 2};
static const struct stint_saved_piece last_piece = {5000, 4000};

START_TEST(test_saved_file)
{
    struct stint_image *image;
    struct stint_err err;
    const struct stint_saved_file *file;

    write_saved(saved_file, last_piece, 1);
    ck_assert_int_eq(stint_image_open(&image, AT_FDCWD, path, STINT_IMAGE_GROUP, &err), 0);
    ck_assert_int_eq(stint_image_verify(image, &err), 0);
    file = stint_image_find(image, STINT_REC_SAVED_FILE, NULL);
    ck_assert_str_eq(stint_saved_path(file), "/a/name");
    ck_assert_str_eq(stint_saved_target(file), "");
    ck_assert_uint_eq(stint_saved_pieces(file)[1].offset, 5000);
    stint_image_close(image);
}
END_TEST

START_TEST(test_hostile_saved_file)
{
    struct stint_saved_file file = saved_file;
    struct stint_saved_piece piece = last_piece;
    uint64_t count = 1;

    switch (_i) {
    case 0:
        file.start = 1; /* more than is stored */
        break;
    case 1:
        file.start = UINT64_MAX;
        break;
    case 2:
        piece.len = 4001; /* beyond its end */
        break;
    case 3:
        piece.offset = 3999; /* not ascending */
        break;
    case 4:
        file.npieces = 3;
        break;
    case 5:
        file.path_len = 7; /* without its end */
        break;
    case 6:
        file.target_len = UINT32_MAX;
        break;
    case 7:
        count = 2;
        break;
    case 8:
        piece.len = UINT64_MAX;
        break;
    }
    write_saved(file, piece, count);
    expect_refused(-EBADMSG);
}
END_TEST

START_TEST(test_special_files)
{
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refused(-EBADMSG);
    unlink(path);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    expect_refused(0);
    unlink(path);
    expect_refused(-ENOENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("image");
    TCase *tc = tcase_create("image");
    SRunner *runner;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_round_trip_group);
    tcase_add_test(tc, test_round_trip_direct);
    tcase_add_test(tc, test_round_trip_process);
    tcase_add_test(tc, test_truncated);
    tcase_add_test(tc, test_bit_flipped);
    tcase_add_loop_test(tc, test_hostile_header, 0,
                        sizeof(hostile_header) / sizeof(hostile_header[0]));
    tcase_add_loop_test(tc, test_hostile_record_length, 0, 7);
    tcase_add_test(tc, test_other_versions);
    tcase_add_test(tc, test_memory_outside_of_mappings);
    tcase_add_test(tc, test_wrong_thread_count);
    tcase_add_test(tc, test_saved_file);
    tcase_add_loop_test(tc, test_hostile_saved_file, 0, 9);
    tcase_add_test(tc, test_special_files);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
