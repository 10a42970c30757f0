// SPDX-License-Identifier: BSD-3-Clause
// Looking through /proc/self/fd.
#include "ports/nic/driver_descriptor.hh"

#include "ports/number.hh"

#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/if_packet.h>
#include <linux/if_tun.h>

#include <rte_ethdev.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
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

// By inode: the kernel lists them in the order in which they were made. Descriptors' numbers do not
// say: other threads give some back meanwhile.
std::map<ino_t, std::size_t> places_of_packet_sockets()
{
    std::map<ino_t, std::size_t> places;
    std::ifstream list{"/proc/self/net/packet"};
    std::string line;
    std::getline(list, line); // the heading
    while (std::getline(list, line)) {
        const auto last = line.find_last_not_of(' ');
        const auto begin = line.find_last_of(' ', last) + 1;
        if (const auto inode = to_number<ino_t>(line.substr(begin, last + 1 - begin))) {
            places.emplace(*inode, places.size());
        }
    }
    return places;
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

// A duplicate of each that is `chosen`.
template <typename Chosen>
std::vector<file_descriptor> driver_descriptors::find(const Chosen& chosen) const
{
    std::vector<file_descriptor> found;
    for_each_descriptor([&](int fd) {
        if (!before_.contains(fd) && chosen(fd)) {
            found.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
        }
    });
    return found;
}

ports::result<file_descriptor> driver_descriptors::find_tap(const std::string& interface) const
{
    // The driver's keep-alive descriptor leads to the interface, too, but no frame comes there.
    auto found = find([&](int fd) {
        const auto tap = as_tap(fd);
        return tap && interface == tap->ifr_name &&
               (static_cast<unsigned>(tap->ifr_flags) & IFF_DETACH_QUEUE) == 0;
    });
    if (found.empty()) {
        return ports::error{"the tap " + interface +
                            " was opened, but no descriptor of this process leads to it"};
    }
    return std::move(found.front());
}

file_descriptor driver_descriptors::interrupt_of(std::uint16_t port_id, std::uint16_t queue)
{
    const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port_id, queue);
    std::error_code none;
    // Others than the kernel's vfio have descriptors that only their driver can read.
    if (fd < 0 ||
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none) !=
            "anon_inode:[eventfd]" ||
        rte_eth_dev_rx_intr_enable(port_id, queue) != 0 ||
        rte_eth_dev_rx_intr_disable(port_id, queue) != 0) {
        return {};
    }
    return file_descriptor{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
}

ports::result<std::vector<file_descriptor>>
driver_descriptors::find_packet_sockets(std::uint32_t interface_index, std::size_t count) const
{
    auto found = find([&](int fd) {
        const auto socket = as_packet_socket(fd);
        return socket && static_cast<std::uint32_t>(socket->sll_ifindex) == interface_index;
    });
    if (found.size() != count) {
        return ports::error{"of " + std::to_string(count) +
                            " AF_PACKET sockets that were opened on interface number " +
                            std::to_string(interface_index) + ", " + std::to_string(found.size()) +
                            " are found among the descriptors of this process"};
    }
    const auto places = places_of_packet_sockets();
    std::ranges::sort(found, {}, [&](const file_descriptor& one) {
        struct stat is {};
        (void)::fstat(one.get(), &is);
        const auto at = places.find(is.st_ino);
        return at != places.end() ? at->second : places.size();
    });
    return found;
}

} // namespace strait::nic
