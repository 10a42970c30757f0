// SPDX-License-Identifier: BSD-3-Clause
// What addresses and ports a new connection is translated to: from the ranges that a flow gives,
// so that answers tell whose they are.
#pragma once

#include "dataplane/conntrack/tuple.hh"
#include "dataplane/flow/action.hh"

#include <cstdint>
#include <optional>

namespace strait::conntrack {

inline constexpr std::uint16_t first_free_port = 1024; // below that they are services'

// Who knows which tuples are some connection's.
class occupancy {
public:
    virtual ~occupancy() = default;
    [[nodiscard]] virtual bool is_free(const whole_tuple& t) noexcept = 0;
};

class port_chooser {
public:
    port_chooser() noexcept;

    // As packets will have it that answer. Nothing: all that were tried are taken. The work is
    // bounded: a few hundred tuples.
    [[nodiscard]] std::optional<whole_tuple> choose(occupancy& connections, const flow::nat& asked,
                                                    const whole_tuple& original) noexcept;
    [[nodiscard]] std::uint64_t random() noexcept;

private:
    struct range {
        std::uint16_t first;
        std::uint32_t count;
        std::uint32_t start;               // where to begin in it
        std::optional<std::uint16_t> kept; // to be tried first: what it is
    };
    struct search;

    [[nodiscard]] range ports_of(const flow::nat& asked, const whole_tuple& original) noexcept;
    [[nodiscard]] static bool try_port(search& s, std::uint16_t port) noexcept;
    [[nodiscard]] static bool try_range(search& s, const range& ports) noexcept;
    std::uint64_t random_;
};

} // namespace strait::conntrack
