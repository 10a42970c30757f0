// SPDX-License-Identifier: BSD-3-Clause
// Grace periods.
#include "dataplane/rcu.hh"

#include <cstdlib>
#include <new>
#include <thread>

#include <rte_rcu_qsbr.h>

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

namespace strait::dataplane {

namespace {

// A waiter that finds a grace period ended by another one's look reads that from a relaxed word
// (rte_rcu_qsbr's acked_token). On x86-64 every load acquires; the race detector has to be told.
void may_be_freed([[maybe_unused]] rte_rcu_qsbr* qsbr) noexcept
{
#ifdef __SANITIZE_THREAD__
    __tsan_release(qsbr);
#endif
}

void is_free([[maybe_unused]] rte_rcu_qsbr* qsbr) noexcept
{
#ifdef __SANITIZE_THREAD__
    __tsan_acquire(qsbr);
#endif
}

} // namespace

void rcu_domain::deleter::operator()(rte_rcu_qsbr* qsbr) const noexcept
{
    std::free(qsbr); // NOLINT(cppcoreguidelines-no-malloc): from aligned_alloc below
}

rcu_domain::rcu_domain()
{
    constexpr std::size_t cache_line = 64;
    std::size_t size = rte_rcu_qsbr_get_memsize(max_workers);
    size = (size + cache_line - 1) / cache_line * cache_line;
    qsbr_.reset(static_cast<rte_rcu_qsbr*>(std::aligned_alloc(cache_line, size)));
    if (!qsbr_ || rte_rcu_qsbr_init(qsbr_.get(), max_workers) != 0) {
        throw std::bad_alloc{};
    }
}

rcu_domain::~rcu_domain() = default;

void rcu_domain::go_online(worker_index worker) noexcept
{
    const auto id = static_cast<unsigned>(to_index(worker));
    rte_rcu_qsbr_thread_register(qsbr_.get(), id);
    rte_rcu_qsbr_thread_online(qsbr_.get(), id);
}

void rcu_domain::go_offline(worker_index worker) noexcept
{
    const auto id = static_cast<unsigned>(to_index(worker));
    may_be_freed(qsbr_.get());
    rte_rcu_qsbr_thread_offline(qsbr_.get(), id);
    rte_rcu_qsbr_thread_unregister(qsbr_.get(), id);
}

void rcu_domain::quiescent(worker_index worker) noexcept
{
    may_be_freed(qsbr_.get());
    rte_rcu_qsbr_quiescent(qsbr_.get(), static_cast<unsigned>(to_index(worker)));
}

void rcu_domain::wake_all() noexcept
{
    for (doorbell& bell : bells_) {
        bell.ring();
    }
}

void rcu_domain::rouse_all() noexcept
{
    wake_all();
    for (const doorbell& bell : bells_) {
        while (bell.unheard()) {
            std::this_thread::yield();
        }
    }
}

void rcu_domain::synchronize() noexcept
{
    const std::uint64_t token = rte_rcu_qsbr_start(qsbr_.get());
    // Yielding matters where a worker shares this thread's core.
    while (rte_rcu_qsbr_check(qsbr_.get(), token, false) == 0) {
        std::this_thread::yield();
    }
    is_free(qsbr_.get());
}

} // namespace strait::dataplane
