// SPDX-License-Identifier: BSD-3-Clause
#include "control/top.hh"

#include <boost/json/parse.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

json::object port(const std::string& name, std::uint64_t rx, std::uint64_t tx, std::uint64_t full,
                  std::uint64_t policed)
{
    return {{"name", name},         {"number", 1},
            {"bridge", "br0"},      {"link", "up"},
            {"admin", "up"},        {"rx_packets", rx},
            {"rx_bytes", rx * 100}, {"rx_dropped", policed},
            {"tx_packets", tx},     {"tx_bytes", tx * 100},
            {"tx_dropped", full},   {"drops", {{"ring_full", full}, {"ingress_policed", policed}}}};
}

top_look look(std::uint64_t time, json::array ports)
{
    return {{{"version", "1.2"}, {"uptime_s", 3700}},
            {{"timestamp_us", time}, {"ports", std::move(ports)}, {"total", json::object{}}},
            {{"timestamp_us", time},
             {"tsc_hz", 1000},
             {"pool", {{"size", 200}, {"in_use", 50}}},
             {"workers",
              {{{"worker", 0},
                {"cpu", 3},
                {"queues", {{{"port", "a"}, {"queue", 0}}, {{"port", "b"}, {"queue", 0}}}},
                {"busy_cycles", time / 4},
                {"idle_cycles", time / 4},
                {"asleep_cycles", time / 2},
                {"rx_packets", time / 40}}}}}};
}

class top_of_three_ports : public testing::Test {
protected:
    [[nodiscard]] std::string screen(std::size_t columns = 0, std::size_t rows = 0) const
    {
        return top_screen(before_, now_, view_, columns, rows, false);
    }
    // The names in the order of their lines.
    [[nodiscard]] std::vector<std::string> order() const
    {
        const std::string text = screen();
        std::vector<std::pair<std::size_t, std::string>> at;
        for (const std::string name : {"a", "b", "c"}) {
            at.emplace_back(text.find("\n" + name + " "), name);
        }
        std::ranges::sort(at);
        return {at[0].second, at[1].second, at[2].second};
    }

    top_look before_ =
        look(0, {port("a", 0, 0, 0, 0), port("b", 7, 0, 0, 0), port("c", 0, 0, 0, 0)});
    top_look now_ = look(2'000'000, {port("a", 2000, 10, 0, 0), port("b", 4007, 0, 6, 200),
                                     port("c", 100, 5000, 0, 0)});
    top_view view_;
};

TEST_F(top_of_three_ports, tells_rates_workers_and_why_packets_are_dropped)
{
    const std::string text = screen();
    EXPECT_THAT(text, HasSubstr("Strait 1.2, up 1 h 1 min; 3 ports; packet pool 25 % in use\n"));
    EXPECT_THAT(text, HasSubstr("25.0 %  50.0 %"));
    EXPECT_THAT(text, HasSubstr("2.00 kpps"));
    EXPECT_THAT(text, HasSubstr("103 pps  ingress_policed\n")); // 200 of 206
    EXPECT_EQ(text.find('\033'), std::string::npos);
}

TEST_F(top_of_three_ports, are_in_the_order_that_a_key_asks_for)
{
    EXPECT_THAT(order(), ElementsAre("c", "b", "a"));
    EXPECT_TRUE(press(view_, 'r'));
    EXPECT_THAT(order(), ElementsAre("b", "a", "c"));
    EXPECT_TRUE(press(view_, 's'));
    EXPECT_THAT(order(), ElementsAre("c", "a", "b"));
    EXPECT_TRUE(press(view_, 'd'));
    EXPECT_THAT(order(), ElementsAre("b", "a", "c"));
    EXPECT_TRUE(press(view_, 'n'));
    EXPECT_THAT(order(), ElementsAre("a", "b", "c"));
    EXPECT_TRUE(press(view_, 'R'));
    EXPECT_THAT(order(), ElementsAre("c", "b", "a"));
    EXPECT_FALSE(press(view_, 'x'));
}

TEST_F(top_of_three_ports, fit_into_any_terminal)
{
    for (std::size_t rows = 1; rows < 20; ++rows) {
        for (const std::size_t columns : {1U, 20U, 300U}) {
            const std::string text = screen(columns, rows);
            EXPECT_LE(static_cast<std::size_t>(std::ranges::count(text, '\n')), rows - 1);
            std::size_t width = 0;
            for (const char c : text) {
                width = c == '\n' ? 0 : width + 1;
                EXPECT_LE(width, columns) << rows;
            }
        }
    }
    EXPECT_THAT(screen(300, 9), HasSubstr("ports 1-2 of 3 by traffic; q ends"));
    EXPECT_TRUE(press(view_, 'j'));
    EXPECT_THAT(screen(300, 9), HasSubstr("ports 2-3 of 3"));
    for (int i = 0; i < 9; ++i) {
        EXPECT_TRUE(press(view_, 'j'));
    }
    EXPECT_THAT(screen(300, 9), HasSubstr("of 3 by traffic"));
}

TEST_F(top_of_three_ports, may_come_and_go)
{
    now_.stats.at("ports").as_array().erase(now_.stats.at("ports").as_array().begin());
    before_.stats.at("ports").as_array().pop_back();
    const std::string text = screen();
    EXPECT_THAT(text, HasSubstr("2 ports"));
    EXPECT_THAT(text, Not(HasSubstr("\na ")));
    now_.stats["ports"] = json::array{};
    EXPECT_THAT(screen(80, 24), HasSubstr("no ports by traffic"));
}

} // namespace
} // namespace strait::control
