// SPDX-License-Identifier: BSD-3-Clause
// A thread that a device works on, so that neither vCPUs nor other devices wait for it.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <functional>
#include <string>
#include <thread>
#include <utility>

namespace strait::vmm {

class device_thread {
public:
    // `name` is shown by top and gdb; the kernel keeps 15 bytes of it. The new thread runs `begin`,
    // if there is one, before anything else.
    explicit device_thread(const std::string& name, std::function<void()> begin = {});
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
