// SPDX-License-Identifier: BSD-3-Clause
// How many BPDUs of a port are shown to control. What is more is dropped by whoever asks.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/token_bucket.hh"
#include "dataplane/types.hh"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>

namespace strait::dataplane {

// Senders have shares of it, by the addresses that they send from: who sends too many takes nothing
// from others of the port, but from those whose share is the same.
class bpdu_limit {
public:
    // A bridge sends ten BPDUs at once at most, and then one a second (IEEE 802.1D-2004 17.13.12).
    static constexpr std::size_t shares = 10;
    static constexpr std::uint64_t of_share = 10; // a second
    static constexpr std::uint64_t burst_of_share = 20;

    // `now` is the TSC.
    bpdu_limit(std::uint64_t tsc_hz, std::size_t workers, std::uint64_t now)
    {
        for (std::size_t i = 0; i < shares; ++i) {
            shares_.emplace_back(of_share, burst_of_share, tsc_hz, workers, now);
        }
    }

    // A worker, of a frame whose Ethernet header is at its front: whether it may go on.
    [[nodiscard]] bool take(worker_index worker, const packet& p, std::uint64_t now) noexcept
    {
        return shares_[share_of(p)].take(worker, 1, now);
    }
    [[nodiscard]] static std::size_t share_of(const packet& p) noexcept
    {
        constexpr std::size_t source = 6;
        constexpr std::uint64_t factor = 0x9e37'79b9'7f4a'7c15; // addresses in a row come apart
        std::uint64_t sender = 0;
        std::memcpy(&sender, p.data + source, 6);
        return (sender * factor >> 48) % shares;
    }

private:
    std::deque<token_bucket> shares_;
};

} // namespace strait::dataplane
