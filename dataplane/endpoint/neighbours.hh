// SPDX-License-Identifier: BSD-3-Clause
// Who has which IP address next to the switch: one table for all workers, read and written without
// waiting. An entry is made by who asks, and filled by an answer; what nobody asked for is not
// taken, so that no neighbour fills the table. Questions and answers as frames are messages.hh's
// business.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace strait::endpoint {

class neighbours {
public:
    static constexpr std::size_t capacity = 4096;
    // Seconds since an answer: from the first on it is asked for again while it is used, from the
    // second on it is not used.
    static constexpr dataplane::seconds_t refreshed_after = 30;
    static constexpr dataplane::seconds_t forgotten_after = 60;

    struct key {
        ip_address address;
        dataplane::bridge_index bridge{};
        dataplane::vlan_id vlan;
        bool operator==(const key&) const = default;
    };
    struct answer {
        dataplane::mac_address mac; // zero: not known
        bool ask{false};            // the caller is the one to ask, this second
    };

    // Who sends to the neighbour. An unknown one gets an entry.
    [[nodiscard]] answer use(const key& k, dataplane::seconds_t now) noexcept;
    // Without asking. Zero: not known.
    [[nodiscard]] dataplane::mac_address find(const key& k, dataplane::seconds_t now) noexcept;
    // The neighbour's own word. Nothing if nobody asked for it.
    void learn(const key& k, dataplane::mac_address mac, dataplane::seconds_t now) noexcept;

    // Changes with every entry that changes what it says.
    [[nodiscard]] std::uint64_t generation() const noexcept
    {
        return generation_.load(std::memory_order_acquire);
    }

    // For control.
    struct listed {
        key who;
        dataplane::mac_address mac; // zero: asked for, no answer
        dataplane::seconds_t age;   // since the last answer
    };
    void for_each(dataplane::seconds_t now, const std::function<void(const listed&)>& visit) const;
    // All of a bridge, or all.
    void flush(const dataplane::bridge_index* bridge) noexcept;

private:
    struct contents {
        key who;
        std::uint64_t mac{0};
        dataplane::seconds_t answered{0};
        dataplane::seconds_t asked{0};
        bool used{false};
    };
    // Read as a whole or not at all: `version` is odd while it is written.
    class alignas(64) entry {
    public:
        // False: it is being written.
        [[nodiscard]] bool read(contents& out) const noexcept;
        // If it still is as `before`; never waits.
        bool replace(const contents& before, const contents& now) noexcept;

    private:
        [[nodiscard]] contents load() const noexcept;

        std::atomic<std::uint32_t> version_{0};
        std::atomic<std::uint32_t> answered_{0};
        std::atomic<std::uint64_t> high_{0};
        std::atomic<std::uint64_t> low_{0};
        std::atomic<std::uint64_t> place_{0};
        std::atomic<std::uint64_t> mac_{0};
        std::atomic<std::uint32_t> asked_{0};
    };
    static constexpr std::size_t ways = 8;

    [[nodiscard]] entry* bucket(const key& k) noexcept;
    [[nodiscard]] entry* find_entry(const key& k, contents& out) noexcept;
    [[nodiscard]] answer ask_anew(const key& k, dataplane::seconds_t now) noexcept;

    std::unique_ptr<std::array<entry, capacity>> entries_{new std::array<entry, capacity>};
    std::atomic<std::uint64_t> generation_{0};
};

} // namespace strait::endpoint
