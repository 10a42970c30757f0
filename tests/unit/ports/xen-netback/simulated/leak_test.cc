// SPDX-License-Identifier: BSD-3-Clause
// Guests that connect and end by the thousand, in every order of ending, leave nothing: neither in
// the server nor in its clients, which are one process here.
#include "lab.hh"
#include "tests/unit/sanitizers.hh"

#include <array>
#include <vector>

#include <gtest/gtest.h>

namespace strait::xen::simulated::test {
namespace {

constexpr domain_id tools_domain{0};

constexpr int rounds =
    strait::test::address_sanitizer || strait::test::thread_sanitizer ? 1000 : 10'000;

// All that a backend has of one guest, which ends in one of four ways.
void connect_and_end(lab& l, simulated_hypervisor& h, tool_stack& tools, int round)
{
    auto& store = h.store();
    // The former one's end may not have come to the server yet.
    const domain_id guest_domain{static_cast<std::uint16_t>(1 + round % 64)};
    const bool by_tool_stack = round % 16 == 0; // whose many writes take the most time
    if (by_tool_stack) {
        ASSERT_TRUE(tools.create_domain(guest_domain, "guest", small_domain).has_value());
        ASSERT_TRUE(tools.add_vif(guest_domain, 0, "00:16:3e:00:00:01").has_value());
    }
    const std::string front = tool_stack::frontend_path(guest_domain, 0);
    ASSERT_TRUE(store.watch(front, "front").has_value());

    auto guest = l.guest(guest_domain);
    const std::array<grant_ref, 2> pages{
        guest->grant(tools_domain, guest->allocate().value()).value(),
        guest->grant(tools_domain, guest->allocate().value()).value()};
    auto offered = guest->offer(tools_domain).value();
    EXPECT_EQ(guest->store().write("device/vif/0/state", "4").has_value(), by_tool_stack);

    auto mapped = h.map(guest_domain, pages).value();
    auto channel = h.bind(guest_domain, offered.port).value();
    channel->notify();
    ASSERT_TRUE(offered.end->take());
    std::array<std::byte, 16> head{};
    auto piece = dataplane::remote_copy::pull(
        {static_cast<std::uint32_t>(pages[0]), 0, static_cast<std::uint16_t>(guest_domain), 16},
        head.data());
    h.copy({&piece, 1});
    ASSERT_TRUE(piece.done());
    // Refused requests leave nothing, either.
    ASSERT_TRUE(h.map(guest_domain, std::array{pages[0], grant_ref{511}}).has_error());
    ASSERT_TRUE(h.bind(guest_domain, offered.port).has_error());
    const auto t = store.begin().value();
    ASSERT_TRUE(store.write("/x", "1", t).has_value());

    const bool guest_first = (round & 1) != 0;
    if (guest_first) {
        offered.end.reset();
        guest.reset();
    }
    mapped.reset();
    channel.reset();
    store.unwatch(front, "front");
    store.abandon(t);
    if (!guest_first) {
        if ((round & 2) != 0) {
            for (const auto r : pages) {
                ASSERT_TRUE(guest->revoke(r));
            }
        }
        offered.end.reset();
        if (!by_tool_stack) {
            guest.reset(); // else it is destroyed
        }
    }
    if (by_tool_stack) {
        ASSERT_TRUE(tools.destroy_domain(guest_domain).has_value());
        ASSERT_TRUE(tools.forget_domain(guest_domain).has_value());
    }
    while (store.next_event()) {}
}

// All have ended, and of their memory the hypervisor knows one guest's alone.
holdings settled(lab& l, simulated_hypervisor& h)
{
    const domain_id last{100};
    EXPECT_TRUE(eventually([&] { return l.server().domains() == 0; }));
    const auto guest = l.guest(last);
    EXPECT_TRUE(h.attach(last).has_value());
    return holdings::now();
}

TEST(guests_that_come_and_go, leave_nothing)
{
    lab l;
    auto h = l.hypervisor();
    auto tools = l.tools();
    constexpr int warm_up = 200;
    for (int i = 0; i < warm_up; ++i) {
        ASSERT_NO_FATAL_FAILURE(connect_and_end(l, *h, *tools, i));
    }
    const auto before = settled(l, *h);
    for (int i = 0; i < rounds; ++i) {
        ASSERT_NO_FATAL_FAILURE(connect_and_end(l, *h, *tools, i)) << i;
    }
    const auto after = settled(l, *h);
    EXPECT_EQ(after.descriptors, before.descriptors) << before << " -> " << after;
    EXPECT_EQ(after.mappings, before.mappings) << before << " -> " << after;
    EXPECT_LE(after.heap, before.heap + 16'384) << before << " -> " << after;
}

} // namespace
} // namespace strait::xen::simulated::test
