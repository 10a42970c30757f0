// SPDX-License-Identifier: BSD-3-Clause
// Checking parameters of every kind, and the schema.
#include "control/method_table.hh"

#include "control/methods.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

std::string check(std::string_view method, std::string_view parameters)
{
    return check_parameters(*find_method(methods(), method), json::parse(parameters).as_object(),
                            wording::program)
        .value_or("right");
}

TEST(parameters, are_right_or_named_in_a_sentence)
{
    EXPECT_EQ(check("port.set", R"({"name":"a","vlan":4094})"), "right");
    EXPECT_EQ(check("port.set", R"({"name":"a","vlan":"10"})"),
              R"(port.set: "vlan" is "10"; it must be an integer from 1 to 4094)");
    EXPECT_THAT(check("port.set", R"({"name":"a","vlan":10.0})"), HasSubstr("an integer"));
    EXPECT_THAT(check("port.set", R"({"name":"a","vlan":null})"), HasSubstr("is null"));
    EXPECT_THAT(check("port.set", R"({"name":"a","vlan":18446744073709551615})"),
                HasSubstr("an integer"));
    EXPECT_THAT(check("port.set", R"({"name":"a","vlan":-1})"), HasSubstr("is -1"));
    EXPECT_THAT(check("port.set", R"({"name":5})"), HasSubstr("a name of 1 to 63"));
    EXPECT_THAT(check("port.set", R"({"name":""})"), HasSubstr("a name of 1 to 63"));
    EXPECT_THAT(check("port.set", R"({"name":"-a"})"), HasSubstr("a letter or digit first"));
    EXPECT_THAT(check("port.set", R"({"name":"a\u0000b"})"), HasSubstr("a name of"));
    EXPECT_THAT(check("port.set", R"({"name":"a","trunk":[]})"), HasSubstr("a list of VLANs"));
    EXPECT_THAT(check("port.set", R"({"name":"a","trunk":[1,[2]]})"), HasSubstr("list of VLANs"));
    EXPECT_THAT(check("port.set", R"({"name":"a","trunk":"1"})"), HasSubstr("list of VLANs"));
    EXPECT_THAT(check("port.set", R"({"name":"a","no_vlan":1})"), HasSubstr("true or false"));
    EXPECT_THAT(check("port.set", "{}"), HasSubstr("\"name\" is missing"));
    EXPECT_THAT(check("port.set", R"({"name":"a","vaal":1})"), HasSubstr("did you mean \"vlan\""));
    EXPECT_THAT(check("version", R"({"x":1})"), HasSubstr("it takes none"));
    EXPECT_THAT(check("port.add", R"({"name":"a","bridge":"b","type":"nic","device":"x\ny"})"),
                HasSubstr("without control characters"));
    EXPECT_THAT(check("port.add", R"({"name":"a","bridge":"b","type":7})"),
                HasSubstr("vhost-user, xen, nic, bond, host, vxlan, geneve, gre or nvgre"));
    EXPECT_THAT(check("port.add", R"({"name":"a","bridge":"b","socket":"/s"})"),
                HasSubstr("\"socket\" is for ports of type vhost-user"));
}

TEST(parameters, are_utf8)
{
    const auto wrong = [](std::string_view socket) {
        const json::object parameters{
            {"name", "a"}, {"bridge", "b"}, {"type", "vhost-user"}, {"socket", socket}};
        return check_parameters(*find_method(methods(), "port.add"), parameters,
                                wording::command_line)
            .value_or("right");
    };
    EXPECT_EQ(wrong("/tmp/\xff.sock"), "port add: --socket is /tmp/?.sock; it must be text of 1 to "
                                       "107 bytes of UTF-8 without control characters");
    EXPECT_EQ(wrong("/tmp/ü.sock"), "right");
}

TEST(parameters, of_enormous_size_are_not_repeated_in_full)
{
    const std::string big = R"({"name":"a","vlan":")" + std::string(200'000, 'x') + R"("})";
    EXPECT_LT(check("port.set", big).size(), 300U);
    // Cut between characters, not within one.
    std::string wide = R"({"name":"a","vlan":")";
    for (int i = 0; i < 1000; ++i) {
        wide += "\xc3\xa4";
    }
    const std::string why = check("port.set", wide + R"("})");
    EXPECT_NO_THROW((void)json::parse(json::serialize(json::value(why))));
}

TEST(vlans, are_expanded_once_each_in_order)
{
    EXPECT_THAT(expand_vlans(json::parse(R"([30,"10-12",11,"5"])")),
                testing::ElementsAre(5, 10, 11, 12, 30));
    EXPECT_EQ(expand_vlans(json::parse(R"(["1-4094"])")).size(), 4094U);
}

TEST(table, has_no_name_twice)
{
    std::set<std::string_view> names;
    for (const auto& m : methods()) {
        EXPECT_TRUE(names.insert(m.name).second) << m.name;
        std::set<std::string_view> parameters;
        for (const auto& p : m.parameters) {
            EXPECT_TRUE(parameters.insert(p.name).second) << m.name << " " << p.name;
            EXPECT_FALSE(p.help.empty()) << m.name << " " << p.name;
            EXPECT_TRUE(p.kind != value_kind::integer || p.minimum < p.maximum) << p.name;
            EXPECT_TRUE(p.kind != value_kind::text || p.maximum > 0) << p.name;
        }
        EXPECT_FALSE(m.result.empty()) << m.name;
    }
}

TEST(schema, describes_every_method)
{
    const json::object s = schema(methods(), "t");
    ASSERT_EQ(s.at("methods").as_array().size(), methods().size());
    for (std::size_t i = 0; i < methods().size(); ++i) {
        const auto& m = s.at("methods").as_array()[i].as_object();
        EXPECT_EQ(m.at("name"), json::value(methods()[i].name));
        ASSERT_EQ(m.at("params").as_array().size(), methods()[i].parameters.size());
        for (const auto& p : m.at("params").as_array()) {
            EXPECT_TRUE(p.at("schema").at("type").is_string());
            EXPECT_TRUE(p.at("required").is_bool());
        }
        EXPECT_TRUE(m.at("result").at("schema").at("type").is_string());
    }
    const auto& trunk = [&]() -> const json::value& {
        for (const auto& m : s.at("methods").as_array()) {
            for (const auto& p : m.at("params").as_array()) {
                if (p.at("name") == "trunk") {
                    return p;
                }
            }
        }
        throw std::runtime_error{"no trunk"};
    }();
    EXPECT_EQ(trunk.at("schema").at("items").at("oneOf").as_array().size(), 2U);
    EXPECT_EQ(trunk.at("schema").at("items").at("oneOf").at(0).at("maximum"), 4094);
}

TEST(nearest_word, is_found_when_near_and_only_then)
{
    const std::vector<std::string> words = {"bridge", "port", "worker"};
    EXPECT_EQ(nearest("brigde", words), "bridge");
    EXPECT_EQ(nearest("prt", words), "port");
    EXPECT_EQ(nearest("xyzzy", words), std::nullopt);
    EXPECT_EQ(nearest("", words), std::nullopt);
    EXPECT_EQ(nearest(std::string(1'000'000, 'p'), words), std::nullopt);
}

} // namespace
} // namespace strait::control
