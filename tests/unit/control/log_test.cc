// SPDX-License-Identifier: BSD-3-Clause
// Lines of the log.
#include "control/log.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <limits.h>
#include <string>

#include <fcntl.h>
#include <unistd.h>

namespace strait::control {
namespace {

TEST(log, writes_time_level_subsystem_and_text_on_one_line)
{
    testing::internal::CaptureStderr();
    log(log_level::warning, "vhost", "a\nb\x1b[2J");
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::MatchesRegex("....-..-..T..:..:..\\....Z warning vhost: a.b.\\[2J\n"));
}

TEST(log, leaves_out_what_is_above_its_level)
{
    set_log_level(log_level::warning);
    testing::internal::CaptureStderr();
    log(log_level::info, "x", "y");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    set_log_level(log_level::info);
    EXPECT_EQ(parse_log_level("debug"), log_level::debug);
    EXPECT_EQ(parse_log_level(""), std::nullopt);
}

TEST(log, cuts_a_line_to_what_a_pipe_takes_at_once)
{
    testing::internal::CaptureStderr();
    log(log_level::info, "x", std::string(std::size_t{2} * PIPE_BUF, 'y'));
    const std::string line = testing::internal::GetCapturedStderr();
    EXPECT_EQ(line.size(), PIPE_BUF);
    EXPECT_THAT(line, testing::EndsWith("yyy...\n"));
}

// stderr as a pipe that nobody reads.
class unread_stderr {
public:
    unread_stderr()
    {
        EXPECT_EQ(::pipe2(pipe_.data(), O_CLOEXEC), 0);
        ::fcntl(pipe_[1], F_SETPIPE_SZ, 4 * PIPE_BUF);
        ::dup2(pipe_[1], STDERR_FILENO);
        ::close(pipe_[1]);
    }
    unread_stderr(const unread_stderr&) = delete;
    unread_stderr& operator=(const unread_stderr&) = delete;
    ~unread_stderr()
    {
        ::dup2(before_, STDERR_FILENO);
        ::close(before_);
        ::close(pipe_[0]);
    }
    // Nobody will ever read.
    void hang_up() const
    {
        const int none = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        ::dup2(none, pipe_[0]);
        ::close(none);
    }
    [[nodiscard]] std::string read() const
    {
        std::string text(std::size_t{16} * PIPE_BUF, ' ');
        const ssize_t size = ::read(pipe_[0], text.data(), text.size());
        text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
        return text;
    }

private:
    int before_{::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
    std::array<int, 2> pipe_{};
};

TEST(log, waits_for_nobody_and_says_what_was_lost)
{
    ::alarm(30); // what waits here waits for ever
    const unread_stderr pipe;
    const std::string long_text(1000, 'y');
    for (int i = 0; i < 1000; ++i) {
        log(log_level::info, "x", long_text);
    }
    const std::string written = pipe.read();
    const auto lines = std::count(written.begin(), written.end(), '\n');
    EXPECT_GT(lines, 0);
    EXPECT_TRUE(written.ends_with("y\n")) << "the last one is whole";
    log(log_level::info, "x", "and on");
    const std::string then = pipe.read();
    EXPECT_THAT(then, testing::HasSubstr(" warning log: lines lost here, "));
    EXPECT_THAT(then, testing::HasSubstr(" stderr: " + std::to_string(1000 - lines) + "\n"));
    EXPECT_THAT(then, testing::EndsWith(" info x: and on\n"));
    log(log_level::info, "x", "once");
    EXPECT_THAT(pipe.read(), testing::Not(testing::HasSubstr("lost")));
    ::alarm(0);
}

TEST(log, goes_on_without_its_reader)
{
    ::alarm(30);
    (void)std::signal(SIGPIPE, SIG_IGN); // as all who log have it
    {
        const unread_stderr pipe;
        pipe.hang_up();
        for (int i = 0; i < 1000; ++i) {
            log(log_level::info, "x", "y");
        }
        log_left_out();
    }
    testing::internal::CaptureStderr();
    log(log_level::info, "x", "z");
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::MatchesRegex(".* stderr: 1000\n.* info x: z\n"));
    (void)std::signal(SIGPIPE, SIG_DFL);
    ::alarm(0);
}

TEST(log, begins_a_bounded_file_anew)
{
    constexpr std::uint64_t limit = 10'000;
    const std::string path = testing::TempDir() + "bounded-log";
    const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    ASSERT_GE(file, 0);
    const std::string before(4000, 'b');
    ASSERT_EQ(::write(file, before.data(), before.size()), 4000);
    const int kept = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    ::dup2(file, STDERR_FILENO);
    EXPECT_TRUE(set_log_file_limit(limit));
    off_t longest = 0;
    for (int i = 0; i < 1000; ++i) {
        log(log_level::info, "x", "line " + std::to_string(i));
        longest = std::max(longest, ::lseek(file, 0, SEEK_END));
    }
    (void)::fcntl(STDERR_FILENO, F_SETFL, O_RDWR);
    EXPECT_FALSE(set_log_file_limit(limit)) << "others write behind a hole";
    ::dup2(kept, STDERR_FILENO);
    ::close(kept);
    EXPECT_LE(longest, static_cast<off_t>(limit));
    EXPECT_GT(longest, static_cast<off_t>(limit - 200)) << "what was there is counted";
    std::string text(limit, ' ');
    text.resize(static_cast<std::size_t>(::pread(file, text.data(), text.size(), 0)));
    ::close(file);
    EXPECT_THAT(text, testing::MatchesRegex("....-..-..T..:..:..\\....Z warning log: begun anew: "
                                            "there were 99.. bytes of it, and 10000 are its "
                                            "limit\n.*"));
    EXPECT_THAT(text, testing::EndsWith(" info x: line 999\n"));
}

TEST(line_limit, counts_what_did_not_pass_and_tells_of_it_once)
{
    using namespace std::chrono_literals;
    line_limit limit{3, 10s};
    const line_limit::clock::time_point start{1h};
    const auto passed = [&](auto when) {
        int n = 0;
        for (int i = 0; i < 100; ++i) {
            n += limit.pass(when) ? 1 : 0;
        }
        return n;
    };
    EXPECT_EQ(passed(start), 3);
    EXPECT_EQ(passed(start + 9s), 0);
    EXPECT_EQ(limit.left_out(start + 9s), 0U) << "not before the while is over";
    EXPECT_EQ(limit.left_out(start + 10s), 197U);
    EXPECT_EQ(limit.left_out(start + 10s), 0U);
    EXPECT_EQ(passed(start + 10s), 3);
    EXPECT_EQ(passed(start + 25s), 3) << "told late is told, too";
    EXPECT_EQ(limit.left_out(start + 35s), 194U);
}

TEST(log, of_guests_doing_is_a_few_lines)
{
    testing::internal::CaptureStderr();
    for (int i = 0; i < 1000; ++i) {
        log_limited(log_level::error, "vhost", "again");
    }
    log(log_level::error, "vhost", "another");
    const std::string text = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 21);
    EXPECT_THAT(text, testing::EndsWith("another\n"));
}

} // namespace
} // namespace strait::control
