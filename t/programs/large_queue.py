"""A message queue with messages larger than those that every user may have."""
# SPDX-License-Identifier: Apache-2.0
import ctypes
import os
import sys

import gate

SIZE = 20000
libc = ctypes.CDLL(None, use_errno=True)
name = sys.argv[1].encode()
attributes = (ctypes.c_long * 8)(0, 3, SIZE)
queue = libc.mq_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, attributes)
if queue < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
message = ctypes.create_string_buffer(b"m" * SIZE, SIZE)
if libc.mq_send(queue, message, SIZE, 5) < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
gate.wait()
received = ctypes.create_string_buffer(SIZE)
priority = ctypes.c_uint()
length = libc.mq_receive(queue, received, SIZE, ctypes.byref(priority))
print(length, priority.value, received.raw == message.raw)
libc.mq_unlink(name)
