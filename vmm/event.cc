// SPDX-License-Identifier: BSD-3-Clause
// eventfds.
#include "vmm/event.hh"

#include <cerrno>
#include <string>

#include <poll.h>
#include <sys/eventfd.h>

namespace strait::vmm {

ports::result<event> event::make()
{
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        return ports::error{"no eventfd can be had: " + ports::describe(errno)};
    }
    return event{fd};
}

void event::signal() const noexcept
{
    // A count that is full already wakes as well.
    [[maybe_unused]] const int ignored = ::eventfd_write(fd(), 1);
}

bool event::take() const noexcept
{
    eventfd_t count = 0;
    return ::eventfd_read(fd(), &count) == 0;
}

bool event::pending() const noexcept
{
    pollfd one{.fd = fd(), .events = POLLIN, .revents = 0};
    return ::poll(&one, 1, 0) == 1;
}

} // namespace strait::vmm
