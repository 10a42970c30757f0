// SPDX-License-Identifier: BSD-3-Clause
// Libraries of NIC drivers have a log of their own, on stderr: it is led into the daemon's.
#pragma once

namespace strait::control {

// Before the first device is opened.
void lead_driver_log_here();

} // namespace strait::control
