// SPDX-License-Identifier: BSD-3-Clause
// What a process says when memory is taken from it. The memory here is a file that was cut off.
#include "vmm/memory_loss.hh"

#include "dataplane/file_descriptor.hh"
#include "vmm/stdio.hh"

#include <csignal>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace strait::vmm {
namespace {

constexpr std::size_t bytes = 8192;

// Two pages that are not there.
char* nothing()
{
    const int file = ::memfd_create("gone", MFD_CLOEXEC);
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    ::close(file);
    return static_cast<char*>(at);
}

void lose(bool huge_pages, std::size_t guests)
{
    char* const at = nothing();
    const memory::region region{0, guests, 0, reinterpret_cast<std::uintptr_t>(at)};
    explain_losses({&region, 1}, huge_pages);
    *static_cast<volatile char*>(at + bytes - 1) = 1;
}

TEST(memory_loss, of_the_guests_is_said)
{
    EXPECT_EXIT(lose(false, bytes), testing::ExitedWithCode(3),
                "^strait-vmm: the guest cannot go on: a page of its memory cannot be had\n$");
}

TEST(memory_loss, of_huge_pages_says_what_would_be_right)
{
    EXPECT_EXIT(lose(true, bytes), testing::ExitedWithCode(3),
                "^strait-vmm: the guest cannot go on: a huge page of its memory was taken away, by "
                "a back end that shares it, and none is free to replace it .sysctl "
                "vm.nr_hugepages.\n$");
}

TEST(memory_loss, of_other_memory_is_not_said_to_be_the_guests)
{
    EXPECT_EXIT(lose(true, bytes / 2), testing::ExitedWithCode(3), "a page of its VMM cannot");
}

TEST(memory_loss, is_not_what_a_signal_that_was_sent_says)
{
    EXPECT_EXIT(
        {
            explain_losses({}, false);
            (void)std::raise(SIGBUS);
        },
        testing::ExitedWithCode(3), "somebody sent its VMM a SIGBUS");
}

TEST(memory_loss, puts_the_terminal_back)
{
    int master = -1;
    int slave = -1;
    ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    const dataplane::file_descriptor screen{master};
    const dataplane::file_descriptor terminal{slave};
    const auto is_raw = [slave] {
        termios now{};
        return ::tcgetattr(slave, &now) == 0 && (now.c_lflag & ICANON) == 0;
    };
    const auto blocks = [slave] { return (::fcntl(slave, F_GETFL) & O_NONBLOCK) == 0; };
    ASSERT_FALSE(is_raw());
    const pid_t process = ::fork();
    if (process == 0) {
        (void)::dup2(slave, STDIN_FILENO);
        (void)::dup2(slave, STDOUT_FILENO);
        const raw_stdio raw;
        (void)::fcntl(STDOUT_FILENO, F_SETFL, O_RDWR | O_NONBLOCK);
        explain_losses({}, false);
        if (is_raw() && !blocks()) {
            (void)std::raise(SIGBUS);
        }
        ::_exit(1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(process, &status, 0), process);
    EXPECT_EQ(WEXITSTATUS(status), 3);
    EXPECT_FALSE(is_raw());
    EXPECT_TRUE(blocks());
}

} // namespace
} // namespace strait::vmm
