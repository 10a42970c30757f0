// SPDX-License-Identifier: BSD-3-Clause
// What the store asks of a folder, so that a test can stand in for a disk that loses power or has
// no room. What is in the files is store.hh's business.
#pragma once

#include "ports/error.hh"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// A file that is written. One thread writes; allocate() may be called by another meanwhile.
class store_file {
public:
    virtual ~store_file() = default;
    // So many bytes can be written from the file's start on, whatever others take of the disk.
    // What was not written reads as zeros.
    [[nodiscard]] virtual ports::result<void> allocate(std::uint64_t bytes) = 0;
    [[nodiscard]] virtual ports::result<void> write(std::uint64_t at, std::string_view text) = 0;
    // What was written outlives a power cut.
    [[nodiscard]] virtual ports::result<void> sync() = 0;
};

// Names have no '/'. Errors say which file, and why. Any thread, but one at a time with one name.
class store_files {
public:
    virtual ~store_files() = default;
    [[nodiscard]] virtual std::string path() const = 0; // for sentences
    [[nodiscard]] virtual ports::result<std::vector<std::string>> list() = 0;
    [[nodiscard]] virtual ports::result<std::string> read(const std::string& name) = 0;
    // Empty; in place of one of that name.
    [[nodiscard]] virtual ports::result<std::unique_ptr<store_file>>
    create(const std::string& name) = 0;
    [[nodiscard]] virtual ports::result<void> rename(const std::string& from,
                                                     const std::string& to) = 0;
    [[nodiscard]] virtual ports::result<void> remove(const std::string& name) = 0;
    // Files that were made, renamed or removed stay so after a power cut.
    [[nodiscard]] virtual ports::result<void> sync_folder() = 0;
};

// A folder, made if it is not there, for its owner alone. It is held by a lock for as long as this
// is there: refused when another process has it.
[[nodiscard]] ports::result<std::unique_ptr<store_files>> open_store_folder(std::string path);

} // namespace strait::control
