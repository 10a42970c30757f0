// SPDX-License-Identifier: BSD-3-Clause
// Datagrams in fragments, put together in thought alone: later fragments have no ports, and get the
// first one's tuple and verdict. What comes before the first waits for it, bounded in number, bytes
// and time; what overlaps what came is refused. Those of some zones, whose lock is held.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/tuple.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

struct rte_mbuf;
struct rte_mempool;

namespace strait::conntrack {

class fragments {
public:
    fragments();
    ~fragments(); // frees what waits
    fragments(const fragments&) = delete;
    fragments& operator=(const fragments&) = delete;

    struct range {
        std::uint32_t begin; // bytes of the datagram
        std::uint32_t end;
    };
    struct datagram {
        static constexpr std::size_t most_ranges = 8;

        whole_tuple first; // the first fragment's
        std::uint32_t identifier{0};
        dataplane::seconds_t deadline{0}; // 0: unused
        bool invalid{false};              // and so was the first
        bool dropped{false};
        dataplane::drop_reason reason{};
        std::uint8_t count{0};
        std::uint32_t size{0};                   // once the last has come
        std::array<range, most_ranges> ranges{}; // that have come, apart from each other

        [[nodiscard]] bool complete() const noexcept
        {
            return count == 1 && size != 0 && ranges[0].begin == 0 && ranges[0].end == size;
        }
    };

    struct meeting {
        datagram* of{nullptr}; // null: it is refused,
        bool early{false};     // since the first has not come
    };
    // A first fragment, of this tuple, or a later one, whose tuple becomes the first's. `again`: it
    // has been here.
    [[nodiscard]] meeting meet(const request& r, whole_tuple& tuple, bool later, bool again,
                               dataplane::seconds_t now) noexcept;

    // Of early ones, in these zones: packets, and how many of them may be of one port; bytes.
    static constexpr std::size_t most_waiting = 64;
    static constexpr std::size_t most_of_a_port = 48;
    static constexpr std::size_t most_bytes = std::size_t{128} << 10;
    static constexpr dataplane::seconds_t longest_wait = 2;

    struct waiting_packet {
        rte_mbuf* mbuf;
        whole_tuple datagram; // without what the first fragment alone knows
        std::uint64_t continuation;
        std::uint32_t identifier;
        std::uint32_t bytes;
        dataplane::seconds_t until;
        dataplane::port_index from;
    };
    // Keeps an early one: the packet is owned then, and goes nowhere for now. False: it may not.
    [[nodiscard]] bool keep(request& r, const whole_tuple& tuple, dataplane::seconds_t now,
                            rte_mempool* pool) noexcept;
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_count_; }
    // Takes out those that wait for a first fragment like this one, in the order in which they
    // came, as many as there is room for; how many these are.
    [[nodiscard]] std::size_t release(const request& r, const whole_tuple& tuple,
                                      std::span<rte_mbuf*> to) noexcept;
    // The same of those that have waited too long.
    [[nodiscard]] std::size_t expire(dataplane::seconds_t now,
                                     std::span<waiting_packet> to) noexcept;

private:
    static constexpr std::size_t sets = 256;
    static constexpr std::size_t ways = 4;
    using set = std::array<datagram, ways>;

    struct place {
        std::uint32_t identifier{0};
        range bytes{};
        bool last{false};
        bool valid{false};
    };
    [[nodiscard]] static place place_of(const request& r) noexcept;
    [[nodiscard]] static bool add(datagram& d, const place& at) noexcept;

    // Takes out what `wanted` says is to go, with `take`.
    template <typename Wanted, typename Take>
    void take_out(const Wanted& wanted, const Take& take) noexcept;

    dataplane::reserved_memory memory_{sets * sizeof(set) + // as it comes, nothing is in use
                                       most_waiting * sizeof(waiting_packet)};
    set* sets_;
    waiting_packet* waiting_;
    std::size_t waiting_count_{0};
    std::size_t waiting_bytes_{0};
};

} // namespace strait::conntrack
