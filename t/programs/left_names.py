"""Messages from sockets with relative names that are closed by now."""
import os
import socket
import sys

import gate

os.chdir(sys.argv[1])
box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
box.bind("box")
for name in "one", "two":
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.bind(name)
    sender.sendto(name.upper().encode(), "box")
    sender.close()
    os.unlink(name)
gate.wait()
print(box.recvfrom(16), box.recvfrom(16), sorted(os.listdir(".")))
