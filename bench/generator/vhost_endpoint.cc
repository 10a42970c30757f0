// SPDX-License-Identifier: BSD-3-Clause
// Loops over a burst. A frame sent again costs a header, as any driver writes it.

#include "bench/generator/vhost_endpoint.hh"

#include "dataplane/offload.hh"

#include <algorithm>
#include <cstring>

namespace strait::bench {

namespace {

constexpr std::size_t header_size = sizeof(vhost::net_header);

} // namespace

vhost_endpoint::vhost_endpoint(std::size_t which, const options& settings)
    : endpoint(which, settings),
      mergeable_(settings.mergeable),
      device_({.path = settings.ends[which].where,
               .server = settings.server,
               .packed = settings.packed,
               .mergeable = settings.mergeable,
               .in_order = settings.in_order,
               .sends_segments = settings.segment != 0,
               .takes_segments = settings.segment != 0 && !settings.filled_in,
               .huge_pages = !settings.no_huge,
               .pairs = settings.queues,
               .queue_size = settings.queue_size,
               .transmit_buffer = largest_size() + std::uint32_t{header_size},
               .receive_buffer = settings.buffer_size + std::uint32_t{header_size}})
{
    gathered_.resize(settings.segment != 0 ? largest_segmented : largest_frame);
    if (settings.segment == 0) {
        return;
    }
    using todo = dataplane::virtio_offload;
    constexpr std::uint16_t tcp_checksum = 16;
    header_.flags = todo::needs_checksum;
    header_.checksum_start = static_cast<std::uint16_t>(offset::udp + form().before_ports());
    header_.checksum_offset = tcp_checksum;
    header_.header_length = before_tcp_payload(form());
    if (largest_size() > header_.header_length + settings.segment) {
        header_.gso_type = settings.ipv6 ? todo::gso_tcp_ipv6 : todo::gso_tcp_ipv4;
        header_.gso_size = settings.segment;
    }
}

void vhost_endpoint::attach(std::chrono::milliseconds patience)
{
    device_.attach(patience);
    for (unsigned pair = 0; pair < queues(); ++pair) {
        virtqueue& queue = device_.transmit(pair);
        for (std::uint16_t i = 0; i < queue.form().size; ++i) {
            build(queue.buffer(i).subspan(header_size));
        }
    }
}

[[gnu::always_inline]] inline void vhost_endpoint::fill(unsigned pair, std::uint16_t buffer,
                                                        std::uint64_t now) noexcept
{
    virtqueue& queue = device_.transmit(pair);
    std::byte* const to = queue.buffer(buffer).data();
    std::memcpy(to, &header_, header_size);
    if (!fixed()) {
        const std::size_t number = std::size_t{pair} * queue.form().size + buffer;
        const std::uint16_t bytes = shape(to + header_size, number, now);
        if (several_sizes()) {
            queue.set_length(buffer, bytes + std::uint32_t{header_size});
        }
    }
}

unsigned vhost_endpoint::transmit_by_flow(unsigned most, std::uint64_t now) noexcept
{
    std::array<std::uint16_t, front_end::most_pairs> filled{};
    unsigned count = 0;
    for (; count < most; ++count) {
        const unsigned pair = next_queue();
        virtqueue& queue = device_.transmit(pair);
        if (queue.idle() == filled[pair] && queue.reclaim() == 0) {
            break; // what has no room keeps what is behind it waiting
        }
        fill(pair, queue.upcoming(filled[pair]++), now);
    }
    for (unsigned pair = 0; pair < queues(); ++pair) {
        if (filled[pair] != 0 && device_.transmit(pair).offer(filled[pair])) {
            device_.kick_transmit(pair);
        }
    }
    count_sent(most, count);
    return count;
}

unsigned vhost_endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    if (queues() > 1) {
        return transmit_by_flow(most, now);
    }
    virtqueue& queue = device_.transmit();
    if (queue.idle() < most) {
        queue.reclaim();
    }
    const auto count = static_cast<std::uint16_t>(std::min<unsigned>(most, queue.idle()));
    count_sent(most, count);
    if (count == 0) {
        return 0;
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        fill(0, queue.upcoming(i), now);
    }
    if (queue.offer(count)) {
        device_.kick_transmit();
    }
    return count;
}

[[gnu::always_inline]] inline void vhost_endpoint::take(std::span<const std::byte> part,
                                                        std::uint64_t now) noexcept
{
    const bool first = buffers_left_ == 0;
    if (first) {
        vhost::net_header header{};
        std::memcpy(&header, part.data(), std::min(part.size(), header_size));
        part = part.subspan(std::min(part.size(), header_size));
        buffers_left_ = mergeable_ ? std::max<std::uint32_t>(header.buffers, 1) : 1;
        frame_length_ = 0;
        partial_ = (header.flags & dataplane::virtio_offload::needs_checksum) != 0;
        begin_frame(part, now);
    }
    --buffers_left_;
    const bool whole = first && buffers_left_ == 0;
    if (checks() && !whole && frame_length_ + part.size() <= gathered_.size()) {
        std::copy(part.begin(), part.end(), gathered_.begin() + frame_length_);
    }
    frame_length_ += static_cast<std::uint32_t>(part.size());
    if (buffers_left_ != 0) {
        return;
    }
    const std::span<const std::byte> all{gathered_};
    end_frame(whole ? part : all.first(std::min<std::size_t>(frame_length_, all.size())),
              frame_length_, partial_);
}

bool vhost_endpoint::receive_from(unsigned pair, std::uint64_t now) noexcept
{
    virtqueue& queue = device_.receive(pair);
    std::array<virtqueue::completion, std::size_t{2} * burst> filled;
    const std::size_t count = queue.take(filled);
    if (count == 0) {
        return false;
    }
    for (std::size_t i = 0; i < count; ++i) {
        __builtin_prefetch(queue.buffer(filled[i].buffer).data());
    }
    for (std::size_t i = 0; i < count; ++i) {
        take(queue.buffer(filled[i].buffer).first(filled[i].length), now);
    }
    if (queue.offer(static_cast<std::uint16_t>(count))) {
        device_.kick_receive(pair);
    }
    return true;
}

unsigned vhost_endpoint::receive(std::uint64_t now) noexcept
{
    const std::uint64_t before = counted().arrived();
    bool any = false;
    for (unsigned i = 0; i < queues(); ++i) {
        any |= receive_from(receiving_, now);
        if (buffers_left_ != 0) {
            break; // the rest of the frame is this queue's next buffers
        }
        receiving_ = receiving_ + 1 == queues() ? 0 : receiving_ + 1;
    }
    if (any) {
        end_burst(now);
    }
    return static_cast<unsigned>(counted().arrived() - before);
}

} // namespace strait::bench
