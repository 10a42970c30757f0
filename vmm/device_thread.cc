// SPDX-License-Identifier: BSD-3-Clause
// Beginning and ending a device's thread.
#include "vmm/device_thread.hh"

#include <memory>

#include <pthread.h>

namespace strait::vmm {

std::function<bool()> thread_begin::one()
{
    const auto done = std::make_shared<std::promise<ports::result<void>>>();
    begun_.push_back(done->get_future());
    return [this, done] {
        auto could = step_ ? step_() : ports::result<void>{};
        const bool goes_on = could.has_value();
        done->set_value(std::move(could));
        return goes_on;
    };
}

ports::result<void> thread_begin::wait()
{
    ports::result<void> all;
    for (auto& begun : std::exchange(begun_, {})) {
        if (auto could = begun.get(); could.has_error() && all.has_value()) {
            all = std::move(could);
        }
    }
    return all;
}

device_thread::device_thread(const std::string& name, thread_begin* begin)
    : thread_{[this, short_name = name.substr(0, 15),
               may_run = begin != nullptr ? begin->one() : nullptr] {
          ::pthread_setname_np(::pthread_self(), short_name.c_str());
          if (!may_run || may_run()) {
              context_.run();
          }
      }}
{}

void device_thread::stop() noexcept
{
    context_.stop();
    if (thread_.joinable()) {
        thread_.join();
    }
}

} // namespace strait::vmm
