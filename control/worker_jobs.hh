// SPDX-License-Identifier: BSD-3-Clause
// What control has workers do between two bursts.
#pragma once

#include "dataplane/engine.hh"

#include <chrono>
#include <thread>

namespace strait::control {

// Gives a job to one of a worker's parts, and waits until it is done. The control thread.
template <typename Part, typename Job>
void have_done(dataplane::engine& engine, Part& by, Job& j)
{
    constexpr auto pause = std::chrono::microseconds{200};
    while (!by.submit(j)) {
        std::this_thread::sleep_for(pause);
    }
    while (!j.done()) {
        engine.wake_workers();
        std::this_thread::sleep_for(pause);
    }
}

} // namespace strait::control
