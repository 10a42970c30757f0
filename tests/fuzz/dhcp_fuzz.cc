// SPDX-License-Identifier: BSD-3-Clause
// DHCP and what else a guarded port looks at, from guests and servers that lie. An input is frames,
// each behind its length (16 bits) and a byte: who sends it (bit 0: a server; bits 1 and 2: the
// client's port), how much of it is private (bits 3 to 7, in units of 8 bytes; 0: all that may be).
// Frames lie in memory of exact size on the heap, so that AddressSanitizer sees what leaves them.
// What is checked: that no port has more than it may have, that only one that is bound is taken for
// a sender, and that all leases end.
#include "control/bindings.hh"
#include "control/dhcp_snooper.hh"
#include "dataplane/guard/inspector.hh"
#include "dataplane/guard/port_security.hh"
#include "dataplane/parse.hh"
#include "tests/fuzz/check.hh"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace strait;
using control::bindings;
using control::dhcp_snooper;
using fuzz::check;

constexpr dataplane::mac_address bound{0x0100'0000'0002}; // 02:00:00:00:00:01

// A port where 02:00:00:00:00:01 is, with 10.0.0.1 and fd00::1; 10.0.0.2 and fd00::2 are elsewhere.
struct port {
    port()
    {
        using endpoint::ip_address;
        const auto six = [](std::uint64_t n) { return ip_address{0xfd00'0000'0000'0000, n}; };
        const auto four = [](std::uint32_t n) { return ip_address::v4(0x0a00'0000 + n); };
        g->security = true;
        g->suppresses = true;
        g->stations.push_back({bound, {}, 0, 2});
        g->addresses = {{four(1), 128}, {six(1), 128}};
        const dataplane::mac_address other{0x0200'0000'0002};
        const dataplane::port_index there{1};
        g->bridge = std::make_shared<guard::directory>(
            std::vector<guard::directory::neighbour>{{four(2), {}, there, other},
                                                     {six(2), {}, there, other}},
            std::vector<guard::directory::owner>{{other, {}, there}});
        auto peer = std::make_shared<dataplane::port_config>();
        peer->index = there;
        config.ports = {nullptr, peer};
    }
    std::shared_ptr<guard::port_guard> g{std::make_shared<guard::port_guard>()};
    dataplane::port_config is;
    dataplane::snapshot config;
};

void look_at_sender(const port& p, std::span<const std::byte> frame, std::size_t head)
{
    const std::unique_ptr<std::byte[]> memory{new std::byte[head]};
    std::memcpy(memory.get(), frame.data(), head);
    const std::vector<std::byte> rest(frame.begin() + static_cast<std::ptrdiff_t>(head),
                                      frame.end());
    const dataplane::guest_span behind{const_cast<std::byte*>(rest.data()), rest.size()};
    dataplane::packet packet{};
    packet.data = memory.get();
    packet.length = static_cast<std::uint32_t>(frame.size());
    packet.head_length = static_cast<std::uint16_t>(head);
    packet.segments = &behind;
    packet.segment_count = rest.empty() ? 0 : 1;
    flow::key k;
    flow::header_layout at;
    (void)flow::extract(packet, k, at);
    const bool passes = !guard::check_sender(*p.g, p.is, packet, k, at);
    check(!passes || dataplane::parse_ethernet(memory.get()).source == bound);
    const auto* const found = guard::find_answer(*p.g, p.is, packet, at, p.config);
    check(found == nullptr || (dataplane::load<std::uint8_t>(memory.get()) & 1) != 0);
}

class run {
public:
    void take(std::uint8_t how, std::span<const std::byte> frame)
    {
        constexpr unsigned unit = 8;
        if (frame.size() >= dataplane::ethernet_header) {
            const std::size_t wanted = (how >> 3) == 0 ? dataplane::longest_head
                                                       : static_cast<std::size_t>(how >> 3) * unit;
            look_at_sender(port_, frame,
                           std::clamp<std::size_t>(
                               wanted, dataplane::ethernet_header,
                               std::min<std::size_t>(frame.size(), dataplane::longest_head)));
        }
        const auto read = control::read_dhcp_frame(frame);
        if (!read) {
            return;
        }
        now_ += std::chrono::seconds{1};
        const dataplane::bridge_index bridge{0};
        const std::string name(1, static_cast<char>('a' + (how >> 1 & 3)));
        const auto changes = (how & 1) != 0
                                 ? snooper_.server(bridge, {}, *read, now_)
                                 : snooper_.client({bridge, name, std::nullopt}, *read, now_);
        for (const auto& c : changes) {
            check(!c.lease || c.address.is_unicast());
            const auto& w = c.where;
            if (!c.lease) {
                (void)bindings_.end_lease(w.port, w.vlan, c.mac, c.address);
            } else {
                (void)bindings_.lease(w.port, w.vlan, c.mac, c.address,
                                      now_ + std::chrono::seconds{*c.lease});
            }
        }
        check(snooper_.size() <= 4 * dhcp_snooper::most_of_port);
        for (const auto& [port, stations] : bindings_.all()) {
            std::size_t leases = 0;
            for (const auto& s : stations) {
                check(s.leased && !s.addresses.empty());
                leases += s.addresses.size();
            }
            check(leases > 0 && leases <= bindings::most_leased);
        }
    }
    void end()
    {
        (void)bindings_.expire(now_ + std::chrono::hours{24 * 365 * 200});
        check(bindings_.all().empty());
    }

private:
    port port_;
    dhcp_snooper snooper_;
    bindings bindings_;
    bindings::clock::time_point now_{};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    std::span<const std::uint8_t> left{data, size};
    run r;
    constexpr std::size_t front = 3;
    while (left.size() >= front) {
        const std::size_t length =
            std::min<std::size_t>(left[0] | std::size_t{left[1]} << 8, left.size() - front);
        const std::uint8_t how = left[2];
        const std::vector<std::uint8_t> frame{
            left.begin() + front, left.begin() + static_cast<std::ptrdiff_t>(front + length)};
        left = left.subspan(front + length);
        r.take(how, std::as_bytes(std::span{frame}));
    }
    r.end();
    return 0;
}
