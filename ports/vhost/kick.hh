// SPDX-License-Identifier: BSD-3-Clause
// Telling a guest that its ring has news: one eventfd write.
#pragma once

#include <cstdint>

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

} // namespace strait::vhost
