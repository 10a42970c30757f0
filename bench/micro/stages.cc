// SPDX-License-Identifier: BSD-3-Clause
#include "bench/micro/stages.hh"

#include "bench/micro/two_ports.hh"

#include "dataplane/forward.hh"
#include "dataplane/ip.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace strait::bench {

namespace {

using namespace dataplane;

constexpr std::size_t ip = ethernet_header;
constexpr std::size_t tcp = ip + min_ipv4_header;

// All of a frame as one private head.
packet packet_of(std::span<std::byte> frame) noexcept
{
    packet p{};
    p.data = frame.data();
    p.length = static_cast<std::uint32_t>(frame.size());
    p.head_length = static_cast<std::uint16_t>(frame.size());
    p.destinations = 1;
    return p;
}

} // namespace

std::vector<std::byte> make_segment(std::uint32_t bytes)
{
    std::vector<std::byte> frame(bytes);
    for (std::size_t at = 0; at < frame.size(); ++at) {
        frame[at] = static_cast<std::byte>(at * 7 + at / 253);
    }
    // Locally administered, unicast: 02:01:00:00:00:02 and 02:01:00:00:00:01 in memory.
    constexpr std::array<std::uint8_t, ethernet_header> addresses{0x02, 1, 0, 0, 0, 2,    0x02,
                                                                  1,    0, 0, 0, 1, 0x08, 0x00};
    std::memcpy(frame.data(), addresses.data(), addresses.size());
    std::fill_n(frame.begin() + ip, min_ipv4_header + min_tcp_header, std::byte{0});
    frame[ip] = std::byte{0x45};
    store<be16>(frame.data() + ip + 2, static_cast<std::uint16_t>(bytes - ip));
    frame[ip + 9] = std::byte{protocol_tcp};
    frame[ip + 15] = std::byte{1}; // of the sender's address
    frame[ip + 19] = std::byte{2};
    frame[tcp + 12] = std::byte{0x50};
    packet p = packet_of(frame);
    if (leave_unfinished(p, 0) != offload_fault::none) {
        throw std::runtime_error{"the benchmark's frame is no TCP segment"};
    }
    return frame;
}

std::vector<std::byte> make_whole_segment(std::uint32_t bytes)
{
    std::vector<std::byte> frame = make_segment(bytes);
    packet p = packet_of(frame);
    if (leave_unfinished(p, 0) == offload_fault::none) {
        finish_checksum(p);
    }
    if (!has_right_checksum(p, frame.size())) {
        throw std::runtime_error{"the benchmark's frame has no right checksum"};
    }
    return frame;
}

void fill_checksums(std::span<packet* const> packets, rte_mempool* pool) noexcept
{
    localise(packets, pool);
    for (packet* const p : packets) {
        if (needs_work(*p, offloads::none)) {
            finish_checksum(*p);
        }
    }
}

l2_path::l2_path()
{
    bridge_of_two made{1024};
    for (const auto& port : made.ports) {
        port->mtu = 65'521;
    }
    config_ = std::move(made.config);
    // A frame the other way, so that all that follow have a destination.
    constexpr std::uint32_t shortest = 64;
    std::vector<std::byte> back = make_segment(shortest);
    std::swap_ranges(back.begin(), back.begin() + 6, back.begin() + 6);
    const auto b = std::make_unique<burst>();
    packet_slot& p = b->slots[b->count++];
    static_cast<packet&>(p) = {};
    p.data = p.head.data();
    p.length = shortest;
    p.head_length = shortest;
    std::memcpy(p.data, back.data(), back.size());
    forward(*b, *config_.ports[1], {&config_, 1, &worker_}, receiver(), lists_);
    lists_.clear();
}

std::span<packet*> l2_path::look_up(burst& b) noexcept
{
    forward(b, *config_.ports[0], {&config_, 1, &worker_}, sender(), lists_);
    const std::span<packet*> packets = lists_.packets(port_index{1});
    return packets.first(admit(packets, *config_.ports[1], receiver()).count);
}

} // namespace strait::bench
