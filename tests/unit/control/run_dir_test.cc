// SPDX-License-Identifier: BSD-3-Clause
// The run folder and its lock.
#include "control/run_dir.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <unistd.h>

namespace strait::control {
namespace {

using testing::HasSubstr;

class run_folder : public testing::Test {
protected:
    run_folder()
    {
        std::string pattern = testing::TempDir() + "run_dir_XXXXXX";
        base_ = ::mkdtemp(pattern.data());
    }
    ~run_folder() override { std::filesystem::remove_all(base_); }

    std::string base_;
};

TEST_F(run_folder, is_made_with_its_parents)
{
    const auto folder = run_dir::open(base_ + "/a/b/").value();
    EXPECT_EQ(folder.path(), base_ + "/a/b");
    EXPECT_TRUE(std::filesystem::is_directory(folder.state_dir()));
}

TEST_F(run_folder, is_held_by_one_at_a_time)
{
    {
        const auto first = run_dir::open(base_).value();
        const auto second =
            run_dir::open(base_ + "/../" + std::filesystem::path{base_}.filename().string());
        ASSERT_TRUE(second.has_error());
        EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(::getpid())));
        EXPECT_THAT(second.error().message, HasSubstr("--run-dir"));
        EXPECT_TRUE(run_dir::open(base_ + "/other").has_value());
    }
    EXPECT_TRUE(run_dir::open(base_).has_value());
}

TEST_F(run_folder, that_cannot_be_is_told_why)
{
    std::ofstream{base_ + "/file"} << "x";
    EXPECT_THAT(run_dir::open(base_ + "/file").error().message, HasSubstr(base_ + "/file"));
    EXPECT_THAT(run_dir::open(base_ + "/file/sub").error().message, HasSubstr("cannot be made"));
    EXPECT_THAT(run_dir::open("/" + std::string(100, 'a')).error().message,
                HasSubstr("too long a path"));
    std::filesystem::create_directory(base_ + "/run");
    std::ofstream{base_ + "/run/state"} << "x";
    EXPECT_THAT(run_dir::open(base_ + "/run").error().message,
                HasSubstr("the folder " + base_ + "/run/state cannot be made: File exists"));
    std::filesystem::create_symlink("/etc/passwd", base_ + "/straitd.lock");
    EXPECT_TRUE(run_dir::open(base_).has_error()) << "a lock that is a link is not followed";
}

} // namespace
} // namespace strait::control
