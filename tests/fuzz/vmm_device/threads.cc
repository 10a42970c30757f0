// SPDX-License-Identifier: BSD-3-Clause
// A device_thread for tests/fuzz alone.
#include "tests/fuzz/vmm_device/threads.hh"

#include "tests/fuzz/check.hh"
#include "vmm/device_thread.hh"
#include "vmm/event.hh"

#include <array>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>

namespace asio = boost::asio;

namespace strait::fuzz {

namespace {

struct thread_list {
    std::vector<asio::io_context*> played;
    std::vector<asio::io_context*> real;
};

thread_list& threads()
{
    static thread_list& all = *new thread_list;
    return all;
}

} // namespace

void run_played_threads(unsigned steps)
{
    for (asio::io_context* const c : threads().played) {
        for (unsigned i = 0; i < steps && c->poll_one() != 0; ++i) {}
    }
}

void wait_for_real_threads(back_end& b)
{
    constexpr int patience = 30'000; // ms
    static const vmm::event& done = *new vmm::event{vmm::event::make().value()};
    for (asio::io_context* const c : threads().real) {
        asio::post(*c, [] { done.signal(); });
        while (!done.take()) {
            std::array<pollfd, 2> both{pollfd{done.fd(), POLLIN, 0}, pollfd{b.fd(), POLLIN, 0}};
            const int found = ::poll(both.data(), both.size(), patience);
            check(found > 0 || (found < 0 && errno == EINTR)); // libFuzzer's alarm
            if (found > 0 && both[1].revents != 0) {
                b.serve();
            }
        }
    }
}

} // namespace strait::fuzz

namespace strait::vmm {

device_thread::device_thread(const std::string& name, thread_begin* begin)
{
    fuzz::check(begin == nullptr);
    if (name == fuzz::net_name) {
        fuzz::threads().real.push_back(&context_);
        thread_ = std::thread{[this] { context_.run(); }};
    } else {
        fuzz::threads().played.push_back(&context_);
    }
}

void device_thread::stop() noexcept
{
    context_.stop();
    if (thread_.joinable()) {
        thread_.join();
    }
    std::erase(fuzz::threads().played, &context_);
    std::erase(fuzz::threads().real, &context_);
}

} // namespace strait::vmm
