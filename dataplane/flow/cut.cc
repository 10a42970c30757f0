// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/cut.hh"

#include <algorithm>
#include <cstddef>

namespace strait::flow {

void cut(dataplane::packet_slot& p, std::uint32_t size, dataplane::burst& of) noexcept
{
    if (p.length <= size) {
        return;
    }
    p.length = size;
    p.offload = {};
    p.head_length = static_cast<std::uint16_t>(std::min<std::uint32_t>(p.head_length, size));
    std::size_t left = size - p.head_length;
    auto at = static_cast<std::size_t>(p.segments - of.segments.data());
    std::uint16_t kept = 0;
    for (; left > 0 && kept < p.segment_count; ++kept, ++at) {
        dataplane::guest_span& from = of.segments[at];
        from = from.subspan(0, std::min(from.size(), left));
        left -= from.size();
    }
    p.segment_count = kept;
}

} // namespace strait::flow
