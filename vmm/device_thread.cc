// SPDX-License-Identifier: BSD-3-Clause
// Beginning and ending a device's thread.
#include "vmm/device_thread.hh"

#include <pthread.h>

namespace strait::vmm {

device_thread::device_thread(const std::string& name, std::function<void()> begin)
    : thread_{[this, short_name = name.substr(0, 15), begin = std::move(begin)] {
          ::pthread_setname_np(::pthread_self(), short_name.c_str());
          if (begin) {
              begin();
          }
          context_.run();
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
