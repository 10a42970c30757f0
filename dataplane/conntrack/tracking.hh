// SPDX-License-Identifier: BSD-3-Clause
// Who answers ct actions, for one worker. What is asked is in request.hh.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/mac_table.hh"

#include <cstddef>
#include <span>

struct rte_mbuf;

namespace strait::conntrack {

class tracker;

class tracking {
public:
    tracking() = default;
    virtual ~tracking() = default;
    tracking(const tracking&) = delete;
    tracking& operator=(const tracking&) = delete;

    // Answers all of them, in their order: those of a burst, so that looking one up may overlap
    // with looking up others.
    virtual void track(std::span<request> asked, dataplane::seconds_t now) noexcept = 0;
    // Who takes plain packets the short way (known.hh); null: nobody.
    [[nodiscard]] virtual tracker* short_way() noexcept { return nullptr; }

    // A fragment that waited until another came, which is one of those that were asked last. It is
    // the caller's now, and to be asked as that was.
    struct released_packet {
        std::size_t first; // the number of the request
        rte_mbuf* mbuf;
    };
    // Of the last track().
    [[nodiscard]] virtual std::span<const released_packet> released() const noexcept { return {}; }
};

} // namespace strait::conntrack
