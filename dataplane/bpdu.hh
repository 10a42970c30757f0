// SPDX-License-Identifier: BSD-3-Clause
// What tells BPDUs from other frames: for workers, who take them out, and for control, which reads
// them (IEEE 802.1D-2004 7.12.3 and 9.2, IEEE 802.2).
#pragma once

#include "dataplane/types.hh"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace strait::dataplane {

// 01:80:c2:00:00:00
inline constexpr mac_address bridge_group_address{0x0000'00c2'8001ULL};

// Whether a frame is to a bridge's group address, untagged and with an LLC header of BPDUs: as much
// as is looked at before it is read. Any thread.
[[nodiscard]] inline bool may_be_bpdu(std::span<const std::byte> f) noexcept
{
    constexpr std::size_t length_field = 12;
    constexpr std::size_t llc = 14;
    constexpr std::uint16_t longest_length = 1500; // what is more is an Ethernet type
    constexpr std::byte spanning_tree{0x42};       // a service access point
    constexpr std::byte unnumbered{0x03};
    std::uint64_t destination = 0;
    be16 length;
    if (f.size() < llc + 3) {
        return false;
    }
    std::memcpy(&destination, f.data(), sizeof destination);
    std::memcpy(&length, f.data() + length_field, sizeof length);
    return mac_address{destination} == bridge_group_address && length <= longest_length &&
           f[llc] == spanning_tree && f[llc + 1] == spanning_tree && f[llc + 2] == unnumbered;
}

} // namespace strait::dataplane
