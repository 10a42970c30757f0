// SPDX-License-Identifier: BSD-3-Clause
// Captures and mirrors as the control service has them: what is refused and why, what workers are
// given, and that nothing is left of one whose client went.
#include "pcapng_blocks.hh"
#include "service_fixture.hh"

#include "dataplane/tap.hh"

#include <gmock/gmock.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include <sys/socket.h>
#include <unistd.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;
using dataplane::no_bridge;
using testing::HasSubstr;
using testing_support::read_pcapng;

class captures_and_mirrors : public testing_support::methods_of_the_service {
protected:
    captures_and_mirrors()
    {
        ask("bridge.add", R"({"name":"br0"})");
        for (const auto* const name : {"a", "b", "c"}) {
            ask("port.add", R"({"name":")" + std::string{name} +
                                R"(","bridge":"br0","type":"nic","device":")" + name + R"("})");
        }
    }
    ~captures_and_mirrors() override { io_.poll(); }

    const dataplane::snapshot& config() { return switch_.engine().current(); }
    std::size_t taps() { return config().taps ? config().taps->all.size() : 0; }
    const dataplane::port_config& port(const std::string& name)
    {
        return *switch_.ports().at(name).config;
    }
    dataplane::port_set set_of(const std::vector<std::string>& names)
    {
        dataplane::port_set out;
        for (const auto& name : names) {
            out.set(to_index(port(name).index));
        }
        return out;
    }

    struct client {
        dataplane::file_descriptor end;
        std::int64_t id;
    };
    // As the server does it with the connection of a request.
    std::optional<client> capture(const std::string& parameters)
    {
        rpc::takeover then;
        const auto answer = json::parse(service_.rpc().answer(
            R"({"jsonrpc":"2.0","id":1,"method":"capture","params":)" + parameters + "}",
            rpc::nobody, &then));
        const auto* const result = answer.as_object().if_contains("result");
        if (result == nullptr || !then) {
            return std::nullopt;
        }
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        then(pair[0]);
        return client{dataplane::file_descriptor{pair[1]},
                      result->as_object().at("capture").as_int64()};
    }
    template <typename Condition>
    bool becomes(const Condition& condition)
    {
        for (int i = 0; i < 5000 && !condition(); ++i) {
            io_.restart();
            io_.poll();
            std::this_thread::sleep_for(1ms);
        }
        return condition();
    }
};

TEST_F(captures_and_mirrors, what_a_capture_of_a_port_shows)
{
    const auto filter = [&](const std::string& more) {
        const auto c = capture(R"({"what":"a","write":"x")" + more + "}");
        EXPECT_TRUE(c.has_value()) << more;
        return config().taps->all.back().filter;
    };
    const auto a = set_of({"a"});
    const dataplane::port_set none;
    auto f = filter("");
    EXPECT_TRUE(f.received == a && f.sent == a && f.sent_from == none && f.dropped == none);
    f = filter(R"(,"direction":"in")");
    EXPECT_TRUE(f.received == a && f.sent == none && f.sent_from == none);
    f = filter(R"(,"direction":"out","drops":true)");
    EXPECT_TRUE(f.received == none && f.sent == a && f.dropped == a);
    f = filter(R"(,"before_actions":true)");
    EXPECT_TRUE(f.received == a && f.sent == none && f.sent_from == none);
    f = filter(R"(,"after_actions":true)");
    EXPECT_TRUE(f.received == none && f.sent == a && f.sent_from == a);
    f = filter(R"(,"direction":"in","after_actions":true)");
    EXPECT_TRUE(f.received == none && f.sent == none && f.sent_from == a);
    EXPECT_TRUE(becomes([&] { return captures_.size() == 0; })); // their clients went
    EXPECT_EQ(config().taps, nullptr);
}

TEST_F(captures_and_mirrors, what_a_capture_of_a_match_shows)
{
    const auto filter = [&](const std::string& more) {
        const auto c = capture(R"({"what":"tcp,tp_dst=80-81")" + more + "}");
        EXPECT_TRUE(c.has_value()) << more;
        return config().taps->all.back().filter;
    };
    const auto all = set_of({"a", "b", "c"});
    const dataplane::port_set none;
    auto f = filter("");
    EXPECT_TRUE(f.received == all && f.sent == none && f.dropped == none);
    EXPECT_EQ(f.flows.size(), 1U);
    f = filter(R"(,"after_actions":true,"drops":true)");
    EXPECT_TRUE(f.received == none && f.sent == all && f.dropped == all);
    f = filter(R"(,"direction":"both")");
    EXPECT_TRUE(f.received == all && f.sent == all);
}

TEST_F(captures_and_mirrors, captures_that_cannot_be_are_refused)
{
    const auto why = [&](const std::string& parameters) {
        rpc::takeover then;
        const auto answer = service_.rpc().answer(
            R"({"jsonrpc":"2.0","id":1,"method":"capture","params":)" + parameters + "}",
            rpc::nobody, &then);
        EXPECT_FALSE(then) << parameters;
        return answer;
    };
    EXPECT_THAT(why(R"({"what":"vm9"})"), HasSubstr("there is no port of this name, and it is no "
                                                    "match of packets: column 1: "));
    EXPECT_THAT(why(R"({"what":"a","bridge":"br1"})"), HasSubstr("port a is on bridge br0"));
    EXPECT_THAT(why(R"({"what":"tcp","bridge":"br1"})"), HasSubstr("there is no bridge br1"));
    EXPECT_THAT(why(R"({"what":"a","direction":"out","before_actions":true})"),
                HasSubstr("--direction out goes without it"));
    EXPECT_THAT(why(R"({"what":"a","snaplen":13})"), HasSubstr("14"));
    EXPECT_THAT(service_.rpc().answer(
                    R"([{"jsonrpc":"2.0","id":1,"method":"capture","params":{"what":"a"}}])"),
                HasSubstr("must be a request by itself"));
    EXPECT_EQ(captures_.size(), 0U);
}

TEST_F(captures_and_mirrors, a_capture_whose_client_never_had_its_answer_is_given_up)
{
    {
        rpc::takeover then;
        (void)service_.rpc().answer(
            R"({"jsonrpc":"2.0","id":1,"method":"capture","params":{"what":"a"}})", rpc::nobody,
            &then);
        EXPECT_TRUE(then);
        EXPECT_EQ(captures_.size(), 1U);
        EXPECT_EQ(taps(), 0U);
    }
    EXPECT_EQ(captures_.size(), 0U);
}

TEST_F(captures_and_mirrors, there_are_so_many_captures_and_no_more)
{
    std::vector<client> all;
    for (std::size_t i = 0; i < capture_list::most; ++i) {
        all.push_back(capture(R"({"what":"a"})").value());
    }
    EXPECT_EQ(taps(), capture_list::most);
    EXPECT_FALSE(capture(R"({"what":"a"})"));
    all.pop_back();
    EXPECT_TRUE(becomes([&] { return captures_.size() == capture_list::most - 1; }));
    EXPECT_TRUE(capture(R"({"what":"a"})"));
}

TEST_F(captures_and_mirrors, a_capture_tells_what_it_came_to)
{
    auto c = capture(R"({"what":"a","write":"-"})").value();
    ::shutdown(c.end.get(), SHUT_WR);
    EXPECT_TRUE(becomes([&] { return captures_.size() == 0; }));
    std::string all;
    std::array<char, 4096> chunk{};
    for (ssize_t n = 0; (n = ::read(c.end.get(), chunk.data(), chunk.size())) > 0;) {
        all.append(chunk.data(), static_cast<std::size_t>(n));
    }
    EXPECT_EQ(read_pcapng(all).size(), 1U);
    const auto r = ask("capture.result", R"({"capture":)" + std::to_string(c.id) + "}");
    EXPECT_EQ(r, json::parse(R"({"packets":0,"lost":0,"why":""})"));
    EXPECT_THAT(why("capture.result", R"({"capture":999})"), HasSubstr("there is no capture 999"));
}

TEST_F(captures_and_mirrors, a_capture_ends_with_its_port)
{
    const auto c = capture(R"({"what":"a"})").value();
    ask("port.del", R"({"name":"a"})");
    EXPECT_TRUE(becomes([&] { return captures_.size() == 0; }));
    const auto r = ask("capture.result", R"({"capture":)" + std::to_string(c.id) + "}");
    EXPECT_EQ(r.at("why"), json::value("port a was removed"));
}

TEST_F(captures_and_mirrors, a_mirrors_output_port_belongs_to_it_alone)
{
    const auto before = *switch_.bridges().at("br0").config;
    ask("mirror.add", R"({"name":"m","select_all":true,"output_port":"c","snaplen":100})");
    ASSERT_EQ(taps(), 1U);
    const auto& t = config().taps->all[0];
    EXPECT_EQ(port("c").bridge, no_bridge);
    EXPECT_EQ(switch_.bridges().at("br0").config->members.size(), 2U);
    EXPECT_EQ(t.output, port("c").index);
    EXPECT_TRUE(t.filter.received == set_of({"a", "b"}) && t.filter.sent == set_of({"a", "b"}));
    EXPECT_EQ(t.outlet->snaplen, 100U);

    // It stays so while the port comes and goes and is changed.
    ask("port.set", R"({"name":"c","mtu":2000})");
    EXPECT_EQ(port("c").bridge, no_bridge);
    ask("port.del", R"({"name":"c"})");
    EXPECT_EQ(config().taps->all[0].output, dataplane::no_port);
    ask("port.add", R"({"name":"c","bridge":"br0","type":"nic","device":"c"})");
    EXPECT_EQ(port("c").bridge, no_bridge);
    EXPECT_EQ(config().taps->all[0].output, port("c").index);

    ask("port.add", R"({"name":"d","bridge":"br0","type":"nic","device":"d"})");
    EXPECT_EQ(config().taps->all[0].filter.received, set_of({"a", "b", "d"}));
    ask("port.del", R"({"name":"d"})");

    ask("mirror.del", R"({"name":"m"})");
    EXPECT_EQ(port("c").bridge, before.index);
    EXPECT_EQ(switch_.bridges().at("br0").config->members, before.members);
    EXPECT_EQ(config().taps, nullptr);
}

TEST_F(captures_and_mirrors, a_port_that_two_mirrors_send_to_is_free_when_both_are_gone)
{
    ask("mirror.add", R"({"name":"m","select_src_port":"a","output_port":"c"})");
    ask("mirror.add", R"({"name":"n","select_dst_port":"b","output_port":"c"})");
    EXPECT_EQ(config().taps->all[0].outlet->once | config().taps->all[1].outlet->once, 3U);
    EXPECT_EQ(config().taps->all[1].filter.sent, set_of({"b"}));
    ask("mirror.del", R"({"name":"m"})");
    EXPECT_EQ(port("c").bridge, no_bridge);
    ask("mirror.del", R"({"name":"n"})");
    EXPECT_NE(port("c").bridge, no_bridge);
    ask("mirror.add", R"({"name":"m","select_vlan":[5],"output_vlan":9})");
    EXPECT_EQ(config().taps->all[0].filter.received, set_of({"a", "b", "c"}));
    EXPECT_TRUE((*config().taps->all[0].filter.vlans)[5]);
    ask("bridge.del", R"({"name":"br0","with_ports":true})");
    EXPECT_TRUE(mirrors_.all().empty());
    EXPECT_EQ(config().taps, nullptr);
}

TEST_F(captures_and_mirrors, mirrors_that_cannot_be_are_refused)
{
    const auto add = [&](const std::string& p) { return why("mirror.add", p); };
    EXPECT_THAT(add(R"({"name":"m","select_all":true})"), HasSubstr("a mirror sends to one place"));
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"output_port":"c","output_vlan":5})"),
                HasSubstr("a mirror sends to one place"));
    EXPECT_THAT(add(R"({"name":"m","output_port":"c"})"), HasSubstr("a mirror without packets"));
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"select_src_port":"a","output_port":"c"})"),
                HasSubstr("--select-all has every port"));
    EXPECT_THAT(add(R"({"name":"m","select_src_port":"z","output_port":"c"})"),
                HasSubstr("there is no port z"));
    EXPECT_THAT(add(R"({"name":"m","select_src_port":"a,,b","output_port":"c"})"),
                HasSubstr("a port without a name"));
    EXPECT_THAT(add(R"({"name":"m","select_src_port":"a,a","output_port":"c"})"),
                HasSubstr("a twice"));
    EXPECT_THAT(add(R"({"name":"m","select_src_port":"c","output_port":"c"})"),
                HasSubstr("cannot be mirrored to itself"));
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"output_port":"z"})"),
                HasSubstr("there is no port z"));
    EXPECT_THAT(add(R"({"name":"m","select_flow":"tp_dts=5","output_port":"c"})"),
                HasSubstr("--select-flow: column 1: "));
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"output_file":"x.pcapng"})"),
                HasSubstr("it must be a whole path"));
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"output_file":"/dev/null"})"),
                HasSubstr("a mirror writes a new file"));
    EXPECT_EQ(taps(), 0U);
    EXPECT_EQ(port("c").bridge, port("a").bridge);

    ask("mirror.add", R"({"name":"m","select_src_port":"a","output_port":"c"})");
    EXPECT_THAT(add(R"({"name":"m","select_all":true,"output_port":"c"})"),
                HasSubstr("mirror m exists already"));
    EXPECT_THAT(add(R"({"name":"n","select_src_port":"b","output_port":"a"})"),
                HasSubstr("port a is one that mirror m selects"));
    EXPECT_THAT(why("mirror.del", R"({"name":"n"})"), HasSubstr("there is no mirror n"));
    for (std::size_t i = 1; i < mirror_list::most; ++i) {
        ask("mirror.add",
            R"({"name":"m)" + std::to_string(i) + R"(","select_src_port":"a","output_port":"c"})");
    }
    EXPECT_EQ(taps(), mirror_list::most);
    EXPECT_THAT(add(R"({"name":"n","select_src_port":"a","output_port":"c"})"),
                HasSubstr("no room for more"));
}

TEST_F(captures_and_mirrors, a_mirror_to_a_file_makes_it_and_ends_it)
{
    const std::string path = testing::TempDir() + "mirror_" + std::to_string(::getpid());
    std::filesystem::remove(path);
    ask("mirror.add", R"({"name":"m","select_all":true,"output_file":")" + path + "\"}");
    EXPECT_EQ(std::filesystem::status(path).permissions(),
              std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    const auto shown = ask("mirror.list").as_array().at(0);
    EXPECT_EQ(shown.at("output").at("file"), json::value(path));
    EXPECT_EQ(shown.at("error"), json::value(nullptr));
    ask("mirror.del", R"({"name":"m"})");
    std::ifstream file{path, std::ios::binary};
    const std::string all{std::istreambuf_iterator<char>{file}, {}};
    EXPECT_EQ(read_pcapng(all).size(), 1U);
    std::filesystem::remove(path);
}

TEST_F(captures_and_mirrors, a_trace_tells_which_mirrors_have_the_packet)
{
    ask("mirror.add", R"({"name":"in","select_src_port":"a","output_vlan":9})");
    ask("mirror.add", R"({"name":"out","select_dst_port":"b","output_vlan":9})");
    ask("mirror.add", R"({"name":"all","select_src_port":"a","select_dst_port":"b",
                          "select_flow":"tcp","output_port":"c"})");
    const auto t = ask("trace", R"({"port":"a","packet":"udp,dl_src=02:00:00:00:00:01"})");
    EXPECT_EQ(t.at("mirrors"), json::parse(R"([{"mirror":"in","event":"received","port":"a"},
                                               {"mirror":"out","event":"sent","port":"b"}])"));
    const auto tcp = ask("trace", R"({"port":"a","packet":"tcp,dl_src=02:00:00:00:00:01"})");
    EXPECT_EQ(tcp.at("mirrors").as_array().size(), 3U);
    const auto from_output = ask("trace", R"({"port":"c","packet":"udp"})");
    EXPECT_EQ(from_output.at("drops").at(0).at("reason"), json::value("mirror_output"));
    EXPECT_TRUE(from_output.at("outputs").as_array().empty());
}

} // namespace
} // namespace strait::control
