// SPDX-License-Identifier: BSD-3-Clause
// Starting strait-vmm so that it goes on without straitctl, and so that how it ends is written into
// the machine's folder (vm_folder.hh).
#pragma once

#include "control/vm_folder.hh"
#include "ports/error.hh"

#include <functional>
#include <string>
#include <vector>

namespace strait::control {

// Beside this program, or in PATH.
[[nodiscard]] ports::result<std::string> find_program_of_ours(const std::string& name);
// Whether this process may ask systemd for services.
[[nodiscard]] bool has_systemd();

// Its words are a program's path and its arguments. What is returned kills it, however far it came.
using process_killer = std::function<void()>;
// Detached: with a parent of its own, which waits for its end.
[[nodiscard]] ports::result<process_killer> start_detached(const vm_folder& folder,
                                                           const std::vector<std::string>& words);
// As a transient service of systemd, strait-vm-NAME.
[[nodiscard]] ports::result<process_killer> start_service(const vm_folder& folder,
                                                          const std::vector<std::string>& words);

} // namespace strait::control
