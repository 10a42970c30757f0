// SPDX-License-Identifier: BSD-3-Clause
// Who listens to which multicast group on one bridge, in each VLAN, and where routers and queriers
// are: what RFC 4541 has a switch keep. Bounded, and it allocates nothing once it is there.
//
// A group has a slot; slots hang in chains by the group's hash. Ports are bits of a mask, read
// without a lock; each has a time until which it stays, and control takes those whose time is up,
// whether workers run or sleep. Chains change under the lock and a sequence number (a seqlock):
// who looks while they do looks again, and after a few times says that it is not sure.
#pragma once

#include "dataplane/endpoint/ip_address.hh"
#include "dataplane/reserved_memory.hh"
#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

namespace strait::multicast {

using dataplane::port_index;
using dataplane::seconds_t;
using dataplane::vlan_id;
using endpoint::ip_address;

class port_set {
public:
    static constexpr std::size_t words = dataplane::max_ports / 64;
    [[nodiscard]] bool contains(port_index port) const noexcept
    {
        const std::size_t i = dataplane::to_index(port);
        return (bits_[i / 64] >> (i % 64) & 1) != 0;
    }
    void add(std::size_t word, std::uint64_t bits) noexcept { bits_[word] |= bits; }
    [[nodiscard]] bool empty() const noexcept
    {
        std::uint64_t any = 0;
        for (const std::uint64_t w : bits_) {
            any |= w;
        }
        return any == 0;
    }

private:
    std::array<std::uint64_t, words> bits_{};
};

class group_table {
public:
    static constexpr std::size_t least_groups = 16;
    static constexpr std::size_t most_groups = 16'384;
    static constexpr std::size_t usual_groups = 2048;
    // Seconds. RFC 3376 8.4 and RFC 3810 9.4: 2 * 125 + 10.
    static constexpr seconds_t usual_ageing = 260;
    static constexpr seconds_t least_ageing = 5;
    static constexpr seconds_t most_ageing = 30'000;
    // Of queriers and routers: RFC 3376 8.5 and RFC 3810 9.5.
    static constexpr seconds_t querier_interval = 255;

    // Room for so many groups. Throws bad_alloc where there is no memory.
    explicit group_table(std::size_t groups);
    ~group_table();
    group_table(const group_table&) = delete;
    group_table& operator=(const group_table&) = delete;

    // Workers, and any other thread.
    enum class joined : std::uint8_t { known, added, table_full, over_limit, busy };
    // `limit`: the most groups of the port, 0 for none. Where there is no room the port is sent
    // all multicast of the VLAN instead, as long as a membership lasts: nothing is lost for it.
    joined join(const ip_address& group, vlan_id vlan, port_index port, std::uint32_t limit,
                seconds_t now) noexcept;
    void leave(const ip_address& group, vlan_id vlan, port_index port) noexcept;
    // A querier asked who still listens: members that do not say so until then go.
    void shorten(const ip_address& group, vlan_id vlan, seconds_t wait, seconds_t now) noexcept;
    // A querier of this version of IP was heard there; and a router.
    void hear_querier(bool six, vlan_id vlan, port_index port, seconds_t now) noexcept;
    void hear_router(vlan_id vlan, port_index port, seconds_t now) noexcept;
    void forget_router(vlan_id vlan, port_index port) noexcept;
    void count_query() noexcept { queries_.fetch_add(1, std::memory_order_relaxed); }
    void count_report() noexcept { reports_.fetch_add(1, std::memory_order_relaxed); }
    void count_leave() noexcept { leaves_.fetch_add(1, std::memory_order_relaxed); }

    // Adds the ports that listen to a group.
    enum class found : std::uint8_t { none, some, unsure };
    [[nodiscard]] found listeners(const ip_address& group, vlan_id vlan,
                                  port_set& out) const noexcept;
    [[nodiscard]] bool has_querier(bool six, vlan_id vlan) const noexcept;
    void queriers(bool six, vlan_id vlan, port_set& out) const noexcept;
    void routers(vlan_id vlan, port_set& out) const noexcept;
    // Ports whose groups the table had no room for.
    void crowded(vlan_id vlan, port_set& out) const noexcept;

    // Control threads. Now and then, at least once in half an hour: ends what was not confirmed.
    void expire(seconds_t now) noexcept;
    // All that was learned on a port, in one VLAN or all of them; all of the table.
    void flush_port(port_index port) noexcept;
    void flush() noexcept;
    void set_ageing(seconds_t seconds) noexcept;
    [[nodiscard]] seconds_t ageing() const noexcept;

    struct entry {
        enum class kind : std::uint8_t { group, router, querier, crowded };
        kind is;
        bool six;         // of a group or querier
        ip_address group; // of a group
        vlan_id vlan;
        port_index port;
        seconds_t left; // until it goes, unless it is confirmed
    };
    void for_each(seconds_t now, const std::function<void(const entry&)>& visit) const;
    struct statistics {
        std::uint64_t queries, reports, leaves;
        std::uint64_t refused; // joins for which there was no room, or which their limit refused
        std::uint64_t missed;  // what another writer kept a worker from learning
    };
    [[nodiscard]] statistics counted() const noexcept;
    [[nodiscard]] std::size_t size() const noexcept;
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

private:
    // Ports, and until when each stays: the low 16 bits of a second.
    struct row {
        std::array<std::atomic<std::uint64_t>, port_set::words> mask;
        std::array<std::atomic<std::uint16_t>, dataplane::max_ports> until;
    };
    struct slot {
        std::atomic<std::uint64_t> high;
        std::atomic<std::uint64_t> low;
        std::atomic<std::uint32_t> vlan;
        std::atomic<std::uint32_t> next; // in its chain, or of the free ones
        row members;
    };
    struct network {                 // a VLAN
        std::array<row, 2> queriers; // IPv4's, IPv6's
        row routers;
        row crowded;
    };
    static constexpr std::uint32_t nobody = 0; // slots are numbered from 1
    static constexpr std::size_t vlans = 4096;

    [[nodiscard]] std::size_t hash(const ip_address& group, vlan_id vlan) const noexcept;
    [[nodiscard]] slot& at(std::uint32_t number) const noexcept { return slots_[number - 1]; }
    [[nodiscard]] network& of(vlan_id vlan) const noexcept { return networks_[vlan.value()]; }
    [[nodiscard]] std::uint32_t find(const ip_address& group, vlan_id vlan) const noexcept;
    [[nodiscard]] static bool is(const slot& s, const ip_address& group, vlan_id vlan) noexcept;
    // A worker's: it waits a little, for writers are quick, and never for long.
    [[nodiscard]] std::unique_lock<std::mutex> lock() noexcept;
    void crowd(vlan_id vlan, port_index port, seconds_t now) noexcept;
    // Under the lock.
    void touch(vlan_id vlan) noexcept;
    [[nodiscard]] std::uint32_t take_slot(const ip_address& group, vlan_id vlan) noexcept;
    void give_back(std::uint32_t number) noexcept;
    void remove_member(std::uint32_t number, port_index port) noexcept;
    template <typename Chosen>
    void sweep(const Chosen& chosen) noexcept;

    std::size_t capacity_;
    std::size_t bucket_mask_;
    std::uint64_t seed_;
    std::uint64_t multiplier_;       // odd
    std::uint64_t other_multiplier_; // odd
    dataplane::reserved_memory slot_memory_;
    dataplane::reserved_memory network_memory_;
    slot* slots_;
    network* networks_;
    std::unique_ptr<std::atomic<std::uint32_t>[]> heads_;
    std::atomic<seconds_t> ageing_{usual_ageing};
    alignas(64) std::atomic<std::uint32_t> sequence_{0}; // odd: chains are changing
    alignas(64) mutable std::mutex writing_;
    // Under the lock.
    std::uint32_t free_{nobody};
    std::uint32_t used_{0}; // slots that were ever used
    std::array<std::uint32_t, dataplane::max_ports> counts_{};
    std::array<std::uint64_t, vlans / 64> touched_{};
    std::atomic<std::size_t> size_{0};
    std::atomic<std::uint64_t> queries_{0}, reports_{0}, leaves_{0}, refused_{0}, missed_{0};
};

} // namespace strait::multicast
