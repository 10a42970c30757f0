// SPDX-License-Identifier: BSD-3-Clause
// Numbers from one side to the other, edit by edit.
#include "dataplane/conntrack/stream_edits.hh"

#include <algorithm>

namespace strait::conntrack {

namespace {

// How far `a` is behind `b`; numbers go round.
[[nodiscard]] std::int32_t distance(std::uint32_t b, std::uint32_t a) noexcept
{
    return static_cast<std::int32_t>(a - b);
}
[[nodiscard]] bool has_got(std::optional<std::uint32_t> acknowledged,
                           const stream_edits::edit& e) noexcept
{
    return acknowledged && distance(e.end(), *acknowledged) >= 0;
}

} // namespace

std::uint32_t stream_edits::to_receiver(std::uint32_t number) const noexcept
{
    std::uint32_t shift = base_;
    for (const edit& e : all()) {
        const std::int32_t inside = distance(e.begin, number);
        if (inside <= 0) {
            break;
        }
        if (inside < e.old_size) {
            return e.begin + shift +
                   std::min(static_cast<std::uint32_t>(inside), std::uint32_t{e.size} - 1);
        }
        shift += std::uint32_t{e.size} - e.old_size;
    }
    return number + shift;
}

std::uint32_t stream_edits::to_sender(std::uint32_t number) const noexcept
{
    std::uint32_t shift = base_;
    for (const edit& e : all()) {
        const std::int32_t inside = distance(e.begin + shift, number);
        if (inside <= 0) {
            break;
        }
        if (inside < e.size) {
            return e.begin +
                   std::min(static_cast<std::uint32_t>(inside), std::uint32_t{e.old_size} - 1);
        }
        shift += std::uint32_t{e.size} - e.old_size;
    }
    return number - shift;
}

void stream_edits::forget_first() noexcept
{
    base_ += std::uint32_t{edits_[0].size} - edits_[0].old_size;
    std::copy(edits_.begin() + 1, edits_.begin() + count_, edits_.begin());
    --count_;
}

void stream_edits::settle(std::optional<std::uint32_t> acknowledged) noexcept
{
    constexpr std::int32_t far = 1 << 24; // bytes: nobody sends those again
    while (count_ > 0 && has_got(acknowledged, edits_[0]) &&
           distance(edits_[0].end(), *acknowledged) > far) {
        forget_first();
    }
}

bool stream_edits::add(std::uint32_t begin, std::size_t old_size, std::string_view text,
                       std::optional<std::uint32_t> acknowledged) noexcept
{
    if (count_ == most) {
        if (!has_got(acknowledged, edits_[0])) {
            return false;
        }
        forget_first();
    }
    edit& e = edits_[count_++];
    e = {.begin = begin,
         .old_size = static_cast<std::uint16_t>(old_size),
         .size = static_cast<std::uint8_t>(text.size())};
    std::ranges::copy(text, e.text.begin());
    return true;
}

edit_store::edit_store(std::size_t connections, bool alone)
    : capacity_{connections},
      alone_{alone},
      memory_{(connections + 1) * sizeof(place)},
      places_{reinterpret_cast<place*>(memory_.data())}
{}

std::uint32_t edit_store::take() noexcept
{
    lock_holder held{alone_};
    held.take(lock_);
    std::uint32_t number = free_;
    if (number != 0) {
        free_ = places_[number].next;
    } else if (used_ < capacity_) {
        number = ++used_;
    }
    if (number != 0) {
        places_[number] = {};
    }
    return number;
}

void edit_store::give_back(std::uint32_t number) noexcept
{
    lock_holder held{alone_};
    held.take(lock_);
    places_[number].next = free_;
    free_ = number;
}

} // namespace strait::conntrack
