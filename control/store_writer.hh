// SPDX-License-Identifier: BSD-3-Clause
// Writes changes to the store on a thread of its own, all that have come up at one time with one
// sync, and folds the journals into a snapshot when they have grown: whoever changes something
// waits for the disk, and nobody else does. Room on the disk is taken before something is changed,
// so that a full disk is known before and not behind.
#pragma once

#include "control/failure.hh"
#include "control/store.hh"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace strait::control {

// All calls from one thread.
class store_writer {
public:
    // Journals may grow to this, or to a snapshot's size, before they are folded.
    static constexpr std::uint64_t usual_fold_bytes = std::uint64_t{4} << 20U;
    // Room for what a request that is short changes.
    static constexpr std::uint64_t room_of_request = std::uint64_t{4} << 20U;

    using ticket = std::uint64_t; // of what is to be written; 0: nothing
    // `why` it is not kept, if it is not.
    using when_kept = std::function<void(const std::optional<std::string>& why)>;
    struct settings {
        std::function<void(std::function<void()>)> post; // has it called by that one thread
        std::uint64_t fold_bytes{usual_fold_bytes};
    };

    // After `read`, which is what is in the files. They are the writer's from here on. A disk that
    // has no room yet may have some when something is to be kept.
    store_writer(std::unique_ptr<store_files> files, const store_contents& read, settings s);
    // When all is written.
    ~store_writer();
    store_writer(const store_writer&) = delete;
    store_writer& operator=(const store_writer&) = delete;

    // The next push(), of so many bytes, finds room.
    [[nodiscard]] outcome<void> reserve(std::uint64_t bytes);
    ticket push(const store_changes& changes);
    [[nodiscard]] ticket last() const noexcept { return last_; }
    // Calls `then` when all up to there is on the disk, or will not be: then nothing can be changed
    // any more, as nobody knows what the disk has.
    void wait(ticket upto, when_kept then);

    [[nodiscard]] std::string path() const { return files_->path(); }

private:
    [[nodiscard]] ports::result<void> make_room(std::uint64_t bytes);
    void run();
    void write(std::unique_lock<std::mutex>& lock);
    void fold_if_grown(std::unique_lock<std::mutex>& lock);
    void start_fold();
    void fold(std::uint64_t number);
    void tell(std::unique_lock<std::mutex>& lock);

    std::unique_ptr<store_files> files_;
    settings settings_;
    ticket last_{0};

    std::mutex mutex_; // of all below but the thread's own
    std::condition_variable work_;
    std::string queued_;
    ticket queued_last_{0};
    ticket kept_{0};
    std::optional<std::string> broken_;
    struct waiter {
        ticket upto;
        when_kept then;
    };
    std::deque<waiter> waiters_;
    std::uint64_t allocated_{0}; // in the journal
    std::uint64_t used_{0};      // of that: written or queued
    std::uint64_t reserved_{0};  // for the next push()
    bool stopping_{false};
    bool folding_{false};
    std::uint64_t first_journal_;     // the number of the first one to be made
    std::uint64_t old_journal_bytes_; // not folded yet, beside the one that is written
    std::uint64_t snapshot_bytes_;
    std::uint64_t retry_bytes_{0}; // after a fold that failed, what journals grow to first

    std::optional<store_journal> journal_; // once there is one, the thread's, but for allocate()
    std::thread folder_;
    std::thread thread_;
};

} // namespace strait::control
