// SPDX-License-Identifier: BSD-3-Clause
// What a switcher has for packets that go the short way: for its own files.
#pragma once

#include "dataplane/conntrack/known.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/verdicts.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::flow {

struct switcher::seat {
    static constexpr std::size_t longest = 3; // words of a program that goes the short way

    candidate* c;
    std::array<std::uint64_t, longest> words; // where they were others may be by now
    std::uint8_t size;
    bool plain;
    conntrack::zone_id zone;
    conntrack::plain_packet packet;

    [[nodiscard]] std::span<const std::uint64_t> program() const noexcept
    {
        return std::span{words}.first(size);
    }
};

// Flows of a burst whose packets from here on go the long way, lest one overtakes another.
class long_flows {
public:
    // A packet has gone it.
    void add(const dataplane::packet& p) noexcept
    {
        conntrack::plain_packet q;
        if (conntrack::read_plain(p, 0, q)) {
            add(q);
        } else {
            add_unknown(p);
        }
    }
    void add(const conntrack::plain_packet& q) noexcept
    {
        if (count_ == std::ssize(flows_)) {
            all_ = true; // to look for so many would cost more than it gives
        } else {
            flows_[static_cast<std::size_t>(count_++)] = {q.tuple.addresses, q.tuple.ports()};
        }
    }
    // It may be of any flow: a fragment, say.
    void add_unknown(const dataplane::packet& p) noexcept { all_ = all_ || conntrack::is_ipv4(p); }
    [[nodiscard]] bool has(const conntrack::plain_packet& q) const noexcept
    {
        const one wanted{q.tuple.addresses, q.tuple.ports()};
        return all_ || std::find(flows_.begin(), flows_.begin() + count_, wanted) !=
                           flows_.begin() + count_;
    }
    void clear() noexcept
    {
        count_ = 0;
        all_ = false;
    }

private:
    struct one {
        std::uint64_t addresses;
        std::uint32_t ports;
        bool operator==(const one&) const noexcept = default;
    };
    std::array<one, 8> flows_;
    std::ptrdiff_t count_{0};
    bool all_{false};
};

struct switcher::seats {
    verdicts known;
    std::size_t count{0};
    std::array<seat, dataplane::burst::capacity> all;
    std::array<const seat*, dataplane::burst::capacity> others; // that go the long way
    long_flows long_ones;
};

} // namespace strait::flow
