"""Runs a program, as the user of the first argument, where no user namespace can be made.

The setting is of the user namespace that this makes, in which all ids are as outside.
"""
import ctypes
import os
import sys

CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000

libc = ctypes.CDLL(None)
made, mapped = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0
    os.write(made[1], b".")
    os.read(mapped[0], 1)
    with open("/proc/sys/user/max_user_namespaces", "w") as setting:
        setting.write("0")
    user = int(sys.argv[1])
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    os.execvp(sys.argv[2], sys.argv[2:])
os.read(made[0], 1)
for ids in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{ids}", "w") as file:
        file.write("0 0 2200000")
os.write(mapped[1], b".")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
