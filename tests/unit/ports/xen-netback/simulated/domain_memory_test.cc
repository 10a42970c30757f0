// SPDX-License-Identifier: BSD-3-Clause
// The rules of grants, as the granting domain and as others see them, and what is taken for a
// domain's memory.
#include "ports/xen-netback/simulated/domain_memory.hh"

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated {
namespace {

using testing::HasSubstr;

constexpr memory_layout small{512, 8};
constexpr domain_id owner{3};
constexpr domain_id backend{0};
constexpr domain_id stranger{9};

class grants : public testing::Test {
protected:
    [[nodiscard]] grant_status claim(domain_id by, std::uint32_t reference,
                                     bool write = false) const
    {
        return memory.claim(by, reference, write).status;
    }
    // The entry as its domain's kernel would write it.
    void write_entry(std::uint32_t reference, std::uint64_t value)
    {
        auto* const table = memory.own_page(1); // whose frame is the first of the table
        std::memcpy(table + reference * sizeof value, &value, sizeof value);
    }

    domain_memory memory{domain_memory::make(owner, small).value()};
    const std::uint32_t page{small.first_page()};
};

TEST_F(grants, a_page_is_for_the_domain_that_it_is_granted_to)
{
    EXPECT_EQ(claim(backend, 8), grant_status::general_error) << "nothing is granted yet";
    memory.grant(8, backend, page, false);
    const auto claimed = memory.claim(backend, 8, true);
    EXPECT_EQ(claimed.status, grant_status::done);
    EXPECT_EQ(claimed.frame, page);
    EXPECT_EQ(claim(stranger, 8), grant_status::general_error);
}

TEST_F(grants, a_read_only_page_is_not_for_writing)
{
    memory.grant(8, backend, page, true);
    EXPECT_EQ(claim(backend, 8, true), grant_status::general_error);
    EXPECT_EQ(claim(backend, 8, false), grant_status::done);
    EXPECT_NE(memory.entry(8) & grant_entry::reading, 0U);
    EXPECT_EQ(memory.entry(8) & grant_entry::writing, 0U);
}

TEST_F(grants, a_reference_beyond_the_table_is_bad)
{
    EXPECT_EQ(claim(backend, small.grants - 1), grant_status::general_error);
    EXPECT_EQ(claim(backend, small.grants), grant_status::bad_reference);
    EXPECT_EQ(claim(backend, 0xffff'ffff), grant_status::bad_reference);
}

TEST_F(grants, a_frame_outside_the_domains_pages_is_bad)
{
    for (const std::uint32_t frame : {0U, 1U, page - 1, small.end(), 0xffff'ffffU}) {
        memory.grant(8, backend, frame, false);
        EXPECT_EQ(claim(backend, 8), grant_status::bad_page) << frame;
        EXPECT_EQ(grant_entry::uses(memory.entry(8)), 0U);
    }
    memory.grant(8, backend, small.end() - 1, false);
    EXPECT_EQ(claim(backend, 8), grant_status::done);
}

TEST_F(grants, what_is_in_use_cannot_be_taken_back)
{
    memory.grant(8, backend, page, false);
    ASSERT_EQ(claim(backend, 8, true), grant_status::done);
    ASSERT_EQ(claim(backend, 8, false), grant_status::done);
    EXPECT_FALSE(memory.revoke(8));
    memory.release(8);
    EXPECT_FALSE(memory.revoke(8));
    EXPECT_NE(memory.entry(8) & grant_entry::writing, 0U);
    memory.release(8);
    EXPECT_EQ(memory.entry(8), grant_entry::make(backend, page, false)) << "as it was granted";
    EXPECT_TRUE(memory.revoke(8));
    EXPECT_EQ(claim(backend, 8), grant_status::general_error);
}

TEST_F(grants, uses_are_counted_up_to_a_bound)
{
    memory.grant(8, backend, page, false);
    int uses = 0;
    while (claim(backend, 8) == grant_status::done) {
        ++uses;
    }
    EXPECT_EQ(uses, 127);
    EXPECT_EQ(claim(backend, 8), grant_status::general_error);
    memory.release(8);
    EXPECT_EQ(claim(backend, 8), grant_status::done);
    for (int i = 0; i < uses; ++i) {
        memory.release(8);
    }
    EXPECT_TRUE(memory.revoke(8));
}

TEST_F(grants, a_guest_that_writes_over_an_entry_in_use_harms_only_itself)
{
    memory.grant(8, backend, page, false);
    ASSERT_EQ(claim(backend, 8, true), grant_status::done);
    write_entry(8, 0);
    memory.release(8); // finds no use, and leaves it so
    EXPECT_EQ(memory.entry(8), 0U);
    write_entry(8, ~std::uint64_t{0});
    EXPECT_EQ(claim(backend, 8), grant_status::general_error);
    for (std::uint64_t type : {0U, 2U, 3U}) {
        write_entry(8, (grant_entry::make(backend, page, false) & ~std::uint64_t{3}) | type);
        EXPECT_EQ(claim(backend, 8), grant_status::general_error) << type;
    }
}

TEST_F(grants, an_entry_that_changes_all_the_time_holds_nobody_up)
{
    std::atomic<bool> stop{false};
    std::thread hostile{[&] {
        const auto good = grant_entry::make(backend, page, false);
        while (!stop.load(std::memory_order_relaxed)) {
            memory.grant(8, backend, page, false);
            memory.grant(8, backend, page, true);
            memory.grant(8, stranger, page, false);
            write_entry(8, good | grant_entry::uses_mask);
        }
    }};
    for (int i = 0; i < 100'000; ++i) {
        const auto claimed = memory.claim(backend, 8, (i & 1) != 0);
        ASSERT_TRUE(claimed.status == grant_status::done ||
                    claimed.status == grant_status::general_error)
            << to_string(claimed.status);
        if (claimed.status == grant_status::done) {
            ASSERT_EQ(claimed.frame, page);
            memory.release(8);
        }
        (void)memory.revoke(8);
    }
    stop = true;
    hostile.join();
}

TEST_F(grants, two_mappings_of_the_memory_see_one_table)
{
    const auto there =
        domain_memory::map(file_descriptor{::dup(memory.descriptor())}, memory.layout()).value();
    memory.grant(8, backend, page, false);
    ASSERT_EQ(there.claim(backend, 8, true).status, grant_status::done);
    EXPECT_FALSE(memory.revoke(8));
    there.release(8);
    EXPECT_TRUE(memory.revoke(8));
    EXPECT_TRUE(there.alive());
    memory.end();
    EXPECT_FALSE(there.alive());
}

TEST_F(grants, uses_of_a_process_that_is_gone_are_corrected)
{
    memory.grant(8, backend, page, false);
    for (int i = 0; i < 3; ++i) {
        ASSERT_EQ(claim(backend, 8, true), grant_status::done);
    }
    memory.correct_uses(8, stranger, 0);
    EXPECT_EQ(grant_entry::uses(memory.entry(8)), 3U) << "not that domain's";
    memory.correct_uses(8, backend, 5);
    EXPECT_EQ(grant_entry::uses(memory.entry(8)), 3U) << "never more";
    memory.correct_uses(8, backend, 1);
    EXPECT_EQ(grant_entry::uses(memory.entry(8)), 1U);
    EXPECT_FALSE(memory.revoke(8));
    memory.correct_uses(8, backend, 0);
    EXPECT_TRUE(memory.revoke(8));
}

TEST(a_domains_memory, has_a_layout_within_bounds)
{
    for (const memory_layout& bad :
         {memory_layout{0, 1}, memory_layout{511, 1}, memory_layout{513, 1},
          memory_layout{32'768 + 512, 1}, memory_layout{512, 0},
          memory_layout{512, (1U << 20U) + 1}, memory_layout{0xffff'fe00, 0xffff'ffff}}) {
        const auto made = domain_memory::make(owner, bad);
        ASSERT_TRUE(made.has_error()) << bad.grants << ' ' << bad.pages;
        EXPECT_THAT(made.error().message, HasSubstr("512 to 32768"));
    }
    EXPECT_TRUE(domain_memory::make(owner, {512, 1}).has_value());
    EXPECT_TRUE(domain_memory::make(owner, {32'768, 4096}).has_value());
}

TEST(a_domains_memory, is_a_sealed_file_of_its_size_or_it_is_refused)
{
    const auto sealed = [](std::size_t size, int seals) {
        file_descriptor file{::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
        EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
        EXPECT_EQ(::fcntl(file.get(), F_ADD_SEALS, seals), 0);
        return file;
    };
    constexpr int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    EXPECT_TRUE(domain_memory::map(sealed(small.size(), all), small).has_value());
    EXPECT_TRUE(domain_memory::map(sealed(small.size() - page_size, all), small).has_error());
    EXPECT_TRUE(domain_memory::map(sealed(small.size() + page_size, all), small).has_error());
    EXPECT_TRUE(
        domain_memory::map(sealed(small.size(), F_SEAL_GROW | F_SEAL_SEAL), small).has_error())
        << "its pages could go away";
    EXPECT_TRUE(domain_memory::map(file_descriptor{}, small).has_error());
    EXPECT_TRUE(domain_memory::map(file_descriptor{::open("/dev/zero", O_RDWR | O_CLOEXEC)}, small)
                    .has_error());
}

TEST(a_domains_memory, cannot_be_made_smaller_by_its_guest)
{
    const auto memory = domain_memory::make(owner, small).value();
    EXPECT_NE(::ftruncate(memory.descriptor(), 0), 0);
}

TEST(a_domains_memory, is_mapped_page_by_page_side_by_side)
{
    const auto memory = domain_memory::make(owner, small).value();
    const std::uint32_t first = small.first_page();
    const std::vector<std::uint32_t> frames{first + 5, first, first + 5};
    const auto pages = page_mapping::make(memory, frames).value();
    auto* const at = static_cast<std::byte*>(pages.base());
    at[0] = std::byte{1};
    at[page_size] = std::byte{2};
    EXPECT_EQ(memory.own_page(first + 5)[0], std::byte{1});
    EXPECT_EQ(memory.own_page(first)[0], std::byte{2});
    EXPECT_EQ(at[2 * page_size], std::byte{1});
}

TEST(a_status, has_a_name_for_people)
{
    EXPECT_EQ(to_string(grant_status::done), "done (0)");
    EXPECT_EQ(to_string(grant_status::bad_reference), "bad_reference (-3)");
    EXPECT_EQ(to_string(static_cast<grant_status>(-99)), "unknown (-99)");
}

TEST(a_descriptor, is_closed_with_its_owner)
{
    const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    {
        file_descriptor one{fd};
        file_descriptor two{std::move(one)};
        EXPECT_FALSE(one); // NOLINT(bugprone-use-after-move): that is what is tested
        EXPECT_EQ(two.get(), fd);
        file_descriptor three;
        three = std::move(two);
        EXPECT_NE(::fcntl(fd, F_GETFD), -1);
    }
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

} // namespace
} // namespace strait::xen::simulated
