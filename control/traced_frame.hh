// SPDX-License-Identifier: BSD-3-Clause
// A frame that nobody sends, as workers have those that somebody does.
#pragma once

#include "dataplane/flow/extract.hh"
#include "dataplane/packet.hh"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace strait::control {

// Its head in a slot, the rest as if it were a guest's.
class traced_frame {
public:
    explicit traced_frame(std::span<const std::byte> frame)
        : bytes_{frame.begin(), frame.end()}, burst_{std::make_unique<dataplane::burst>()}
    {
        dataplane::packet_slot& p = burst_->slots[0];
        static_cast<dataplane::packet&>(p) = {};
        const std::size_t head = std::min(bytes_.size(), dataplane::head_copy);
        p.data = p.head.data();
        std::memcpy(p.data, bytes_.data(), head);
        p.length = static_cast<std::uint32_t>(bytes_.size());
        p.head_length = static_cast<std::uint16_t>(head);
        p.segments = burst_->segments.data();
        if (head < bytes_.size()) {
            burst_->segments[0] = dataplane::guest_span{bytes_.data() + head, bytes_.size() - head};
            burst_->segments_used = 1;
            p.segment_count = 1;
        }
        burst_->count = 1;
    }
    [[nodiscard]] dataplane::packet_slot& get() noexcept { return burst_->slots[0]; }
    // Sets the fields that are headers'.
    void read(flow::key& k, flow::header_layout& at) noexcept
    {
        if (!flow::extract(get(), k, at)) {
            dataplane::lengthen_head(get(), *burst_);
            (void)flow::extract(get(), k, at);
        }
    }
    [[nodiscard]] dataplane::burst& burst() noexcept { return *burst_; }

private:
    std::vector<std::byte> bytes_;
    std::unique_ptr<dataplane::burst> burst_;
};

[[nodiscard]] inline std::vector<std::byte> bytes_of(const dataplane::packet& p)
{
    std::vector<std::byte> out(p.length);
    dataplane::copy_frame(p, 0, out.data(), out.size());
    return out;
}

} // namespace strait::control
