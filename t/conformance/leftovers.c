/* Remove what cases have left on the machine that were killed before their end.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Standard input: lines "queue NAME", "semaphores ID", "messages ID" or "shm ID".
 */
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

int main(void)
{
    char kind[16], name[256];

    while (scanf("%15s %255s", kind, name) == 2) {
        if (strcmp(kind, "queue") == 0)
            (void)mq_unlink(name); /* most are gone */
        else if (strcmp(kind, "semaphores") == 0)
            (void)semctl(atoi(name), 0, IPC_RMID); /* likewise */
        else if (strcmp(kind, "messages") == 0)
            (void)msgctl(atoi(name), IPC_RMID, NULL); /* likewise */
        else if (strcmp(kind, "shm") == 0)
            (void)shmctl(atoi(name), IPC_RMID, NULL); /* likewise */
    }
    return 0;
}
