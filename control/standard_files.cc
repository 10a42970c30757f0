// SPDX-License-Identifier: BSD-3-Clause
// Filling the places of standard files that are closed.
#include "control/standard_files.hh"

#include <fcntl.h>
#include <unistd.h>

namespace strait::control {

bool open_standard_files() noexcept
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        // The lowest free number is this one: those below are open.
        if (::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) != fd) {
            return false;
        }
    }
    return true;
}

} // namespace strait::control
