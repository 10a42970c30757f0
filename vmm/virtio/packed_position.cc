// SPDX-License-Identifier: BSD-3-Clause
// Reading a packed ring's position off its descriptors' flags.
#include "vmm/virtio/packed_position.hh"

#include "dataplane/guest_span.hh"
#include "ports/vhost/virtio.hh"

#include <cstddef>

namespace strait::vmm::virtio {

namespace {

// Of a descriptor's flags: who wrote it last, and on which lap.
struct mark {
    bool waiting; // the driver made it available and nobody returned it
    bool lap;     // the wrap counter it was written under
};

} // namespace

std::optional<std::uint32_t> packed_position(const memory& ram, const queue_setup& q)
{
    dataplane::guest_span ring;
    if (!ram.guest().translate(q.descriptors, q.size * sizeof(vhost::packed_descriptor), ring)) {
        return std::nullopt;
    }
    const auto at = [&ring](std::size_t index) {
        vhost::packed_descriptor d{};
        ring.copy_out(&d, index * sizeof d, sizeof d);
        const bool available = (d.flags & vhost::descriptor_flag::available) != 0;
        const bool used = (d.flags & vhost::descriptor_flag::used) != 0;
        return mark{available != used, available};
    };
    // The ring in its order: [0, p) was returned on this lap, or waits on the next one; [p, size)
    // was returned on the lap before, or waits on this one. So seen from where it goes on, a
    // descriptor's "waiting" changes once at most, and so does its lap.
    const auto encoded = [](std::uint32_t index, bool wrap) {
        const std::uint32_t half = index | (wrap ? 0x8000U : 0U);
        return half << 16 | half;
    };
    std::optional<std::uint32_t> found;
    for (std::uint16_t p = 0; p < q.size; ++p) {
        for (const bool wrap : {false, true}) {
            bool fits = true;
            bool waiting = true;
            for (std::uint16_t i = 0; fits && i < q.size; ++i) {
                const std::uint32_t index = (std::uint32_t{p} + i) % q.size;
                const bool lap = index < p ? !wrap : wrap; // of a descriptor that waits
                const mark m = at(index);
                waiting = waiting && m.waiting;
                // Behind the run all have been returned, on the lap before it.
                fits = m.waiting == waiting && m.lap == (m.waiting ? lap : !lap);
            }
            if (!fits) {
                continue;
            }
            if (found) {
                return std::nullopt;
            }
            found = encoded(p, wrap);
        }
    }
    return found;
}

} // namespace strait::vmm::virtio
