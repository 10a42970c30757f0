// SPDX-License-Identifier: BSD-3-Clause
// When a socket's path may be taken, whose the socket becomes, and what is left alone.
#include "ports/unix_socket.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace strait::ports {
namespace {

using testing::HasSubstr;

class socket_path : public testing::Test {
protected:
    socket_path()
    {
        std::string pattern = testing::TempDir() + "socket_XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        path_ = folder_ + "/s";
    }
    ~socket_path() override
    {
        for (const int fd : fds_) {
            ::close(fd);
        }
        std::filesystem::remove_all(folder_);
    }
    int bind(int type)
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        const int fd = ::socket(AF_UNIX, type, 0);
        EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        fds_.push_back(fd);
        return fd;
    }
    [[nodiscard]] std::string refused() const
    {
        const auto way = make_way_for_socket(path_);
        return way.has_error() ? way.error().message : "free";
    }

    std::string folder_;
    std::string path_;
    std::vector<int> fds_;
};

TEST_F(socket_path, is_free_when_nothing_is_there)
{
    EXPECT_EQ(refused(), "free");
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(socket_path, is_freed_of_a_socket_that_nobody_answers_on)
{
    ::close(bind(SOCK_STREAM));
    fds_.clear();
    ASSERT_TRUE(std::filesystem::exists(path_));
    EXPECT_EQ(refused(), "free");
    EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(socket_path, is_left_to_who_answers)
{
    const int fd = bind(SOCK_STREAM);
    ASSERT_EQ(::listen(fd, 0), 0);
    // The second finds the backlog full: still somebody's.
    for (int i = 0; i < 4; ++i) {
        EXPECT_THAT(refused(), HasSubstr("somebody is listening"));
    }
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(socket_path, is_left_to_a_datagram_socket)
{
    bind(SOCK_DGRAM);
    EXPECT_THAT(refused(), HasSubstr("somebody is listening"));
    EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(socket_path, is_not_freed_of_what_is_no_socket)
{
    std::ofstream{path_} << "precious";
    EXPECT_THAT(refused(), HasSubstr("is not a socket"));
    std::filesystem::remove(path_);
    std::filesystem::create_directory(path_);
    EXPECT_THAT(refused(), HasSubstr("is not a socket"));
    std::filesystem::remove(path_);
    std::filesystem::create_symlink(folder_ + "/nothing", path_);
    EXPECT_THAT(refused(), HasSubstr("is not a socket")) << "a link is not followed";
    EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

TEST_F(socket_path, that_cannot_be_is_told_why)
{
    path_ = folder_ + "/missing/s";
    EXPECT_THAT(refused(), HasSubstr("the folder of"));
    path_ = folder_ + "/" + std::string(max_socket_path, 'a');
    EXPECT_THAT(refused(), HasSubstr("at most 107"));
    path_ = "";
    EXPECT_THAT(refused(), HasSubstr("empty"));
    path_ = std::string{"a\0b", 3};
    EXPECT_THAT(refused(), HasSubstr("zero byte"));
    path_ = "/" + std::string(max_socket_path - 1, 'a');
    EXPECT_EQ(refused(), "free") << "the longest there is";
}

// ---- its owner ----

class socket_file : public socket_path {
protected:
    static constexpr uid_t nobody = 65534;

    [[nodiscard]] std::string given(mode_t mode, std::optional<uid_t> owner = std::nullopt,
                                    std::optional<gid_t> group = std::nullopt) const
    {
        const auto done = give_socket_to(path_, owner, group, mode);
        return done.has_error() ? done.error().message : "given";
    }
    [[nodiscard]] static struct stat look(const std::string& path)
    {
        struct stat status {};
        EXPECT_EQ(::lstat(path.c_str(), &status), 0);
        return status;
    }
    [[nodiscard]] static std::string make_file(const std::string& path)
    {
        std::ofstream{path} << "precious";
        ::chmod(path.c_str(), 0600);
        return path;
    }
};

TEST_F(socket_file, has_the_mode_and_the_owner_it_is_given)
{
    bind(SOCK_STREAM);
    EXPECT_EQ(given(0604), "given");
    EXPECT_EQ(look(path_).st_mode & 07777, 0604U);
    EXPECT_EQ(look(path_).st_uid, ::geteuid());
    if (::geteuid() != 0) {
        GTEST_SKIP() << "skipped: only root gives files away";
    }
    EXPECT_EQ(given(0660, nobody, 1), "given");
    EXPECT_EQ(look(path_).st_uid, nobody);
    EXPECT_EQ(look(path_).st_gid, 1U);
    EXPECT_EQ(look(path_).st_mode & 07777, 0660U);
}

// What the owner of its folder can have made of it between bind and this.
TEST_F(socket_file, that_was_replaced_is_an_error_and_changes_no_other)
{
    const std::string file = make_file(folder_ + "/file");
    const auto expect_untouched = [&] {
        EXPECT_EQ(look(file).st_mode & 07777, 0600U);
        EXPECT_EQ(look(file).st_uid, ::geteuid());
    };
    std::filesystem::create_symlink(file, path_);
    EXPECT_THAT(given(0666, nobody, 1), HasSubstr("something else has been put in the place of"));
    expect_untouched();
    std::filesystem::remove(path_);
    std::filesystem::create_hard_link(file, path_);
    EXPECT_THAT(given(0666, nobody, 1), HasSubstr(path_));
    expect_untouched();
    std::filesystem::remove(path_);
    EXPECT_THAT(given(0666, nobody, 1), HasSubstr("is gone"));
}

TEST_F(socket_file, that_is_a_link_to_another_socket_is_not_followed)
{
    bind(SOCK_STREAM);
    const std::string other = path_;
    const mode_t before = look(other).st_mode;
    path_ = folder_ + "/link";
    std::filesystem::create_symlink(other, path_);
    EXPECT_THAT(given(0606), HasSubstr("something else"));
    EXPECT_EQ(look(other).st_mode, before);
}

TEST_F(socket_file, of_another_user_is_left_to_him)
{
    if (::geteuid() != 0) {
        GTEST_SKIP() << "skipped: only root gives files away";
    }
    bind(SOCK_STREAM);
    ASSERT_EQ(::chown(path_.c_str(), nobody, nobody), 0);
    EXPECT_THAT(given(0666), HasSubstr("something else"));
    EXPECT_NE(look(path_).st_mode & 07777, 0666U);
}

} // namespace
} // namespace strait::ports
