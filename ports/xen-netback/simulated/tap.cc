// SPDX-License-Identifier: BSD-3-Clause
// In front of each frame stands the kernel's virtio_net_hdr, which says what is left undone.
#include "ports/xen-netback/simulated/tap.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

namespace strait::xen::simulated {

namespace {

// <linux/virtio_net.h>'s, which no C++ compiler takes.
struct virtio_net_hdr {
    std::uint8_t flags;
    std::uint8_t gso_type;
    std::uint16_t hdr_len;
    std::uint16_t gso_size;
    std::uint16_t csum_start;
    std::uint16_t csum_offset;
};
static_assert(sizeof(virtio_net_hdr) == 10);
constexpr std::uint8_t needs_checksum = 1; // of flags
constexpr std::uint8_t data_valid = 2;
constexpr std::uint8_t gso_tcp_v4 = 1; // of gso_type
constexpr std::uint8_t gso_tcp_v6 = 4;
constexpr std::uint8_t gso_ecn = 0x80;

error failed(const std::string& name, const char* what)
{
    return {"the tap interface " + name + " cannot be " + what + ": " + std::strerror(errno)};
}

unsigned big_endian(std::span<const std::byte> bytes, std::size_t at) noexcept
{
    return std::to_integer<unsigned>(bytes[at]) << 8U | std::to_integer<unsigned>(bytes[at + 1]);
}

} // namespace

result<std::unique_ptr<tap>> tap::open(const std::string& name, const std::string& mac)
{
    ifreq request{};
    if (name.empty() || name.size() >= sizeof request.ifr_name) {
        return error{"an interface's name has 1 to 15 bytes: \"" + name + "\" has not"};
    }
    file_descriptor file{::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    if (!file) {
        return failed(name, "made (/dev/net/tun)");
    }
    std::memcpy(request.ifr_name, name.data(), name.size());
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (::ioctl(file.get(), TUNSETIFF, &request) != 0) {
        return failed(name, "made");
    }
    if (!mac.empty()) {
        std::array<unsigned, 6> octets{};
        if (std::sscanf(mac.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x", &octets[0], &octets[1], &octets[2],
                        &octets[3], &octets[4], &octets[5]) != 6) {
            return error{"\"" + mac + "\" is no MAC address"};
        }
        request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
        for (std::size_t i = 0; i < octets.size(); ++i) {
            request.ifr_hwaddr.sa_data[i] = static_cast<char>(octets[i]);
        }
        if (::ioctl(file.get(), SIOCSIFHWADDR, &request) != 0) {
            return failed(name, "given its MAC address");
        }
    }
    return std::unique_ptr<tap>{new tap{std::move(file)}};
}

result<void> tap::set_offloads(bool checksum, bool tso_v4, bool tso_v6)
{
    unsigned flags = 0;
    if (checksum) {
        flags |= TUN_F_CSUM;
        flags |= tso_v4 ? TUN_F_TSO4 | TUN_F_TSO_ECN : 0U;
        flags |= tso_v6 ? TUN_F_TSO6 | TUN_F_TSO_ECN : 0U;
    }
    if (::ioctl(file_.get(), TUNSETOFFLOAD, flags) != 0) {
        return error{std::string{"the tap interface takes no offloads: "} + std::strerror(errno)};
    }
    return {};
}

void tap::set_carrier(bool on) noexcept
{
    const int value = on ? 1 : 0;
    (void)::ioctl(file_.get(), TUNSETCARRIER, &value);
}

tap::taken tap::take() noexcept
{
    virtio_net_hdr header{};
    const std::array<iovec, 2> parts{{{&header, sizeof header}, {buffer_.data(), buffer_.size()}}};
    const ssize_t got = ::readv(file_.get(), parts.data(), parts.size());
    if (got <= static_cast<ssize_t>(sizeof header)) {
        return {};
    }
    taken t{std::span{buffer_}.first(static_cast<std::size_t>(got) - sizeof header), {}};
    t.extras.checksum_blank = (header.flags & needs_checksum) != 0;
    t.extras.checksum_validated = (header.flags & data_valid) != 0;
    const unsigned gso = header.gso_type & ~unsigned{gso_ecn};
    if (gso == gso_tcp_v4 || gso == gso_tcp_v6) {
        t.extras.segment_size = header.gso_size;
        t.extras.segments_ipv6 = gso == gso_tcp_v6;
    }
    return t;
}

bool tap::give(std::span<const std::byte> bytes, const frame_extras& extras) noexcept
{
    virtio_net_hdr header{};
    if (extras.checksum_blank || extras.segment_size != 0) {
        const auto place = find_transport(bytes);
        if (!place) {
            return false;
        }
        header.flags = needs_checksum;
        header.csum_start = place->start;
        header.csum_offset = place->checksum;
        header.hdr_len = place->payload;
        if (extras.segment_size != 0) {
            header.gso_type = extras.segments_ipv6 ? gso_tcp_v6 : gso_tcp_v4;
            header.gso_size = extras.segment_size;
        }
    } else if (extras.checksum_validated) {
        header.flags = data_valid;
    }
    const std::array<iovec, 2> parts{
        {{&header, sizeof header}, {const_cast<std::byte*>(bytes.data()), bytes.size()}}};
    return ::writev(file_.get(), parts.data(), parts.size()) ==
           static_cast<ssize_t>(sizeof header + bytes.size());
}

std::optional<transport_place> find_transport(std::span<const std::byte> frame) noexcept
{
    constexpr unsigned tcp = 6;
    constexpr unsigned udp = 17;
    const auto byte = [&frame](std::size_t at) { return std::to_integer<unsigned>(frame[at]); };
    std::size_t at = 14;
    if (frame.size() < at) {
        return std::nullopt;
    }
    unsigned type = big_endian(frame, at - 2);
    while ((type == 0x8100 || type == 0x88a8) && frame.size() >= at + 4) {
        at += 4;
        type = big_endian(frame, at - 2);
    }
    unsigned protocol = 0;
    if (type == 0x0800 && frame.size() >= at + 20) {
        protocol = byte(at + 9);
        at += (byte(at) & 0xfU) * 4U;
    } else if (type == 0x86dd && frame.size() >= at + 40) {
        protocol = byte(at + 6);
        at += 40;
        // Hop by hop, routing, destination options.
        while ((protocol == 0 || protocol == 43 || protocol == 60) && frame.size() >= at + 8) {
            protocol = byte(at);
            at += (byte(at + 1) + 1U) * 8U;
        }
    }
    const std::size_t header = protocol == tcp ? 20 : 8;
    if ((protocol != tcp && protocol != udp) || frame.size() < at + header) {
        return std::nullopt;
    }
    const std::size_t length = protocol == tcp ? (byte(at + 12) >> 4U) * 4U : header;
    return transport_place{.start = static_cast<std::uint16_t>(at),
                           .checksum = static_cast<std::uint16_t>(protocol == tcp ? 16 : 6),
                           .payload = static_cast<std::uint16_t>(at + length)};
}

} // namespace strait::xen::simulated
