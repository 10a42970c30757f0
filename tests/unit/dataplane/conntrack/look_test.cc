// SPDX-License-Identifier: BSD-3-Clause
// What a tracker says to who only wants to know: what it would say to the packet, and that nothing
// is known afterwards that was not before.
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>

namespace strait::test {
namespace {

namespace ct = conntrack::state;
namespace tcp = conntrack::tcp;
using conntrack::parameters;
using flow::nat;

constexpr end client{0x0a00'0001, 1000};
constexpr end server{0x0a00'0002, 80};
constexpr std::uint32_t outside = 0x0a00'0063;

class conntrack_look : public testing::Test {
protected:
    std::uint32_t track(const frame& f, const parameters& asked = {})
    {
        asking a{f, asked};
        tracker_.track({&a.request(), 1}, now_);
        return a.request().answer.state;
    }
    struct seen {
        conntrack::result answer;
        bool dropped;
        dataplane::drop_reason reason;
        frame bytes;
        std::optional<conntrack::connection_record> connection;
    };
    seen look(const frame& f, const parameters& asked = {})
    {
        asking a{f, asked};
        std::array<conntrack::connection_record, 1> room;
        conntrack::job j{a.request(), room};
        const std::string before = all_counters();
        EXPECT_TRUE(tracker_.submit(j));
        tracker_.maintain(now_);
        EXPECT_TRUE(j.done());
        EXPECT_EQ(all_counters(), before);
        return {a.request().answer, a.request().dropped, a.request().reason, a.bytes(),
                j.count() > 0 ? std::optional{room.front()} : std::nullopt};
    }
    // And what is held.
    std::string all_counters() const
    {
        const auto& c = tracker_.counters;
        std::string out = std::to_string(store_.connections().size());
        for (const auto* const one : {&c.created, &c.ended, &c.evicted, &c.flushed, &c.found,
                                      &c.fresh, &c.invalid, &c.related, &c.translated}) {
            out += " " + std::to_string(one->read());
        }
        return out;
    }

    conntrack::seconds_t now_{1000};
    conntrack::store store_{{}};
    conntrack::tracker tracker_{store_};
};

TEST_F(conntrack_look, finds_what_is_there_and_makes_nothing)
{
    const frame there = udp_frame(client, server);
    const auto none = look(there, {.zone = 3, .commit = true, .mark = 7, .mark_mask = 0xff});
    EXPECT_EQ(none.answer.state, ct::tracked | ct::fresh);
    EXPECT_EQ(none.answer.mark, 7U);
    EXPECT_FALSE(none.connection);
    track(there, {.zone = 3, .commit = true, .mark = 9, .mark_mask = 0xff});
    const auto first = look(there, {.zone = 3});
    EXPECT_EQ(first.answer.state, ct::tracked | ct::fresh);
    EXPECT_EQ(first.answer.mark, 9U);
    ASSERT_TRUE(first.connection);
    EXPECT_EQ(first.connection->original.source_port, client.port);
    const auto back = look(udp_frame(server, client), {.zone = 3});
    EXPECT_EQ(back.answer.state, ct::tracked | ct::established | ct::reply);
    // It was not the answer.
    EXPECT_EQ(look(there, {.zone = 3}).answer.state, ct::tracked | ct::fresh);
    EXPECT_FALSE(look(there, {.zone = 4}).connection);
}

TEST_F(conntrack_look, a_segment_meets_windows_and_moves_none)
{
    track(tcp_packet{client, server, tcp::syn, 100}.build(), {.commit = true});
    track(tcp_packet{server, client, tcp::syn | tcp::ack, 500, 101}.build());
    track(tcp_packet{client, server, tcp::ack, 101, 501}.build());
    const frame fits = tcp_packet{client, server, tcp::ack, 101, 501, 1000, "x"}.build();
    EXPECT_EQ(look(fits).answer.state, ct::tracked | ct::established);
    EXPECT_EQ(look(tcp_packet{client, server, tcp::ack, 0x4000'0000, 501}.build()).answer.state,
              ct::tracked | ct::invalid);
    EXPECT_EQ(look(tcp_packet{client, server, tcp::rst, 101}.build()).answer.state,
              ct::tracked | ct::established);
    EXPECT_EQ(look(fits).connection->tcp, tcp::state::established);
    // As words make it.
    EXPECT_EQ(look(tcp_packet{server, client, 0}.build()).answer.state,
              ct::tracked | ct::established | ct::reply);
    EXPECT_EQ(look(tcp_packet{server, {1, 2}, 0}.build()).answer.state, ct::tracked | ct::fresh);
    EXPECT_EQ(look(tcp_packet{server, {1, 2}, tcp::syn | tcp::fin}.build()).answer.state,
              ct::tracked | ct::invalid);
}

TEST_F(conntrack_look, is_translated_as_the_packet_would_be)
{
    const nat to_outside{
        .which = nat::side::source, .first = flow::wide{outside}, .last = flow::wide{outside}};
    const nat restore{};
    const frame there = udp_frame(client, server);
    const auto fresh = look(there, {.commit = true, .translation = &to_outside});
    EXPECT_EQ(fresh.answer.state, ct::tracked | ct::fresh | ct::source_translated);
    EXPECT_EQ(source_of(fresh.bytes).address, outside);
    EXPECT_TRUE(checksums_fit(fresh.bytes));
    track(there, {.commit = true, .translation = &to_outside});
    const auto known = look(there, {.translation = &restore});
    EXPECT_EQ(source_of(known.bytes).address, outside);
    const auto back = look(udp_frame(server, {outside, client.port}), {.translation = &restore});
    EXPECT_EQ(destination_of(back.bytes), client);
    EXPECT_EQ(back.answer.state,
              ct::tracked | ct::established | ct::reply | ct::destination_translated);
    const auto about =
        look(error_frame(server.address, outside, known.bytes), {.translation = &restore});
    EXPECT_EQ(about.answer.state & (ct::related | ct::invalid), ct::related);
    EXPECT_EQ(destination_of(about.bytes).address, client.address);
}

TEST_F(conntrack_look, an_error_would_mark_its_connection_or_end_it)
{
    const frame there = udp_frame(client, server);
    const frame error = error_frame(server.address, client.address, there);
    track(there, {.commit = true, .mark = 9, .mark_mask = 0xff});
    const auto marking = look(error, {.commit = true, .mark = 0x12, .mark_mask = 0xff});
    EXPECT_EQ(marking.answer.state, ct::tracked | ct::related | ct::reply);
    EXPECT_EQ(marking.answer.mark, 0x12U);
    const auto forced = look(error, {.commit = true, .force = true});
    EXPECT_EQ(forced.answer.state, ct::tracked | ct::invalid);
    EXPECT_FALSE(forced.connection);
    // Nothing was done.
    const auto after = look(error, {});
    EXPECT_EQ(after.answer.state, ct::tracked | ct::related | ct::reply);
    EXPECT_EQ(after.answer.mark, 9U);
}

TEST_F(conntrack_look, is_refused_as_the_packet_would_be)
{
    store_.limits().limit(5, 1);
    track(udp_frame(client, server), {.zone = 5, .commit = true});
    const auto full = look(udp_frame(server, server), {.zone = 5, .commit = true});
    EXPECT_TRUE(full.dropped);
    EXPECT_EQ(full.reason, dataplane::drop_reason::ct_zone_full);
    EXPECT_FALSE(look(udp_frame(client, server), {.zone = 5, .commit = true}).dropped);
    EXPECT_EQ(look(frame(20)).answer.state, ct::tracked | ct::invalid);
    EXPECT_EQ(look(echo_frame(client, server, true)).answer.state, ct::tracked | ct::invalid);
}

} // namespace
} // namespace strait::test
