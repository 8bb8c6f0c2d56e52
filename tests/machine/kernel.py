"""What a kernel refuses, in a process of its own: a filter that answers some of its calls with an error number.

The answer is the kernel's, at the place where a disk or a file system without the operation gives it.
"""

import ctypes
import errno
import platform
import struct

_X86_64 = {"link": 86, "linkat": 265}
_AARCH64 = {"linkat": 37}
_NO_NEW_PRIVILEGES, _SECCOMP, _BY_FILTER = 38, 22, 2
_LOAD, _EQUALS, _ANSWER = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def deny_links(number: int) -> None:
    """From now on hard links end with this error, here and in whatever is started from here."""
    calls = list((_X86_64 if platform.machine() == "x86_64" else _AARCH64).values())
    program = [struct.pack("HBBI", _LOAD, 0, 0, 0)]
    for at, call in enumerate(calls):
        program.append(struct.pack("HBBI", _EQUALS, len(calls) - at, 0, call))
    program.append(struct.pack("HBBI", _ANSWER, 0, 0, _ALLOW))
    program.append(struct.pack("HBBI", _ANSWER, 0, 0, _ERROR | number))
    code = ctypes.create_string_buffer(b"".join(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    filtered = Program(len(program), ctypes.cast(code, ctypes.c_void_p))
    for words in ((_NO_NEW_PRIVILEGES, 1, 0), (_SECCOMP, _BY_FILTER, ctypes.byref(filtered))):
        if libc.prctl(*words, 0, 0):
            raise OSError(ctypes.get_errno(), errno.errorcode[ctypes.get_errno()])
