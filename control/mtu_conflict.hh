// SPDX-License-Identifier: BSD-3-Clause
// Ports of one bridge whose MTUs do not go together: what one sends is too long for another, where
// it is dropped. Judged here alone, for doctor and for who makes or changes a port.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

struct port_mtu {
    std::string name;
    std::uint64_t mtu;
    std::optional<std::bitset<4096>> vlans{}; // that it carries; nothing: every frame as it is
    bool isolated{false};
    bool sends{true}; // false: it has a mirror's copies, and what comes from it is dropped
};

// Of two ports whose frames meet.
struct mtu_conflict {
    const port_mtu* small;
    const port_mtu* large;
    std::size_t more{0}; // ports that take less than `large` sends, too
};

// Whether a port is one of those that are compared: a tunnel's senders are told what fits for each
// path, and the bridge's own port is the underlay's.
[[nodiscard]] bool has_comparable_mtu(std::string_view type);
[[nodiscard]] bool is_tunnel_type(std::string_view type);

// What others of the bridge send `port` that it does not take, from the one that sends the most.
[[nodiscard]] std::optional<mtu_conflict> conflict_as_small(const port_mtu& port,
                                                            std::span<const port_mtu> of_bridge);
// What `port` sends others that they do not take, to the one that takes the least.
[[nodiscard]] std::optional<mtu_conflict> conflict_as_large(const port_mtu& port,
                                                            std::span<const port_mtu> of_bridge);

// A sentence without its full stop, and the commands that mend it. `most` is what the small port's
// device can do; nothing: it does not say.
[[nodiscard]] std::string sentence_of(const mtu_conflict& c, std::string_view bridge,
                                      std::optional<std::uint64_t> most);
[[nodiscard]] std::string mend_of(const mtu_conflict& c, std::optional<std::uint64_t> most);

} // namespace strait::control
