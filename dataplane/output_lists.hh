// SPDX-License-Identifier: BSD-3-Clause
// Packets of a burst, grouped by the port they leave by: one transmit a destination, however many
// flows are in the burst. Belongs to one worker.
#pragma once

#include "dataplane/packet.hh"
#include "dataplane/types.hh"

#include <array>
#include <memory>
#include <span>

namespace strait::dataplane {

class output_lists {
public:
    // A port gets a packet at most once, so that a list is never longer than a burst.
    void add(port_index port, packet& p) noexcept
    {
        list& l = lists_[to_index(port)];
        if (l.count == 0) {
            touched_[touched_count_++] = port;
        }
        l.packets[l.count++] = &p;
        ++p.destinations;
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
