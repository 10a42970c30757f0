// SPDX-License-Identifier: BSD-3-Clause
// Connection tracking through the control service: workers answer, limits are set and told, what
// cannot be asked is refused by a sentence.
#include "service_fixture.hh"

#include <gmock/gmock.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class connections_of_the_service : public testing_support::methods_of_the_service {};

TEST_F(connections_of_the_service, a_worker_is_asked_for_all_connections)
{
    const json::value list = ask("ct.list", R"({"filter":"tcp,nw_src=10.0.0.0/8","zone":3})");
    EXPECT_TRUE(list.at("connections").as_array().empty());
    EXPECT_FALSE(list.at("more").as_bool());
    EXPECT_EQ(ask("ct.flush").at("forgotten").to_number<int>(), 0);
    const json::value stats = ask("ct.stats");
    EXPECT_EQ(stats.at("workers").as_array().size(), switch_.engine().worker_count());
    EXPECT_GT(stats.at("capacity").to_number<int>(), 1'000'000);
    EXPECT_EQ(stats.at("connections").to_number<int>(), 0);
}

TEST_F(connections_of_the_service, a_match_that_cannot_be_is_refused)
{
    EXPECT_THAT(why("ct.list", R"({"filter":"tcp,tp_dst=http"})"), HasSubstr("http"));
    EXPECT_THAT(why("ct.flush", R"({"filter":"tp_dst=80"})"), HasSubstr("tp_dst"));
    EXPECT_THAT(why("ct.list", R"({"zone":65536})"), HasSubstr("65535"));
}

TEST_F(connections_of_the_service, limits_are_a_zones_or_all_others)
{
    EXPECT_EQ(ask("ct.limit"), json::parse(R"({"default":0,"zones":[]})"));
    ask("ct.limit", R"({"set":1000})");
    ask("ct.limit", R"({"zone":5,"set":20})");
    EXPECT_EQ(
        ask("ct.limit"),
        json::parse(
            R"({"default":1000,"zones":[{"zone":5,"port":null,"limit":20,"connections":0}]})"));
    EXPECT_EQ(ask("ct.limit", R"({"zone":6})").at("zones").as_array().size(), 2U)
        << "the one that was asked for, too";
    ask("ct.limit", R"({"zone":5,"reset":true})");
    EXPECT_EQ(ask("ct.limit", R"({"set":0})"), json::parse(R"({"default":0,"zones":[]})"));
    EXPECT_THAT(why("ct.limit", R"({"reset":true})"), HasSubstr("give a zone"));
    EXPECT_THAT(why("ct.limit", R"({"zone":5,"set":1,"reset":true})"), HasSubstr("nothing to set"));
}

} // namespace
} // namespace strait::control
