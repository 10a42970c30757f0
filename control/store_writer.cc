// SPDX-License-Identifier: BSD-3-Clause
// The two threads: one writes, the other folds what is not written any more.
#include "control/store_writer.hh"

#include "control/log.hh"

#include <algorithm>
#include <utility>

namespace strait::control {

namespace {

// A journal is made longer by this: its size changes seldom, which a sync would have to write, too.
constexpr std::uint64_t allocation = std::uint64_t{8} << 20U;

} // namespace

store_writer::store_writer(std::unique_ptr<store_files> files, const store_contents& read,
                           settings s)
    : files_{std::move(files)},
      settings_{std::move(s)},
      first_journal_{read.next},
      old_journal_bytes_{read.journal_bytes},
      snapshot_bytes_{read.snapshot_bytes},
      thread_{[this] { run(); }}
{}

store_writer::~store_writer()
{
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    work_.notify_all();
    thread_.join();
    if (folder_.joinable()) {
        folder_.join();
    }
}

outcome<void> store_writer::reserve(std::uint64_t bytes)
{
    const std::lock_guard lock{mutex_};
    if (broken_) {
        return failure{failure_kind::failed,
                       "nothing can be changed, as it would not be kept: " + *broken_ +
                           "; start straitd anew when that is mended"};
    }
    reserved_ = store_journal::frame_size(bytes);
    if (auto done = make_room(used_ + reserved_); done.has_error()) {
        return failure{failure_kind::failed,
                       "this is not done, as it could not be kept: " + done.error().message};
    }
    return {};
}

// In the journal, which is made if there is none.
ports::result<void> store_writer::make_room(std::uint64_t bytes)
{
    if (bytes <= allocated_) {
        return {};
    }
    const std::uint64_t room = (bytes / allocation + 1) * allocation;
    if (journal_) {
        if (auto done = journal_->allocate(room); done.has_error()) {
            return done;
        }
    } else {
        auto first = store_journal::begin(*files_, first_journal_, room);
        if (first.has_error()) {
            return first.error();
        }
        journal_ = std::move(*first);
        start_fold();
    }
    allocated_ = room;
    return {};
}

// Of all before the journal that is written.
void store_writer::start_fold()
{
    folding_ = true;
    if (folder_.joinable()) {
        folder_.join(); // it has ended
    }
    folder_ = std::thread{[this, number = journal_->number()] { fold(number); }};
}

// After reserve().
store_writer::ticket store_writer::push(const store_changes& changes)
{
    if (changes.empty()) {
        return last_;
    }
    {
        const std::lock_guard lock{mutex_};
        ++last_;
        const std::uint64_t used = used_ + store_journal::frame_size(changes.text().size());
        if (auto room = make_room(used); room.has_error() && !broken_) { // more than was reserved
            broken_ = room.error().message;
        }
        if (broken_) {
            return last_;
        }
        queued_ += changes.text();
        queued_last_ = last_;
        used_ = used;
        reserved_ = 0;
    }
    work_.notify_all();
    return last_;
}

void store_writer::wait(ticket upto, when_kept then)
{
    std::unique_lock lock{mutex_};
    waiters_.push_back({upto, std::move(then)});
    tell(lock);
}

// Those whose changes are kept, or will not be.
void store_writer::tell(std::unique_lock<std::mutex>& /*held*/)
{
    while (!waiters_.empty() && (broken_ || waiters_.front().upto <= kept_)) {
        waiter w = std::move(waiters_.front());
        waiters_.pop_front();
        const auto why = w.upto <= kept_ ? std::nullopt : broken_;
        settings_.post([then = std::move(w.then), why] { then(why); });
    }
}

void store_writer::run()
{
    std::unique_lock lock{mutex_};
    for (;;) {
        work_.wait(lock, [this] { return stopping_ || (!queued_.empty() && !broken_); });
        if (queued_.empty() || broken_) {
            return;
        }
        write(lock);
        fold_if_grown(lock);
    }
}

void store_writer::write(std::unique_lock<std::mutex>& lock)
{
    const std::string text = std::exchange(queued_, {});
    const ticket upto = queued_last_;
    lock.unlock();
    const auto done = journal_->append(text);
    lock.lock();
    if (done.has_error()) {
        broken_ = done.error().message;
        log(log_level::error, "store",
            "the configuration is not kept any more: " + done.error().message);
    } else {
        kept_ = upto;
    }
    tell(lock);
}

void store_writer::fold_if_grown(std::unique_lock<std::mutex>& lock)
{
    const std::uint64_t journals = old_journal_bytes_ + journal_->size();
    const std::uint64_t most = std::max({settings_.fold_bytes, snapshot_bytes_, retry_bytes_});
    if (broken_ || folding_ || stopping_ || journals < most) {
        return;
    }
    const auto needed = [this] { return store_journal::frame_size(queued_.size()) + reserved_; };
    const std::uint64_t room = needed() + allocation;
    lock.unlock();
    auto next = store_journal::begin(*files_, journal_->number() + 1, room);
    lock.lock();
    std::uint64_t allocated = room;
    if (next.has_value() && needed() > room) { // somebody had room taken in the old one meanwhile
        allocated = needed() + allocation;
        if (auto done = next->allocate(allocated); done.has_error()) {
            next = done.error(); // it is begun again when there is more room
        }
    }
    if (next.has_error()) {
        retry_bytes_ = 2 * journals;
        log(log_level::warning, "store",
            "the journals of the configuration are not folded, and go on growing: " +
                next.error().message);
        return;
    }
    used_ = store_journal::frame_size(queued_.size());
    allocated_ = allocated;
    old_journal_bytes_ = journals;
    journal_ = std::move(*next);
    start_fold();
}

void store_writer::fold(std::uint64_t number)
{
    const auto written = fold_store(*files_, number);
    const std::lock_guard lock{mutex_};
    folding_ = false;
    if (written.has_error()) {
        retry_bytes_ = 2 * old_journal_bytes_;
        log(log_level::warning, "store",
            "the journals of the configuration are not folded, and go on growing: " +
                written.error().message);
        return;
    }
    retry_bytes_ = 0;
    snapshot_bytes_ = *written;
    old_journal_bytes_ = 0;
}

} // namespace strait::control
