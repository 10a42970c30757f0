// SPDX-License-Identifier: BSD-3-Clause
// The writer: who waits is told when it is on the disk, and a disk without room is known before.
#include "control/log.hh"
#include "control/store_writer.hh"
#include "cut_disk.hh"

#include "tests/soak.hh"
#include "tests/unit/sanitizers.hh"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace strait::control {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing_support::cut_disk;

class writer : public testing::Test {
protected:
    writer() { set_log_level(log_level::error); }

    std::unique_ptr<store_writer> start(std::uint64_t fold = store_writer::usual_fold_bytes)
    {
        const auto read = read_store(*disk_.files());
        EXPECT_TRUE(read.has_value());
        return std::make_unique<store_writer>(
            disk_.files(), *read,
            store_writer::settings{
                .post = [this](std::function<void()> call) { boost::asio::post(io_, call); },
                .fold_bytes = fold});
    }
    // Puts and waits; "" or why it is not kept.
    std::string put(store_writer& w, const std::string& key, const std::string& value)
    {
        if (const auto room = w.reserve(key.size() + value.size() + 3); room.has_error()) {
            return "refused: " + room.error().message;
        }
        store_changes changes;
        changes.put(key, value);
        std::optional<std::string> outcome;
        w.wait(w.push(changes),
               [&](const std::optional<std::string>& why) { outcome = why.value_or(""); });
        const auto until = std::chrono::steady_clock::now() + 20s;
        while (!outcome && std::chrono::steady_clock::now() < until) {
            io_.restart();
            io_.run_for(1ms);
        }
        return outcome.value_or("never told");
    }
    std::string kept(const std::string& key)
    {
        std::mt19937 random{1};
        disk_.power_on(cut_disk::loses::all, random);
        const auto read = read_store(*disk_.files());
        EXPECT_TRUE(read.has_value());
        const auto found = read->items.find(key);
        return found == read->items.end() ? "nothing" : std::string{found->second};
    }

    cut_disk disk_;
    boost::asio::io_context io_;
};

TEST_F(writer, tells_when_it_is_kept)
{
    auto w = start();
    EXPECT_EQ(put(*w, "a", "1"), "");
    EXPECT_EQ(put(*w, "a", "2"), "");
    // The power goes now, while the writer is there: all is on the disk already.
    EXPECT_EQ(kept("a"), "2");
}

TEST_F(writer, writes_what_is_queued_when_it_ends)
{
    auto w = start();
    ASSERT_TRUE(w->reserve(1000).has_value());
    store_changes changes;
    changes.put("a", "1");
    (void)w->push(changes);
    w.reset();
    EXPECT_EQ(kept("a"), "1");
}

TEST_F(writer, refuses_before_it_is_done_where_there_is_no_room_and_goes_on_when_there_is)
{
    auto w = start();
    EXPECT_EQ(put(*w, "a", "1"), "");
    const std::string large(9U << 20U, 'x');
    disk_.set_room(8U << 20U);
    EXPECT_THAT(put(*w, "b", large),
                testing::AllOf(HasSubstr("refused: this is not done, as it could not be kept"),
                               HasSubstr("No space left on device")));
    EXPECT_EQ(put(*w, "a", "2"), "") << "what is small has room that was taken before";
    disk_.set_room(1U << 30U);
    EXPECT_EQ(put(*w, "b", large), "");
    EXPECT_EQ(kept("a"), "2");
}

TEST_F(writer, begins_on_a_full_disk_and_keeps_when_there_is_room)
{
    disk_.set_room(1000);
    auto w = start();
    EXPECT_THAT(put(*w, "a", "1"), HasSubstr("refused"));
    disk_.set_room(1U << 30U);
    EXPECT_EQ(put(*w, "a", "1"), "");
    EXPECT_EQ(kept("a"), "1");
}

TEST_F(writer, says_so_when_the_disk_fails_and_lets_nothing_be_changed_from_there_on)
{
    auto w = start();
    EXPECT_EQ(put(*w, "a", "1"), "");
    set_log_level(log_level::error);
    disk_.fail_syncs();
    EXPECT_THAT(put(*w, "a", "2"), HasSubstr("Input/output error"));
    EXPECT_THAT(put(*w, "a", "3"), HasSubstr("refused: nothing can be changed, as it would not be "
                                             "kept"));
}

TEST_F(writer, folds_journals_while_it_writes)
{
    auto w = start(20'000); // bytes, of which 40 changes make one journal
    const int changes = test::fewer_if(test::thread_sanitizer, 400, 120);
    for (int i = 0; i < changes; ++i) {
        ASSERT_EQ(put(*w, "k" + std::to_string(i % 10), std::string(500, 'v') + std::to_string(i)),
                  "");
    }
    w.reset();
    const auto there = disk_.contents();
    EXPECT_LE(there.size(), 3U);
    std::uint64_t numbers = 0;
    for (const auto& [name, text] : there) {
        numbers += name.starts_with("snapshot-") ? 1U : 0U;
    }
    EXPECT_EQ(numbers, 1U);
    EXPECT_EQ(kept("k9"), std::string(500, 'v') + std::to_string(changes - 1));
    EXPECT_EQ(kept("k0"), std::string(500, 'v') + std::to_string(changes - 10));
}

} // namespace
} // namespace strait::control
