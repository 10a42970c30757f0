// SPDX-License-Identifier: BSD-3-Clause
// Files that one request has no room for, given to a control socket by the client that straitctl
// has.
#include "control/flow_upload.hh"

#include "control/log.hh"
#include "control/methods.hh"
#include "control/server.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace strait::control {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

class flow_files : public testing::Test {
protected:
    flow_files()
    {
        set_log_level(log_level::error);
        std::string pattern = testing::TempDir() + "upload_XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        rpc_.add("flow.begin", [](const json::object&) -> outcome<json::value> {
            return json::value{{"bundle", 5}};
        });
        rpc_.add("flow.put", [this](const json::object& p) -> outcome<json::value> {
            EXPECT_EQ(p.at("bundle"), 5);
            const auto line = p.at("first_line").to_number<std::size_t>();
            const auto lines =
                static_cast<std::size_t>(std::count(text_.begin(), text_.end(), '\n'));
            EXPECT_EQ(line, lines + 1);
            text_ += std::string_view{p.at("flows").as_string()};
            ++parts_;
            return json::value{{"put", true}};
        });
        rpc_.add("flow.commit", [this](const json::object&) -> outcome<json::value> {
            committed_ = true;
            return json::value{{"added", 1}};
        });
        server_ = server::listen(io_, folder_ + "/control.sock", rpc_).value();
        thread_ = std::thread{[this] { io_.run(); }};
    }
    ~flow_files() override
    {
        io_.stop();
        thread_.join();
        server_.reset();
        std::filesystem::remove_all(folder_);
        set_log_level(log_level::info);
    }
    flow_files(const flow_files&) = delete;
    flow_files& operator=(const flow_files&) = delete;

    // Empty: it was taken.
    std::string give(const std::string& text)
    {
        const method& add = *find_method(methods(), "flow.add");
        const json::object parameters{{"flows", text}, {"file", "rules.txt"}};
        EXPECT_TRUE(wants_upload(add, parameters));
        try {
            client connection{daemon_in(folder_)};
            (void)upload(connection, add, parameters);
        } catch (const call_error& e) {
            EXPECT_TRUE(e.reached);
            return e.message;
        }
        return {};
    }

    std::string folder_;
    rpc rpc_{methods()};
    boost::asio::io_context io_;
    std::unique_ptr<server> server_;
    std::thread thread_;
    std::string text_; // what came
    std::size_t parts_{0};
    bool committed_{false};
};

constexpr std::size_t kib = 1024;

TEST_F(flow_files, come_whole_and_in_order_however_long_their_lines_are)
{
    std::string text;
    for (std::size_t i = 0; text.size() < 3000 * kib; ++i) {
        // Each quote is two bytes in a request.
        text += std::to_string(i) + std::string(i * 7919 % (400 * kib), '"') + "\n";
    }
    for (const char* const end : {"\n", "", "x", "x\n\n"}) {
        text += end;
        text_.clear();
        committed_ = false;
        parts_ = 0;
        EXPECT_EQ(give(text), "");
        EXPECT_EQ(text_, text);
        EXPECT_TRUE(committed_);
        EXPECT_GT(parts_, 5U);
    }
}

TEST_F(flow_files, with_a_line_that_is_too_long_are_refused_with_its_place)
{
    const std::string some(400 * kib, '\n');
    for (const char* const end : {"\n", "", "\nmore\n"}) {
        EXPECT_EQ(give(some + "priority=1\n" + std::string(500 * kib + 1, '"') + end),
                  "rules.txt:" + std::to_string(400 * kib + 2) + ": this line has " +
                      std::to_string(500 * kib + 1 + (*end == '\n')) +
                      " bytes; a flow may have 512000");
        EXPECT_FALSE(committed_);
        text_.clear();
    }
    text_.clear();
    EXPECT_EQ(give(std::string(100 * kib, '\n') + std::string(500 * kib - 1, '"') + "\n"), "");
}

} // namespace
} // namespace strait::control
