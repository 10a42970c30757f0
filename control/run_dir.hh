// SPDX-License-Identifier: BSD-3-Clause
// The daemon's run folder, held by a lock for as long as the daemon lives: one daemon a folder.
#pragma once

#include "ports/error.hh"

#include <string>

namespace strait::control {

class run_dir {
public:
    // Makes the folder if need be and takes its lock. Refused when another process has it, named
    // with its process id.
    [[nodiscard]] static ports::result<run_dir> open(std::string path);
    ~run_dir(); // the lock file stays: removing it would race with the next daemon
    run_dir(run_dir&& other) noexcept;
    run_dir(const run_dir&) = delete;
    run_dir& operator=(const run_dir&) = delete;
    run_dir& operator=(run_dir&&) = delete;

    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string control_socket() const { return path_ + "/control.sock"; }
    // For what ports keep beyond the process; made by open().
    [[nodiscard]] std::string state_dir() const { return path_ + "/state"; }

private:
    run_dir(std::string path, int lock) noexcept;

    std::string path_;
    int lock_;
};

} // namespace strait::control
