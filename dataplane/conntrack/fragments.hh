// SPDX-License-Identifier: BSD-3-Clause
// Datagrams in fragments, put together in thought alone: later fragments have no ports, and get the
// first one's tuple and verdict. What comes before the first, or overlaps what came, is refused:
// nothing is held back. Those of some zones, whose lock is held.
#pragma once

#include "dataplane/conntrack/request.hh"
#include "dataplane/conntrack/tuple.hh"
#include "dataplane/mac_table.hh"
#include "dataplane/reserved_memory.hh"

#include <array>
#include <cstddef>
#include <cstdint>

namespace strait::conntrack {

class fragments {
public:
    fragments();

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

    // A first fragment, of this tuple, or a later one, whose tuple becomes the first's. Null: it is
    // refused. `again`: it has been here.
    [[nodiscard]] datagram* meet(const request& r, whole_tuple& tuple, bool later, bool again,
                                 dataplane::seconds_t now) noexcept;

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

    dataplane::reserved_memory memory_{sets * sizeof(set)}; // as it comes, nothing is in use
    set* sets_;
};

} // namespace strait::conntrack
