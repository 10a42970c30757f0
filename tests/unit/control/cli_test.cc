// SPDX-License-Identifier: BSD-3-Clause
// Words to requests: what works as it stands, and the sentences for what does not.
#include "control/cli.hh"

#include "control/methods.hh"

#include <boost/json/parse.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace strait::control::cli {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

const program straitctl{.name = "straitctl",
                        .commands = &methods(),
                        .asks_daemon = true,
                        .purpose = "Controls.",
                        .ending = "Exit status: 0."};

command parsed(std::string_view line)
{
    return parse(straitctl, split_words(line).value()).value();
}

std::string refused(std::string_view line)
{
    const auto c = parse(straitctl, split_words(line).value());
    return c.has_error() ? c.error().message : "accepted";
}

struct example {
    std::string_view line;
    std::string_view method;
    std::string_view parameters;
};

class accepted : public testing::TestWithParam<example> {};

TEST_P(accepted, gives_method_and_parameters)
{
    const command c = parsed(GetParam().line);
    ASSERT_NE(c.method, nullptr);
    EXPECT_EQ(c.method->name, GetParam().method);
    EXPECT_EQ(json::value(c.parameters), json::parse(GetParam().parameters));
}

INSTANTIATE_TEST_SUITE_P(
    lines, accepted,
    testing::Values(
        example{"bridge add br0", "bridge.add", R"({"name":"br0"})"},
        example{"capture vm1 -w -", "capture", R"({"what":"vm1","write":"-"})"},
        example{"capture -w a.pcapng tcp,tp_dst=80 --count 5 --drops", "capture",
                R"({"what":"tcp,tp_dst=80","write":"a.pcapng","count":5,"drops":true})"},
        example{"port add vm1 --bridge br0 --type vhost-user --socket /run/strait/vm1.sock",
                "port.add",
                R"({"name":"vm1","bridge":"br0","type":"vhost-user",
                    "socket":"/run/strait/vm1.sock"})"},
        example{"port add up0 --bridge br0 --type nic --device net_tap0,iface=tap0", "port.add",
                R"({"name":"up0","bridge":"br0","type":"nic","device":"net_tap0,iface=tap0"})"},
        example{"port set vm1 --vlan 10", "port.set", R"({"name":"vm1","vlan":10})"},
        example{"port set up0 --trunk 10,20 --native 1", "port.set",
                R"({"name":"up0","trunk":[10,20],"native":1})"},
        example{"port set --trunk=1-4094 up0", "port.set", R"({"name":"up0","trunk":["1-4094"]})"},
        example{"stats --json", "stats", "{}"}, //
        example{"stats vm1", "stats", R"({"name":"vm1"})"},
        example{"bridge set br0 --forward-bpdu", "bridge.set",
                R"({"name":"br0","forward_bpdu":true})"},
        example{"bridge set --forward-bpdu off br0", "bridge.set",
                R"({"name":"br0","forward_bpdu":false})"},
        example{"bridge set --forward-bpdu br0", "bridge.set",
                R"({"name":"br0","forward_bpdu":true})"},
        example{"port set vm1 --no-vlan", "port.set", R"({"name":"vm1","no_vlan":true})"},
        example{"mac add 52:54:00:00:00:01 --port vm1 --vlan 7", "mac.add",
                R"({"mac":"52:54:00:00:00:01","port":"vm1","vlan":7})"},
        example{"port del -- vm1", "port.del", R"({"name":"vm1"})"},
        example{"port add h --bridge b --type host --address 'fd00::1/64' --may-exist", "port.add",
                R"({"name":"h","bridge":"b","type":"host","address":"fd00::1/64",
                    "may_exist":true})"}));

TEST(cli, takes_global_options_anywhere)
{
    const command c = parsed("--run-dir /tmp/a port --json show vm1");
    EXPECT_EQ(c.global.run_dir, "/tmp/a");
    EXPECT_TRUE(c.global.json);
    EXPECT_EQ(parsed("port show vm1 --run-dir=/b").global.run_dir, "/b");
    EXPECT_EQ(parsed("port list").global.run_dir, "/run/strait");
}

TEST(cli, takes_rates_and_watch_where_they_mean_something)
{
    EXPECT_EQ(parsed("stats --watch").watch, std::chrono::milliseconds{1000});
    EXPECT_EQ(parsed("stats --watch 0.5 --rates").watch, std::chrono::milliseconds{500});
    EXPECT_TRUE(parsed("worker list --rates").rates);
    const command c = parsed("stats --watch vm1");
    EXPECT_EQ(c.parameters.at("name"), "vm1");
    EXPECT_THAT(refused("stats --watch 0"), HasSubstr("0.1 to 3600"));
    EXPECT_THAT(refused("stats --clear --watch 1"), HasSubstr("leave out --rates and --watch"));
    EXPECT_THAT(refused("stats --rates vm1 --clear"), HasSubstr("--clear is of one look"));
    EXPECT_THAT(refused("stats --watch 5000"), HasSubstr("0.1 to 3600"));
    EXPECT_THAT(refused("stats --watch 0.01"), HasSubstr("--watch is 0.01; it must"));
    EXPECT_THAT(refused("stats --watch="), HasSubstr("--watch is \"\"; it must"));
    EXPECT_THAT(refused("stats --watch=\a"), HasSubstr("--watch is \"\\u0007\"; it must"));
    EXPECT_EQ(c.after_watch, "vm1");
    EXPECT_FALSE(parsed("stats vm1 --watch").after_watch);
    EXPECT_FALSE(parsed("stats --watch 2 vm1").after_watch);
    EXPECT_THAT(refused("worker list --watch abc"),
                HasSubstr("--watch is abc; it must be seconds"));
    EXPECT_THAT(refused("port list --watch"), HasSubstr("stats and worker list"));
}

TEST(cli, shows_help_for_everything)
{
    EXPECT_THAT(parsed("help").help, HasSubstr("port add"));
    EXPECT_THAT(parsed("--help").help, HasSubstr("Exit status"));
    EXPECT_THAT(parsed("port --help").help, HasSubstr("straitctl port show"));
    for (const auto& m : methods()) {
        if (m.for_programs) {
            continue;
        }
        const command c = parsed("help " + command_words(m));
        EXPECT_EQ(c.method, nullptr);
        for (const auto& p : m.parameters) {
            EXPECT_THAT(c.help, HasSubstr(label(p, wording::command_line)));
        }
    }
}

struct mistake {
    std::string_view line;
    std::string_view says;
};

class mistaken : public testing::TestWithParam<mistake> {};

TEST_P(mistaken, is_told_what_would_be_right)
{
    const std::string why = refused(GetParam().line);
    EXPECT_THAT(why, HasSubstr(GetParam().says));
    EXPECT_EQ(why.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    lines, mistaken,
    testing::Values(
        mistake{"", "a command is missing"}, //
        mistake{"prot list", "did you mean port?"},
        mistake{"frobnicate", "there are bridge, port, mac"},
        mistake{"port", "port needs one of add, del, rename, set, show, list"},
        mistake{"port lst", "did you mean port list?"},
        mistake{"port --vlan 3", "port needs one of"}, mistake{"--vlan 3", "before the command"}, //
        mistake{"-x port list", "options begin with --"},
        mistake{"port list vm1", "\"vm1\" is one word too many"},
        mistake{"port set", "PORT is missing"}, //
        mistake{"port set vm1 --vlan", "needs a value: an integer from 1 to 4094"},
        mistake{"port set vm1 --vlan --mtu 9000", "--vlan needs a value"},
        mistake{"port set vm1 --vlan ten", "--vlan is ten; it must be an integer from 1 to 4094"},
        mistake{"port set vm1 --vlan 0", "--vlan is 0"},
        mistake{"port set vm1 --vlan 4095", "--vlan is 4095"},
        mistake{"port set vm1 --vlan 99999999999999999999", "it must be an integer"},
        mistake{"port set vm1 --vlan 10x", "--vlan is 10x"},
        mistake{"port set vm1 --vlan ''", "--vlan is \"\""},
        mistake{"port set vm1 --trunk 10,,20", "--trunk is 10,,20"},
        mistake{"port set vm1 --trunk ,10", "--trunk is ,10;"},
        mistake{"port set vm1 --trunk 10,", "--trunk is 10,;"},
        mistake{"port set vm1 --trunk ,", "--trunk is ,;"},
        mistake{"port set vm1 --trunk ''", "--trunk is \"\";"},
        mistake{"port set vm1 --trunk 007,5000", "--trunk is 007,5000;"},
        mistake{"port set vm1 --trunk 20-10", "--trunk is 20-10"},
        mistake{"port set vm1 --trunk 1-5000", "--trunk is 1-5000"},
        mistake{"port set vm1 --vlna 10", "did you mean --vlan?"},
        mistake{"port set vm1 --vlan 1 --vlan 2", "--vlan is given twice"},
        mistake{"port set vm1 --admin sideways", "it must be up or down"},
        mistake{"port set vm1 --no-vlan=perhaps", "it must be on or off"},
        mistake{"bridge set br0 --forward-bpdu maybe",
                "bridge set: --forward-bpdu is maybe; it must be on or off"},
        mistake{"bridge set br0 --forward-bpdu on maybe", "\"maybe\" is one word too many"},
        mistake{"bridge set br0 --forward-bpdu --mac-ageing 3 maybe", "one word too many"},
        mistake{"port set vm1 --json=yes", "--json takes no value"},
        mistake{"port show ../../etc/passwd", "letters, digits"}, //
        mistake{"port show 'a b'", "PORT is \"a b\"; it must be a name"},
        mistake{"bridge add ' '", "BRIDGE is \" \"; it must be a name"},
        mistake{"mac add 02:00:00:00:00:01:02 --port p1",
                "MAC is 02:00:00:00:00:01:02; it must be a MAC address like 52:54:00:12:34:56"},
        mistake{"mac add '' --port p1", "MAC is \"\"; it must be a MAC address like"},
        mistake{"mac add 02:00:00:00-00:01 --port p1", "it must be a MAC address like"},
        mistake{"mac add 02:00:00:00:00:0g --port p1", "it must be a MAC address like"},
        mistake{"mac add 02:00:00:00:00:01",
                "--port is missing: the port that the address is behind"},
        mistake{"mac del 02:00:00:00:00:01",
                "--bridge is missing: the bridge that is to forget the address"},
        mistake{"port add vm1 --bridge br0", "--type is missing"},
        mistake{"port add vm1 --bridge br0 --type tap",
                "vhost-user, xen, nic, bond, host, vxlan, geneve, gre or nvgre"},
        mistake{"port add vm1 --bridge br0 --type vhost-user", "needs --socket"},
        mistake{"port add vm1 --bridge br0 --type nic --socket /a --device x",
                "--socket is for ports of type vhost-user, not nic"},
        mistake{"port add vm1 --bridge br0 --type vhost-user --socket /a --ring-size 256",
                "--ring-size is for ports of type nic"},
        mistake{"port add vm1 --bridge br0 --type nic --device x --number 65280", "1 to 65279"},
        mistake{"port add vm1 --bridge br0 --type nic --device x --mtu 67", "68 to"},
        mistake{"--run-dir", "--run-dir needs"}, //
        mistake{"--run-dir /a port list --run-dir /b", "--run-dir is given twice"},
        mistake{"--run-dir '' port list", "--run-dir is empty"}));

TEST(cli, bounds_what_it_repeats_of_bad_words)
{
    EXPECT_LT(refused("port set vm1 --vlan " + std::string(100'000, '9')).size(), 300U);
    EXPECT_LT(refused("port show " + std::string(100'000, 'a')).size(), 300U);
}

TEST(cli, refuses_a_file_that_is_no_text)
{
    const std::string path = testing::TempDir() + "no_text";
    std::ofstream{path} << "udp" << '\0' << ",actions=drop\n";
    const auto c = parse(straitctl, std::vector<std::string>{"flow", "add", path});
    ASSERT_TRUE(c.has_error());
    EXPECT_THAT(c.error().message, testing::HasSubstr(path + " has bytes that no text has"));
}

TEST(split_words, keeps_quoted_words_together)
{
    EXPECT_THAT(split_words(R"(a 'b c' "d\"e" f\ g # rest)").value(),
                ElementsAre("a", "b c", "d\"e", "f g"));
    EXPECT_THAT(split_words(R"(a#b '' "\n")").value(), ElementsAre("a#b", "", "\\n"));
    EXPECT_THAT(split_words("  \t # only a comment").value(), ElementsAre());
    EXPECT_TRUE(split_words("a 'b").has_error());
    EXPECT_TRUE(split_words("a \"b").has_error());
    EXPECT_TRUE(split_words("a \\").has_error());
}

TEST(config, reads_commands_with_their_lines)
{
    const auto list = parse_config(straitctl,
                                   "# first\n\nbridge add br0\r\n"
                                   "straitctl port del vm1 --if-exists # gone",
                                   "f")
                          .value();
    ASSERT_EQ(list.size(), 2U);
    EXPECT_EQ(list[0].line, 3U);
    EXPECT_EQ(list[0].what.method->name, "bridge.add");
    EXPECT_EQ(list[1].line, 4U);
    EXPECT_TRUE(list[1].what.parameters.at("if_exists").as_bool());
}

TEST(config, names_file_and_line_of_a_mistake)
{
    const auto message = [](std::string_view text) {
        const auto c = parse_config(straitctl, text, "/etc/strait.conf");
        return c.has_error() ? c.error().message : "accepted";
    };
    EXPECT_THAT(message("bridge add br0\nbridge ad br1\n"),
                testing::StartsWith("/etc/strait.conf:2: there is no command"));
    EXPECT_THAT(message("bridge add 'br0\n"), HasSubstr(":1: the quote ' is not closed"));
    EXPECT_THAT(message("\nstats\n"), HasSubstr(":2: only commands that change"));
    EXPECT_THAT(message("help\n"), HasSubstr(":1: only commands that change"));
    EXPECT_THAT(message("bridge add br0 --json\n"), HasSubstr("no place here"));
    EXPECT_THAT(message("bridge add br0 --run-dir /x\n"), HasSubstr("no place here"));
    EXPECT_THAT(message("bridge add br0 --run-dir /run/strait\n"), HasSubstr("no place here"));
}

} // namespace
} // namespace strait::control::cli
