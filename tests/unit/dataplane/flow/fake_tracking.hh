// SPDX-License-Identifier: BSD-3-Clause
// Connection tracking for tests of flows, without a connection.
#pragma once

#include "dataplane/conntrack/tracking.hh"
#include "dataplane/flow/rewrite.hh"

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <span>

namespace strait::flow {

// Answers by what it is asked alone, whatever else there was: a burst's order is not a walk's.
// Notes what it was asked.
class fake_tracking final : public conntrack::tracking {
public:
    void track(std::span<conntrack::request> asked, dataplane::seconds_t) noexcept override
    {
        longest = std::max(longest, asked.size());
        for (conntrack::request& r : asked) {
            answer(r);
        }
    }
    std::multiset<std::uint64_t> seen;
    std::size_t longest{0}; // of what was asked at once
    bool drops{true};       // some

private:
    static std::uint64_t mix(std::uint64_t sum, std::uint64_t value)
    {
        return (sum ^ value) * 0x9fb21c651e98df25 + (sum >> 29);
    }
    void answer(conntrack::request& r)
    {
        const key& k = *r.headers;
        const conntrack::parameters& a = r.asked;
        std::uint64_t of_flow = a.zone;
        for (std::size_t i = 1; i < place_of(field::metadata).word; ++i) {
            of_flow = mix(of_flow, k.words[i]);
        }
        std::uint64_t all = mix(of_flow, (a.commit ? 1U : 0U) | (a.force ? 2U : 0U) |
                                             static_cast<std::uint64_t>(a.alg) << 2);
        for (const std::uint64_t word :
             {std::uint64_t{a.mark}, std::uint64_t{a.mark_mask}, a.label.high, a.label.low,
              a.label_mask.high, a.label_mask.low, std::uint64_t{r.answer.state},
              std::uint64_t{r.answer.zone}, std::uint64_t{r.answer.mark},
              a.translation == nullptr ? 0 : 1 + a.translation->first.low}) {
            all = mix(all, word);
        }
        seen.insert(all);
        using namespace conntrack::state;
        static constexpr std::array states{tracked | fresh, tracked | established,
                                           tracked | established | reply, tracked | invalid};
        if (drops && of_flow % 23 == 0) {
            r.dropped = true;
            r.reason = dataplane::drop_reason::no_destination;
            return;
        }
        conntrack::result& out = r.answer;
        out = {};
        out.state = states[of_flow >> 32 & 3];
        out.zone = a.zone;
        out.mark = static_cast<std::uint32_t>((of_flow >> 40 & 3 & ~a.mark_mask) | a.mark);
        out.label = (wide{of_flow >> 50 & 1, of_flow >> 51 & 1} & ~a.label_mask) | a.label;
        if (k.number(field::eth_type) == 0x0800 || k.number(field::eth_type) == 0x86dd) {
            out.ipv6 = k.number(field::eth_type) == 0x86dd;
            out.protocol = static_cast<std::uint8_t>(k.number(field::nw_proto));
            out.source = k.get(out.ipv6 ? field::ipv6_dst : field::nw_dst); // the other way
            out.destination = k.get(out.ipv6 ? field::ipv6_src : field::nw_src);
            out.source_port = static_cast<std::uint16_t>(k.number(field::tp_dst));
            out.destination_port = static_cast<std::uint16_t>(k.number(field::tp_src));
        }
        if (a.translation != nullptr && r.at.network_is == network_header::ipv4) {
            key value;
            key mask;
            value.set(field::nw_dst, a.translation->first);
            mask.set(field::nw_dst, ~wide{});
            r.translated = set_headers(*r.p, r.at, value, mask);
        }
    }
};

} // namespace strait::flow
