// SPDX-License-Identifier: BSD-3-Clause
// Where a packed ring goes on when its back end is gone without a word. VIRTIO 1.1, 2.7.
#pragma once

#include "vmm/memory.hh"
#include "vmm/virtio/device.hh"

#include <cstdint>
#include <optional>

namespace strait::vmm::virtio {

// The position from the ring itself, for SET_VRING_BASE: bits 0 to 14 the next descriptor, bit 15
// its wrap counter, and the same again for the next used one. It relies on what back ends do that
// return buffers in the order they took them, from a driver whose chains have one descriptor in the
// ring: those that wait are then one run. Nothing if they are not.
[[nodiscard]] std::optional<std::uint32_t> packed_position(const memory& ram, const queue_setup& q);

} // namespace strait::vmm::virtio
