// SPDX-License-Identifier: BSD-3-Clause
// Bridge protocol data units as they are on the wire (IEEE 802.1D-2004 clause 9): configuration and
// topology change notification of version 0, RST of version 2. Pure functions of bytes.
#pragma once

#include "dataplane/types.hh"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace strait::stp {

// A bridge's identifier (9.2.5): its priority in the upper 16 bits, then its address in the order
// in which it is sent. The lesser one is the better.
class bridge_id {
public:
    constexpr bridge_id() noexcept = default;
    constexpr explicit bridge_id(std::uint64_t value) noexcept : value_{value} {}
    constexpr bridge_id(std::uint16_t priority, dataplane::mac_address address) noexcept
        : value_{std::uint64_t{priority} << 48 | __builtin_bswap64(address.value()) >> 16}
    {}
    [[nodiscard]] constexpr std::uint64_t value() const noexcept { return value_; }
    [[nodiscard]] constexpr std::uint16_t priority() const noexcept
    {
        return static_cast<std::uint16_t>(value_ >> 48);
    }
    [[nodiscard]] constexpr dataplane::mac_address address() const noexcept
    {
        return dataplane::mac_address{__builtin_bswap64(value_ << 16)};
    }
    auto operator<=>(const bridge_id&) const noexcept = default;

private:
    std::uint64_t value_{0};
};

// A port's identifier (9.2.7): a priority in steps of 16 in the upper 8 bits, with the port's
// number, 1 to 4095, in the lower 12.
using port_id = std::uint16_t;
using port_number = std::uint16_t;
inline constexpr port_number most_port_number = 4095;

[[nodiscard]] constexpr port_number number_of(port_id id) noexcept
{
    return id & most_port_number;
}

// What bridges compare (17.6), without the receiving port. The lesser one is the better.
struct priority_vector {
    bridge_id root;
    std::uint32_t cost{0}; // of the way to the root
    bridge_id bridge;      // the designated one
    port_id port{0};       // of the designated one

    auto operator<=>(const priority_vector&) const noexcept = default;
};

// Seconds. On the wire there are 256ths of them, which are rounded.
struct times {
    std::uint16_t message_age{0};
    std::uint16_t max_age{20};
    std::uint16_t hello{2};
    std::uint16_t forward_delay{15};

    bool operator==(const times&) const noexcept = default;
};

enum class role : std::uint8_t { disabled, root, designated, alternate, backup };

struct bpdu {
    enum class kind : std::uint8_t { configuration, topology_change, rapid };
    kind is{kind::rapid};
    bool topology_changes{false};
    bool acknowledges{false}; // configuration's: topology change acknowledgment
    bool proposes{false};     // this and what follows, but times, are RST's
    bool agrees{false};
    bool learns{false};
    bool forwards{false};
    // Of the port that sent it: root, designated or alternate (which stands for backup, too), or
    // disabled for one that it does not say.
    role sent_by{role::designated};
    priority_vector priority{};
    times timers{};

    bool operator==(const bpdu&) const noexcept = default;
};

// A frame as it is sent, without FCS.
using frame = std::array<std::byte, 60>;

// Nothing: it is damaged, or none that a bridge of this version understands (9.3.4). What is longer
// than a BPDU is read without the rest, and what later versions add is left out.
// `cut_off`: so many bytes of the frame follow that are not here.
[[nodiscard]] std::optional<bpdu> read(std::span<const std::byte> frame_bytes,
                                       std::size_t cut_off = 0) noexcept;

[[nodiscard]] frame write(const bpdu& b, dataplane::mac_address source) noexcept;

} // namespace strait::stp
