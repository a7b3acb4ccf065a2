/* Open file descriptions: opened once by init, inherited by all processes.
 * SPDX-License-Identifier: Apache-2.0
 *
 * One table row per kind (objects.c), one file per family of kinds.
 */
#ifndef STINT_RESTORER_OBJECTS_H
#define STINT_RESTORER_OBJECTS_H

#include "runtime/restorer/restore.h"

/* Before anything is made: is every kind known, does every file exist? */
int stint_objects_check(struct stint_restore *restore, struct stint_err *err);

/* Make the shared memory segments, then open every object. Context: init. */
int stint_objects_open(struct stint_restore *restore, struct stint_err *err);

/* Open those that need the processes to exist, and fill epolls. Context: init. */
int stint_objects_open_late(struct stint_restore *restore, struct stint_err *err);

/* objects_locks.c: take the locks that belong to open file descriptions. Context: init. */
int stint_locks_take(struct stint_restore *restore, struct stint_err *err);

/* In a process: wait for late objects and take its own copies of them.
 * Returns 0, -errno with *err, or -ECANCELED without when the restore has failed. */
int stint_objects_take_late(struct stint_restore *restore, struct stint_err *err);

/* Owners for SIGIO: the processes exist now. Context: init. */
void stint_objects_set_owners(struct stint_restore *restore);

/* Put files that the program changes in place back to what they held, and seal memfds;
 * the point of no return has come. Context: init. */
void stint_objects_put_back(struct stint_restore *restore);
void stint_objects_seal(struct stint_restore *restore);

/* Watch with inotify what was watched: last, so that nothing of ours is noticed. */
void stint_objects_watch(struct stint_restore *restore);

/* Cut output files back to what they were; the point of no return has come. */
void stint_objects_cut(struct stint_restore *restore);

/* --- for the files of the table ------------------------------------------ */

/* Opens one object; returns a descriptor (any number) or -errno with *err. */
typedef int (*stint_object_open_f)(struct stint_restore *restore,
                                   struct stint_restored_object *object,
                                   struct stint_err *err);

int stint_object_open_file(struct stint_restore *restore,
                           struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_deleted(struct stint_restore *restore,
                              struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_dir(struct stint_restore *restore,
                          struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_path(struct stint_restore *restore,
                           struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_memfd(struct stint_restore *restore,
                            struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_pipe(struct stint_restore *restore,
                           struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_fifo(struct stint_restore *restore,
                           struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_chardev(struct stint_restore *restore,
                              struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_stdio(struct stint_restore *restore,
                            struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_tty(struct stint_restore *restore,
                          struct stint_restored_object *object, struct stint_err *err);

int stint_object_open_eventfd(struct stint_restore *restore,
                              struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_signalfd(struct stint_restore *restore,
                               struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_timerfd(struct stint_restore *restore,
                              struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_pidfd(struct stint_restore *restore,
                            struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_epoll(struct stint_restore *restore,
                            struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_proc(struct stint_restore *restore,
                           struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_inotify(struct stint_restore *restore,
                              struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_pty(struct stint_restore *restore,
                          struct stint_restored_object *object, struct stint_err *err);
int stint_object_open_mqueue(struct stint_restore *restore,
                             struct stint_restored_object *object, struct stint_err *err);

/* objects_pty.c: make all pairs and their masters, before slaves are opened. */
int stint_ptys_make(struct stint_restore *restore, struct stint_err *err);
/* Everybody has opened the slaves. Context: init. */
void stint_ptys_lock(struct stint_restore *restore);
/* In the leader of a session, before it has children: its controlling terminal. */
int stint_pty_adopt(struct stint_restore *restore, int32_t sid, struct stint_err *err);
/* Likewise, when all process groups exist. */
void stint_pty_put_foreground(struct stint_restore *restore, int32_t sid);

/* Does it need a process of the program? */
bool stint_object_is_late(const struct stint_object *object);
/* Before the processes are made: put something in its place. Returns 0 or -errno. */
int stint_object_promise(struct stint_restore *restore, struct stint_restored_object *object,
                         struct stint_err *err);
/* fd, taken over, is what it is. Likewise. */
int stint_object_keep_promise(struct stint_restore *restore,
                              struct stint_restored_object *object, int fd,
                              struct stint_err *err);
/* Register in every epoll what it watched. All objects are open. pid: 0 in init, in a
 * process its own. Likewise. */
int stint_objects_link_epoll(struct stint_restore *restore, int32_t pid,
                             struct stint_err *err);

/* Another open file description of what fd refers to. Returns fd or -errno. */
int stint_reopen(int fd, int flags);

/* huge.c: flags of memfd_create(2) for huge pages of that size; 0 for 0. */
unsigned stint_memfd_huge(uint64_t page);
/* Is it a file of huge pages? */
bool stint_is_huge(int fd);
/* Before anything is made: are there enough huge pages for shared memory? */
int stint_huge_check(struct stint_restore *restore, struct stint_err *err);

/* What of F_GETFL makes sense to open(2): nothing that creates or empties. */
int stint_object_flags(const struct stint_object *object);

/* Copy the object's contents from the group image to an fd. 0 or -errno, *err. */
int stint_object_put_data(struct stint_restore *restore, const struct stint_object *object,
                          int fd, struct stint_err *err);

/* objects_contents.c: the FILE object that has the contents of this one's file, to be used
 * if the file is gone; NULL when they are not stored. */
const struct stint_object *stint_object_spare(struct stint_restore *restore,
                                              const struct stint_object *object);

/* objects_contents.c: fill segments with what was not mapped of the files behind them. */
int stint_segments_complete(struct stint_restore *restore, struct stint_err *err);

/* objects_ipc.c: System V IPC with the old ids; contents of shared memory that is a
 * segment come from its image. Context: init. Returns 0 or -errno with *err. */
int stint_ipc_make(struct stint_restore *restore, struct stint_err *err);
/* Everybody is attached: what was removed already goes with its last user again. */
void stint_ipc_remove(struct stint_restore *restore);

/* In a process: what SEM_UNDO is to do at its end. Likewise. */
int stint_ipc_undo(struct stint_restore *restore, int32_t pid, struct stint_err *err);

/* objects_mqueue.c: mount the new IPC namespace's mqueue file system where the machine's is.
 * Context: init. */
void stint_mqueues_mount(struct stint_restore *restore);
/* Make all POSIX message queues with what was in them. Context: init. 0 or -errno, *err. */
int stint_mqueues_make(struct stint_restore *restore, struct stint_err *err);
/* In a process whose descriptors are in place, none of which will be closed any more: ask to
 * be told of messages, as it had (mq_notify(3)). Likewise. */
int stint_mqueues_notify(struct stint_restore *restore, int32_t pid, struct stint_err *err);

/* segments.c */
/* Write the contents of a segment to memory of size bytes. Returns 0 or -errno. */
int stint_segment_load(const struct stint_image *image, char *to, uint64_t size,
                       struct stint_err *err);
int stint_segments_make(struct stint_restore *restore, struct stint_err *err);
/* The segment with that file identity (dev, ino), or NULL. */
struct stint_restored_segment *stint_segment_of(struct stint_restore *restore, uint64_t dev,
                                                uint64_t ino);
/* A nameless, empty, writable file: in the directory of path if that is possible
 * (NULL: no wish), else in the image's. Returns fd or -errno with *err. */
int stint_nameless_file(struct stint_restore *restore, const char *path,
                        struct stint_err *err);

#endif
