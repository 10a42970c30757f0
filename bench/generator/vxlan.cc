// SPDX-License-Identifier: BSD-3-Clause
#include "bench/generator/vxlan.hh"

#include "bench/generator/checksum.hh"

#include <algorithm>
#include <cstring>

namespace strait::bench {

using dataplane::be16;
using dataplane::be32;
using dataplane::load;
using dataplane::store;

namespace {

// Offsets of the header's fields, and of ARP's for IPv4 over Ethernet.
namespace at {
constexpr std::size_t ether_type = 12;
constexpr std::size_t ip = 14;
constexpr std::size_t length = ip + 2;
constexpr std::size_t fragment = ip + 6;
constexpr std::size_t ttl = ip + 8;
constexpr std::size_t protocol = ip + 9;
constexpr std::size_t checksum = ip + 10;
constexpr std::size_t source = ip + 12;
constexpr std::size_t destination = ip + 16;
constexpr std::size_t udp = ip + 20;
constexpr std::size_t udp_destination = udp + 2;
constexpr std::size_t udp_length = udp + 4;
constexpr std::size_t udp_checksum = udp + 6;
constexpr std::size_t flags = udp + 8;
constexpr std::size_t network = flags + 4;
constexpr std::size_t arp = 14;
constexpr std::size_t sender_mac = arp + 8;
constexpr std::size_t sender = arp + 14;
constexpr std::size_t target_mac = arp + 18;
constexpr std::size_t target = arp + 24;
constexpr std::size_t arp_end = arp + 28;
} // namespace at

static_assert(at::network + 4 == vxlan::header);

constexpr std::uint16_t type_ip = 0x0800;
constexpr std::uint16_t type_arp = 0x0806;
constexpr std::uint32_t with_network = 0x08000000; // the flag I, and the reserved bits
// Of ARP for IPv4 over Ethernet, the first eight bytes.
constexpr std::uint64_t question = 0x0001'0800'0604'0001;
constexpr std::uint64_t answer = 0x0001'0800'0604'0002;

std::uint16_t udp_sum(std::span<const std::byte> frame) noexcept
{
    constexpr std::uint64_t udp = 17;
    const std::span<const std::byte> datagram = frame.subspan(at::udp);
    const auto addresses = internet_sum(frame.subspan(at::source, 8));
    return internet_sum(datagram, addresses + udp + datagram.size());
}

} // namespace

vxlan::vxlan(side which, const vxlan_place& place) noexcept
    : place_(place), own_{std::byte{0x02}, std::byte{0x53},
                          std::byte{0x0c}, std::byte{0},
                          std::byte{0},    which == side::a ? std::byte{0x0a} : std::byte{0x0b}}
{
    far_.fill(std::byte{0xff});
}

void vxlan::write(std::byte* to, std::uint16_t bytes, std::uint32_t flow) const noexcept
{
    constexpr std::uint16_t do_not_fragment = 0x4000;
    constexpr std::uint16_t first_port = 49152;
    const auto udp_length = static_cast<std::uint16_t>(bytes + header - at::udp);
    std::copy(far_.begin(), far_.end(), to);
    std::copy(own_.begin(), own_.end(), to + 6);
    store(to + at::ether_type, be16{type_ip});
    store(to + at::ip, be16{0x4500});
    store(to + at::length, be16{static_cast<std::uint16_t>(udp_length + at::udp - at::ip)});
    store(to + at::fragment - 2, be16{0});
    store(to + at::fragment, be16{do_not_fragment});
    store(to + at::ttl, be16{0x4011});
    store(to + at::checksum, be16{0});
    store(to + at::source, be32{place_.own});
    store(to + at::destination, be32{place_.far});
    store(to + at::checksum,
          be16{static_cast<std::uint16_t>(~internet_sum({to + at::ip, at::udp - at::ip}))});
    // Neighbours in number are no neighbours in a hash.
    const std::uint32_t scattered = flow * 0x9e3779b1U;
    store(to + at::udp, be16{static_cast<std::uint16_t>(first_port | scattered >> 18)});
    store(to + at::udp_destination, be16{port});
    store(to + at::udp_length, be16{udp_length});
    store(to + at::udp_checksum, be16{0});
    store(to + at::flags, be32{with_network});
    store(to + at::network, be32{place_.network << 8});
}

bool vxlan::take(std::span<const std::byte> head) noexcept
{
    const std::byte* const frame = head.data();
    if (head.size() >= header && load<be16>(frame + at::ether_type) == type_ip &&
        frame[at::protocol] == std::byte{17} && load<be16>(frame + at::udp_destination) == port) {
        if (!knows_far_) { // a switch that was answered before does not ask again
            learn(frame + far_.size());
        }
        return true;
    }
    if (head.size() >= at::arp_end && load<be16>(frame + at::ether_type) == type_arp &&
        get<std::uint64_t>(frame + at::arp) == __builtin_bswap64(question) &&
        load<be32>(frame + at::target) == place_.own &&
        load<be32>(frame + at::sender) == place_.far) {
        learn(frame + at::sender_mac);
        owes_answer_ = true;
    }
    return false;
}

void vxlan::learn(const std::byte* from) noexcept
{
    std::copy_n(from, far_.size(), far_.begin());
    knows_far_ = true;
}

bool vxlan::check(std::span<const std::byte> frame) const noexcept
{
    const std::byte* const head = frame.data();
    return frame.size() >= header && std::equal(own_.begin(), own_.end(), head) &&
           std::equal(far_.begin(), far_.end(), head + 6) &&
           load<be16>(head + at::ether_type) == type_ip && head[at::ip] == std::byte{0x45} &&
           load<be16>(head + at::length) == frame.size() - at::ip &&
           (load<be16>(head + at::fragment) & 0xbfffU) == 0 && head[at::ttl] != std::byte{0} &&
           head[at::protocol] == std::byte{17} &&
           internet_sum(frame.subspan(at::ip, at::udp - at::ip)) == 0xffff &&
           load<be32>(head + at::source) == place_.far &&
           load<be32>(head + at::destination) == place_.own &&
           load<be16>(head + at::udp_destination) == port &&
           load<be16>(head + at::udp_length) == frame.size() - at::udp &&
           (load<be16>(head + at::udp_checksum) == 0 || udp_sum(frame) == 0xffff) &&
           load<be32>(head + at::flags) == with_network &&
           load<be32>(head + at::network) == place_.network << 8;
}

std::uint16_t vxlan::write_answer(std::byte* to) noexcept
{
    owes_answer_ = false;
    std::fill_n(to, smallest_frame, std::byte{0});
    std::copy(far_.begin(), far_.end(), to);
    std::copy(own_.begin(), own_.end(), to + 6);
    store(to + at::ether_type, be16{type_arp});
    put(to + at::arp, __builtin_bswap64(answer));
    std::copy(own_.begin(), own_.end(), to + at::sender_mac);
    store(to + at::sender, be32{place_.own});
    std::copy(far_.begin(), far_.end(), to + at::target_mac);
    store(to + at::target, be32{place_.far});
    return smallest_frame;
}

} // namespace strait::bench
