// SPDX-License-Identifier: BSD-3-Clause
// Telling a guest that its ring has news, and taking what it tells: eventfds.
#pragma once

#include <cstdint>

#include <sys/uio.h>
#include <unistd.h>

namespace strait::vhost {

// The descriptor is non-blocking: a guest that lets its counter run full is only not told again.
inline void kick(int call_fd) noexcept
{
    if (call_fd >= 0) {
        constexpr std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = write(call_fd, &one, sizeof one);
    }
}

// Makes a descriptor that was written to unreadable. Without waiting, whatever its flags say: the
// front end shares it, may have read it first, and can have it block.
inline void forget_kicks(int fd) noexcept
{
    std::uint64_t count = 0;
    const iovec into{&count, sizeof count};
    [[maybe_unused]] const ssize_t taken = ::preadv2(fd, &into, 1, -1, RWF_NOWAIT);
}

} // namespace strait::vhost
