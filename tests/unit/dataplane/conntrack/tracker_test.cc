// SPDX-License-Identifier: BSD-3-Clause
// What a tracker says of packets, one or many at a time: states, directions, zones, marks, limits,
// and that connections end in time. Windows of TCP are tcp_test.cc's, translation nat_test.cc's.
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gmock/gmock.h>

#include <deque>

namespace strait::test {
namespace {

using conntrack::parameters;
using conntrack::result;
using dataplane::drop_reason;
namespace ct = conntrack::state;
namespace tcp = conntrack::tcp;

constexpr end client{0x0a00'0001, 1000};
constexpr end server{0x0a00'0002, 80};

class conntrack_tracker : public testing::Test {
protected:
    conntrack_tracker() { make({}); }
    void make(const conntrack::store_settings& settings)
    {
        tracker_.reset();
        store_ = std::make_unique<conntrack::store>(settings);
        tracker_ = std::make_unique<conntrack::tracker>(*store_);
    }
    void track(asking& a) { tracker_->track({&a.request(), 1}, now_); }
    result ask(const frame& f, const parameters& asked = {})
    {
        asking a{f, asked};
        track(a);
        EXPECT_FALSE(a.request().dropped);
        return a.request().answer;
    }
    std::uint32_t state(const frame& f, const parameters& asked = {})
    {
        return ask(f, asked).state;
    }
    std::uint32_t commit(const frame& f, std::uint16_t zone = 0)
    {
        return state(f, {.zone = zone, .commit = true});
    }
    void pass(conntrack::seconds_t seconds)
    {
        for (; seconds > 0; --seconds) {
            ++now_;
            for (int i = 0; i < 4; ++i) {
                tracker_->maintain(now_);
            }
        }
    }
    [[nodiscard]] std::uint64_t connections() const { return store_->connections().size(); }

    conntrack::seconds_t now_{1000};
    std::unique_ptr<conntrack::store> store_;
    std::unique_ptr<conntrack::tracker> tracker_;
};

TEST_F(conntrack_tracker, a_packet_is_new_until_it_is_committed_and_answered)
{
    const frame there = udp_frame(client, server);
    const frame back = udp_frame(server, client);
    EXPECT_EQ(state(there), ct::tracked | ct::fresh);
    EXPECT_EQ(state(there), ct::tracked | ct::fresh);
    EXPECT_EQ(connections(), 0U);
    EXPECT_EQ(commit(there), ct::tracked | ct::fresh);
    EXPECT_EQ(connections(), 1U);
    EXPECT_EQ(state(there), ct::tracked | ct::fresh);
    EXPECT_EQ(state(back), ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(state(there), ct::tracked | ct::established);
    EXPECT_EQ(connections(), 1U);
}

TEST_F(conntrack_tracker, an_answer_tells_the_first_packets_tuple)
{
    commit(udp_frame(client, server));
    const result a = ask(udp_frame(server, client));
    EXPECT_EQ(a.protocol, 17);
    EXPECT_FALSE(a.ipv6);
    EXPECT_EQ(a.source, flow::wide{client.address});
    EXPECT_EQ(a.destination, flow::wide{server.address});
    EXPECT_EQ(a.source_port, client.port);
    EXPECT_EQ(a.destination_port, server.port);
}

TEST_F(conntrack_tracker, zones_know_nothing_of_each_other)
{
    commit(udp_frame(client, server), 1);
    EXPECT_EQ(ask(udp_frame(server, client), {.zone = 1}).state,
              ct::tracked | ct::established | ct::reply);
    const result a = ask(udp_frame(server, client), {.zone = 2});
    EXPECT_EQ(a.state, ct::tracked | ct::fresh);
    EXPECT_EQ(a.zone, 2);
}

TEST_F(conntrack_tracker, a_burst_may_have_all_of_a_connection_in_it)
{
    std::deque<asking> all;
    for (std::uint16_t i = 0; i < 40; ++i) {
        const end from{client.address, static_cast<std::uint16_t>(2000 + i)};
        all.emplace_back(udp_frame(from, server), parameters{.commit = true});
        all.emplace_back(udp_frame(server, from));
        all.emplace_back(udp_frame(from, server));
    }
    std::vector<conntrack::request> requests;
    for (asking& a : all) {
        requests.push_back(a.request());
    }
    tracker_->track(requests, now_);
    for (std::size_t i = 0; i < requests.size(); i += 3) {
        EXPECT_EQ(requests[i].answer.state, ct::tracked | ct::fresh);
        EXPECT_EQ(requests[i + 1].answer.state, ct::tracked | ct::established | ct::reply);
        EXPECT_EQ(requests[i + 2].answer.state, ct::tracked | ct::established);
    }
    EXPECT_EQ(connections(), 40U);
}

TEST_F(conntrack_tracker, ipv6_is_tracked_as_ipv4_is)
{
    commit(udp_frame(client, server, "x", true));
    EXPECT_EQ(state(udp_frame(server, client)), ct::tracked | ct::fresh);
    const result a = ask(udp_frame(server, client, "x", true));
    EXPECT_EQ(a.state, ct::tracked | ct::established | ct::reply);
    EXPECT_TRUE(a.ipv6);
    EXPECT_EQ(a.source, (flow::wide{std::uint64_t{0xfd00'0000} << 32, client.address}));
}

TEST_F(conntrack_tracker, tcp_begins_with_a_syn_and_ends_when_both_have_closed)
{
    const auto from_client = [](std::uint8_t flags, std::uint32_t sequence, std::uint32_t ack) {
        return tcp_packet{client, server, flags, sequence, ack}.build();
    };
    const auto from_server = [](std::uint8_t flags, std::uint32_t sequence, std::uint32_t ack) {
        return tcp_packet{server, client, flags, sequence, ack}.build();
    };
    constexpr std::uint32_t answered = ct::tracked | ct::established | ct::reply;
    EXPECT_EQ(commit(from_client(tcp::syn, 100, 0)), ct::tracked | ct::fresh);
    EXPECT_EQ(state(from_server(tcp::syn | tcp::ack, 500, 101)), answered);
    EXPECT_EQ(state(from_client(tcp::ack, 101, 501)), ct::tracked | ct::established);
    EXPECT_EQ(state(from_client(tcp::ack, 900'000, 501)), ct::tracked | ct::invalid);
    EXPECT_EQ(state(from_client(tcp::ack | tcp::fin, 101, 501)), ct::tracked | ct::established);
    EXPECT_EQ(state(from_server(tcp::ack | tcp::fin, 501, 102)), answered);
    EXPECT_EQ(state(from_client(tcp::ack, 102, 502)), ct::tracked | ct::established);
    EXPECT_EQ(state(from_client(tcp::syn, 10'000, 0)), ct::tracked | ct::fresh) << "a new one";
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, a_connection_that_is_refused_is_forgotten_at_once)
{
    commit(tcp_packet{client, server, tcp::syn, 100}.build());
    EXPECT_EQ(state(tcp_packet{server, client, tcp::rst | tcp::ack, 0, 101}.build()),
              ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, flags_that_no_tcp_sends_are_invalid)
{
    for (const unsigned flags : {0x00U, 0x01U, 0x03U, 0x06U, 0x05U, 0x08U, 0x3fU, 0x14U | 0x20U}) {
        const auto f = static_cast<std::uint8_t>(flags);
        EXPECT_EQ(commit(tcp_packet{client, server, f, 1, 1}.build()), ct::tracked | ct::invalid);
    }
    EXPECT_EQ(commit(tcp_packet{client, server, tcp::syn | tcp::ack, 1, 1}.build()),
              ct::tracked | ct::invalid);
    EXPECT_EQ(commit(tcp_packet{client, server, tcp::rst, 1, 1}.build()),
              ct::tracked | ct::invalid);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, an_echo_is_answered_under_its_identifier)
{
    for (const bool ipv6 : {false, true}) {
        EXPECT_EQ(commit(echo_frame(server, client, true, ipv6)), ct::tracked | ct::invalid);
        EXPECT_EQ(commit(echo_frame(client, server, false, ipv6)), ct::tracked | ct::fresh);
        const end other{client.address, 1001};
        EXPECT_EQ(state(echo_frame(server, other, true, ipv6)), ct::tracked | ct::invalid);
        const result a = ask(echo_frame(server, client, true, ipv6));
        EXPECT_EQ(a.state, ct::tracked | ct::established | ct::reply);
        EXPECT_EQ(a.source_port, ipv6 ? 128 : 8) << "the type";
        EXPECT_EQ(a.destination_port, 0) << "the code";
    }
}

TEST_F(conntrack_tracker, errors_are_related_to_the_connection_of_the_packet_they_are_about)
{
    for (const bool ipv6 : {false, true}) {
        const frame there = udp_frame(client, server, "question", ipv6);
        const std::uint8_t type = ipv6 ? 1 : 3;
        const frame error = error_frame(0x0a00'0099, client.address, there, type, ipv6);
        EXPECT_EQ(state(error), ct::tracked | ct::invalid);
        commit(there);
        const result a = ask(error);
        EXPECT_EQ(a.state, ct::tracked | ct::related | ct::reply);
        EXPECT_EQ(a.source_port, client.port);
        const frame back = udp_frame(server, client, "answer", ipv6);
        EXPECT_EQ(state(error_frame(client.address, server.address, back, type, ipv6)),
                  ct::tracked | ct::related);
        EXPECT_EQ(state(there), ct::tracked | ct::fresh) << "an error is no answer";
    }
}

TEST_F(conntrack_tracker, protocols_without_ports_are_told_by_addresses)
{
    const datagram there{.from = client, .to = server, .protocol = 47, .content = frame(30, 1)};
    const datagram back{.from = server, .to = client, .protocol = 47, .content = frame(8, 2)};
    const datagram other{.from = server, .to = client, .protocol = 50, .content = frame(8, 2)};
    commit(there.build());
    EXPECT_EQ(state(back.build()), ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(state(other.build()), ct::tracked | ct::fresh);
}

TEST_F(conntrack_tracker, what_is_no_ip_or_cut_short_is_invalid)
{
    EXPECT_EQ(commit(make_frame("02:00:00:00:00:02", "02:00:00:00:00:01", 60)),
              ct::tracked | ct::invalid);
    const datagram short_udp{.from = client, .to = server, .protocol = 6, .content = frame(18, 0)};
    EXPECT_EQ(commit(short_udp.build()), ct::tracked | ct::invalid);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, marks_and_labels_are_the_connections)
{
    const parameters first{.commit = true,
                           .mark = 0x12,
                           .mark_mask = 0xff,
                           .label = {1, 2},
                           .label_mask = {~0ULL, ~0ULL}};
    const result a = ask(udp_frame(client, server), first);
    EXPECT_EQ(a.mark, 0x12U);
    EXPECT_EQ(a.label, (flow::wide{1, 2}));
    const parameters more{.commit = true, .mark = 0xffff, .mark_mask = 0xff00};
    EXPECT_EQ(ask(udp_frame(server, client), more).mark, 0xff12U);
    EXPECT_EQ(ask(udp_frame(client, server)).mark, 0xff12U);
    EXPECT_EQ(ask(udp_frame(client, server)).label, (flow::wide{1, 2}));
    EXPECT_EQ(ask(udp_frame(client, {server.address, 81})).mark, 0U);
}

TEST_F(conntrack_tracker, an_error_may_mark_the_connection_that_it_is_about)
{
    const frame there = udp_frame(client, server);
    const frame error = error_frame(0x0a00'0099, client.address, there, 3, false);
    const parameters marking{.commit = true, .mark = 0x12, .mark_mask = 0xff};
    EXPECT_EQ(state(error, marking), ct::tracked | ct::invalid);
    EXPECT_EQ(connections(), 0U);
    commit(there);
    const result a = ask(error, marking);
    EXPECT_EQ(a.state, ct::tracked | ct::related | ct::reply);
    EXPECT_EQ(a.mark, 0x12U);
    EXPECT_EQ(ask(there).mark, 0x12U);
    EXPECT_EQ(connections(), 1U);
}

TEST_F(conntrack_tracker, force_turns_a_connection_round)
{
    commit(udp_frame(client, server));
    const frame back = udp_frame(server, client);
    EXPECT_EQ(commit(back), ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(state(back, {.commit = true, .force = true}), ct::tracked | ct::fresh);
    EXPECT_EQ(connections(), 1U);
    EXPECT_EQ(state(udp_frame(client, server)), ct::tracked | ct::established | ct::reply);
}

TEST_F(conntrack_tracker, an_error_that_is_forced_ends_the_connection_whose_answer_it_would_be)
{
    const frame there = udp_frame(client, server);
    const frame back = udp_frame(server, client);
    const parameters forced{.commit = true, .force = true};
    commit(there);
    EXPECT_EQ(state(error_frame(client.address, server.address, back, 3, false), forced),
              ct::tracked | ct::related);
    EXPECT_EQ(connections(), 1U);
    EXPECT_EQ(state(error_frame(server.address, client.address, there, 3, false), forced),
              ct::tracked | ct::invalid);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, a_second_look_in_the_same_zone_is_no_second_packet)
{
    commit(tcp_packet{client, server, tcp::syn, 100}.build());
    asking a{tcp_packet{server, client, tcp::syn | tcp::ack, 0, 101}.build()};
    track(a);
    EXPECT_EQ(a.request().answer.state, ct::tracked | ct::established | ct::reply);
    a.ask({.commit = true});
    track(a);
    EXPECT_EQ(a.request().answer.state, ct::tracked | ct::established | ct::reply);

    asking lie{tcp_packet{server, client, tcp::ack | tcp::fin, 900'000, 77}.build()};
    track(lie);
    EXPECT_EQ(lie.request().answer.state, ct::tracked | ct::invalid);
    lie.ask({.commit = true});
    track(lie);
    EXPECT_EQ(lie.request().answer.state, ct::tracked | ct::invalid) << "it stays so";
}

TEST_F(conntrack_tracker, connections_are_forgotten_in_time_and_not_before)
{
    commit(udp_frame(client, server));
    commit(tcp_packet{client, server, tcp::syn, 100}.build());
    EXPECT_EQ(connections(), 2U);
    pass(29);
    EXPECT_EQ(connections(), 2U);
    pass(1);
    EXPECT_EQ(connections(), 1U) << "UDP without an answer: 30 seconds";
    pass(89);
    EXPECT_EQ(connections(), 1U);
    EXPECT_EQ(state(tcp_packet{server, client, tcp::syn | tcp::ack, 7, 101}.build()),
              ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(state(tcp_packet{client, server, tcp::ack, 101, 8}.build()),
              ct::tracked | ct::established);
    pass(86'399);
    EXPECT_EQ(connections(), 1U);
    pass(1 + 64);
    EXPECT_EQ(connections(), 0U);
    EXPECT_EQ(store_->limits().used(0), 0U);
}

TEST_F(conntrack_tracker, one_whose_time_is_over_is_not_found_even_if_it_is_still_there)
{
    commit(udp_frame(client, server));
    now_ += 30;
    EXPECT_EQ(state(udp_frame(server, client)), ct::tracked | ct::fresh);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, what_is_flushed_counts_no_more_even_if_its_time_was_over)
{
    // Reset, it is to be forgotten long before somebody looks at it again.
    commit(tcp_packet{client, server, tcp::syn, 100}.build());
    state(tcp_packet{server, client, tcp::syn | tcp::ack, 500, 101}.build());
    state(tcp_packet{client, server, tcp::ack, 101, 501}.build());
    state(tcp_packet{client, server, tcp::rst, 101}.build());
    now_ += 20;
    ASSERT_EQ(connections(), 1U);
    conntrack::job j{conntrack::job::kind::forget, {}};
    ASSERT_TRUE(tracker_->submit(j));
    while (!j.done()) {
        tracker_->maintain(now_);
    }
    EXPECT_EQ(connections(), 0U);
    EXPECT_EQ(store_->limits().used(0), 0U);
}

TEST_F(conntrack_tracker, a_zone_has_no_more_connections_than_it_may)
{
    store_->limits().limit(5, 3);
    store_->limits().limit_others(2);
    const auto fill = [this](std::uint16_t zone) {
        unsigned made = 0;
        for (std::uint16_t i = 0; i < 10; ++i) {
            asking a{udp_frame({client.address, static_cast<std::uint16_t>(3000 + i)}, server),
                     {.zone = zone, .commit = true}};
            track(a);
            EXPECT_EQ(a.request().dropped, made == store_->limits().own_limit(zone).value_or(2));
            if (a.request().dropped) {
                EXPECT_EQ(a.request().reason, drop_reason::ct_zone_full);
            } else {
                ++made;
            }
        }
        return made;
    };
    EXPECT_EQ(fill(5), 3U);
    EXPECT_EQ(fill(6), 2U);
    store_->limits().limit(7, conntrack::zones::unlimited);
    store_->limits().limit(5, std::nullopt);
    EXPECT_EQ(store_->limits().own_limit(5), std::nullopt);
    EXPECT_EQ(store_->limits().used(5), 3U);
}

TEST_F(conntrack_tracker, a_full_table_forgets_what_never_came_about_first)
{
    make({.connections = 8});
    const auto port = [](std::uint16_t i) {
        return end{client.address, static_cast<std::uint16_t>(4000 + i)};
    };
    for (std::uint16_t i = 0; i < 8; ++i) {
        commit(udp_frame(port(i), server));
        if (i != 3) {
            state(udp_frame(server, port(i)));
        }
    }
    EXPECT_EQ(commit(udp_frame(port(8), server)), ct::tracked | ct::fresh);
    EXPECT_EQ(state(udp_frame(server, port(3))), ct::tracked | ct::fresh) << "it went";
    EXPECT_EQ(state(udp_frame(server, port(8))), ct::tracked | ct::established | ct::reply);
    asking a{udp_frame(port(9), server), {.commit = true}};
    track(a);
    EXPECT_TRUE(a.request().dropped);
    EXPECT_EQ(a.request().reason, drop_reason::ct_table_full);
    EXPECT_EQ(connections(), 8U);
    EXPECT_EQ(tracker_->counters.evicted.read(), 1U);
}

TEST_F(conntrack_tracker, a_full_table_forgets_one_of_the_other_family_if_there_is_none_of_its_own)
{
    make({.connections = 8});
    for (std::uint16_t i = 0; i < 8; ++i) {
        commit(udp_frame({client.address, static_cast<std::uint16_t>(4000 + i)}, server));
    }
    EXPECT_EQ(connections(), 8U);
    asking a{udp_frame(client, server, "x", true), {.commit = true}};
    track(a);
    EXPECT_FALSE(a.request().dropped) << "nobody has answered those of IPv4";
    EXPECT_EQ(connections(), 8U);
    EXPECT_EQ(tracker_->counters.evicted.read(), 1U);
}

TEST_F(conntrack_tracker, a_zone_is_flushed_without_a_look_at_all_others)
{
    make({.connections = 100'000});
    for (std::uint16_t i = 0; i < 20'000; ++i) {
        asking a{udp_frame({client.address, static_cast<std::uint16_t>(4000 + i)}, server),
                 {.zone = i == 5 ? 7U : 6U, .commit = true}};
        track(a);
    }
    const auto flush = [this](conntrack::zone_id zone) {
        flow::match of_zone;
        conntrack::put_zone(of_zone.value, zone);
        conntrack::put_zone(of_zone.mask, conntrack::zone_count - 1);
        conntrack::job j{conntrack::job::kind::forget, of_zone};
        EXPECT_TRUE(tracker_->submit(j));
        unsigned turns = 0;
        for (; !j.done(); ++turns) {
            tracker_->maintain(now_);
        }
        EXPECT_TRUE(j.at_end());
        return std::pair{j.count(), turns};
    };
    EXPECT_EQ(flush(8), (std::pair{std::size_t{0}, 1U})) << "there is none";
    EXPECT_EQ(flush(7), (std::pair{std::size_t{1}, 1U})) << "there is none but the one";
    EXPECT_EQ(flush(6).first, 19'999U);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, says_when_it_will_have_something_to_do)
{
    EXPECT_EQ(tracker_->next_look(now_), conntrack::tracker::never);
    commit(udp_frame(client, server));
    const conntrack::seconds_t begun = now_;
    tracker_->maintain(now_);
    EXPECT_EQ(tracker_->next_look(now_), begun + 30);
    now_ += 29;
    tracker_->maintain(now_);
    EXPECT_EQ(tracker_->next_look(now_), begun + 30);
    EXPECT_FALSE(tracker_->is_late(now_));
    now_ += 1;
    EXPECT_TRUE(tracker_->is_late(now_));
    tracker_->maintain(now_);
    EXPECT_FALSE(tracker_->is_late(now_));
    EXPECT_EQ(tracker_->next_look(now_), conntrack::tracker::never);
    EXPECT_EQ(connections(), 0U);
}

TEST_F(conntrack_tracker, many_connections_are_all_found_again)
{
    constexpr std::uint32_t count = 100'000;
    make({.connections = count});
    const auto from = [](std::uint32_t i) {
        return end{0x0b00'0000 + i / 50'000, static_cast<std::uint16_t>(1000 + i % 50'000)};
    };
    for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ(commit(udp_frame(from(i), server, "x", i % 3 == 0)), ct::tracked | ct::fresh);
    }
    EXPECT_EQ(connections(), count);
    for (std::uint32_t i = 0; i < count; ++i) {
        ASSERT_EQ(state(udp_frame(server, from(i), "x", i % 3 == 0)),
                  ct::tracked | ct::established | ct::reply);
    }
    pass(120 + 64);
    for (unsigned i = 0; i < count / 16 && connections() > 0; ++i) {
        tracker_->maintain(now_);
    }
    EXPECT_EQ(connections(), 0U);
}

} // namespace
} // namespace strait::test
