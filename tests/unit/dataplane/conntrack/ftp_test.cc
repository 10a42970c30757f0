// SPDX-License-Identifier: BSD-3-Clause
// FTP's commands and answers through translation: what each side reads, and how the bytes behind
// are numbered.
#include "tests/unit/dataplane/conntrack/packets.hh"
#include "tests/unit/dataplane/remote_guest.hh"

#include "dataplane/conntrack/tracker.hh"
#include "dataplane/offload.hh"

#include <gtest/gtest.h>

#include <functional>

namespace strait::test {
namespace {

using conntrack::parameters;
using dataplane::drop_reason;
namespace ct = conntrack::state;
namespace tcp = conntrack::tcp;

constexpr end client{0x0a00'0001, 1000};
constexpr end server{0x0a00'0002, 21};
constexpr std::uint32_t seen_as = 0xc0a8'c8c8; // 192.168.200.200

flow::nat to(flow::nat::side which, std::uint32_t address, bool ipv6 = false)
{
    const flow::wide a{ipv6 ? std::uint64_t{0xfd00'0000} << 32 : 0, address};
    return {.which = which, .ipv6 = ipv6, .first = a, .last = a};
}

// What becomes of a packet.
struct passed {
    conntrack::result answer;
    bool dropped{false};
    drop_reason reason{};
    std::vector<frame> frames;

    [[nodiscard]] const frame& one() const
    {
        EXPECT_EQ(frames.size(), 1U);
        return frames.at(0);
    }
};

class conntrack_ftp : public testing::Test {
protected:
    passed send(asking& a)
    {
        tracker_.track({&a.request(), 1}, now_);
        passed out{a.request().answer, a.request().dropped, a.request().reason, {}};
        if (!out.dropped) {
            out.frames = a.sent();
            for (const frame& f : out.frames) {
                EXPECT_TRUE(checksums_fit(f));
                EXPECT_EQ(f.size(), 14 + (ipv6_ ? 40 + get16(f, 18) : get16(f, 16)));
            }
        }
        return out;
    }
    passed send(const frame& f)
    {
        asking a{f, parameters{.translation = &restore_}};
        return send(a);
    }
    // Between an end and how it is seen: the client's side of the switch and the server's.
    void connect(flow::nat::side which, bool ipv6 = false, end from = client)
    {
        ipv6_ = ipv6;
        nat_ = to(which, seen_as, ipv6);
        const bool source = which == flow::nat::side::source;
        client_ = seen_client_ = from;
        server_ = server;
        dialled_ = server;
        if (source) {
            seen_client_ = {seen_as, from.port};
        } else {
            dialled_ = {0x0a00'0063, server.port};
            server_ = {seen_as, server.port};
        }
        asking syn{packet(true, tcp::syn, 99, 0).build(),
                   parameters{.commit = true, .alg = flow::ct::helper::ftp, .translation = &nat_}};
        const passed first = send(syn);
        ASSERT_FALSE(first.dropped);
        seen_client_ = source_of(first.one());
        ASSERT_FALSE(send(packet(false, tcp::syn | tcp::ack, 199, 100).build()).dropped);
        ASSERT_FALSE(send(packet(true, tcp::ack, 100, 200).build()).dropped);
    }
    [[nodiscard]] tcp_packet packet(bool by_client, std::uint8_t flags, std::uint32_t sequence,
                                    std::uint32_t acknowledged, const std::string& data = {}) const
    {
        return {.from = by_client ? client_ : server_,
                .to = by_client ? dialled_ : seen_client_,
                .flags = flags,
                .sequence = sequence,
                .acknowledged = acknowledged,
                .window = 8000,
                .data = data,
                .ipv6 = ipv6_};
    }
    passed client_says(std::uint32_t sequence, const std::string& data,
                       std::uint32_t acknowledged = 200)
    {
        return send(packet(true, tcp::ack, sequence, acknowledged, data).build());
    }
    passed server_says(std::uint32_t sequence, const std::string& data,
                       std::uint32_t acknowledged = 100)
    {
        return send(packet(false, tcp::ack, sequence, acknowledged, data).build());
    }

    conntrack::seconds_t now_{1000};
    conntrack::store store_{{.connections = 1000}};
    conntrack::tracker tracker_{store_};
    const flow::nat restore_{};
    flow::nat nat_;
    bool ipv6_{false};
    end client_;      // as it is,
    end seen_client_; // and as the server sees it
    end server_;
    end dialled_; // the server as the client sees it
};

const std::string port_command = "PORT 10,0,0,1,18,52\r\n";
const std::string port_as_seen = "PORT 192,168,200,200,18,52\r\n";

TEST_F(conntrack_ftp, a_command_has_the_address_that_the_server_sees)
{
    connect(flow::nat::side::source);
    const frame line = client_says(100, port_command).one();
    EXPECT_EQ(data_of(line), port_as_seen);
    EXPECT_EQ(sequence_of(line), 100U);
    EXPECT_EQ(source_of(line), seen_client_);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    const auto seen = static_cast<std::uint32_t>(port_as_seen.size());

    const frame answer = server_says(200, "200 fine\r\n", 100 + seen).one();
    EXPECT_EQ(acknowledged_by(answer), 100 + sent);
    EXPECT_EQ(sequence_of(answer), 200U);
    const frame next = client_says(100 + sent, "LIST\r\n", 210).one();
    EXPECT_EQ(sequence_of(next), 100 + seen);
    EXPECT_EQ(acknowledged_by(next), 210U);
    EXPECT_EQ(acknowledged_by(server_says(210, "", 100 + seen + 6).one()), 100 + sent + 6);

    const end data_client{seen_as, 0x1234};
    asking data{tcp_packet{{server.address, 20}, data_client, tcp::syn, 7}.build(),
                parameters{.commit = true, .translation = &restore_}};
    const passed begun = send(data);
    EXPECT_EQ(begun.answer.state & (ct::related | ct::fresh), ct::related | ct::fresh);
    EXPECT_EQ(destination_of(begun.one()), (end{client.address, 0x1234}));
}

TEST_F(conntrack_ftp, an_answer_has_the_address_that_was_dialled)
{
    connect(flow::nat::side::destination);
    const std::string said = "227 Entering Passive Mode (192,168,200,200,200,1).\r\n";
    const std::string read = "227 Entering Passive Mode (10,0,0,99,200,1).\r\n";
    const frame line = server_says(200, said).one();
    EXPECT_EQ(data_of(line), read);
    EXPECT_EQ(source_of(line), dialled_);
    const auto sent = static_cast<std::uint32_t>(said.size());
    const auto seen = static_cast<std::uint32_t>(read.size());
    EXPECT_EQ(acknowledged_by(client_says(100, "STOR x\r\n", 200 + seen).one()), 200 + sent);
    EXPECT_EQ(sequence_of(server_says(200 + sent, "150 go\r\n", 108).one()), 200 + seen);

    asking data{tcp_packet{{client.address, 4000}, {dialled_.address, 51'201}, tcp::syn, 7}.build(),
                parameters{.commit = true, .translation = &restore_}};
    const passed begun = send(data);
    EXPECT_EQ(begun.answer.state & ct::related, ct::related);
    EXPECT_EQ(destination_of(begun.one()), (end{seen_as, 51'201}));
}

TEST_F(conntrack_ftp, the_extended_command_is_rewritten_for_both_families)
{
    connect(flow::nat::side::source, true);
    EXPECT_EQ(data_of(client_says(100, "EPRT |2|fd00::a00:1|5282|\r\n").one()),
              "EPRT |2|fd00::c0a8:c8c8|5282|\r\n");
    connect(flow::nat::side::source, false, {client.address, 1001});
    EXPECT_EQ(data_of(client_says(100, "EPRT !1!10.0.0.1!5282!\r\n").one()),
              "EPRT |1|192.168.200.200|5282|\r\n");
}

TEST_F(conntrack_ftp, what_has_no_address_stays_as_it_is)
{
    connect(flow::nat::side::destination, true);
    const std::string said = "229 Entering Extended Passive Mode (|||6446|)\r\n";
    EXPECT_EQ(data_of(server_says(200, said).one()), said);
    asking data{
        tcp_packet{
            {client.address, 4000}, {dialled_.address, 6446}, tcp::syn, 7, 0, 1000, "", {}, true}
            .build(),
        parameters{.commit = true, .translation = &restore_}};
    EXPECT_EQ(destination_of(send(data).one()), (end{seen_as, 6446}));
}

TEST_F(conntrack_ftp, what_is_sent_again_reads_the_same)
{
    connect(flow::nat::side::source);
    const frame first = client_says(100, port_command).one();
    EXPECT_EQ(client_says(100, port_command).one(), first);
    asking data{tcp_packet{{server.address, 20}, {seen_as, 0x1234}, tcp::syn, 7}.build(),
                parameters{.commit = true, .translation = &restore_}};
    EXPECT_FALSE(send(data).dropped);
    EXPECT_EQ(client_says(100, port_command).one(), first) << "it has come already";
    // In other pieces, and with what comes behind.
    const frame head = client_says(100, port_command.substr(0, 9)).one();
    const frame tail = client_says(109, port_command.substr(9) + "LIST\r\n").one();
    EXPECT_EQ(sequence_of(head), 100U);
    EXPECT_EQ(sequence_of(tail), 100 + data_of(head).size());
    EXPECT_EQ(data_of(head) + data_of(tail), port_as_seen + "LIST\r\n");
}

TEST_F(conntrack_ftp, a_second_look_at_a_packet_changes_nothing)
{
    connect(flow::nat::side::source);
    asking a{packet(true, tcp::ack, 100, 200, port_command).build()};
    send(a); // without translation: that comes behind
    a.ask({.translation = &restore_});
    EXPECT_EQ(data_of(send(a).one()), port_as_seen);
    a.ask({.translation = &restore_});
    EXPECT_EQ(data_of(send(a).one()), port_as_seen);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    const auto seen = static_cast<std::uint32_t>(port_as_seen.size());
    asking b{packet(true, tcp::ack, 100 + sent, 200).build(), {.translation = &restore_}};
    EXPECT_EQ(sequence_of(send(b).one()), 100 + seen);
    b.ask({.translation = &restore_});
    EXPECT_EQ(sequence_of(send(b).one()), 100 + seen);
}

TEST_F(conntrack_ftp, what_was_received_out_of_order_is_told_in_the_senders_numbers)
{
    connect(flow::nat::side::source);
    EXPECT_FALSE(client_says(100, port_command).dropped);
    const auto seen = static_cast<std::uint32_t>(port_as_seen.size());
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    EXPECT_FALSE(client_says(100 + sent, std::string(300, 'n')).dropped);
    for (const std::size_t odd : {0U, 1U}) {
        tcp_packet p = packet(false, tcp::ack, 200, 100);
        p.options.assign(odd, 1);
        p.options.insert(p.options.end(), {5, 10});
        for (const std::uint32_t edge : {100 + seen + 50, 100 + seen + 90}) {
            for (const unsigned shift : {24U, 16U, 8U, 0U}) {
                p.options.push_back(static_cast<std::uint8_t>(edge >> shift));
            }
        }
        p.options.resize((p.options.size() + 3) / 4 * 4, 0);
        const frame f = send(p.build()).one();
        EXPECT_EQ(get32(f, 14 + 40 + odd + 2), 100 + sent + 50);
        EXPECT_EQ(get32(f, 14 + 40 + odd + 6), 100 + sent + 90);
    }
    // Of what nobody has sent nobody can have got any: the window is the sender's.
    tcp_packet lie = packet(false, tcp::ack, 200, 100 + seen + 301);
    EXPECT_EQ(send(lie.build()).answer.state, ct::tracked | ct::invalid);
}

TEST_F(conntrack_ftp, urgent_data_stays_where_it_is)
{
    connect(flow::nat::side::source);
    frame f = packet(true, tcp::ack | tcp::urg, 100, 200, port_command).build();
    put16(f, 14 + 20 + 18, static_cast<unsigned>(port_command.size()));
    put16(f, 14 + 20 + 16, 0);
    unsigned sum = plain_sum(f, 34, f.size()) + ip_frame::pseudo_sum(f, 14, false, 34, 6);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(f, 14 + 20 + 16, 0xffff ^ sum);
    const frame out = send(f).one();
    EXPECT_EQ(get16(out, 14 + 20 + 18), port_as_seen.size());
}

TEST_F(conntrack_ftp, a_blank_checksum_stays_to_be_filled)
{
    connect(flow::nat::side::source);
    asking a{packet(true, tcp::ack, 100, 200, port_command).build(), {.translation = &restore_}};
    ASSERT_EQ(dataplane::leave_unfinished(*a.request().p, 0), dataplane::offload_fault::none);
    tracker_.track({&a.request(), 1}, now_);
    EXPECT_FALSE(a.request().p->offload.empty());
    const frame f = a.sent().at(0);
    EXPECT_EQ(data_of(f), port_as_seen);
    EXPECT_TRUE(checksums_fit(f));
    // Numbers alone.
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    asking b{packet(true, tcp::ack, 100 + sent, 200, "LIST\r\n").build(),
             {.translation = &restore_}};
    ASSERT_EQ(dataplane::leave_unfinished(*b.request().p, 0), dataplane::offload_fault::none);
    EXPECT_EQ(sequence_of(send(b).one()), 100 + port_as_seen.size());
}

TEST_F(conntrack_ftp, a_large_one_is_still_cut_and_what_outgrows_its_segment_is_cut_too)
{
    connect(flow::nat::side::source);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    const auto whole = [](const passed& p) {
        std::string all;
        std::uint32_t next = sequence_of(p.frames.at(0));
        for (const frame& f : p.frames) {
            EXPECT_EQ(sequence_of(f), next);
            all += data_of(f);
            next += static_cast<std::uint32_t>(data_of(f).size());
        }
        return all;
    };
    const std::string much(3000, 'x');
    asking a{packet(true, tcp::ack, 100, 200, port_command + much).build(),
             {.translation = &restore_}};
    ASSERT_EQ(dataplane::leave_unfinished(*a.request().p, 1000), dataplane::offload_fault::none);
    const passed large = send(a);
    EXPECT_EQ(large.frames.size(), 4U);
    EXPECT_EQ(whole(large), port_as_seen + much);

    // As long as its sender's segments may be: longer ones might not pass.
    connect(flow::nat::side::source, false, {client.address, 1002});
    const std::string fill(1460 - sent, 'y');
    const passed grown = client_says(100, port_command + fill);
    EXPECT_EQ(grown.frames.size(), 2U);
    for (const frame& f : grown.frames) {
        EXPECT_LE(data_of(f).size(), 1460U);
    }
    EXPECT_EQ(whole(grown), port_as_seen + fill);
    // Short ones fit everywhere.
    connect(flow::nat::side::source, false, {client.address, 1003});
    EXPECT_EQ(client_says(100, port_command + std::string(400, 'z')).frames.size(), 1U);
}

TEST_F(conntrack_ftp, what_is_behind_the_packet_in_its_frame_stays_behind)
{
    connect(flow::nat::side::source);
    frame f = packet(true, tcp::ack, 100, 200, port_command).build();
    f.resize(f.size() + 6, 0xee);
    EXPECT_EQ(data_of(send(f).one()), port_as_seen);
}

TEST_F(conntrack_ftp, a_damaged_command_is_not_believed)
{
    connect(flow::nat::side::source);
    frame f = packet(true, tcp::ack, 100, 200, port_command).build();
    f.at(f.size() - 3) ^= 1U; // its port
    const passed damaged = send(f);
    EXPECT_TRUE(damaged.dropped);
    EXPECT_EQ(damaged.reason, drop_reason::ct_payload);
    EXPECT_EQ(data_of(client_says(100, port_command).one()), port_as_seen) << "it comes again";
    // Behind it, a wrong checksum stays as wrong as it was.
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    frame later = packet(true, tcp::ack, 100 + sent, 200, "LIST\r\n").build();
    later.back() ^= 1U;
    asking a{later, {.translation = &restore_}};
    tracker_.track({&a.request(), 1}, now_);
    EXPECT_FALSE(a.request().dropped);
    EXPECT_FALSE(checksums_fit(a.bytes()));
}

TEST_F(conntrack_ftp, what_comes_before_something_else_has_to_come_again)
{
    connect(flow::nat::side::source);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    const passed early = client_says(106, port_command);
    EXPECT_TRUE(early.dropped);
    EXPECT_EQ(early.reason, drop_reason::ct_payload);
    EXPECT_FALSE(client_says(106 + sent, "").dropped) << "it only acknowledges";
    EXPECT_FALSE(client_says(100, "NOOP\r\n").dropped);
    EXPECT_EQ(data_of(client_says(106, port_command).one()), port_as_seen);
    // What the server says of itself is never changed: it comes in whatever order.
    EXPECT_FALSE(server_says(300, "200 fine\r\n").dropped);
    EXPECT_FALSE(server_says(200, std::string(100, 's')).dropped);
}

TEST_F(conntrack_ftp, some_may_be_on_their_way_and_further_ones_come_again)
{
    connect(flow::nat::side::source);
    std::uint32_t at = 100;
    std::uint32_t there = 100;
    for (std::size_t i = 0; i < conntrack::stream_edits::most; ++i) {
        const frame f = client_says(at, port_command).one();
        EXPECT_EQ(sequence_of(f), there);
        EXPECT_EQ(data_of(f), port_as_seen);
        at += static_cast<std::uint32_t>(port_command.size());
        there += static_cast<std::uint32_t>(port_as_seen.size());
    }
    EXPECT_TRUE(client_says(at, port_command).dropped);
    EXPECT_FALSE(
        server_says(200, "", 100 + static_cast<std::uint32_t>(port_as_seen.size())).dropped);
    const frame f = client_says(at, port_command).one();
    EXPECT_EQ(sequence_of(f), there);
    EXPECT_EQ(data_of(f), port_as_seen);
}

TEST_F(conntrack_ftp, two_that_share_an_address_and_announce_the_same_port_do_not_meet)
{
    connect(flow::nat::side::source);
    EXPECT_EQ(data_of(client_says(100, port_command).one()), port_as_seen);
    const end other{0x0a00'0007, 1000};
    connect(flow::nat::side::source, false, other);
    const std::string line = data_of(client_says(100, "PORT 10,0,0,7,18,52\r\n").one());
    unsigned high = 0;
    unsigned low = 0;
    ASSERT_EQ(std::sscanf(line.c_str(), "PORT 192,168,200,200,%u,%u\r\n", &high, &low), 2) << line;
    const auto port = static_cast<std::uint16_t>(high << 8 | low);
    EXPECT_NE(port, 0x1234);
    EXPECT_GE(port, 1024);
    EXPECT_EQ(data_of(client_says(100, "PORT 10,0,0,7,18,52\r\n").one()), line) << "sent again";
    const auto begin = [this](std::uint16_t to_port) {
        asking data{tcp_packet{{server.address, 20}, {seen_as, to_port}, tcp::syn, 7}.build(),
                    parameters{.commit = true, .translation = &restore_}};
        return destination_of(send(data).one());
    };
    EXPECT_EQ(begin(0x1234), (end{client.address, 0x1234}));
    EXPECT_EQ(begin(port), (end{other.address, 0x1234}));
}

TEST_F(conntrack_ftp, fragments_of_what_may_have_to_be_changed_do_not_pass)
{
    connect(flow::nat::side::source);
    frame f = packet(true, tcp::ack, 100, 200, port_command).build();
    put16(f, 14 + 6, 0x2000); // more follow
    put16(f, 14 + 10, 0);
    put16(f, 14 + 10, 0xffff ^ plain_sum(f, 14, 34));
    f.resize(14 + 20 + 24 + 16);
    put16(f, 14 + 2, 20 + 40);
    put16(f, 14 + 10, 0);
    put16(f, 14 + 10, 0xffff ^ plain_sum(f, 14, 34));
    const passed p = send(f);
    EXPECT_TRUE(p.dropped);
    EXPECT_EQ(p.reason, drop_reason::ct_payload);
}

TEST_F(conntrack_ftp, what_cannot_be_written_does_not_pass)
{
    connect(flow::nat::side::source);
    const auto lacking = [this](const std::function<void(asking&)>& what) {
        asking a{packet(true, tcp::ack, 100, 200, port_command).build(),
                 {.translation = &restore_}};
        what(a);
        const passed p = send(a);
        EXPECT_EQ(p.reason, drop_reason::ct_payload);
        return p.dropped;
    };
    EXPECT_TRUE(lacking([](asking& a) { a.request().payload = nullptr; }));
    EXPECT_TRUE(lacking([](asking& a) {
        a.request().payload->bytes_used = a.request().payload->bytes.size() - 4;
    }));
    EXPECT_TRUE(lacking([](asking& a) {
        a.request().payload->segments_used = dataplane::burst::segment_capacity;
    }));
    EXPECT_FALSE(lacking([](asking& a) { a.request().reason = drop_reason::ct_payload; }))
        << "nothing is missing";
    // Longer than IP can say.
    connect(flow::nat::side::source, false, {client.address, 1002});
    asking a{packet(true, tcp::ack, 100, 200, port_command + std::string(65'470, 'x')).build(),
             {.translation = &restore_}};
    ASSERT_EQ(dataplane::leave_unfinished(*a.request().p, 1460), dataplane::offload_fault::none);
    EXPECT_TRUE(send(a).dropped);
}

TEST_F(conntrack_ftp, a_connection_from_the_middle_has_nothing_rewritten)
{
    nat_ = to(flow::nat::side::source, seen_as);
    client_ = client;
    dialled_ = server;
    asking first{packet(true, tcp::ack, 100, 200, port_command).build(),
                 parameters{.commit = true, .alg = flow::ct::helper::ftp, .translation = &nat_}};
    EXPECT_TRUE(send(first).dropped) << "nobody knows what the server has of it";
}

TEST_F(conntrack_ftp, a_message_about_a_segment_has_its_senders_number)
{
    connect(flow::nat::side::source);
    EXPECT_FALSE(client_says(100, port_command).dropped);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    const frame next = client_says(100 + sent, "LIST\r\n").one();
    const frame error = send(error_frame(0x0a00'0077, seen_as, next)).one();
    EXPECT_EQ(destination_of(error).address, client.address);
    const frame about = embedded_in(error);
    EXPECT_EQ(get32(about, 20 + 4), 100 + sent);
    // One with the ports alone has none: what lies behind it is no part of it.
    asking cut{error_frame(0x0a00'0077, seen_as, {next.begin(), next.begin() + 14 + 20 + 4}),
               {.translation = &restore_}};
    dataplane::packet_slot& slot = *cut.request().p;
    slot.data[slot.length + 3] = std::byte{200};
    EXPECT_EQ(embedded_in(send(cut).one()).size(), 24U);
    EXPECT_EQ(slot.data[slot.length + 3], std::byte{200});
}

TEST_F(conntrack_ftp, headers_that_are_not_all_in_the_head_are_not_rewritten)
{
    connect(flow::nat::side::source);
    EXPECT_FALSE(client_says(100, port_command).dropped);
    const auto sent = static_cast<std::uint32_t>(port_command.size());
    tcp_packet p = packet(true, tcp::ack, 100 + sent, 200, "LIST\r\n");
    p.options.assign(12, 1);
    asking a{p.build(), {.translation = &restore_}};
    dataplane::packet_slot& slot = *a.request().p;
    slot.head_length = 14 + 40 + 4;
    const dataplane::guest_span rest{slot.data + slot.head_length, slot.length - slot.head_length};
    slot.segments = &rest;
    slot.segment_count = 1;
    EXPECT_TRUE(send(a).dropped);
}

TEST_F(conntrack_ftp, a_frame_that_is_shorter_than_it_says_announces_nothing)
{
    connect(flow::nat::side::destination); // what the client says stays
    frame f = packet(true, tcp::ack, 100, 200, "PORT 10,0,0,1,18,52\r\nmore").build();
    f.resize(f.size() - 4);
    asking cut{f, {.translation = &restore_}};
    tracker_.track({&cut.request(), 1}, now_);
    asking data{tcp_packet{{seen_as, 20}, {client.address, 0x1234}, tcp::syn, 7}.build()};
    EXPECT_EQ(send(data).answer.state & ct::related, 0U);
    EXPECT_FALSE(client_says(100, "PORT 10,0,0,1,18,52\r\nmore").dropped);
    asking later{tcp_packet{{seen_as, 20}, {client.address, 0x1234}, tcp::syn, 7}.build()};
    EXPECT_EQ(send(later).answer.state & ct::related, ct::related);
}

TEST_F(conntrack_ftp, a_payload_in_memory_that_is_not_ours_is_read_and_rewritten)
{
    start_eal();
    const pool_ptr pool = make_pool(16);
    conntrack::tracker with_pool{store_, 0, pool.get()};
    connect(flow::nat::side::source);
    remote_guest guest;
    const std::string much = port_command + std::string(200, 'r');
    remote_packet p{guest, packet(true, tcp::ack, 100, 200, much).build(), 100};
    asking a{packet(true, tcp::ack, 100, 200, much).build(), {.translation = &restore_}};
    static_cast<dataplane::packet&>(*a.request().p) = p.get();
    with_pool.track({&a.request(), 1}, now_);
    ASSERT_FALSE(a.request().dropped);
    EXPECT_EQ(data_of(a.sent().at(0)), port_as_seen + std::string(200, 'r'));
    EXPECT_GT(a.request().p->destinations, 1U) << "its mbuf is not what it says";
    rte_pktmbuf_free(a.request().p->mbuf);
    EXPECT_EQ(rte_mempool_avail_count(pool.get()), 16U);
}

TEST_F(conntrack_ftp, both_sides_may_begin_anew)
{
    connect(flow::nat::side::source);
    EXPECT_FALSE(client_says(100, port_command).dropped);
    EXPECT_EQ(sequence_of(send(packet(true, tcp::syn, 7'000'000, 0).build()).one()), 7'000'000U);
    EXPECT_FALSE(send(packet(false, tcp::syn | tcp::ack, 9'000'000, 7'000'001).build()).dropped);
    EXPECT_EQ(sequence_of(send(packet(true, tcp::ack, 7'000'001, 9'000'001).build()).one()),
              7'000'001U);
    EXPECT_EQ(data_of(client_says(7'000'001, port_command, 9'000'001).one()), port_as_seen);
}

TEST_F(conntrack_ftp, room_for_changes_is_given_back)
{
    for (std::uint16_t i = 0; i < 3 * store_.edits().capacity(); ++i) {
        connect(flow::nat::side::source, false,
                {client.address, static_cast<std::uint16_t>(2000 + i)});
        ASSERT_EQ(data_of(client_says(100, port_command).one()), port_as_seen) << i;
        now_ += 100'000; // its time is over
        for (int turn = 0; turn < 4; ++turn) {
            tracker_.maintain(now_);
        }
    }
    std::uint16_t port = 2000;
    const auto changes = [&] {
        connect(flow::nat::side::source, false, {client.address, ++port});
        const passed p = client_says(100, port_command);
        return !p.dropped;
    };
    std::size_t made = 0;
    while (made < 2 * store_.edits().capacity() && changes()) {
        ++made;
    }
    EXPECT_EQ(made, store_.edits().capacity()) << "and bounded";
}

} // namespace
} // namespace strait::test
