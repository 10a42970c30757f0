// SPDX-License-Identifier: BSD-3-Clause
// Packets of a burst, grouped by the port they leave by: one transmit a destination, however many
// flows are in the burst. Belongs to one worker.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/types.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace strait::dataplane {

class output_lists {
public:
    // Its list is not full: L2 switching gives a port a packet at most once, so that no list is
    // longer than a burst; who may give it more often asks.
    void add(port_index port, packet& p) noexcept
    {
        list& l = lists_[to_index(port)];
        if (l.count == 0) {
            touched_[touched_count_++] = port;
        }
        l.packets[l.count++] = &p;
        ++p.destinations;
    }

    [[nodiscard]] bool is_full(port_index port) const noexcept
    {
        return lists_[to_index(port)].count == burst::capacity;
    }
    // Whether one of them is.
    [[nodiscard]] bool any_full() const noexcept
    {
        return std::any_of(touched_.begin(),
                           touched_.begin() + static_cast<std::ptrdiff_t>(touched_count_),
                           [this](port_index port) noexcept { return is_full(port); });
    }

    // Ports with packets, in the order in which they first got one.
    [[nodiscard]] std::span<const port_index> ports() const noexcept
    {
        return {touched_.data(), touched_count_};
    }
    [[nodiscard]] std::span<packet*> packets(port_index port) noexcept
    {
        list& l = lists_[to_index(port)];
        return {l.packets.data(), l.count};
    }
    void clear() noexcept
    {
        for (const port_index port : ports()) {
            lists_[to_index(port)].count = 0;
        }
        touched_count_ = 0;
    }

private:
    struct list {
        std::size_t count;
        std::array<packet*, burst::capacity> packets;
    };
    std::unique_ptr<list[]> lists_{new list[max_ports]()};
    std::array<port_index, max_ports> touched_;
    std::size_t touched_count_{0};
};

} // namespace strait::dataplane
