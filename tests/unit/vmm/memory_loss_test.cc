// SPDX-License-Identifier: BSD-3-Clause
// What a process says when memory is taken from it. The memory here is a file that was cut off.
#include "vmm/memory_loss.hh"

#include <csignal>

#include <gtest/gtest.h>
#include <sys/mman.h>
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

} // namespace
} // namespace strait::vmm
