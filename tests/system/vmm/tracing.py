# SPDX-License-Identifier: BSD-3-Clause
"""System calls that a thread of another process did not want to make."""

import ctypes
import os

_SEIZE, _INTERRUPT, _SINGLESTEP, _GETREGS, _SETREGS, _DETACH = 0x4206, 0x4207, 9, 12, 13, 17
_WALL = 0x40000000


class _Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in
                "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags "
                "rsp ss fs_base gs_base ds es fs gs".split()]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request, thread, data=None):
    if _libc.ptrace(request, thread, None, data) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def call(thread, number, *arguments):
    """Has the thread, which waits in a system call, make this one. What it returns, a negative
    errno, too; ProcessLookupError: that was its end."""
    _ptrace(_SEIZE, thread)
    _ptrace(_INTERRUPT, thread)
    os.waitpid(thread, _WALL)
    before = _Registers()
    _ptrace(_GETREGS, thread, ctypes.byref(before))
    registers = _Registers.from_buffer_copy(before)
    registers.rip -= 2  # the instruction by which it waits
    registers.rax = number
    registers.orig_rax = 2**64 - 1
    for name, value in zip(("rdi", "rsi", "rdx", "r10"), arguments):
        setattr(registers, name, value)
    _ptrace(_SETREGS, thread, ctypes.byref(registers))
    _ptrace(_SINGLESTEP, thread)
    if not os.WIFSTOPPED(os.waitpid(thread, _WALL)[1]):
        raise ProcessLookupError
    _ptrace(_GETREGS, thread, ctypes.byref(registers))
    _ptrace(_SETREGS, thread, ctypes.byref(before))
    _ptrace(_DETACH, thread)
    return ctypes.c_longlong(registers.rax).value
