// SPDX-License-Identifier: BSD-3-Clause
// Loops over a burst. A frame is written when the rings are handed out; sending it again costs a
// header, as any driver writes it, and a few stores when flows, sizes or stamps vary.

#include "bench/generator/endpoint.hh"

#include <algorithm>
#include <cstring>

namespace strait::bench {

namespace {

constexpr std::size_t header_size = sizeof(vhost::net_header);

// 64, 594 and 1514 bytes as 7:4:1, mixed so that no size comes in runs.
constexpr std::array<std::uint8_t, 12> imix_order = {0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 0, 0};
constexpr std::array<std::uint16_t, 3> imix_sizes = {64, 594, 1514};

front_end::options device_options(side which, const options& settings)
{
    const std::uint32_t largest = settings.frame == 0 ? imix_sizes.back() : settings.frame;
    return {.path = which == side::a ? settings.socket_a : settings.socket_b,
            .server = settings.server,
            .packed = settings.packed,
            .mergeable = settings.mergeable,
            .in_order = settings.in_order,
            .huge_pages = !settings.no_huge,
            .queue_size = settings.queue_size,
            .transmit_buffer = largest + std::uint32_t{header_size},
            .receive_buffer = settings.buffer_size + std::uint32_t{header_size}};
}

} // namespace

endpoint::endpoint(side which, const options& settings)
    : side_(which),
      mergeable_(settings.mergeable),
      several_sizes_(settings.frame == 0),
      stamps_(settings.latency),
      kind_(settings.sent_kind()),
      flows_(settings.flows_of_a_side()),
      next_new_(flows_),
      verify_every_(settings.verify_every),
      device_(device_options(which, settings))
{
    writes_flow_ = settings.flows != 0 || flows_ != 1 || settings.rewrite;
    fixed_ = !writes_flow_ && !several_sizes_ && !stamps_;
    if (several_sizes_) {
        size_count_ = imix_sizes.size();
        std::transform(imix_sizes.begin(), imix_sizes.end(), sizes_.begin(), make_frame_size);
    } else {
        sizes_[0] = make_frame_size(settings.frame);
    }
}

void endpoint::attach(std::chrono::milliseconds patience)
{
    device_.attach(patience);
    virtqueue& queue = device_.transmit();
    for (std::uint16_t i = 0; i < queue.form().size; ++i) {
        build_frame(queue.buffer(i).subspan(header_size), side_, sizes_[size_count_ - 1]);
    }
}

void endpoint::start_flows(std::uint32_t flow, std::uint32_t stride) noexcept
{
    next_flow_ = flow % flows_;
    stride_ = stride % flows_;
    order_ = {};
    new_share_ = 0;
}

void endpoint::follow(std::span<const std::uint32_t> order, std::size_t first) noexcept
{
    order_ = order;
    next_in_order_ = first;
}

void endpoint::begin_flows(double share) noexcept
{
    new_share_ = static_cast<std::uint64_t>(share * 0x1p32);
    new_due_ = 0;
}

std::uint32_t endpoint::next_flow() noexcept
{
    new_due_ += new_share_;
    if (constexpr std::uint64_t one = 1ULL << 32; new_due_ >= one) {
        new_due_ -= one;
        ++counts_.new_flows;
        return next_new_++;
    }
    if (!order_.empty()) {
        const std::uint32_t flow = order_[next_in_order_];
        next_in_order_ = next_in_order_ + 1 == order_.size() ? 0 : next_in_order_ + 1;
        return flow;
    }
    const std::uint32_t flow = next_flow_;
    next_flow_ += stride_;
    next_flow_ -= next_flow_ >= flows_ ? flows_ : 0;
    return flow;
}

void endpoint::clear(std::uint64_t now) noexcept
{
    counts_ = {};
    latency_->clear();
    last_arrival_ = now;
    verify_at_ = 0;
}

void endpoint::shape(std::uint16_t buffer, std::uint64_t now) noexcept
{
    std::byte* const frame = device_.transmit().buffer(buffer).data() + header_size;
    if (writes_flow_) {
        set_flow(frame, side_, kind_, next_flow());
    }
    if (several_sizes_) {
        const frame_size& size = sizes_[imix_order[next_size_]];
        next_size_ = next_size_ + 1 == imix_order.size() ? 0 : next_size_ + 1;
        device_.transmit().set_length(buffer, size.bytes + std::uint32_t{header_size});
        set_size(frame, size);
    }
    if (stamps_) {
        set_stamp(frame, now);
    }
}

unsigned endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    virtqueue& queue = device_.transmit();
    if (queue.idle() < most) {
        queue.reclaim();
    }
    const auto count = static_cast<std::uint16_t>(std::min<unsigned>(most, queue.idle()));
    counts_.sent += count;
    counts_.bursts += 1;
    counts_.blocked += count < most ? 1 : 0;
    if (count == 0) {
        return 0;
    }
    for (std::uint16_t i = 0; i < count; ++i) {
        const std::uint16_t buffer = queue.upcoming(i);
        constexpr vhost::net_header nothing_left{};
        std::memcpy(queue.buffer(buffer).data(), &nothing_left, header_size);
        if (!fixed_) {
            shape(buffer, now);
        }
    }
    if (queue.offer(count)) {
        device_.kick_transmit();
    }
    return count;
}

unsigned endpoint::receive(std::uint64_t now) noexcept
{
    virtqueue& queue = device_.receive();
    std::array<virtqueue::completion, std::size_t{2} * burst> filled;
    const std::size_t count = queue.take(filled);
    if (count == 0) {
        return 0;
    }
    for (std::size_t i = 0; i < count; ++i) {
        __builtin_prefetch(queue.buffer(filled[i].buffer).data());
    }
    const std::uint64_t before = counts_.received;
    for (std::size_t i = 0; i < count; ++i) {
        take(queue.buffer(filled[i].buffer).first(filled[i].length), now);
    }
    if (queue.offer(static_cast<std::uint16_t>(count))) {
        device_.kick_receive();
    }
    counts_.longest_gap = std::max(counts_.longest_gap, now - last_arrival_);
    last_arrival_ = now;
    return static_cast<unsigned>(counts_.received - before);
}

void endpoint::take(std::span<const std::byte> part, std::uint64_t now) noexcept
{
    const bool first = buffers_left_ == 0;
    if (first) {
        vhost::net_header header{};
        std::memcpy(&header, part.data(), std::min(part.size(), header_size));
        part = part.subspan(std::min(part.size(), header_size));
        buffers_left_ = mergeable_ ? std::max<std::uint32_t>(header.buffers, 1) : 1;
        frame_length_ = 0;
        checks_ = verify_every_ != 0 && counts_.received >= verify_at_;
        if (stamps_ && part.size() >= smallest_frame) {
            const std::uint64_t sent = stamp_of(part.data());
            if (sent != 0 && sent <= now) {
                latency_->add(now - sent);
            }
        }
    }
    --buffers_left_;
    const bool whole = first && buffers_left_ == 0;
    if (checks_ && !whole && frame_length_ + part.size() <= gathered_.size()) {
        std::copy(part.begin(), part.end(), gathered_.begin() + frame_length_);
    }
    frame_length_ += static_cast<std::uint32_t>(part.size());
    if (buffers_left_ != 0) {
        return;
    }
    if (checks_) {
        check(whole ? part
                    : std::span<const std::byte>{gathered_}.first(
                          std::min<std::size_t>(frame_length_, gathered_.size())));
        verify_at_ = counts_.received + verify_every_;
    }
    counts_.received += 1;
    counts_.received_bytes += frame_length_;
}

void endpoint::check(std::span<const std::byte> frame) noexcept
{
    ++counts_.checked;
    // The other side may have begun flows.
    const std::uint64_t flows = new_share_ != 0 ? most_flows(kind_) : flows_;
    switch (check_frame(frame, other(side_), {sizes_.data(), size_count_}, kind_, flows)) {
    case verdict::good:
        break;
    case verdict::corrupt:
        ++counts_.corrupt;
        break;
    case verdict::foreign:
        ++counts_.foreign;
        break;
    }
}

} // namespace strait::bench
