// SPDX-License-Identifier: BSD-3-Clause
// JSON-RPC 2.0 by its specification's examples, and bad input of every kind.
#include "control/rpc.hh"

#include "control/methods.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class rpc_messages : public testing::Test {
protected:
    rpc_messages()
    {
        rpc_.add("bridge.del", [this](const json::object& p) -> outcome<json::value> {
            ++calls_;
            return json::value(p);
        });
        rpc_.add("bridge.add", [](const json::object&) -> outcome<json::value> {
            return failure{failure_kind::exists, "bridge br0 exists already"};
        });
        rpc_.add("mac.list", [](const json::object&) -> outcome<json::value> {
            return json::value(std::string(std::size_t{1} << 20U, 'x'));
        });
        rpc_.add("port.list", [](const json::object&) -> outcome<json::value> {
            return json::value("eth\xff");
        });
        rpc_.add("version", [](const json::object&) -> outcome<json::value> {
            throw std::runtime_error{"it broke"};
        });
    }

    [[nodiscard]] json::value ask(std::string_view message) const
    {
        return json::parse(rpc_.answer(message));
    }
    [[nodiscard]] std::int64_t code(std::string_view message) const
    {
        const auto answer = ask(message);
        EXPECT_EQ(answer.at("jsonrpc"), "2.0");
        EXPECT_FALSE(answer.as_object().contains("result"));
        const auto text = answer.at("error").at("message").as_string();
        EXPECT_EQ(text.find('\n'), json::string::npos);
        EXPECT_GT(text.size(), 10U);
        return answer.at("error").at("code").as_int64();
    }

    rpc rpc_{methods()};
    int calls_{0};
};

TEST_F(rpc_messages, have_results)
{
    const auto answer =
        ask(R"({"jsonrpc":"2.0","id":7,"method":"bridge.del","params":{"name":"br0"}})");
    EXPECT_EQ(answer, json::parse(R"({"jsonrpc":"2.0","result":{"name":"br0"},"id":7})"));
    EXPECT_EQ(
        ask(R"({"jsonrpc":"2.0","id":"a","method":"bridge.del","params":{"name":"b"}})").at("id"),
        "a");
}

TEST_F(rpc_messages, leave_time_for_others_after_each)
{
    std::vector<int> seen; // how many calls there had been
    rpc_.when_called([this, &seen] { seen.push_back(calls_); });
    const std::string one =
        R"({"jsonrpc":"2.0","id":1,"method":"bridge.del","params":{"name":"b"}})";
    const std::string refused = R"({"jsonrpc":"2.0","id":2,"method":"nothing"})";
    const auto answers = ask("[" + one + "," + refused + "," + one + "]");
    EXPECT_EQ(answers.as_array().size(), 3U);
    EXPECT_EQ(seen, (std::vector<int>{1, 2}));
    EXPECT_TRUE(rpc_.call("bridge.del", json::object{{"name", "b"}}).has_value())
        << "a step of a document";
    EXPECT_EQ(seen.size(), 3U);
}

TEST_F(rpc_messages, without_id_are_done_and_not_answered)
{
    EXPECT_EQ(rpc_.answer(R"({"jsonrpc":"2.0","method":"bridge.del","params":{"name":"b"}})"), "");
    EXPECT_EQ(calls_, 1);
    EXPECT_EQ(rpc_.answer(R"({"jsonrpc":"2.0","method":"nothing"})"), "");
    EXPECT_EQ(rpc_.answer(R"({"jsonrpc":"2.0","method":"bridge.del"})"), "");
    EXPECT_EQ(calls_, 1);
}

TEST_F(rpc_messages, that_are_no_json_are_parse_errors)
{
    for (const auto* text : {"", "{", "}", "nonsense", "{\"a\":}", "\"\xff\"", "[1,]", "{} {}",
                             "{\"jsonrpc\": \"2.0\", \"method\"", "NaN", "\0"}) {
        EXPECT_EQ(code(text), -32700) << text;
    }
    EXPECT_EQ(code(std::string(100'000, '[')), -32700) << "too deep";
    EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"bridge.del","params":)" +
                   std::string(20, '[') + std::string(20, ']') + "}"),
              -32700)
        << "too deep";
    const auto twice = R"({"jsonrpc":"2.0","id":1,"method":"bridge.del",)"
                       R"("params":{"name":"a","name":"b"}})";
    EXPECT_EQ(code(twice), -32700);
    EXPECT_EQ(calls_, 0);
    EXPECT_EQ(ask(twice).at("error").at("message"), "an object has \"name\" twice; once is right");
    EXPECT_EQ(ask("{").at("id"), nullptr);
}

TEST_F(rpc_messages, are_utf8_in_both_directions)
{
    const auto answer = ask("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"bridge.del\","
                            "\"params\":{\"name\":\"\xff\"}}");
    EXPECT_EQ(answer.at("error").at("code").as_int64(), -32700);
    EXPECT_THAT(std::string{answer.at("error").at("message").as_string()}, HasSubstr("not UTF-8"));
    EXPECT_EQ(ask(R"({"jsonrpc":"2.0","id":1,"method":"port.list"})").at("result"), "eth?");
}

TEST_F(rpc_messages, that_are_no_requests_are_invalid)
{
    for (const auto* text :
         {"1", "\"a\"", "null", "true", "{}", R"({"jsonrpc":"1.0","id":1,"method":"version"})",
          R"({"jsonrpc":2.0,"id":1,"method":"version"})", R"({"jsonrpc":"2.0","id":1})",
          R"({"jsonrpc":"2.0","id":1,"method":7})",
          R"({"jsonrpc":"2.0","id":{},"method":"version"})",
          R"({"jsonrpc":"2.0","id":[1],"method":"version"})",
          R"({"jsonrpc":"2.0","id":true,"method":"version"})", "[]",
          R"({"jsonrpc":"2.0","id":1e999,"method":"version"})",
          R"({"jsonrpc":"2.0","id":-1e999,"method":"version"})",
          R"({"jsonrpc":"2.0","id":1,"method":"version","param":{}})"}) {
        EXPECT_EQ(code(text), -32600) << text;
    }
}

TEST_F(rpc_messages, for_unknown_methods_are_told_the_nearest)
{
    EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"bridge.dle"})"), -32601);
    EXPECT_THAT(rpc_.answer(R"({"jsonrpc":"2.0","id":1,"method":"bridge.dle"})"),
                HasSubstr("did you mean bridge.del?"));
    EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":""})"), -32601);
    EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"rpc.discover"})"), -32601);
}

TEST_F(rpc_messages, with_wrong_parameters_reach_no_handler)
{
    for (const auto* parameters : {"[\"br0\"]", "[]", "null", "7", "{}", "{\"name\":7}",
                                   "{\"name\":\"br0\",\"x\":1}", "{\"name\":\"br0/..\"}"}) {
        EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"bridge.del","params":)" +
                       std::string{parameters} + "}"),
                  -32602)
            << parameters;
    }
    EXPECT_EQ(calls_, 0);
}

TEST_F(rpc_messages, that_are_refused_have_a_kind)
{
    const auto answer =
        ask(R"({"jsonrpc":"2.0","id":1,"method":"bridge.add","params":{"name":"br0"}})");
    EXPECT_EQ(answer.at("error").at("code"), -32002);
    EXPECT_EQ(answer.at("error").at("data").at("kind"), "exists");
    EXPECT_EQ(answer.at("error").at("message"), "bridge br0 exists already");
}

TEST_F(rpc_messages, whose_handler_throws_are_internal_errors)
{
    testing::internal::CaptureStderr();
    EXPECT_EQ(code(R"({"jsonrpc":"2.0","id":1,"method":"version"})"), -32603);
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("it broke"));
}

TEST_F(rpc_messages, come_in_batches)
{
    const auto answers = ask(R"([
        {"jsonrpc":"2.0","id":1,"method":"bridge.del","params":{"name":"a"}},
        {"jsonrpc":"2.0","method":"bridge.del","params":{"name":"b"}},
        1,
        {"jsonrpc":"2.0","id":2,"method":"bridge.add","params":{"name":"c"}}])");
    ASSERT_EQ(answers.as_array().size(), 3U);
    EXPECT_EQ(answers.at(0).at("result").at("name"), "a");
    EXPECT_EQ(answers.at(1).at("error").at("code"), -32600);
    EXPECT_EQ(answers.at(2).at("id"), 2);
    EXPECT_EQ(calls_, 2);
    EXPECT_EQ(rpc_.answer(R"([{"jsonrpc":"2.0","method":"bridge.del","params":{"name":"b"}}])"),
              "");
}

TEST_F(rpc_messages, in_batches_are_bounded)
{
    std::string many = "[1";
    for (std::size_t i = 0; i < rpc::longest_batch; ++i) {
        many += ",1";
    }
    EXPECT_EQ(code(many + "]"), -32600);

    std::string greedy = "[";
    for (int i = 0; i < 100; ++i) {
        greedy += (i == 0 ? "" : ",") + std::string{R"({"jsonrpc":"2.0","id":1,)"} +
                  R"("method":"mac.list"})";
    }
    const std::string answers = rpc_.answer(greedy + "]");
    EXPECT_LT(answers.size(), rpc::longest_answer + (std::size_t{2} << 20U));
    EXPECT_THAT(answers.substr(answers.size() - 300), HasSubstr("ask for less at once"));
}

TEST_F(rpc_messages, without_handler_are_known_at_start)
{
    EXPECT_THAT(rpc_.missing(), testing::Contains("port.add"));
    EXPECT_THAT(rpc_.missing(), testing::Not(testing::Contains("bridge.add")));
}

} // namespace
} // namespace strait::control
