// SPDX-License-Identifier: BSD-3-Clause
// Telling guests that their rings have news, when doing so costs least.
#pragma once

#include "dataplane/types.hh"

#include <array>
#include <atomic>
#include <cstddef>

namespace strait::ports {

// A ring whose guest may want to be told of what was put into it.
class notifier {
public:
    // Looks whether the guest waits, and tells it if so. The caller has passed a full barrier since
    // the ring was written: else the guest might go to sleep just before it is seen to be awake.
    virtual void notify_if_wanted() noexcept = 0;

protected:
    ~notifier() = default;
};

// The rings that a worker's last burst wrote. The barrier waits until every store before it has
// found its cache line; a burst later they long have. So rings are noted here, and asked together
// once the next burst was received, or at the end of the iteration.
class notification_list {
public:
    // At most once a burst for each ring that it was written to, or taken from. There is room for
    // one of each port; should some have more, the barrier comes early.
    void add(notifier& n) noexcept
    {
        if (count_ == noted_.size()) [[unlikely]] {
            flush();
        }
        noted_[count_++] = &n;
    }
    void flush() noexcept
    {
        if (count_ == 0) {
            return;
        }
        std::atomic_thread_fence(std::memory_order_seq_cst);
        for (std::size_t i = 0; i < count_; ++i) {
            noted_[i]->notify_if_wanted();
        }
        count_ = 0;
    }

private:
    std::array<notifier*, dataplane::max_ports + 1> noted_;
    std::size_t count_{0};
};

} // namespace strait::ports
