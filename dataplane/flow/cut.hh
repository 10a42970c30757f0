// SPDX-License-Identifier: BSD-3-Clause
// The first bytes of a frame, for outputs that take no more (max_len).
#pragma once

#include "dataplane/packet.hh"

#include <cstdint>

namespace strait::flow {

// Leaves the frame's first `size` bytes at the most, and then nothing to do about the rest: no
// checksum is filled, nothing is segmented. Of what clone_packet() made in `of`.
void cut(dataplane::packet_slot& p, std::uint32_t size, dataplane::burst& of) noexcept;

} // namespace strait::flow
