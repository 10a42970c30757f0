// SPDX-License-Identifier: BSD-3-Clause
// The learning table of one bridge: (VLAN, MAC) to port, learned by any number of workers without
// locks, aged by time and flushed by sequence number. What to do with an answer is forward.cc's.
//
// Buckets of four entries fill a cache line (compare BESS's L2 table and VPP's l2fib, from which
// the O(1) flush is known); an entry has two candidate buckets. An entry is two 64-bit words, key
// and value. A writer claims a slot by swinging its key to `busy`, stores the value, then the new
// key; a reader reads key, value and key again, so that it never joins the two of different
// writers. Readers never wait.
#pragma once

#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace strait::dataplane {

// Time in whole seconds since the switch started.
using seconds_t = std::uint32_t;

struct mac_entry {
    mac_address mac;
    vlan_id vlan;
    port_index port;
    bool is_static;
    seconds_t age; // seconds since it was last seen; 0 for a static entry
};

class mac_table {
public:
    // A (VLAN, MAC) pair, ready to be hashed.
    class key {
    public:
        key() noexcept = default;
        key(mac_address mac, vlan_id vlan) noexcept
            : word_{mac.value() | (std::uint64_t{vlan.value()} << 48)}
        {
        }
        [[nodiscard]] std::uint64_t word() const noexcept { return word_; }
        bool operator==(const key&) const noexcept = default;

    private:
        std::uint64_t word_{0};
    };

    // Room for `entries`, rounded up so that the table is at most half full then; 64 to 2^24.
    explicit mac_table(std::size_t entries);
    ~mac_table();
    mac_table(const mac_table&) = delete;
    mac_table& operator=(const mac_table&) = delete;

    // Workers, and any other thread.
    void prefetch(key k) const noexcept;
    // The port behind a MAC, no_port if unknown, stale or older than the ageing time.
    [[nodiscard]] port_index lookup(key k, seconds_t now) const noexcept;
    enum class learned : std::uint8_t { known, added, moved, held_by_static, table_full };
    // Says that `k` was seen on `port`. Writes nothing while the entry stands and was seen within
    // this second.
    learned learn(key k, port_index port, seconds_t now) noexcept;

    // Control threads.
    enum class added : std::uint8_t { added, replaced, table_full };
    added add_static(key k, port_index port, seconds_t now) noexcept;
    bool remove(key k, seconds_t now) noexcept; // false if there was none
    // O(1): all that was learned on the port goes; static entries stay. remove_port takes both, for
    // a port that leaves the bridge, so that its index can be used again.
    void flush_port(port_index port) noexcept;
    void remove_port(port_index port) noexcept;
    void flush_all() noexcept; // learned entries of all ports
    void flush_vlan(vlan_id vlan) noexcept;
    void set_ageing(seconds_t seconds) noexcept; // 0: entries do not age
    [[nodiscard]] seconds_t ageing() const noexcept;
    // Live entries, in no order.
    void for_each(seconds_t now, const std::function<void(const mac_entry&)>& visit) const;
    [[nodiscard]] std::size_t size(seconds_t now) const; // counts: O(capacity)
    [[nodiscard]] std::size_t capacity() const noexcept; // entries, half of the slots

private:
    struct alignas(64) bucket {
        static constexpr std::size_t ways = 4;
        std::array<std::atomic<std::uint64_t>, ways> keys;
        std::array<std::atomic<std::uint64_t>, ways> values;
    };
    struct slot {
        std::atomic<std::uint64_t>* key;
        std::atomic<std::uint64_t>* value;
    };

    [[nodiscard]] std::size_t first_bucket(std::uint64_t word) const noexcept;
    [[nodiscard]] std::size_t second_bucket(std::uint64_t word) const noexcept;
    [[nodiscard]] bool live(std::uint64_t value, seconds_t now) const noexcept;
    [[nodiscard]] std::uint64_t make_value(port_index port, bool is_static,
                                           seconds_t now) const noexcept;
    [[nodiscard]] std::optional<slot> find(std::uint64_t word) const noexcept;
    [[nodiscard]] bool insert(std::uint64_t word, std::uint64_t value, seconds_t now) noexcept;
    static void clear(const slot& s, std::uint64_t word) noexcept;

    struct free_buckets {
        std::size_t bytes;
        void operator()(bucket* b) const noexcept;
    };
    std::size_t bucket_mask_;
    unsigned shift_;
    std::uint64_t multiplier_; // random and odd: collisions cannot be prepared by a guest
    std::uint64_t seed_;
    std::atomic<seconds_t> ageing_{300};
    std::unique_ptr<bucket[], free_buckets> buckets_;
    // A learned entry lives while its sequence number is its port's.
    std::array<std::atomic<std::uint16_t>, max_ports> sequence_{};
};

} // namespace strait::dataplane
