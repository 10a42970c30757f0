// SPDX-License-Identifier: BSD-3-Clause
#include "control/hello_repeater.hh"

#include <algorithm>
#include <utility>

#include <pthread.h>

namespace strait::control {

hello_repeater::hello_repeater(std::function<void(const hello&)> send)
    : send_{std::move(send)}, thread_{[this] { run(); }}
{
    (void)::pthread_setname_np(thread_.native_handle(), "strait-hello");
}

hello_repeater::~hello_repeater()
{
    {
        const std::lock_guard lock{mutex_};
        stops_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void hello_repeater::renew(dataplane::bridge_index of, hellos now_on, clock::time_point now)
{
    const std::lock_guard lock{mutex_};
    if (now_on.all.empty()) {
        bridges_.erase(of);
        return;
    }
    const clock::time_point next = now + now_on.every / 2;
    const clock::time_point end = now + now_on.lasts;
    bridges_.insert_or_assign(of, one{std::move(now_on), next, end});
    if (next < wakes_at_) {
        wake_.notify_one();
    }
}

void hello_repeater::run()
{
    std::unique_lock lock{mutex_};
    while (!stops_) {
        const clock::time_point now = clock::now();
        wakes_at_ = clock::time_point::max();
        for (auto& [index, b] : bridges_) {
            if (b.next <= now) {
                if (now <= b.end) {
                    for (const hello& h : b.is.all) {
                        send_(h);
                    }
                }
                b.next = now + b.is.every;
            }
            if (b.next <= b.end) {
                wakes_at_ = std::min(wakes_at_, b.next);
            }
        }
        if (wakes_at_ == clock::time_point::max()) {
            wake_.wait(lock);
        } else {
            wake_.wait_until(lock, wakes_at_);
        }
    }
}

} // namespace strait::control
