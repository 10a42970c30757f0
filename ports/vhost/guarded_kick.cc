// SPDX-License-Identifier: BSD-3-Clause
// The threads that kick, and what each of them is at.
#include "ports/vhost/guarded_kick.hh"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

#include <pthread.h>
#include <unistd.h>

namespace strait::vhost {

namespace {

constexpr int nobody = -1;
constexpr int signal_to_go_on = SIGURG; // does nothing by itself, and nobody sends it here

std::mutex list_mutex;
class kicking_thread;
kicking_thread* first = nullptr;

// Of its thread, from its first kick to its end.
class kicking_thread {
public:
    kicking_thread() noexcept
    {
        struct sigaction action {};
        action.sa_handler = [](int) {}; // not SA_RESTART: what it interrupts ends
        (void)::sigaction(signal_to_go_on, &action, nullptr);
        const std::scoped_lock lock{list_mutex};
        next_ = first;
        first = this;
    }
    ~kicking_thread()
    {
        const std::scoped_lock lock{list_mutex};
        kicking_thread** at = &first;
        while (*at != this) {
            at = &(*at)->next_;
        }
        *at = next_;
    }
    kicking_thread(const kicking_thread&) = delete;
    kicking_thread& operator=(const kicking_thread&) = delete;

    void kick(int call_fd) noexcept
    {
        constexpr std::uint64_t one = 1;
        at_.store(call_fd, std::memory_order_relaxed);
        // An eventfd's write is interrupted only where it waits.
        if (::write(call_fd, &one, sizeof one) < 0 && errno == EINTR) {
            waited_at_.store(call_fd, std::memory_order_relaxed);
        }
        at_.store(nobody, std::memory_order_relaxed);
    }
    // With the list's lock.
    [[nodiscard]] bool had_to_wait(int call_fd) noexcept
    {
        int at = call_fd;
        return waited_at_.compare_exchange_strong(at, nobody, std::memory_order_relaxed);
    }
    void send_on(int call_fd) const noexcept
    {
        if (at_.load(std::memory_order_relaxed) == call_fd) {
            (void)::pthread_kill(thread_, signal_to_go_on);
        }
    }
    [[nodiscard]] kicking_thread* next() const noexcept { return next_; }

private:
    std::atomic<int> at_{nobody};
    std::atomic<int> waited_at_{nobody};
    pthread_t thread_{::pthread_self()};
    kicking_thread* next_{nullptr};
};

thread_local kicking_thread here;

} // namespace

void guarded_kick(int call_fd) noexcept
{
    if (call_fd >= 0) {
        here.kick(call_fd);
    }
}

bool had_to_wait(int call_fd, bool send) noexcept
{
    const std::scoped_lock lock{list_mutex};
    bool waited = false;
    for (kicking_thread* t = first; t != nullptr; t = t->next()) {
        waited = t->had_to_wait(call_fd) || waited;
        if (send) {
            t->send_on(call_fd);
        }
    }
    return waited;
}

} // namespace strait::vhost
