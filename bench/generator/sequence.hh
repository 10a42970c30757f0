// SPDX-License-Identifier: BSD-3-Clause
// Numbers of frames, flow by flow: what was sent and never came, came twice, or came after a later
// one (RFC 4737, RFC 5560). Knows no frame and no ring.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace strait::bench {

// What became of the frames of some flows.
struct sequence_summary {
    std::uint64_t lost = 0;       // sent, never arrived
    std::uint64_t duplicated = 0; // arrivals beyond a frame's first
    std::uint64_t reordered = 0;  // first arrivals behind a later frame's
    // So far behind that it cannot be told which of these two it is: counted in neither, and in
    // `lost` if it was missing.
    std::uint64_t stale = 0;
    std::uint64_t flows_with_loss = 0;

    sequence_summary& operator+=(const sequence_summary& other) noexcept
    {
        lost += other.lost;
        duplicated += other.duplicated;
        reordered += other.reordered;
        stale += other.stale;
        flows_with_loss += other.flows_with_loss;
        return *this;
    }
};

// The numbers that the next frames of a side's flows get.
class departures {
public:
    explicit departures(std::uint32_t flows) : next_(flows) {}

    std::uint32_t take(std::uint32_t flow) noexcept { return next_[flow]++; }
    // The last number of the flow was of a frame that is not sent: the next one gets it.
    void take_back(std::uint32_t flow) noexcept { --next_[flow]; }
    [[nodiscard]] std::span<const std::uint32_t> next() const noexcept { return next_; }

private:
    std::vector<std::uint32_t> next_;
};

// What arrived of them at the other side. 16 bytes a flow. What is counted is told apart by group:
// flow i is of group i % groups.
class arrivals {
public:
    // How far behind the newest frame of its flow another one is told apart.
    static constexpr std::int32_t window = 64;

    explicit arrivals(std::uint32_t flows, std::uint32_t groups = 1)
        : flows_(flows), counted_(groups)
    {}

    // From now on numbers from these on are expected, one a flow; what is on its way is forgotten.
    void begin(std::span<const std::uint32_t> next) noexcept
    {
        for (std::size_t i = 0; i < flows_.size(); ++i) {
            flows_[i] = {.next = next[i], .missing = 0, .seen = ~std::uint64_t{0}};
        }
        std::ranges::fill(counted_, sequence_summary{});
    }

    // A frame arrived; `flow` is below the number of flows.
    void take(std::uint32_t flow, std::uint32_t number) noexcept
    {
        state& f = flows_[flow];
        const auto ahead = static_cast<std::int32_t>(number - f.next);
        if (ahead >= 0) [[likely]] {
            f.seen = ahead + 1 < window ? f.seen << (ahead + 1) | 1 : 1;
            f.missing += static_cast<std::uint32_t>(ahead);
            f.next = number + 1;
            return;
        }
        const std::int32_t behind = -ahead - 1; // 0: the newest
        if (behind >= window) {
            ++group_of(flow).stale;
            return;
        }
        const std::uint64_t place = std::uint64_t{1} << behind;
        if ((f.seen & place) != 0) {
            ++group_of(flow).duplicated;
            return;
        }
        f.seen |= place;
        --f.missing;
        ++group_of(flow).reordered;
    }

    // When nothing is on its way any more; `sent` is what departures say then. Of the groups and
    // flows from `first` on, each `step`-th; `step` is a divisor of the number of groups.
    [[nodiscard]] sequence_summary summary(std::span<const std::uint32_t> sent,
                                           std::size_t first = 0,
                                           std::size_t step = 1) const noexcept
    {
        sequence_summary out;
        for (std::size_t group = first; group < counted_.size(); group += step) {
            out += counted_[group];
        }
        for (std::size_t i = first; i < flows_.size(); i += step) {
            const std::uint32_t lost = flows_[i].missing + (sent[i] - flows_[i].next);
            out.lost += lost;
            out.flows_with_loss += lost != 0 ? 1 : 0;
        }
        return out;
    }

private:
    struct state {
        std::uint32_t next;
        std::uint32_t missing;
        std::uint64_t seen; // bit i: the frame i before the newest
    };

    sequence_summary& group_of(std::uint32_t flow) noexcept
    {
        return counted_[flow % counted_.size()];
    }

    std::vector<state> flows_;
    std::vector<sequence_summary> counted_;
};

} // namespace strait::bench
