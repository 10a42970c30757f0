// SPDX-License-Identifier: BSD-3-Clause
// What a VMM that its guest has taken over can still reach: nothing of the file system but the
// folders of its sockets, no network, no other process, no capability. Root only: without those
// rights there is nothing to give up but what system calls allow (seccomp.hh).
#pragma once

#include "ports/error.hh"
#include "vmm/config.hh"

#include <array>
#include <csignal>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::vmm {

// The signals that ask a guest to end, but for those that the process began with ignored (nohup).
inline constexpr std::array ending_signals = {SIGTERM, SIGINT, SIGHUP};
// SIG_BLOCK or SIG_UNBLOCK them, for the calling thread.
void mask_ending_signals(int how) noexcept;

// A folder that is visible in the jail.
struct shown_folder {
    std::string path;
    std::string_view option; // of the socket that is in it
};

// Runs `inside` in a child process that is jailed as `j` says (namespaces for mounts, processes and
// the network, the jail's folder as its root, no capabilities, its user), waits for it and says its
// exit status. Signals that ask it to end are passed on; `inside` begins with them blocked.
// `folders` are visible inside, by their own paths and writable as before. Before any thread is
// started. Not root: just calls `inside`, and new privileges are barred.
[[nodiscard]] ports::result<int> run_jailed(const jail_config& j,
                                            const std::vector<shown_folder>& folders,
                                            const std::function<int()>& inside);

} // namespace strait::vmm
