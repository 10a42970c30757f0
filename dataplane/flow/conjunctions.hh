// SPDX-License-Identifier: BSD-3-Clause
// Which dimensions of which conjunctions a packet has met. A conjunction is known by its number at
// one priority: all of its dimensions are rules of that priority.
#pragma once

#include "dataplane/flow/rule.hh"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

namespace strait::flow {

// Those of the highest priority first; of one priority, those of the lowest number. There is room
// for 128 at once. A packet that meets more gets them in portions: the first 128, then, after
// another look at the rules, those that come next.
class conjunctions {
public:
    struct one {
        std::uint64_t place; // they are in ascending order
        std::uint64_t met;
        int dimensions; // where rules do not agree, the largest number counts

        [[nodiscard]] priority_t priority() const noexcept
        {
            return static_cast<priority_t>(~(place >> id_bits));
        }
        [[nodiscard]] std::uint32_t id() const noexcept
        {
            return static_cast<std::uint32_t>(place);
        }
        [[nodiscard]] bool is_met() const noexcept { return std::countr_one(met) >= dimensions; }
    };

    // A rule of conjunctions that matches the packet.
    void add(const rule& r) noexcept
    {
        for (const action& a : r.actions()) {
            if (const auto* const c = std::get_if<conjunction>(&a.is)) {
                add(r.priority(), *c);
            }
        }
    }
    [[nodiscard]] std::span<const one> all() const noexcept
    {
        return std::span{all_}.first(count_);
    }

    // Whether there are more than these.
    [[nodiscard]] bool has_more() const noexcept { return more_; }
    // Makes room for those that come next; rules are to be added once more.
    void go_on() noexcept
    {
        first_ = all_[count_ - 1].place + 1;
        count_ = 0;
        more_ = false;
    }

private:
    static constexpr std::size_t capacity = 128;
    static constexpr unsigned most_dimensions = 64;
    static constexpr unsigned id_bits = 32;

    [[nodiscard]] static std::uint64_t place_of(priority_t priority, std::uint32_t id) noexcept
    {
        return std::uint64_t{static_cast<priority_t>(~priority)} << id_bits | id;
    }

    void add(priority_t priority, const conjunction& c) noexcept
    {
        const std::uint64_t place = place_of(priority, c.id);
        if (place < first_ || c.dimension >= most_dimensions) {
            return;
        }
        one* const end = all_.data() + count_;
        one* const at =
            std::partition_point(all_.data(), end, [&](const one& o) { return o.place < place; });
        if (at == end || at->place != place) {
            if (!make_room(at)) {
                return;
            }
            *at = {place, 0, 0};
        }
        at->met |= std::uint64_t{1} << c.dimension;
        at->dimensions = std::max<int>(at->dimensions, c.dimensions);
    }
    // The last one goes if there is no room.
    [[nodiscard]] bool make_room(one* at) noexcept
    {
        if (count_ == capacity) {
            more_ = true;
            if (at == all_.data() + capacity) {
                return false;
            }
            --count_;
        }
        one* const end = all_.data() + count_;
        std::copy_backward(at, end, end + 1);
        ++count_;
        return true;
    }

    std::size_t count_{0};
    std::uint64_t first_{0};
    bool more_{false};
    std::array<one, capacity> all_;
};

} // namespace strait::flow
