// SPDX-License-Identifier: BSD-3-Clause
// What --config may name, and what it may not.
#include "control/config_file.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::control {
namespace {

class config_file : public testing::Test {
protected:
    config_file() { ::alarm(30); } // what waits here waits for ever
    ~config_file() override
    {
        ::unlink(path.c_str());
        ::alarm(0);
    }

    [[nodiscard]] std::string refused() const { return refused(path); }
    [[nodiscard]] static std::string refused(const std::string& file)
    {
        const auto read = read_config_file(file);
        return read.has_error() ? read.error().message : "accepted";
    }

    const std::string path = testing::TempDir() + "config_file_test_" + std::to_string(::getpid());
};

constexpr std::string_view neither = "it is neither a regular file nor a pipe";

TEST_F(config_file, is_read_whole)
{
    const std::string text(longest_config, 'x');
    std::ofstream{path} << text;
    EXPECT_TRUE(read_config_file(path).value() == text);
    std::ofstream{path};
    EXPECT_EQ(read_config_file(path).value(), "");
}

TEST_F(config_file, has_an_end)
{
    EXPECT_THAT(refused("/dev/zero"), testing::HasSubstr(neither));
    std::ofstream{path};
    std::filesystem::resize_file(path, longest_config + 1);
    EXPECT_EQ(refused(), "the configuration " + path +
                             " cannot be read: it is longer than 16 MiB, the most that --config "
                             "takes");
}

TEST_F(config_file, waits_for_nobody)
{
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    EXPECT_THAT(refused(), testing::HasSubstr(neither));
    const int writer = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    EXPECT_THAT(refused(), testing::HasSubstr(neither));
    ::close(writer);
}

TEST_F(config_file, may_be_a_pipe)
{
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
    const std::string text(std::size_t{1} << 20U, 'x');
    std::thread writer{[&] {
        std::this_thread::sleep_for(std::chrono::milliseconds{20}); // it is waited for
        EXPECT_EQ(::write(pipe[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
        ::close(pipe[1]);
    }};
    EXPECT_TRUE(read_config_file("/dev/fd/" + std::to_string(pipe[0])).value() == text);
    writer.join();
    ::close(pipe[0]);
}

} // namespace
} // namespace strait::control
