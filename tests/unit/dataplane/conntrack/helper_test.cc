// SPDX-License-Identifier: BSD-3-Clause
// Connections that others announce (FTP's, TFTP's), and datagrams in fragments.
#include "tests/unit/dataplane/conntrack/packets.hh"

#include "dataplane/conntrack/tracker.hh"

#include <gtest/gtest.h>

namespace strait::test {
namespace {

using conntrack::parameters;
using conntrack::result;
using dataplane::drop_reason;
using helper = flow::ct::helper;
namespace ct = conntrack::state;
namespace tcp = conntrack::tcp;

constexpr end client{0x0a00'0001, 1000};
constexpr end server{0x0a00'0002, 21};
constexpr std::uint32_t answered = ct::tracked | ct::established | ct::reply;

class conntrack_helper : public testing::Test {
protected:
    result ask(const frame& f, const parameters& asked = {})
    {
        asking a{f, asked};
        tracker_.track({&a.request(), 1}, now_);
        dropped_ = a.request().dropped;
        reason_ = a.request().reason;
        bytes_ = a.bytes();
        return a.request().answer;
    }
    std::uint32_t state(const frame& f, const parameters& asked = {})
    {
        return ask(f, asked).state;
    }
    // A control connection, up to where the client may speak.
    void connect(const flow::nat* nat = nullptr, bool ipv6 = false)
    {
        parameters asked{.commit = true, .alg = helper::ftp, .translation = nat};
        asked.mark = 7;
        asked.mark_mask = 0xff;
        ask({tcp_packet{
                .from = client, .to = server, .flags = tcp::syn, .sequence = 99, .ipv6 = ipv6}
                 .build()},
            asked);
        const end seen = source_of(bytes_);
        state(tcp_packet{.from = server,
                         .to = seen,
                         .flags = tcp::syn | tcp::ack,
                         .sequence = 199,
                         .acknowledged = 100,
                         .ipv6 = ipv6}
                  .build(),
              {.translation = nat});
        state(tcp_packet{.from = client,
                         .to = server,
                         .flags = tcp::ack,
                         .sequence = 100,
                         .acknowledged = 200,
                         .ipv6 = ipv6}
                  .build(),
              {.translation = nat});
    }
    void client_says(const std::string& line, const flow::nat* nat = nullptr, bool ipv6 = false)
    {
        ask(tcp_packet{.from = client,
                       .to = server,
                       .flags = tcp::ack,
                       .sequence = 100,
                       .acknowledged = 200,
                       .data = line,
                       .ipv6 = ipv6}
                .build(),
            {.translation = nat});
    }
    void server_says(const std::string& line, const flow::nat* nat = nullptr, bool ipv6 = false)
    {
        ask(tcp_packet{.from = server,
                       .to = client,
                       .flags = tcp::ack,
                       .sequence = 200,
                       .acknowledged = 100,
                       .data = line,
                       .ipv6 = ipv6}
                .build(),
            {.translation = nat});
    }
    static frame syn(end from, end to, bool ipv6 = false)
    {
        return tcp_packet{.from = from, .to = to, .flags = tcp::syn, .sequence = 5, .ipv6 = ipv6}
            .build();
    }

    conntrack::seconds_t now_{1000};
    conntrack::store store_{{.connections = 1000}};
    conntrack::tracker tracker_{store_};
    bool dropped_{false};
    drop_reason reason_{};
    frame bytes_;
};

TEST_F(conntrack_helper, a_port_that_the_client_names_is_expected_from_the_server)
{
    connect();
    const frame data = syn({server.address, 20}, {client.address, 0x1234});
    EXPECT_EQ(state(data), ct::tracked | ct::fresh) << "nobody has said so yet";
    client_says("PORT 10,0,0,1,18,52\r\n");
    EXPECT_FALSE(dropped_);
    const result a = ask(data, {.commit = true});
    EXPECT_EQ(a.state, ct::tracked | ct::fresh | ct::related);
    EXPECT_EQ(a.mark, 7U) << "as the control connection has it";
    EXPECT_EQ(
        state(tcp_packet{{client.address, 0x1234}, {server.address, 20}, tcp::syn | tcp::ack, 50, 6}
                  .build()),
        answered | ct::related);
    EXPECT_EQ(state(syn({server.address, 22}, {client.address, 0x1234})), ct::tracked | ct::fresh)
        << "once";
}

TEST_F(conntrack_helper, a_port_that_the_server_names_is_expected_from_the_client)
{
    connect();
    server_says("227 Entering Passive Mode (10,0,0,2,200,1).\r\n");
    EXPECT_EQ(state(syn({client.address, 4000}, {server.address, 200 * 256 + 1})),
              ct::tracked | ct::fresh | ct::related);
    EXPECT_EQ(state(syn({client.address + 9, 4000}, {server.address, 200 * 256 + 1})),
              ct::tracked | ct::fresh)
        << "from nobody else";
}

TEST_F(conntrack_helper, the_extended_commands_are_understood_for_both_families)
{
    connect(nullptr, true);
    client_says("EPRT |2|fd00::a00:1|5282|\r\n", nullptr, true);
    EXPECT_EQ(state(syn({server.address, 20}, {client.address, 5282}, true)),
              ct::tracked | ct::fresh | ct::related);
    server_says("229 Entering Extended Passive Mode (|||6446|)\r\n", nullptr, true);
    EXPECT_EQ(state(syn({client.address, 77}, {server.address, 6446}, true)),
              ct::tracked | ct::fresh | ct::related);
}

TEST_F(conntrack_helper, what_is_said_of_others_or_of_services_or_halfway_is_not_believed)
{
    connect();
    for (const char* const line :
         {"PORT 10,0,0,9,18,52\r\n", "PORT 10,0,0,1,0,22\r\n", "PORT 10,0,0,1,18,52",
          "PORT 10,0,0,1,18\r\n", "PORT 10,0,0,1,18,256\r\n", "EPRT |2|10.0.0.1|4660|\r\n",
          "EPRT |1|10.0.0.1|466000|\r\n", "EPRT |1|10.0.0.1|4660\r\n", "XPORT 10,0,0,1,18,52\r\n",
          "227 Entering Passive Mode (10,0,0,1,18,52).\r\n"}) {
        client_says(line);
    }
    EXPECT_EQ(state(syn({server.address, 20}, {client.address, 0x1234})), ct::tracked | ct::fresh);
    EXPECT_EQ(state(syn({server.address, 20}, {client.address, 22})), ct::tracked | ct::fresh);
    EXPECT_EQ(state(syn({server.address, 20}, {0x0a00'0009, 0x1234})), ct::tracked | ct::fresh);
}

TEST_F(conntrack_helper, nobody_listens_without_alg)
{
    ask(syn(client, server), {.commit = true});
    client_says("PORT 10,0,0,1,18,52\r\n");
    EXPECT_EQ(state(syn({server.address, 20}, {client.address, 0x1234})), ct::tracked | ct::fresh);
}

TEST_F(conntrack_helper, an_announcement_is_forgotten_in_time)
{
    connect();
    client_says("PORT 10,0,0,1,18,52\r\n");
    now_ += 300;
    EXPECT_EQ(state(syn({server.address, 20}, {client.address, 0x1234})), ct::tracked | ct::fresh);
}

TEST_F(conntrack_helper, a_passive_connection_is_translated_as_its_control_connection_is)
{
    const flow::nat outside{
        .which = flow::nat::side::source, .first = 0x0c00'0001, .last = 0x0c00'0001};
    connect(&outside);
    const frame line = tcp_packet{.from = server,
                                  .to = {0x0c00'0001, client.port},
                                  .flags = tcp::ack,
                                  .sequence = 200,
                                  .acknowledged = 100,
                                  .data = "227 Entering Passive Mode (10,0,0,2,200,1).\r\n"}
                           .build();
    EXPECT_EQ(state(line, {.translation = &outside}), answered | ct::destination_translated);
    EXPECT_FALSE(dropped_);
    const flow::nat restore{};
    EXPECT_EQ(state(syn({client.address, 4000}, {server.address, 51'201}),
                    {.commit = true, .translation = &restore}),
              ct::tracked | ct::fresh | ct::related | ct::source_translated);
    EXPECT_EQ(source_of(bytes_), (end{0x0c00'0001, 4000}));
    EXPECT_TRUE(checksums_fit(bytes_));
}

TEST_F(conntrack_helper, a_request_of_tftp_is_answered_from_another_port)
{
    const end asker{client.address, 3333};
    const end at{server.address, 69};
    const std::string request{"\0\1file\0octet\0", 13};
    EXPECT_EQ(state(udp_frame(asker, at, request), {.commit = true, .alg = helper::tftp}),
              ct::tracked | ct::fresh);
    EXPECT_EQ(state(udp_frame({server.address, 40'000}, asker), {.commit = true}),
              ct::tracked | ct::fresh | ct::related);
    EXPECT_EQ(state(udp_frame(asker, {server.address, 40'000})), answered | ct::related);
    EXPECT_EQ(state(udp_frame({server.address + 1, 40'000}, asker)), ct::tracked | ct::fresh);
}

class conntrack_fragments : public conntrack_helper {
protected:
    static constexpr std::uint16_t more = 0x2000;
    // Bytes [at, at + size) of a datagram; the first has UDP's header in it.
    static frame fragment(std::uint16_t at, std::uint16_t size, bool last, std::uint16_t id = 1,
                          end from = client)
    {
        datagram d{.from = from, .to = {server.address, 53}, .protocol = 17};
        d.content.assign(size, 0x55);
        d.place = static_cast<std::uint16_t>(at / 8 | (last ? 0 : more));
        d.identifier = id;
        return d.build();
    }
    bool refused(const frame& f)
    {
        state(f);
        return dropped_ && reason_ == drop_reason::ct_fragment;
    }
};

TEST_F(conntrack_fragments, later_ones_are_of_the_first_ones_connection)
{
    EXPECT_EQ(state(fragment(0, 64, false), {.commit = true}), ct::tracked | ct::fresh);
    EXPECT_EQ(state(fragment(64, 64, false)), ct::tracked | ct::fresh);
    const result a = ask(fragment(128, 10, true));
    EXPECT_EQ(a.state, ct::tracked | ct::fresh);
    EXPECT_EQ(a.source_port, client.port);
    EXPECT_EQ(a.destination_port, 53);
    EXPECT_EQ(store_.connections().size(), 1U);
    EXPECT_EQ(state(udp_frame({server.address, 53}, client)), answered);
    EXPECT_EQ(state(fragment(0, 64, false, 2)), ct::tracked | ct::established);
    EXPECT_EQ(state(fragment(64, 64, true, 2)), ct::tracked | ct::established);
}

TEST_F(conntrack_fragments, without_the_first_one_there_is_no_connection)
{
    EXPECT_TRUE(refused(fragment(64, 64, true)));
    EXPECT_FALSE(refused(fragment(0, 64, false)));
    EXPECT_TRUE(refused(fragment(64, 64, true, 7))) << "another datagram's";
    now_ += 31;
    EXPECT_TRUE(refused(fragment(64, 64, true))) << "too late";
}

TEST_F(conntrack_fragments, what_overlaps_is_refused)
{
    EXPECT_FALSE(refused(fragment(0, 64, false)));
    EXPECT_TRUE(refused(fragment(0, 64, false))) << "twice";
    EXPECT_TRUE(refused(fragment(8, 8, false))) << "the ports would be others";
    EXPECT_TRUE(refused(fragment(56, 64, false)));
    EXPECT_FALSE(refused(fragment(128, 64, false)));
    EXPECT_TRUE(refused(fragment(64, 72, false)));
    EXPECT_TRUE(refused(fragment(72, 8, true))) << "the last one, but something is behind it";
    EXPECT_FALSE(refused(fragment(192, 8, true)));
    EXPECT_TRUE(refused(fragment(200, 8, false))) << "behind the last";
    EXPECT_FALSE(refused(fragment(64, 64, false)));
    EXPECT_TRUE(refused(fragment(64, 64, false)));
}

TEST_F(conntrack_fragments, sizes_that_cannot_be_are_refused)
{
    EXPECT_TRUE(refused(fragment(0, 63, false))) << "not a multiple of 8";
    EXPECT_FALSE(refused(fragment(0, 64, false)));
    EXPECT_TRUE(refused(fragment(65'528, 64, true))) << "longer than a datagram can be";
    EXPECT_TRUE(refused(fragment(64, 0, true)));
}

TEST_F(conntrack_fragments, addresses_of_all_are_translated)
{
    const flow::nat n{.which = flow::nat::side::source, .first = 0x0c00'0001, .last = 0x0c00'0001};
    ask(fragment(0, 64, false), {.commit = true, .translation = &n});
    EXPECT_EQ(source_of(bytes_).address, 0x0c00'0001U);
    ask(fragment(64, 64, true), {.translation = &n});
    EXPECT_FALSE(dropped_);
    EXPECT_EQ(source_of(bytes_).address, 0x0c00'0001U);
}

TEST_F(conntrack_fragments, many_datagrams_at_once_cost_no_more_than_there_is_room_for)
{
    for (std::uint16_t id = 1; id < 20'000; ++id) {
        EXPECT_FALSE(refused(fragment(0, 64, false, id)));
    }
    unsigned known = 0;
    for (std::uint16_t id = 1; id < 20'000; ++id) {
        known += refused(fragment(64, 8, true, id)) ? 0U : 1U;
    }
    EXPECT_LE(known, 1024U);
    EXPECT_GT(known, 512U);
}

} // namespace
} // namespace strait::test
