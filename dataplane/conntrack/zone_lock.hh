// SPDX-License-Identifier: BSD-3-Clause
// Who of several workers may look at the connections of some zones. First come, first served, so
// that nobody waits for longer than it takes all others to do their part. A worker alone needs
// none.
#pragma once

#include <atomic>
#include <cstdint>

#include <emmintrin.h>
#include <sched.h>

namespace strait::conntrack {

class zone_lock {
public:
    void lock() noexcept
    {
        const std::uint32_t mine = next_.fetch_add(1, std::memory_order_relaxed);
        unsigned looks = 0;
        while (served_.load(std::memory_order_acquire) != mine) {
            _mm_pause();
            if (++looks >
                looks_before_yield) { // workers that share a CPU: who holds it may need it
                sched_yield();
            }
        }
    }
    // Never waits.
    [[nodiscard]] bool try_lock() noexcept
    {
        std::uint32_t free = served_.load(std::memory_order_acquire);
        return next_.compare_exchange_strong(free, free + 1, std::memory_order_acquire,
                                             std::memory_order_relaxed);
    }
    void unlock() noexcept
    {
        served_.store(served_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    }
    // Who holds it: whether anybody waits.
    [[nodiscard]] bool is_waited_for() const noexcept
    {
        return next_.load(std::memory_order_relaxed) - served_.load(std::memory_order_relaxed) > 1;
    }

private:
    static constexpr unsigned looks_before_yield = 200; // ten microseconds, about

    std::atomic<std::uint32_t> next_{0};
    std::atomic<std::uint32_t> served_{0};
};

// Holds one of them at a time, or none; of a worker alone always none.
class lock_holder {
public:
    explicit lock_holder(bool alone) noexcept : alone_{alone} {}
    ~lock_holder() { drop(); }
    lock_holder(const lock_holder&) = delete;
    lock_holder& operator=(const lock_holder&) = delete;

    void take(zone_lock& l) noexcept
    {
        if (alone_ || held_ == &l) {
            return;
        }
        drop();
        l.lock();
        held_ = &l;
    }
    // Without waiting. True as well: there is no need to.
    [[nodiscard]] bool try_take(zone_lock& l) noexcept
    {
        drop();
        if (alone_) {
            return true;
        }
        held_ = l.try_lock() ? &l : nullptr;
        return held_ != nullptr;
    }
    void drop() noexcept
    {
        if (held_ != nullptr) {
            held_->unlock();
            held_ = nullptr;
        }
    }
    // Lets others have it, if there are any, and takes it again.
    void let_others() noexcept
    {
        if (held_ != nullptr && held_->is_waited_for()) {
            zone_lock& l = *held_;
            drop();
            take(l);
        }
    }

private:
    bool alone_;
    zone_lock* held_{nullptr};
};

} // namespace strait::conntrack
