// SPDX-License-Identifier: BSD-3-Clause
#include "ports/vhost/remote_writes.hh"

#include <algorithm>

namespace strait::vhost {

using dataplane::remote_copy;
using dataplane::remote_span;

void remote_writes::add(const remote_span& from, const dataplane::guest_span& to) noexcept
{
    const frame& own = frames_[frame_count_ - 1];
    if (piece_count_ == pieces_.size() ||
        (piece_count_ > 0 && frames_[frame_of_[0]].payload->copier != own.payload->copier))
        [[unlikely]] {
        flush();
    }
    frame_of_[piece_count_] = static_cast<std::uint16_t>(frame_count_ - 1);
    pieces_[piece_count_++] = remote_copy::pull(from, to);
}

void remote_writes::flush() noexcept
{
    if (piece_count_ == 0) {
        return;
    }
    const std::span pieces = std::span{pieces_}.first(piece_count_);
    frames_[frame_of_[0]].payload->copier->copy(pieces);
    if (!std::ranges::all_of(pieces, [](const remote_copy& c) { return c.done(); })) [[unlikely]] {
        find_failed();
    }
    piece_count_ = 0;
}

// A piece that failed does not tell whether for its source or for its target, where a receiver may
// have cut its own memory: a byte of the source is tried alone, of each such frame in one call.
void remote_writes::find_failed() noexcept
{
    std::array<remote_copy, std::tuple_size_v<decltype(pieces_)>> probes;
    std::array<std::uint16_t, std::tuple_size_v<decltype(pieces_)>> probed;
    std::size_t count = 0;
    std::byte byte{};
    for (std::size_t i = 0; i < piece_count_; ++i) {
        frame& f = frames_[frame_of_[i]];
        if (pieces_[i].done() || f.failed) {
            continue;
        }
        f.failed = true;
        const auto& from = pieces_[i].source().granted;
        probed[count] = frame_of_[i];
        probes[count++] = remote_copy::pull(remote_span{.reference = from.reference,
                                                        .offset = from.offset,
                                                        .owner = from.owner,
                                                        .size = sizeof byte},
                                            &byte);
    }
    frames_[frame_of_[0]].payload->copier->copy(std::span{probes}.first(count));
    for (std::size_t i = 0; i < count; ++i) {
        if (!probes[i].done()) {
            frames_[probed[i]].payload->unreadable = true;
        }
    }
}

} // namespace strait::vhost
