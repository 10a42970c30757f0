// SPDX-License-Identifier: BSD-3-Clause
// A kick by a descriptor that a front end shares, who may have it block whenever it likes: a thread
// that waits there is found, and sent on by a signal, which no descriptor can keep from it.
#pragma once

namespace strait::vhost {

// Tells the guest, or does not where it cannot. Any thread.
void guarded_kick(int call_fd) noexcept;

// Whether a thread that kicked by this descriptor had to be sent on since this was asked last. With
// `send`, those that kick by it now are. Never waits.
[[nodiscard]] bool had_to_wait(int call_fd, bool send) noexcept;

} // namespace strait::vhost
