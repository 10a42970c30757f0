// SPDX-License-Identifier: BSD-3-Clause
// An eventfd.
#include "dataplane/doorbell.hh"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include <sys/eventfd.h>
#include <unistd.h>

namespace strait::dataplane {

doorbell::~doorbell()
{
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
}

void doorbell::open()
{
    descriptor_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (descriptor_ < 0) {
        throw std::runtime_error{std::string{"a worker needs an eventfd to sleep: "} +
                                 std::strerror(errno)};
    }
}

void doorbell::stop_listening() noexcept
{
    std::uint64_t rung = 0;
    (void)!::read(descriptor_, &rung, sizeof rung);
    state_.store(state::awake, std::memory_order_release);
}

void doorbell::write() const noexcept
{
    constexpr std::uint64_t one = 1;
    (void)!::write(descriptor_, &one, sizeof one);
}

} // namespace strait::dataplane
