// SPDX-License-Identifier: BSD-3-Clause
// What control asks of a tracker while workers go on: to show connections, or to forget them, all
// workers', or what it would say to a packet. A worker serves a job itself, some places of the
// table at a time. How words become a match is control's business.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/table.hh"
#include "dataplane/flow/key.hh"

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

namespace strait::conntrack {

// A connection as it was when the worker looked.
struct connection_record {
    tuple original;
    tuple reply;
    std::uint32_t mark{0};
    flow::wide label{};
    seconds_t seconds_left{0};
    tcp::state tcp{};      // none: another protocol
    std::uint8_t notes{0}; // bits of `note`
};

class job {
public:
    enum class kind : std::uint8_t { show, forget, look };
    // Of connections whose first packets `which` matches, with the connection's zone, mark and
    // label; a match on a zone is on one that flows name, but where put_zone() made it one on a
    // port's own. Shows as many as there is room for; a further job goes on where this one ended.
    job(kind what, const flow::match& which, std::span<connection_record> room = {}) noexcept
        : what_{what}, which_{which}, room_{room}
    {
        const flow::wide zone_mask = which.mask.get(flow::field::ct_zone);
        if (!zone_mask.is_zero()) {
            which_.mask.words[zone_word] |= of_port_bit;
        }
        if (zone_mask == flow::wide{0xffff}) {
            zone_ = zone_of(which.value);
        }
    }
    // What tracking would answer to a packet, which is translated as it would be; the connection
    // that it is of, if there is one, is shown in `room`. Nothing is changed by it.
    job(request& asked, std::span<connection_record> room) noexcept
        : what_{kind::look}, asked_{&asked}, room_{room}
    {}
    void go_on_after(const job& other) noexcept
    {
        ipv6_ = other.ipv6_;
        position_ = other.position_;
    }

    // Any thread: the rest may be read once this is true.
    [[nodiscard]] bool done() const noexcept { return done_.load(std::memory_order_acquire); }
    [[nodiscard]] std::size_t count() const noexcept { return count_; } // shown, or forgotten
    [[nodiscard]] bool at_end() const noexcept { return at_end_; }

private:
    friend class tracker;

    kind what_;
    flow::match which_{};
    request* asked_{nullptr};
    std::optional<zone_id> zone_{}; // all that it is about
    std::span<connection_record> room_;
    std::size_t count_{0};
    bool ipv6_{false};
    std::uint32_t position_{0}; // of the last place that was looked at
    bool at_end_{false};
    std::atomic<bool> done_{false};
};

} // namespace strait::conntrack
