/* The blob, as data of stint-restorer. SPDX-License-Identifier: Apache-2.0 */
    .section .rodata
    .balign 16
    .globl stint_blob_start
    .globl stint_blob_end
stint_blob_start:
    .incbin BLOB_FILE
stint_blob_end:
    .section .note.GNU-stack, "", @progbits
