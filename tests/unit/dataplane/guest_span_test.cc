// SPDX-License-Identifier: BSD-3-Clause
// Losing guest memory under a reader: what must be survived, and what must still end the process.
// Faults are taken in child processes, for the handler and its predecessor are the process's.
#include "dataplane/guest_span.hh"
#include "tests/unit/sanitizers.hh"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace strait::dataplane {
namespace {

constexpr std::size_t page = 4096;

// A guest's memory that can be taken away.
class shared_memory {
public:
    explicit shared_memory(std::size_t size, unsigned flags = 0)
        : size_{size}, fd_{::memfd_create("guest", MFD_CLOEXEC | flags)}
    {
        if (fd_ < 0 || ::ftruncate(fd_, static_cast<off_t>(size)) != 0) {
            return;
        }
        void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
        base_ = at == MAP_FAILED ? nullptr : static_cast<std::byte*>(at);
    }
    shared_memory(const shared_memory&) = delete;
    shared_memory& operator=(const shared_memory&) = delete;
    ~shared_memory()
    {
        if (base_ != nullptr) {
            ::munmap(base_, size_);
        }
        ::close(fd_);
    }
    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::size_t size() const { return size_; }
    void truncate(std::size_t to) const
    {
        if (::ftruncate(fd_, static_cast<off_t>(to)) != 0) {
            std::abort();
        }
    }

private:
    std::size_t size_;
    int fd_;
    std::byte* base_{nullptr};
};

template <typename T>
T read(const guest_span& span, std::size_t offset)
{
    T value{};
    span.copy_out(&value, offset, sizeof(T));
    return value;
}

// A read that the compiler may not leave out.
void touch(const guest_span& span, std::size_t offset)
{
    volatile int value = read<int>(span, offset);
    static_cast<void>(value);
}

// AddressSanitizer reports a SIGBUS and exits.
bool killed_by_sigbus(int status)
{
    if ((test::address_sanitizer || test::thread_sanitizer) && WIFEXITED(status)) {
        return WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 9;
    }
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

// Exits 0 when the condition holds; the child has no other way to say it.
void require(bool condition, const char* what)
{
    if (!condition) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::_Exit(9);
    }
}

TEST(guest_memory_loss, truncation_costs_the_range_and_nothing_else)
{
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    const shared_memory lost_one{64 * page};
                    const shared_memory kept_one{64 * page};
                    std::atomic<bool> lost{false};
                    std::atomic<bool> kept{false};
                    guest_range_registration a{lost_one.base(), lost_one.size(), lost};
                    guest_range_registration b{kept_one.base(), kept_one.size(), kept};
                    const guest_span span{lost_one.base(), lost_one.size()};
                    const guest_span neighbour{kept_one.base(), kept_one.size()};
                    const std::uint64_t mark = 0x1122'3344'5566'7788;
                    span.copy_in(&mark, 0, sizeof(mark));
                    neighbour.copy_in(&mark, 0, sizeof(mark));
                    require(read<std::uint64_t>(span, 0) == mark, "memory works");

                    lost_one.truncate(0);
                    require(read<std::uint64_t>(span, 40 * page) == 0, "private zeros");
                    require(lost, "marked");
                    // All of it is there, to be read and written.
                    for (std::size_t at = 0; at < span.size(); at += page) {
                        span.copy_in(&mark, at, sizeof(mark));
                        require(read<std::uint64_t>(span, at) == mark, "private pages");
                    }
                    require(!kept, "the neighbour is not marked");
                    neighbour.copy_in(&mark, 8 * page, sizeof(mark));
                    require(read<std::uint64_t>(neighbour, 0) == mark,
                            "the neighbour keeps its memory");
                    std::_Exit(0);
                }()),
                testing::ExitedWithCode(0), "");
}

TEST(guest_memory_loss, is_survived_in_the_middle_of_a_copy_and_by_several_threads)
{
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    const shared_memory guest{256 * page};
                    std::atomic<bool> lost{false};
                    guest_range_registration guard{guest.base(), guest.size(), lost};
                    const guest_span span{guest.base(), guest.size()};
                    std::atomic<bool> stop{false};
                    std::vector<std::thread> workers;
                    for (int i = 0; i < 3; ++i) {
                        workers.emplace_back([&] {
                            std::vector<std::byte> copy(guest.size());
                            while (!stop) {
                                span.copy_out(copy.data(), 0, copy.size());
                                span.copy_in(copy.data(), 0, copy.size());
                                guest_span::copy(span, 3 * page, span, 0, 100 * page);
                            }
                        });
                    }
                    guest.truncate(128 * page + 17);
                    while (!lost) {
                        std::this_thread::yield();
                    }
                    stop = true;
                    for (auto& w : workers) {
                        w.join();
                    }
                    std::_Exit(0);
                }()),
                testing::ExitedWithCode(0), "");
}

TEST(guest_memory_loss, huge_pages_are_replaced_whole)
{
    constexpr std::size_t huge = std::size_t{2} << 20;
    const shared_memory probe{2 * huge, MFD_HUGETLB};
    if (probe.base() == nullptr) {
        GTEST_SKIP() << "no free huge pages";
    }
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    const shared_memory guest{2 * huge, MFD_HUGETLB};
                    std::atomic<bool> lost{false};
                    guest_range_registration guard{guest.base(), guest.size(), lost};
                    const guest_span span{guest.base(), guest.size()};
                    guest.truncate(0);
                    require(read<std::uint64_t>(span, huge + 12345) == 0, "private zeros");
                    require(lost, "marked");
                    require(read<std::uint64_t>(span, 8) == 0, "the other page too");
                    std::_Exit(0);
                }()),
                testing::ExitedWithCode(0), "");
}

TEST(guest_memory_loss, any_other_fault_still_ends_the_process)
{
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    const shared_memory guest{4 * page};
                    const shared_memory other{4 * page};
                    std::atomic<bool> lost{false};
                    guest_range_registration guard{guest.base(), guest.size(), lost};
                    other.truncate(0);
                    touch(guest_span{other.base(), other.size()}, 0);
                    std::_Exit(0);
                }()),
                killed_by_sigbus, "");
}

TEST(guest_memory_loss, a_range_that_was_let_go_is_no_longer_guarded)
{
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    const shared_memory guest{4 * page};
                    std::atomic<bool> lost{false};
                    {
                        guest_range_registration guard{guest.base(), guest.size(), lost};
                        guest_range_registration moved{std::move(guard)};
                    }
                    guest.truncate(0);
                    touch(guest_span{guest.base(), guest.size()}, 0);
                    std::_Exit(0);
                }()),
                killed_by_sigbus, "");
}

TEST(guest_memory_loss, a_signal_that_was_sent_is_no_fault)
{
    EXPECT_EXIT(([&] {
                    guest_range_registration::install_handler();
                    ::raise(SIGBUS);
                    std::_Exit(0);
                }()),
                killed_by_sigbus, "");
}

TEST(guest_memory_loss, the_handler_before_gets_what_is_not_ours)
{
    EXPECT_EXIT(([&] {
                    struct sigaction before {};
                    before.sa_handler = [](int) { std::_Exit(5); };
                    ::sigaction(SIGBUS, &before, nullptr);
                    guest_range_registration::install_handler();
                    const shared_memory other{4 * page};
                    other.truncate(0);
                    touch(guest_span{other.base(), other.size()}, 0);
                    std::_Exit(0);
                }()),
                testing::ExitedWithCode(5), "");
}

TEST(guest_memory_loss, an_unregistered_range_is_survived_by_the_thread_that_asked)
{
    EXPECT_EXIT(
        ([&] {
            guest_range_registration::install_handler();
            const shared_memory guest{16 * page};
            guest.truncate(page);
            std::atomic<bool> lost{false};
            survive_unregistered_faults(&lost);
            require(read<int>(guest_span{guest.base(), guest.size()}, 9 * page) == 0, "zeros");
            require(lost, "marked");
            survive_unregistered_faults(nullptr);
            const shared_memory other{16 * page};
            other.truncate(0);
            touch(guest_span{other.base(), other.size()}, 0);
            std::_Exit(0);
        }()),
        killed_by_sigbus, "");
}

TEST(guest_memory_loss, many_ranges_come_and_go)
{
    std::atomic<bool> lost{false};
    std::vector<std::byte> bytes(64);
    for (int round = 0; round < 3; ++round) {
        std::vector<guest_range_registration> all;
        for (int i = 0; i < 1024 * 19; ++i) {
            all.emplace_back(bytes.data(), bytes.size(), lost);
        }
        EXPECT_THROW(guest_range_registration(bytes.data(), 1, lost), std::length_error);
    }
    EXPECT_FALSE(lost);
}

} // namespace
} // namespace strait::dataplane
