// SPDX-License-Identifier: BSD-3-Clause
// Accesses without rules to every port and register that the machine has, and to what it has not.
#pragma once

#include "tests/vmm/guest/net.hh"

#include <cstdint>

namespace strait::guest {

// `count` accesses while the virtio devices are reset, and as many while they run; the same ones
// for the same seed and machine. The devices are reset afterwards. Never asked for: what would end
// the guest or write where it lies itself.
void poke(std::uint64_t seed, std::uint64_t count, network& net, const net_settings& s) noexcept;

// Reads and writes each port that the machine has not, by one, two and four bytes: reads have to be
// all ones, and writes do nothing.
void look_at_all_ports() noexcept;

} // namespace strait::guest
