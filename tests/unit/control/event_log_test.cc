// SPDX-License-Identifier: BSD-3-Clause
#include "control/event_log.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace strait::control {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::uint64_t> numbers(const event_log::look& l)
{
    std::vector<std::uint64_t> out;
    for (const event* e : l.events) {
        out.push_back(e->sequence);
    }
    return out;
}

TEST(event_log, gives_what_came_after_an_event)
{
    event_log log{4};
    EXPECT_EQ(log.last(), 0U);
    EXPECT_THAT(numbers(log.since(0)), IsEmpty());
    log.add(event_kind::bridge_added, "br0");
    log.add(event_kind::port_added, "br0", "a", {{"number", 1}});
    EXPECT_EQ(log.last(), 2U);
    EXPECT_THAT(numbers(log.since(0)), ElementsAre(1, 2));
    EXPECT_THAT(numbers(log.since(1)), ElementsAre(2));
    EXPECT_THAT(numbers(log.since(2)), IsEmpty());
    const auto look = log.since(1);
    EXPECT_EQ(look.events.front()->kind, event_kind::port_added);
    EXPECT_EQ(look.events.front()->port, "a");
    EXPECT_EQ(look.events.front()->details.at("number"), 1);
}

TEST(event_log, keeps_the_latest_and_says_how_many_went)
{
    event_log log{4};
    for (int i = 0; i < 10; ++i) {
        log.add(event_kind::link_up, "br0", "a");
    }
    EXPECT_THAT(numbers(log.since(0)), ElementsAre(7, 8, 9, 10));
    EXPECT_EQ(log.since(0).missed, 6U);
    EXPECT_EQ(log.since(5).missed, 1U);
    EXPECT_EQ(log.since(6).missed, 0U);
    EXPECT_THAT(numbers(log.since(6)), ElementsAre(7, 8, 9, 10));
    EXPECT_THAT(numbers(log.since(9)), ElementsAre(10));
    EXPECT_EQ(log.since(10).missed, 0U);
}

TEST(event_log, keeps_what_guests_do_apart_from_all_else)
{
    event_log log{4};
    for (int i = 0; i < 3; ++i) {
        log.add(event_kind::port_added, "br0", "a");
        log.add(event_kind::flows_changed, "br0");
    }
    for (int i = 0; i < 1000; ++i) {
        log.add(event_kind::link_up, "br0", "a");
        log.add(event_kind::macs_moved, "br0");
    }
    log.add(event_kind::port_removed, "br0", "a");
    EXPECT_THAT(numbers(log.since(0)), ElementsAre(4, 5, 6, 2003, 2004, 2005, 2006, 2007));
    EXPECT_EQ(log.since(0).missed, 2007U - 8);
    EXPECT_THAT(numbers(log.since(5)), ElementsAre(6, 2003, 2004, 2005, 2006, 2007));
    EXPECT_EQ(log.since(5).missed, 2002U - 6);
    EXPECT_EQ(log.since(2002).missed, 0U);
}

TEST(event_log, cuts_long_texts_and_makes_them_text)
{
    event_log log;
    log.add(event_kind::port_lost, "br0", "a",
            {{"why", std::string(100'000, 'x')}, {"file", "caf\xc3\xa9 \xff"}});
    const auto& details = log.since(0).events.front()->details;
    EXPECT_EQ(details.at("why").as_string().size(), event_log::longest_text);
    EXPECT_EQ(details.at("file"), "caf\xc3\xa9 ?");
}

TEST(event_log, each_kind_has_a_name_of_its_own)
{
    std::set<std::string_view> names;
    for (int i = 0; i <= static_cast<int>(event_kind::macs_moved); ++i) {
        EXPECT_TRUE(names.insert(name_of(static_cast<event_kind>(i))).second) << i;
    }
}

} // namespace
} // namespace strait::control
