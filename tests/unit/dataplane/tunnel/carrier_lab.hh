// SPDX-License-Identifier: BSD-3-Clause
// A carrier of one VXLAN tunnel, for tests: what goes to it, and what comes out of it.
#pragma once

#include "dataplane/offload.hh"
#include "dataplane/tunnel/carrier.hh"
#include "tests/unit/dataplane/ip_frame.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace strait::tunnel {

using namespace dataplane;
using endpoint::ip_address;
using test::frame;

inline constexpr port_index vxlan{0};
inline constexpr port_index local{1};
inline constexpr mac_address far_mac{0x0f00'0000'0002};
inline constexpr mac_address own_mac{0x0100'0000'0002};
inline constexpr ip_address here = ip_address::v4(0x0a00'0001);
inline constexpr ip_address there = ip_address::v4(0x0a00'0002);
inline constexpr std::size_t overhead = 50;
inline constexpr std::uint64_t hz = 1000;

class carrier_of_vxlan : public testing::Test {
protected:
    carrier_of_vxlan() : pool_{(test::start_eal(), test::make_pool())}, carrier_{known_, hz}
    {
        auto s = std::make_shared<settings>();
        s->remote = there;
        s->key = 42;
        s->has_key = true;
        s->destination_port = vxlan_port;
        auto tunnels = std::make_shared<table>();
        tunnels->add(*s, vxlan);
        for (std::uint16_t i = 0; i < 2; ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{i};
            port->incarnation = i + 1U;
            port->bridge = bridge_index{i};
            port->local = port->index == local;
            port->tunnel = port->index == vxlan ? s : nullptr;
            config_.ports.push_back(port);
        }
        config_.tunnels = tunnels;
        auto addresses = std::make_shared<endpoint::config>();
        addresses->interfaces.push_back({{here, 120}, {}, bridge_index{1}, local, own_mac});
        addresses->routes.push_back({{ip_address::v4(0x0a00'0000), 120}, {}, 0});
        addresses->version = 1;
        config_.endpoint = addresses;
    }

    void know(seconds_t now)
    {
        const endpoint::neighbours::key who{there, bridge_index{1}, {}};
        (void)known_.use(who, now);
        known_.learn(who, far_mac, now);
    }

    // What came out, as bytes, by the port it goes on from.
    struct out {
        port_index from;
        frame bytes;
        std::uint16_t note{0};
    };
    struct collect final : continuation {
        collect(ready_packets& r, std::vector<out>& a) : ready{r}, all{a} {}
        void go_on() noexcept override
        {
            for (std::size_t i = 0; i < ready.count; ++i) {
                packet& p = *ready.packets[i];
                if (!p.offload.empty()) {
                    finish_checksum(p);
                }
                frame f(p.length);
                copy_frame(p, 0, f.data(), f.size());
                all.push_back({ready.from[i], std::move(f), p.note});
            }
            ready.clear();
        }
        ready_packets& ready;
        std::vector<out>& all;
    };

    std::vector<out> take(std::span<packet* const> packets, port_index to, seconds_t now = 1)
    {
        std::vector<out> all;
        collect next{ready_, all};
        carrier_.take(packets, *config_.port(to), around(next, now));
        next.go_on();
        return all;
    }
    std::vector<out> take(packet& p, port_index to, seconds_t now = 1)
    {
        packet* const one[] = {&p};
        return take(one, to, now);
    }
    std::vector<out> look(std::uint64_t tsc, seconds_t now)
    {
        std::vector<out> all;
        collect next{ready_, all};
        surroundings a = around(next, now);
        a.tsc = tsc;
        carrier_.look(a);
        next.go_on();
        return all;
    }
    surroundings around(continuation& next, seconds_t now)
    {
        return {config_, now, tsc_, pool_.get(), counters_.data(), ready_, next};
    }
    std::uint64_t dropped(drop_reason r, port_index at = vxlan) const
    {
        return counters_[to_index(at)].drops[static_cast<std::size_t>(r)].read();
    }

    // A guest's frame: its head private, the rest its own memory.
    packet_slot& put(const frame& f)
    {
        memory_ = f;
        burst_->clear();
        return put(memory_, *burst_);
    }
    static packet_slot& put(frame& f, burst& b)
    {
        packet_slot& p = b.slots[b.count++];
        static_cast<packet&>(p) = {};
        const std::size_t head = std::min<std::size_t>(f.size(), head_copy);
        p.data = p.head.data();
        std::ranges::copy(std::as_bytes(std::span{f}).first(head), p.data);
        p.length = static_cast<std::uint32_t>(f.size());
        p.head_length = static_cast<std::uint16_t>(head);
        p.destinations = 1;
        if (head < f.size()) {
            guest_span& rest = b.segments[b.segments_used++];
            rest = {f.data() + head, f.size() - head};
            p.segments = &rest;
            p.segment_count = 1;
        }
        return p;
    }
    static frame inner_of(const frame& outer) { return {outer.begin() + overhead, outer.end()}; }

    test::pool_ptr pool_;
    endpoint::neighbours known_;
    snapshot config_;
    std::array<port_counters, 2> counters_;
    ready_packets ready_;
    std::unique_ptr<burst> burst_{new burst};
    frame memory_;
    std::uint64_t tsc_{1};
    carrier carrier_;
};

} // namespace strait::tunnel
