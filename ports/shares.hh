// SPDX-License-Identifier: BSD-3-Clause
// A burst's packets by the ring that each goes to, of a guest that has several.
#pragma once

#include "dataplane/packet.hh"

#include <array>
#include <cstddef>
#include <span>
#include <utility>

namespace strait::ports {

inline constexpr std::size_t max_shares = 16;

// Used by one thread; empty between two bursts.
class shares {
public:
    // share: less than max_shares. A burst's packets at most.
    void add(std::size_t share, dataplane::packet* p) noexcept
    {
        one& to = all_[share];
        to.packets[to.count++] = p;
    }
    // Calls `give` with each share's number and packets, in the order in which they were added.
    template <typename Give>
    void empty(Give&& give) noexcept
    {
        for (std::size_t i = 0; i < all_.size(); ++i) {
            if (const std::size_t count = std::exchange(all_[i].count, 0); count > 0) {
                give(i, std::span<dataplane::packet* const>{all_[i].packets}.first(count));
            }
        }
    }

private:
    struct one {
        std::size_t count{0};
        std::array<dataplane::packet*, dataplane::burst::capacity> packets;
    };
    std::array<one, max_shares> all_;
};

} // namespace strait::ports
