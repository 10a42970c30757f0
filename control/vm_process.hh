// SPDX-License-Identifier: BSD-3-Clause
// Starting strait-vmm so that it goes on without straitctl, and so that how it ends is written into
// the machine's folder (vm_folder.hh).
#pragma once

#include "control/vm_folder.hh"
#include "ports/error.hh"
#include "vmm/config.hh"

#include <string>
#include <vector>

#include <sys/types.h>

namespace strait::control {

// Beside this program, or in PATH.
[[nodiscard]] ports::result<std::string> find_program_of_ours(const std::string& name);
// Whether this process may ask systemd for services.
[[nodiscard]] bool has_systemd();

// Both run a program, whose path and arguments the words are, so that it is known of in the folder
// whatever becomes of this process: the folder's process file is locked from before it begins.
// Detached: with a parent of its own, which waits for its end, and which it does not outlive.
[[nodiscard]] ports::result<void> start_detached(const vm_folder& folder,
                                                 const std::vector<std::string>& words);
// As a transient service of systemd, strait-vm-NAME, with the limits that fit the machine
// (systemd.resource-control(5)).
[[nodiscard]] ports::result<void> start_service(const vm_folder& folder,
                                                const std::vector<std::string>& words,
                                                const vmm::config& machine);

// Whether anything of it is left. True, too, where that cannot be told.
[[nodiscard]] bool runs(const vm_folder& folder);
// The process that was noted when it began; 0: none is.
[[nodiscard]] pid_t noted_process(const vm_folder& folder);
// SIGKILL; never to another process that has got its number. False: there was nobody to get it.
bool kill_process(const vm_folder& folder);

} // namespace strait::control
