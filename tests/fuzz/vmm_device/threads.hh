// SPDX-License-Identifier: BSD-3-Clause
// Devices' threads, in place of device_thread.cc: those that work for themselves are played by the
// calling thread, so that an input does the same each time. The network device's own is a real one,
// for its control queue's waits for it.
#pragma once

#include "tests/fuzz/vmm_device/back_end.hh"

namespace strait::fuzz {

inline constexpr const char* net_name = "net0"; // whose thread is a real one

// Each played thread takes up to so many steps.
void run_played_threads(unsigned steps);

// Returns when the real threads have done what was posted to them before. Meanwhile the back end
// answers.
void wait_for_real_threads(back_end& b);

} // namespace strait::fuzz
