// SPDX-License-Identifier: BSD-3-Clause
// Ports as words.
#include "control/flow_ports.hh"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace strait::control {
namespace {

port_names some_ports()
{
    port_names names;
    names.add(1, "vm1");
    names.add(2, "7");
    names.add(3, "local");
    names.add(4, "a \"b\\c\"");
    names.add(5, "");
    return names;
}

std::string read(std::string_view word)
{
    const auto port = parse_port(word, some_ports());
    return port.has_error() ? port.error().message : std::to_string(*port);
}

TEST(flow_ports, are_numbers_names_or_reserved_words)
{
    EXPECT_EQ(read("1"), "1");
    EXPECT_EQ(read("0xfeff"), "65279");
    EXPECT_EQ(read("65534"), "65534");
    EXPECT_EQ(read("LOCAL"), "65534");
    EXPECT_EQ(read("in_Port"), "65528");
    EXPECT_EQ(read("none"), "65535");
    EXPECT_EQ(read("vm1"), "1");
    EXPECT_EQ(read("7"), "7");
    EXPECT_EQ(read("\"7\""), "2");
    EXPECT_EQ(read("\"local\""), "3");
    EXPECT_EQ(read("\"a \\\"b\\\\c\\\"\""), "4");
    EXPECT_EQ(read("65280"), "\"65280\" is no port's number; these are 0 to 65279");
    EXPECT_EQ(read("65536"), "\"65536\" is no port's number; these are 0 to 65279");
    EXPECT_EQ(read("vm2"), "there is no port \"vm2\"; did you mean vm1?");
    EXPECT_EQ(read("uplink"),
              "there is no port \"uplink\"; it must be a number, a port's name or LOCAL");
    EXPECT_EQ(parse_port("", {}).error().message,
              "a port is missing here: a number, a name or LOCAL");
}

TEST(flow_ports, are_written_so_that_they_can_be_read)
{
    const auto names = some_ports();
    const auto written = [](flow::port_number port, const port_names* with) {
        std::string out;
        append_port(out, port, with);
        return out;
    };
    EXPECT_EQ(written(1, &names), "vm1");
    EXPECT_EQ(written(2, &names), "\"7\"");
    EXPECT_EQ(written(3, &names), "\"local\"");
    EXPECT_EQ(written(4, &names), "\"a \\\"b\\\\c\\\"\"");
    EXPECT_EQ(written(9, &names), "9");
    EXPECT_EQ(written(1, nullptr), "1");
    EXPECT_EQ(written(flow::ports::none, &names), "ANY");
    for (const auto port : std::initializer_list<flow::port_number>{1, 2, 3, 4, 9}) {
        EXPECT_EQ(read(written(port, &names)), std::to_string(port));
    }
}

} // namespace
} // namespace strait::control
