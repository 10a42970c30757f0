// SPDX-License-Identifier: BSD-3-Clause
// How a worker that sleeps is woken by other threads of this process. Of guests' events it knows
// nothing.
#pragma once

#include <atomic>
#include <cstdint>

namespace strait::dataplane {

class alignas(64) doorbell {
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
    void listen() noexcept
    {
        state_.store(state::listening, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    void stop_listening() noexcept;
    [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

    // Any thread, after it did what the worker is to see: a system call only if the worker sleeps.
    void ring() noexcept
    {
        std::atomic_thread_fence(std::memory_order_seq_cst);
        state s = state_.load(std::memory_order_relaxed);
        if (s == state::listening &&
            state_.compare_exchange_strong(s, state::rung, std::memory_order_relaxed)) {
            write();
        }
    }
    // Whether somebody rang and the worker has not left its sleep since.
    [[nodiscard]] bool unheard() const noexcept
    {
        return state_.load(std::memory_order_acquire) == state::rung;
    }

private:
    enum class state : std::uint8_t { awake, listening, rung };

    void write() const noexcept;

    int descriptor_{-1};
    std::atomic<state> state_{state::awake};
};

} // namespace strait::dataplane
