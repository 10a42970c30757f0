// SPDX-License-Identifier: BSD-3-Clause
// A lock of a whole file, however long it becomes, that goes with its descriptor: fcntl(2), open
// file description locks. Files of guests have it, so that no two have one.
#pragma once

#include <cerrno>

#include <fcntl.h>

namespace strait::vmm {

// From 0 to its end, wherever that will be.
[[nodiscard]] inline struct flock of_whole_file(short kind) noexcept
{
    struct flock lock {};
    lock.l_type = kind;
    lock.l_whence = SEEK_SET;
    return lock;
}

// `kind` is F_RDLCK or F_WRLCK. 0, or why not: EAGAIN or EACCES if somebody else has it. Never
// waits. Any thread.
[[nodiscard]] inline int lock_file(int file, short kind) noexcept
{
    struct flock lock = of_whole_file(kind);
    return ::fcntl(file, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

// Whether somebody else has it. True, too, if that cannot be told.
[[nodiscard]] inline bool is_locked_file(int file) noexcept
{
    struct flock lock = of_whole_file(F_WRLCK);
    return ::fcntl(file, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
}

} // namespace strait::vmm
