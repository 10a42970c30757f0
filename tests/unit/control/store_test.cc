// SPDX-License-Identifier: BSD-3-Clause
// The store's files: what a power cut at any step leaves of them, and what is refused of damaged
// ones.
#include "control/store.hh"
#include "cut_disk.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include <unistd.h>

namespace strait::control {
namespace {

using testing::HasSubstr;
using testing_support::cut_disk;

using items = std::map<std::string, std::string>;

items of(const store_contents& c)
{
    items out;
    for (const auto& [key, value] : c.items) {
        out.emplace(key, value);
    }
    return out;
}

// Random changes, and what they make of a map.
store_changes change(items& all, std::mt19937& random)
{
    store_changes out;
    const unsigned count = 1 + random() % 4;
    for (unsigned i = 0; i < count; ++i) {
        const std::string key = (random() % 2 == 0 ? "a " : "b ") + std::to_string(random() % 8);
        switch (random() % 5) {
        case 0:
            out.erase(key);
            all.erase(key);
            break;
        case 1:
            out.erase_all("a ");
            std::erase_if(all, [](const auto& item) { return item.first.starts_with("a "); });
            break;
        default: {
            const std::string value(random() % 1500, static_cast<char>('a' + random() % 26));
            out.put(key, value);
            all[key] = value;
        }
        }
    }
    return out;
}

constexpr std::uint64_t room = 64 * 1024;

// A life of the store: reads, writes changes, folds now and then. `states` are those after each
// change from the first one on; the index of the last that was said to be kept.
struct life {
    std::vector<items> states;
    std::size_t kept{0};
    bool ended{false}; // by a cut
};

life live(cut_disk& disk, std::mt19937& random, std::size_t changes)
{
    life out;
    const auto files = disk.files();
    const auto read = read_store(*files);
    EXPECT_TRUE(read.has_value()) << (read.has_error() ? read.error().message : "");
    out.states.push_back(of(*read));
    auto journal = store_journal::begin(*files, read->next, room);
    for (std::size_t i = 0; i < changes && journal.has_value(); ++i) {
        items next = out.states.back();
        const store_changes what = change(next, random);
        out.states.push_back(next);
        if (journal->append(what.text()).has_error()) {
            break;
        }
        out.kept = i + 1;
        if (random() % 4 == 0) {
            const std::uint64_t old = journal->number();
            journal = store_journal::begin(*files, old + 1, room);
            if (journal.has_value()) {
                (void)fold_store(*files, old + 1);
            }
        }
    }
    out.ended = disk.is_off();
    return out;
}

class power_cut : public testing::TestWithParam<cut_disk::loses> {};

TEST_P(power_cut, at_any_step_loses_nothing_that_was_kept)
{
    constexpr std::size_t changes = 24;
    for (std::uint64_t cut = 0;; ++cut) {
        std::mt19937 random{static_cast<unsigned>(cut)};
        cut_disk disk;
        (void)live(disk, random, 5); // something is there already
        disk.power_on(cut_disk::loses::all, random);
        disk.cut_at(cut);
        const life last = live(disk, random, changes);
        disk.power_on(GetParam(), random);
        const auto read = read_store(*disk.files());
        ASSERT_TRUE(read.has_value()) << "step " << cut << ": " << read.error().message;
        bool right = false;
        for (std::size_t i = last.kept; i < last.states.size() && !right; ++i) {
            right = of(*read) == last.states[i];
        }
        ASSERT_TRUE(right) << "after a cut at step " << cut << ", with " << last.kept
                           << " changes kept";
        // And the next life goes on from there.
        const life next = live(disk, random, 6);
        ASSERT_EQ(next.kept, 6U);
        ASSERT_EQ(of(*read_store(*disk.files())), next.states.back());
        if (!last.ended) {
            EXPECT_GT(cut, changes) << "no step was left out";
            break;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(, power_cut,
                         testing::Values(cut_disk::loses::all, cut_disk::loses::nothing,
                                         cut_disk::loses::some));

class store : public testing::Test {
protected:
    // A snapshot, and a journal with some changes behind it.
    void SetUp() override
    {
        const auto files = disk_.files();
        auto first = store_journal::begin(*files, 1, room);
        store_changes changes;
        changes.put("a 1", "one");
        changes.put("a 2", "two");
        ASSERT_TRUE(first->append(changes.text()).has_value());
        auto second = store_journal::begin(*files, 2, 512);
        ASSERT_TRUE(fold_store(*files, 2).has_value());
        for (const std::string value : {"three", "four", "five"}) {
            store_changes more;
            more.put("b", value);
            ASSERT_TRUE(second->append(more.text()).has_value());
        }
    }
    // "" or why it is refused.
    std::string read_with(const std::string& name, const std::string& text)
    {
        const auto before = disk_.contents().at(name);
        disk_.set(name, text);
        const auto read = read_store(*disk_.files());
        disk_.set(name, before);
        last_ = read.has_value() ? std::optional{of(*read)} : std::nullopt;
        return read.has_error() ? read.error().message : "";
    }

    static constexpr const char* snapshot = "snapshot-00000002";
    static constexpr const char* journal = "journal-00000002";
    cut_disk disk_;
    std::optional<items> last_;
};

TEST_F(store, folds_journals_into_a_snapshot_and_removes_them)
{
    const auto there = disk_.contents();
    EXPECT_EQ(there.size(), 2U);
    ASSERT_TRUE(there.contains(snapshot) && there.contains(journal));
    EXPECT_EQ(of(*read_store(*disk_.files())),
              (items{{"a 1", "one"}, {"a 2", "two"}, {"b", "five"}}));
    EXPECT_EQ(read_store(*disk_.files())->next, 3U);
}

TEST_F(store, of_a_newer_version_is_refused_with_what_to_do)
{
    for (const char* name : {snapshot, journal}) {
        std::string text = disk_.contents().at(name);
        text.replace(text.find(" 1 "), 3, " 2 ");
        EXPECT_THAT(read_with(name, text),
                    testing::AllOf(HasSubstr(std::string{"/store/"} + name),
                                   HasSubstr("was kept by a newer straitd: its format is 2, and "
                                             "this one reads 1; start the newer one, or give "
                                             "another folder with --state-dir")));
    }
}

TEST_F(store, with_a_snapshot_that_is_cut_off_or_changed_anywhere_is_refused)
{
    const std::string text = disk_.contents().at(snapshot);
    for (std::size_t size = 0; size < text.size(); ++size) {
        EXPECT_THAT(read_with(snapshot, text.substr(0, size)), HasSubstr("is damaged"))
            << "cut off at " << size;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_NE(read_with(snapshot, changed), "") << "changed at " << i;
    }
    EXPECT_THAT(read_with(snapshot, text + "x"), HasSubstr("more or less"));
}

TEST_F(store, with_a_journal_that_is_cut_off_has_what_is_whole)
{
    const std::string text = disk_.contents().at(journal);
    const std::string whole = text.substr(0, text.find('\0'));
    std::size_t refused = 0;
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const std::string why = read_with(journal, whole.substr(0, size));
        refused += why.empty() ? 0U : 1U;
        if (last_) {
            EXPECT_EQ(last_->at("a 1"), "one");
        }
    }
    EXPECT_EQ(refused, 0U);
    // In front of others nothing is cut off by a crash.
    const auto second = whole.find("\n@") + 1;
    std::string damaged = whole;
    damaged[second + 12] = 'x';
    EXPECT_THAT(read_with(journal, damaged), HasSubstr("is no whole frame, and others follow"));
    // The last one is as if it had not been written.
    damaged = whole;
    damaged[whole.size() - 3] = 'x';
    EXPECT_EQ(read_with(journal, damaged), "");
    EXPECT_EQ(last_->at("b"), "four");
}

TEST_F(store, lacks_no_file)
{
    const auto files = disk_.files();
    auto third = store_journal::begin(*files, 3, room);
    auto fifth = store_journal::begin(*files, 5, room);
    const auto read = read_store(*files);
    ASSERT_TRUE(read.has_error());
    EXPECT_THAT(read.error().message, HasSubstr("journal-00000004 is missing; put it back"));
}

TEST(store_folder, is_one_daemons_and_its_owners_alone)
{
    const std::string path =
        testing::TempDir() + "store-" + std::to_string(::getpid()) + "/below/it";
    std::filesystem::remove_all(path);
    {
        auto files = open_store_folder(path);
        ASSERT_TRUE(files.has_value()) << files.error().message;
        EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms::owner_all);
        const auto second = open_store_folder(path);
        ASSERT_TRUE(second.has_error());
        EXPECT_THAT(second.error().message,
                    HasSubstr("another straitd keeps its configuration in " + path +
                              "; give this one a folder of its own with --state-dir"));
        auto journal = store_journal::begin(**files, 1, room);
        ASSERT_TRUE(journal.has_value()) << journal.error().message;
        store_changes changes;
        changes.put("a", "1");
        ASSERT_TRUE(journal->append(changes.text()).has_value());
        EXPECT_GE(std::filesystem::file_size(path + "/journal-00000001"), room);
    }
    auto files = open_store_folder(path);
    ASSERT_TRUE(files.has_value());
    EXPECT_EQ(of(*read_store(**files)), (items{{"a", "1"}}));
    EXPECT_TRUE(fold_store(**files, 2).has_value());
    EXPECT_FALSE(std::filesystem::exists(path + "/journal-00000001"));
    EXPECT_EQ(of(*read_store(**files)), (items{{"a", "1"}}));
    std::ofstream{path + "/file"};
    EXPECT_THAT(open_store_folder(path + "/file").error().message, HasSubstr("cannot be opened"));
    std::filesystem::remove_all(path);
}

} // namespace
} // namespace strait::control
