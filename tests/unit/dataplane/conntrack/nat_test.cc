// SPDX-License-Identifier: BSD-3-Clause
// Translation: which addresses and ports are chosen, that both directions are rewritten to the last
// checksum, errors included, and that answers belong to one connection.
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <set>

namespace strait::test {
namespace {

using conntrack::parameters;
using dataplane::drop_reason;
using flow::nat;
namespace ct = conntrack::state;

constexpr end client{0x0a00'0001, 1000};
constexpr end server{0x0a00'0002, 80};
constexpr std::uint32_t outside = 0xc0a8'0001;

nat source_nat(std::uint32_t first, std::uint32_t last, std::uint16_t first_port = 0,
               std::uint16_t last_port = 0)
{
    return {.which = nat::side::source,
            .first = first,
            .last = last,
            .first_port = first_port,
            .last_port = last_port};
}
nat destination_nat(std::uint32_t address, std::uint16_t port = 0)
{
    return {.which = nat::side::destination,
            .first = address,
            .last = address,
            .first_port = port,
            .last_port = port};
}
flow::wide ipv6(std::uint32_t address)
{
    return {std::uint64_t{0xfd00'0000} << 32, address};
}

class conntrack_nat : public testing::Test {
protected:
    conntrack_nat() { make({}); }
    void make(const conntrack::store_settings& settings)
    {
        tracker_.reset();
        store_ = std::make_unique<conntrack::store>(settings);
        tracker_ = std::make_unique<conntrack::tracker>(*store_);
    }
    // What comes out of it; empty: it was dropped.
    frame pass(const frame& f, const parameters& asked)
    {
        asking a{f, asked};
        tracker_->track({&a.request(), 1}, 1000);
        state_ = a.request().answer.state;
        reason_ = a.request().reason;
        if (a.request().dropped) {
            return {};
        }
        EXPECT_TRUE(checksums_fit(a.bytes()));
        EXPECT_EQ(a.request().translated, a.bytes() != f);
        return a.bytes();
    }
    frame commit(const frame& f, const nat& n)
    {
        return pass(f, {.commit = true, .translation = &n});
    }
    frame apply(const frame& f)
    {
        static constexpr nat restore{};
        return pass(f, {.translation = &restore});
    }

    std::unique_ptr<conntrack::store> store_;
    std::unique_ptr<conntrack::tracker> tracker_;
    std::uint32_t state_{0};
    drop_reason reason_{};
};

TEST_F(conntrack_nat, a_source_is_translated_there_and_back)
{
    const frame out = commit(udp_frame(client, server), source_nat(outside, outside));
    EXPECT_EQ(source_of(out), (end{outside, client.port})) << "the port may stay";
    EXPECT_EQ(destination_of(out), server);
    EXPECT_EQ(state_, ct::tracked | ct::fresh | ct::source_translated);
    const frame back = apply(udp_frame(server, {outside, client.port}));
    EXPECT_EQ(source_of(back), server);
    EXPECT_EQ(destination_of(back), client);
    EXPECT_EQ(state_, ct::tracked | ct::established | ct::reply | ct::destination_translated);
    EXPECT_EQ(source_of(apply(udp_frame(client, server))), (end{outside, client.port}));
}

TEST_F(conntrack_nat, a_destination_is_translated_there_and_back)
{
    const end inside{0x0a00'0033, 8080};
    const frame out =
        commit(tcp_packet{client, server, 2, 100}.build(), destination_nat(0x0a00'0033, 8080));
    EXPECT_EQ(source_of(out), client);
    EXPECT_EQ(destination_of(out), inside);
    const frame back = apply(tcp_packet{inside, client, 0x12, 500, 101}.build());
    EXPECT_EQ(source_of(back), server);
    EXPECT_EQ(destination_of(back), client);
    EXPECT_EQ(state_, ct::tracked | ct::established | ct::reply | ct::source_translated);
}

TEST_F(conntrack_nat, ipv6_is_translated_too)
{
    nat n = source_nat(0, 0, 5000, 5000);
    n.ipv6 = true;
    n.first = n.last = ipv6(outside);
    const frame out = commit(udp_frame(client, server, "abc", true), n);
    EXPECT_EQ(source_of(out), (end{outside, 5000}));
    const frame back = apply(udp_frame(server, {outside, 5000}, "de", true));
    EXPECT_EQ(destination_of(back), client);
}

TEST_F(conntrack_nat, addresses_of_the_other_family_are_refused)
{
    EXPECT_TRUE(
        commit(udp_frame(client, server, "abc", true), source_nat(outside, outside)).empty());
    EXPECT_EQ(reason_, drop_reason::ct_no_translation);
}

TEST_F(conntrack_nat, without_a_word_of_nat_headers_stay)
{
    commit(udp_frame(client, server), source_nat(outside, outside));
    const frame there = udp_frame(client, server);
    EXPECT_EQ(pass(there, {}), there);
}

TEST_F(conntrack_nat, two_clients_on_one_port_get_two)
{
    const nat n = source_nat(outside, outside);
    const end other{0x0a00'0007, client.port};
    const end first = source_of(commit(udp_frame(client, server), n));
    const end second = source_of(commit(udp_frame(other, server), n));
    EXPECT_EQ(second.address, outside);
    EXPECT_NE(second.port, first.port);
    EXPECT_GE(second.port, 1024);
    EXPECT_EQ(destination_of(apply(udp_frame(server, second))), other);
    EXPECT_EQ(destination_of(apply(udp_frame(server, first))), client);
}

TEST_F(conntrack_nat, a_range_of_ports_is_used_to_the_last_and_then_refused)
{
    const nat n = source_nat(outside, outside + 1, 6000, 6099);
    std::set<std::pair<std::uint32_t, std::uint16_t>> used;
    for (std::uint16_t i = 0; i < 200; ++i) {
        const end from{client.address, static_cast<std::uint16_t>(20'000 + i)};
        const frame out = commit(udp_frame(from, server), n);
        ASSERT_FALSE(out.empty()) << i;
        const end got = source_of(out);
        EXPECT_GE(got.port, 6000);
        EXPECT_LE(got.port, 6099);
        EXPECT_TRUE(used.emplace(got.address, got.port).second);
    }
    EXPECT_TRUE(commit(udp_frame(client, server), n).empty());
    EXPECT_EQ(reason_, drop_reason::ct_no_translation);
    EXPECT_FALSE(commit(udp_frame(client, {server.address, 81}), n).empty())
        << "to another port of the server the same one will do";
}

TEST_F(conntrack_nat, a_persistent_source_is_always_the_same)
{
    nat n = source_nat(outside, outside + 100);
    n.persistent = true;
    std::set<std::uint32_t> addresses;
    std::set<std::uint32_t> of_others;
    for (std::uint32_t i = 0; i < 30; ++i) {
        const end to{0x0a00'1000U + i, static_cast<std::uint16_t>(80 + i)};
        const end from{client.address, static_cast<std::uint16_t>(3000 + i)};
        addresses.insert(source_of(commit(udp_frame(from, to), n)).address);
        of_others.insert(source_of(commit(udp_frame({client.address + 1 + i, 99}, to), n)).address);
    }
    EXPECT_EQ(addresses.size(), 1U);
    EXPECT_GT(of_others.size(), 5U);
}

TEST_F(conntrack_nat, random_ports_are_not_those_there_were)
{
    nat n = source_nat(outside, outside);
    n.random = true;
    unsigned same = 0;
    for (std::uint16_t i = 0; i < 100; ++i) {
        const end from{client.address, static_cast<std::uint16_t>(30'000 + i)};
        same += source_of(commit(udp_frame(from, server), n)).port == from.port ? 1U : 0U;
    }
    EXPECT_LT(same, 5U);
}

TEST_F(conntrack_nat, an_address_of_zeros_changes_ports_where_they_clash_alone)
{
    const nat n = source_nat(0, 0);
    EXPECT_EQ(source_of(commit(udp_frame(client, server), n)), client);
    EXPECT_EQ(state_, ct::tracked | ct::fresh);
    // Somebody else is translated to where the next connection would be.
    commit(udp_frame({0x0a00'0009, 7}, server), source_nat(0x0a00'0005, 0x0a00'0005, 55, 55));
    const end got = source_of(commit(udp_frame({0x0a00'0005, 55}, server), n));
    EXPECT_EQ(got.address, 0x0a00'0005U);
    EXPECT_NE(got.port, 55);
}

TEST_F(conntrack_nat, a_connection_whose_answers_are_anothers_is_refused)
{
    commit(udp_frame({0x0a00'0009, 7}, server), source_nat(0x0a00'0005, 0x0a00'0005, 55, 55));
    EXPECT_TRUE(pass(udp_frame({0x0a00'0005, 55}, server), {.commit = true}).empty());
    EXPECT_EQ(reason_, drop_reason::ct_no_translation);
}

TEST_F(conntrack_nat, one_that_is_translated_to_itself_is_both_of_its_ends)
{
    const end self{client.address, 8080};
    const frame out = commit(udp_frame(client, server), destination_nat(client.address, 8080));
    EXPECT_EQ(destination_of(out), self);
    EXPECT_EQ(source_of(out), client);
    const frame back = apply(udp_frame(self, client));
    EXPECT_EQ(source_of(back), server);
    EXPECT_EQ(destination_of(back), client);
    EXPECT_EQ(state_, ct::tracked | ct::established | ct::reply | ct::source_translated);
}

TEST_F(conntrack_nat, a_second_look_at_a_translated_packet_knows_its_connection)
{
    const nat n = source_nat(outside, outside, 7000, 7000);
    asking a{udp_frame(client, server), {.commit = true, .translation = &n}};
    tracker_->track({&a.request(), 1}, 1000);
    ASSERT_EQ(source_of(a.bytes()), (end{outside, 7000}));
    a.ask({.commit = true, .translation = &n, .mark = 9, .mark_mask = 0xff});
    tracker_->track({&a.request(), 1}, 1000);
    EXPECT_EQ(a.request().answer.state, ct::tracked | ct::fresh | ct::source_translated);
    EXPECT_EQ(a.request().answer.mark, 9U);
    EXPECT_EQ(source_of(a.bytes()), (end{outside, 7000}));
    EXPECT_EQ(store_->connections().size(), 1U);

    asking back{udp_frame(server, {outside, 7000}), {.translation = &n}};
    tracker_->track({&back.request(), 1}, 1000);
    ASSERT_EQ(destination_of(back.bytes()), client);
    back.ask({.commit = true});
    tracker_->track({&back.request(), 1}, 1000);
    EXPECT_EQ(back.request().answer.state,
              ct::tracked | ct::established | ct::reply | ct::source_translated);
}

TEST_F(conntrack_nat, identifiers_of_echoes_are_like_ports)
{
    const nat n = source_nat(outside, outside);
    const end other{0x0a00'0007, client.port};
    const frame first = commit(echo_frame(client, server, false), n);
    const frame second = commit(echo_frame(other, server, false), n);
    ASSERT_FALSE(first.empty());
    ASSERT_FALSE(second.empty());
    EXPECT_EQ(source_of(first), (end{outside, client.port}));
    EXPECT_NE(source_of(second).port, client.port);
    const end answered{outside, source_of(second).port};
    const frame back = apply(echo_frame(server, answered, true));
    EXPECT_EQ(destination_of(back), other);
}

TEST_F(conntrack_nat, errors_and_what_is_in_them_are_translated_back)
{
    for (const bool six : {false, true}) {
        nat n = source_nat(outside, outside, 5555, 5555);
        n.ipv6 = six;
        if (six) {
            n.first = n.last = ipv6(outside);
        }
        const frame out = commit(udp_frame(client, server, "lost", six), n);
        ASSERT_EQ(source_of(out), (end{outside, 5555}));
        const std::uint32_t router = 0x0a00'0063;
        const frame error = error_frame(router, outside, out, six ? 1 : 3, six);
        const frame back = apply(error);
        ASSERT_FALSE(back.empty());
        EXPECT_EQ(state_, ct::tracked | ct::related | ct::reply | ct::destination_translated);
        EXPECT_EQ(source_of(back).address, router);
        EXPECT_EQ(destination_of(back).address, client.address);
        const frame inner = embedded_in(back);
        const frame sent = udp_frame(client, server, "lost", six);
        EXPECT_EQ(inner, frame(sent.begin() + 14, sent.end())) << "as it was sent";
    }
}

TEST_F(conntrack_nat, an_error_from_a_translated_server_seems_to_come_from_where_it_was_sent)
{
    const frame sent = tcp_packet{client, server, 2, 100}.build();
    const frame out = commit(sent, destination_nat(0x0a00'0033, 8080));
    // The smallest that must be there: IP's header and eight bytes.
    frame some{out.begin(), out.begin() + 14 + 28};
    const frame back = apply(error_frame(0x0a00'0033, client.address, some));
    ASSERT_FALSE(back.empty());
    EXPECT_EQ(source_of(back).address, server.address);
    const frame inner = embedded_in(back);
    EXPECT_EQ(frame(inner.begin(), inner.begin() + 28),
              frame(sent.begin() + 14, sent.begin() + 42));
}

} // namespace
} // namespace strait::test
