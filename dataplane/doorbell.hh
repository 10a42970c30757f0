// SPDX-License-Identifier: BSD-3-Clause
// How a worker that sleeps is woken by other threads of this process. Of guests' events it knows
// nothing.
#pragma once

#include <atomic>

namespace strait::dataplane {

class doorbell {
public:
    doorbell() = default; // cannot be rung before open()
    ~doorbell();
    doorbell(const doorbell&) = delete;
    doorbell& operator=(const doorbell&) = delete;

    // Before its worker starts. Throws std::runtime_error with a sentence.
    void open();

    // The worker's, around its sleep. What others did before they rang, if they rang before
    // listen(), is seen after it; who rings later makes the descriptor readable. A readable
    // descriptor says that somebody rang lately, not that there is something to do.
    void listen() noexcept { (void)asleep_.exchange(true, std::memory_order_acq_rel); }
    void stop_listening() noexcept;
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

    // Any thread, after it did what the worker is to see: a system call only if the worker sleeps.
    void ring() noexcept
    {
        if (asleep_.exchange(false, std::memory_order_acq_rel)) {
            write();
        }
    }

private:
    void write() const noexcept;

    int descriptor_{-1};
    std::atomic<bool> asleep_{false};
};

} // namespace strait::dataplane
