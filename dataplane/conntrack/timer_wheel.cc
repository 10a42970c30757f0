// SPDX-License-Identifier: BSD-3-Clause
// Lines of places, by seconds.
#include "dataplane/conntrack/timer_wheel.hh"

#include <algorithm>

namespace strait::conntrack {

timer_wheel::timer_wheel(std::size_t places, bool alone)
    : alone_{alone},
      memory_{(places / line::size + slots + 2) * sizeof(line)},
      lines_{reinterpret_cast<line*>(memory_.data())}
{}

void timer_wheel::add(connection_id place, seconds_t at, seconds_t now) noexcept
{
    lock_holder held{alone_};
    held.take(lock_);
    at = std::clamp(at, now + 1, now + furthest);
    // Where this falls behind, the slots in front of it are what there is; where another worker's
    // time is ahead, what it has done is behind.
    at = std::clamp(at, position_ + 1, position_ + static_cast<seconds_t>(slots) - 1);
    size_.add(1);
    slot& s = slots_[at % slots];
    if (s.first == 0 || s.filled == line::size) {
        std::uint32_t fresh = free_;
        if (fresh != 0) {
            free_ = lines_[fresh].next;
        } else {
            fresh = ++used_;
        }
        lines_[fresh].next = s.first;
        s.first = fresh;
        s.filled = 0;
    }
    lines_[s.first].places[s.filled++] = place;
}

std::size_t timer_wheel::take(std::span<connection_id> due, seconds_t now) noexcept
{
    lock_holder held{alone_};
    held.take(lock_);
    now = std::max(now, position_);
    if (now - position_ >= slots) { // after a long sleep, or at the start: all are due
        position_ = now - static_cast<seconds_t>(slots) + 1;
    }
    std::size_t count = 0;
    for (;;) {
        slot& s = slots_[position_ % slots];
        while (s.first != 0 && count < due.size()) {
            line& l = lines_[s.first];
            const std::size_t n = std::min<std::size_t>(s.filled, due.size() - count);
            s.filled -= static_cast<std::uint32_t>(n);
            std::copy_n(l.places.begin() + s.filled, n, due.begin() + static_cast<long>(count));
            count += n;
            if (s.filled == 0) {
                const std::uint32_t empty = s.first;
                s.first = l.next;
                s.filled = s.first != 0 ? line::size : 0;
                l.next = free_;
                free_ = empty;
            }
        }
        if (s.first != 0 || position_ == now) {
            done_.store(s.first != 0 ? position_ - 1 : now, std::memory_order_relaxed);
            size_.add(0 - count);
            return count;
        }
        ++position_;
    }
}

seconds_t timer_wheel::next() noexcept
{
    lock_holder held{alone_};
    held.take(lock_);
    for (seconds_t at = position_; at < position_ + slots && size_.read() > 0; ++at) {
        if (slots_[at % slots].first != 0) {
            return at;
        }
    }
    return never;
}

} // namespace strait::conntrack
