// SPDX-License-Identifier: BSD-3-Clause
// Looking through /proc/self/fd.
#include "ports/nic/driver_descriptor.hh"

#include "ports/number.hh"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/if_packet.h>
#include <linux/if_tun.h>

#include <filesystem>
#include <optional>

namespace strait::nic {

namespace {

// The queue of a tap that a descriptor leads to; nothing if it is none, or its interface is gone.
std::optional<ifreq> as_tap(int fd)
{
    // Of other devices' descriptors it may be a request of another meaning.
    std::error_code gone;
    const auto file = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), gone);
    ifreq is{};
    if (file != "/dev/net/tun" || ::ioctl(fd, TUNGETIFF, &is) != 0) {
        return std::nullopt;
    }
    return is;
}

// Where the AF_PACKET socket is bound that a descriptor leads to; nothing if it is none.
std::optional<sockaddr_ll> as_packet_socket(int fd)
{
    sockaddr_ll bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0 ||
        bound.sll_family != AF_PACKET) {
        return std::nullopt;
    }
    return bound;
}

template <typename Visit>
void for_each_descriptor(const Visit& visit)
{
    std::error_code failed;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/fd", failed}) {
        if (const auto fd = to_number<int>(entry.path().filename().string())) {
            visit(*fd);
        }
    }
}

} // namespace

driver_descriptors::driver_descriptors()
{
    for_each_descriptor([this](int fd) {
        if (as_tap(fd) || as_packet_socket(fd)) {
            before_.insert(fd);
        }
    });
}

// A duplicate of the first that is `chosen`.
template <typename Chosen>
file_descriptor driver_descriptors::find(const Chosen& chosen) const
{
    file_descriptor found;
    for_each_descriptor([&](int fd) {
        if (found.get() < 0 && !before_.contains(fd) && chosen(fd)) {
            found = file_descriptor{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
        }
    });
    return found;
}

ports::result<file_descriptor> driver_descriptors::find_tap(const std::string& interface) const
{
    // The driver's keep-alive descriptor leads to the interface, too, but no frame comes there.
    file_descriptor found = find([&](int fd) {
        const auto tap = as_tap(fd);
        return tap && interface == tap->ifr_name &&
               (static_cast<unsigned>(tap->ifr_flags) & IFF_DETACH_QUEUE) == 0;
    });
    if (found.get() < 0) {
        return ports::error{"the tap " + interface +
                            " was opened, but no descriptor of this process leads to it"};
    }
    return found;
}

ports::result<file_descriptor>
driver_descriptors::find_packet_socket(std::uint32_t interface_index) const
{
    file_descriptor found = find([&](int fd) {
        const auto socket = as_packet_socket(fd);
        return socket && static_cast<std::uint32_t>(socket->sll_ifindex) == interface_index;
    });
    if (found.get() < 0) {
        return ports::error{"an AF_PACKET socket was opened on interface number " +
                            std::to_string(interface_index) +
                            ", but no descriptor of this process leads to it"};
    }
    return found;
}

} // namespace strait::nic
