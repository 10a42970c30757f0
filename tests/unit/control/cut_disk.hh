// SPDX-License-Identifier: BSD-3-Clause
// A disk for the store that loses its power at a chosen step, and what was not synced with it, or
// that has no room. Any thread, at any time: a writer may be at it while a test changes it.
#pragma once

#include "control/store_files.hh"

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace strait::control::testing_support {

class cut_disk {
    mutable std::recursive_mutex mutex_;
    auto locked(const auto& what) const
    {
        const std::lock_guard lock{mutex_};
        return what();
    }

public:
    // From its step of this number on, from 0, nothing is done any more.
    void cut_at(std::uint64_t step)
    {
        locked([&] { return cut_ = step; });
    }
    [[nodiscard]] std::uint64_t steps() const
    {
        return locked([&] { return steps_; });
    }
    [[nodiscard]] bool is_off() const
    {
        return locked([&] { return steps_ > cut_; });
    }
    // Bytes that files may have together, those that they have included.
    void set_room(std::uint64_t bytes)
    {
        locked([&] { return room_ = bytes; });
    }
    // Each sync fails from now on.
    void fail_syncs()
    {
        locked([&] { return fails_ = true; });
    }

    // What the next life finds; who is left of this one can do nothing any more. Of what was not
    // synced: nothing, all, or anything.
    enum class loses : std::uint8_t { all, nothing, some };
    void power_on(loses what, std::mt19937& random);

    // One of the places where the disk is used; they share what is on it.
    [[nodiscard]] std::unique_ptr<store_files> files();
    // As they are now.
    std::map<std::string, std::string> contents();
    void set(const std::string& name, std::string text);

private:
    friend class cut_file;
    friend class cut_files;

    struct write {
        std::uint64_t at;
        std::string text;
    };
    struct node {
        std::string now;
        std::string synced;
        std::vector<write> unsynced;
        std::uint64_t allocated{0};
    };
    using names = std::map<std::string, std::shared_ptr<node>>;

    // Nothing: go on. Else why not.
    [[nodiscard]] ports::result<void> step(std::uint64_t life);
    [[nodiscard]] std::uint64_t used() const;
    static void apply(std::string& to, const write& w);

    names now_;
    names synced_;
    std::uint64_t life_{0}; // how often power came on
    std::uint64_t steps_{0};
    std::uint64_t cut_{std::numeric_limits<std::uint64_t>::max()};
    std::uint64_t room_{std::numeric_limits<std::uint64_t>::max()};
    bool fails_{false};
};

} // namespace strait::control::testing_support
