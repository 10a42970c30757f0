// SPDX-License-Identifier: BSD-3-Clause
// A domain from inside: pages, grants, channels, and its own rights in the store.
#include "lab.hh"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include <sys/resource.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

using dataplane::remote_copy;
using dataplane::remote_span;
using testing::Each;
using testing::HasSubstr;

constexpr domain_id backend{0};
constexpr domain_id own{1};

class a_guest : public testing::Test {
protected:
    [[nodiscard]] grant_status push(grant_ref r, std::uint8_t value)
    {
        auto piece = remote_copy::push(&value, remote_span{static_cast<std::uint32_t>(r), 0,
                                                           static_cast<std::uint16_t>(own), 1});
        hypervisor->copy({&piece, 1});
        return piece.result();
    }

    lab l;
    std::unique_ptr<simulated_guest> guest{l.guest(own)};
    std::unique_ptr<simulated_hypervisor> hypervisor{l.hypervisor()};
};

TEST_F(a_guest, is_its_domain)
{
    EXPECT_EQ(guest->own_domain(), own);
    EXPECT_TRUE(guest->alive());
    EXPECT_EQ(guest->memory().layout(), small_domain);
}

TEST_F(a_guest, has_pages_that_are_zero_and_side_by_side)
{
    std::byte* const pages = guest->allocate(3).value();
    EXPECT_TRUE(
        std::all_of(pages, pages + 3 * page_size, [](std::byte b) { return b == std::byte{}; }));
    std::memset(pages, 0xff, 3 * page_size);
    guest->free(pages, 3);
    std::byte* const again = guest->allocate(3).value();
    EXPECT_EQ(again, pages);
    EXPECT_EQ(again[page_size], std::byte{}) << "nothing of before is left";
}

TEST_F(a_guest, has_as_many_pages_as_its_layout_says)
{
    std::vector<std::byte*> all;
    for (auto page = guest->allocate(); page.has_value(); page = guest->allocate()) {
        all.push_back(*page);
    }
    EXPECT_EQ(all.size(), small_domain.pages);
    EXPECT_EQ(std::set<std::byte*>(all.begin(), all.end()).size(), all.size());
    EXPECT_THAT(guest->allocate(2).error().message, HasSubstr("2 free pages in a row"));
    // Neighbours that came back are one piece again, in whatever order they come.
    guest->free(all[11]);
    guest->free(all[9]);
    guest->free(all[10]);
    EXPECT_TRUE(guest->allocate(3).has_value());
    EXPECT_TRUE(guest->allocate().has_error());
}

TEST_F(a_guest, grants_pages_until_it_takes_them_back)
{
    std::byte* const page = guest->allocate().value();
    const auto reference = guest->grant(backend, page + 100); // anywhere in it
    ASSERT_TRUE(reference);
    ASSERT_TRUE(hypervisor->attach(own).has_value());
    EXPECT_EQ(push(*reference, 7), grant_status::done);
    EXPECT_EQ(page[0], std::byte{7});
    EXPECT_TRUE(guest->revoke(*reference));
    EXPECT_EQ(push(*reference, 8), grant_status::general_error);
    EXPECT_EQ(page[0], std::byte{7});
    const auto only_read = guest->grant(backend, page, true);
    EXPECT_EQ(push(*only_read, 8), grant_status::general_error);
}

TEST_F(a_guest, cannot_take_back_what_is_mapped)
{
    const auto reference = guest->grant(backend, guest->allocate().value()).value();
    auto mapped = hypervisor->map(own, {&reference, 1}).value();
    EXPECT_FALSE(guest->revoke(reference));
    EXPECT_FALSE(guest->end(reference));
    EXPECT_EQ(push(reference, 1), grant_status::done) << "it is still granted";
    mapped.reset();
    EXPECT_TRUE(guest->revoke(reference));
}

TEST_F(a_guest, has_as_many_grants_as_its_table_less_the_reserved)
{
    std::byte* const page = guest->allocate().value();
    std::set<grant_ref> all;
    for (auto r = guest->grant(backend, page); r; r = guest->grant(backend, page)) {
        EXPECT_TRUE(all.insert(*r).second);
        ASSERT_LE(all.size(), small_domain.grants);
    }
    EXPECT_EQ(all.size(), small_domain.grants - memory_layout::reserved_grants);
    EXPECT_GE(*all.begin(), grant_ref{memory_layout::reserved_grants});
    EXPECT_TRUE(guest->revoke(*all.begin()));
    EXPECT_EQ(guest->grant(backend, page), *all.begin());
}

TEST_F(a_guest, can_keep_a_reference_and_use_it_again)
{
    std::byte* const one = guest->allocate().value();
    std::byte* const two = guest->allocate().value();
    const auto r = guest->reserve().value();
    ASSERT_TRUE(hypervisor->attach(own).has_value());
    EXPECT_EQ(push(r, 1), grant_status::general_error) << "reserved is not granted";
    guest->regrant(r, backend, one);
    EXPECT_EQ(push(r, 1), grant_status::done);
    EXPECT_TRUE(guest->end(r));
    guest->regrant(r, backend, two);
    EXPECT_EQ(push(r, 2), grant_status::done);
    EXPECT_EQ(one[0], std::byte{1});
    EXPECT_EQ(two[0], std::byte{2});
    EXPECT_NE(guest->reserve(), r);
}

TEST_F(a_guest, shares_its_memory_among_its_processes_but_not_its_pages)
{
    auto second = l.guest(own);
    std::byte* const mine = guest->allocate().value();
    std::byte* const its = second->allocate().value();
    EXPECT_NE(mine - guest->memory().own_page(0), its - second->memory().own_page(0));
    EXPECT_NE(guest->grant(backend, mine), second->grant(backend, its));
}

TEST_F(a_guest, offers_channels_with_the_lowest_number_that_is_free)
{
    auto one = guest->offer(backend).value();
    auto two = guest->offer(backend).value();
    EXPECT_EQ(one.port, event_port{1});
    EXPECT_EQ(two.port, event_port{2});
    one.end.reset();
    EXPECT_TRUE(hypervisor->bind(own, event_port{1}).has_error());
    EXPECT_EQ(guest->offer(backend).value().port, event_port{1});
}

TEST_F(a_guest, has_4096_channels_at_most)
{
    // Each takes four descriptors of this process, and two for a moment.
    rlimit limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
    constexpr rlim_t enough = 20'000;
    if (limit.rlim_max < enough) {
        GTEST_SKIP() << "a process has " << limit.rlim_max << " descriptors at most here";
    }
    limit.rlim_cur = std::max(limit.rlim_cur, enough);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
    std::vector<simulated_guest::offered> all;
    std::string why;
    while (why.empty()) {
        auto next = guest->offer(backend);
        if (next.has_error()) {
            why = next.error().message;
        } else {
            all.push_back(std::move(next).value());
        }
        ASSERT_LE(all.size(), 4096U);
    }
    EXPECT_THAT(why, HasSubstr("no more event channels"));
    EXPECT_EQ(all.size(), 4096U);
    all.clear();
    EXPECT_TRUE(guest->offer(backend).has_value());
}

TEST_F(a_guest, writes_the_store_within_its_rights)
{
    auto tools = l.tools();
    ASSERT_TRUE(tools->write_domain(own, "one").has_value());
    auto& store = guest->store();
    EXPECT_EQ(store.read("name").value(), "one");
    EXPECT_TRUE(store.write("data/x", "1").has_value());
    EXPECT_EQ(tools->store().read("/local/domain/1/data/x").value(), "1");
    const auto refused = store.write("name", "two");
    ASSERT_TRUE(refused.has_error());
    EXPECT_THAT(refused.error().message, HasSubstr("name cannot be written"));
    EXPECT_EQ(store.read("/local/domain/0/x").value(), std::nullopt) << "not for it to see";
    EXPECT_EQ(store.list("/").value(), std::nullopt);
}

} // namespace
} // namespace strait::xen::simulated::test
