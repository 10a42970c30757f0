// SPDX-License-Identifier: BSD-3-Clause
// A thread that a device works on, so that neither vCPUs nor other devices wait for it.
#pragma once

#include "ports/error.hh"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <functional>
#include <future>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace strait::vmm {

// What each of a machine's devices' threads does before anything else, and whether all of them
// could. Used by the thread that begins them.
class thread_begin {
public:
    using step = std::function<ports::result<void>()>;
    // Without a step, all can.
    explicit thread_begin(step each = {}) : step_{std::move(each)} {}

    // For one more thread to call. False: it is to end at once.
    [[nodiscard]] std::function<bool()> one();
    // Waits for all that have been begun since the last call: the first error of one.
    [[nodiscard]] ports::result<void> wait();

private:
    step step_;
    std::vector<std::future<ports::result<void>>> begun_;
};

class device_thread {
public:
    // `name` is shown by top and gdb; the kernel keeps 15 bytes of it. The new thread does what
    // `begin` says, if it is not null.
    explicit device_thread(const std::string& name, thread_begin* begin = nullptr);
    device_thread(const device_thread&) = delete;
    device_thread& operator=(const device_thread&) = delete;
    ~device_thread() { stop(); }

    // What its owner waits for descriptors and time with: on this thread, or after stop().
    [[nodiscard]] boost::asio::io_context& context() noexcept { return context_; }
    // Any thread: `work` is done on this one, in the order it was posted.
    template <typename Work>
    void post(Work&& work)
    {
        boost::asio::post(context_, std::forward<Work>(work));
    }
    // Returns when the thread has ended. What it had not begun is not done. Not by itself; one
    // thread at a time.
    void stop() noexcept;

private:
    boost::asio::io_context context_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
        context_.get_executor()};
    std::thread thread_;
};

} // namespace strait::vmm
