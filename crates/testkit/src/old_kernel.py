# Runs a program as Linux 3.10 would: every system call that is newer is answered ENOSYS, here and in whatever the program starts.
# Arguments: the program and its arguments. A seccomp filter by hand, since neither util-linux nor Python has one that answers errno.
import ctypes
import os
import platform
import struct
import sys

# The machine's AUDIT_ARCH and the first call that 3.10 does not know: sched_setattr (3.14), on both the first one after finit_module.
ARCHITECTURES = {"x86_64": (0xC000003E, 314), "aarch64": (0xC00000B7, 274)}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, ENOSYS = 0x7FFF0000, 0x00050000 | 38

if platform.machine() not in ARCHITECTURES:
    print("UNKNOWN MACHINE", platform.machine(), flush=True)
    sys.exit(3)
architecture, newer = ARCHITECTURES[platform.machine()]
steps = [
    (LOAD, 0, 0, 4),  # seccomp_data.arch
    (EQUAL, 0, 3, architecture),
    (LOAD, 0, 0, 0),  # seccomp_data.nr
    (AT_LEAST, 0, 1, newer),
    (RETURN, 0, 0, ENOSYS),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


program = Program(len(steps), ctypes.addressof(code))
prctl = ctypes.CDLL(None, use_errno=True).prctl
if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
    print("NO FILTER", os.strerror(ctypes.get_errno()), flush=True)
    sys.exit(3)
os.execvp(sys.argv[1], sys.argv[1:])
