// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/tap_endpoint.hh"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::bench {

namespace {

[[noreturn]] void fail(const std::string& name, const std::string& what, int code)
{
    throw std::runtime_error{"interface " + name + ": " + what + ": " +
                             std::generic_category().message(code)};
}

bool is_up(const std::string& name) noexcept
{
    const dataplane::file_descriptor any{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    ifreq request{};
    std::memcpy(request.ifr_name, name.data(), name.size());
    return ::ioctl(any.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0;
}

} // namespace

tap_endpoint::tap_endpoint(std::size_t which, const options& settings)
    : endpoint(which, settings),
      name_(settings.ends[which].where),
      file_(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC))
{
    ifreq request{};
    if (name_.size() >= sizeof request.ifr_name) {
        throw std::runtime_error{"interface " + name_ + ": a name has at most 15 bytes"};
    }
    if (!file_) {
        fail(name_, "/dev/net/tun cannot be opened", errno);
    }
    std::memcpy(request.ifr_name, name_.data(), name_.size());
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (::ioctl(file_.get(), TUNSETIFF, &request) != 0) {
        fail(name_, "it cannot be had as a tap", errno);
    }
}

void tap_endpoint::attach(std::chrono::milliseconds patience)
{
    build(std::span{sent_}.first(largest_size()));
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!is_up(name_)) {
        if (std::chrono::steady_clock::now() >= end) {
            throw std::runtime_error{"interface " + name_ + ": it is not up"};
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

void tap_endpoint::expect_connected()
{
    if (fault_ != 0) {
        fail(name_, "it takes no frames", fault_);
    }
}

unsigned tap_endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    unsigned count = 0;
    for (; count < most; ++count) {
        if (waiting_ == 0) {
            waiting_ = fixed() ? largest_size() : shape(sent_.data(), 0, now);
        }
        if (::write(file_.get(), sent_.data(), waiting_) < 0) {
            fault_ = errno == EAGAIN || errno == ENOBUFS || errno == EINTR ? fault_ : errno;
            break;
        }
        waiting_ = 0;
    }
    count_sent(most, count);
    return count;
}

void tap_endpoint::drop_waiting() noexcept
{
    if (waiting_ != 0) {
        take_back(std::span{sent_}.first(std::exchange(waiting_, std::uint16_t{0})));
    }
}

unsigned tap_endpoint::receive(std::uint64_t now) noexcept
{
    unsigned count = 0;
    for (; count < burst; ++count) {
        const ssize_t got = ::read(file_.get(), received_.data(), received_.size());
        if (got <= 0) {
            break;
        }
        const auto frame =
            std::span<const std::byte>{received_}.first(static_cast<std::size_t>(got));
        begin_frame(frame, now);
        end_frame(frame, static_cast<std::uint32_t>(got));
    }
    if (count != 0) {
        end_burst(now);
    }
    return count;
}

} // namespace strait::bench
