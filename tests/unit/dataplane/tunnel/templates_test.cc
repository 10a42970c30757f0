// SPDX-License-Identifier: BSD-3-Clause
// Packets of one list, most of which get, or lose, the outer headers of the one before, beside the
// same packets each in a list of its own: the bytes, the ports, what flows see and what is counted
// are the same.
#include "tests/soak.hh"
#include "tests/unit/dataplane/tunnel/carrier_lab.hh"
#include "tests/unit/sanitizers.hh"

#include <map>
#include <random>
#include <string>

namespace strait::tunnel {
namespace {

const int laps = test::fewer_if(test::address_sanitizer, 3000, 1000);

class templates : public carrier_of_vxlan {
protected:
    templates() { know(1); }

    struct outcome {
        std::vector<std::pair<port_index, frame>> frames;
        std::vector<notes::words> words;
        std::vector<std::uint64_t> counts;
    };
    std::vector<std::uint64_t> counts() const
    {
        std::vector<std::uint64_t> all;
        for (const port_counters& c : counters_) {
            for (const auto* one : {&c.rx_packets, &c.rx_bytes, &c.tx_packets, &c.tx_bytes}) {
                all.push_back(one->read());
            }
            for (const auto& one : c.drops) {
                all.push_back(one.read());
            }
        }
        return all;
    }
    void add(outcome& o, const std::vector<out>& came)
    {
        for (const out& each : came) {
            o.frames.emplace_back(each.from, each.bytes);
            o.words.push_back(carrier_.notes().at(each.note));
        }
    }
    struct sent {
        frame bytes;
        std::uint16_t destinations{1};
        bool by_flow{false}; // a flow has set the tunnel's key
        std::uint16_t queue{0};
        bool unfinished{false}; // with a checksum left to be filled
    };
    packet& put_one(sent& s, burst& b)
    {
        packet_slot& p = put(s.bytes, b);
        p.destinations = s.destinations;
        if (s.unfinished) {
            (void)infer_offload(p, true, segmentation::none, 0);
        }
        notes::words words{};
        words[0] = s.by_flow ? 7 : 0;
        p.note =
            packet_note::with_queue(s.by_flow ? carrier_.notes().add(words) : notes::none, s.queue);
        return p;
    }
    outcome together(std::vector<sent> all, port_index to)
    {
        outcome o;
        const auto before = counts();
        const auto b = std::make_unique<burst>();
        std::vector<packet*> packets;
        for (sent& each : all) {
            packets.push_back(&put_one(each, *b));
        }
        add(o, take(packets, to));
        for (std::size_t i = 0; i < all.size(); ++i) {
            // It goes elsewhere, too; a checksum is filled for all.
            if (all[i].destinations > 1 && !all[i].unfinished) {
                frame left(packets[i]->length);
                EXPECT_TRUE(copy_frame(*packets[i], 0, left.data(), left.size()));
                EXPECT_EQ(left, all[i].bytes);
            }
        }
        finish(o, before);
        return o;
    }
    outcome each_alone(std::vector<sent> all, port_index to)
    {
        outcome o;
        const auto before = counts();
        for (sent& each : all) {
            const auto b = std::make_unique<burst>();
            add(o, take(put_one(each, *b), to));
        }
        finish(o, before);
        return o;
    }
    void finish(outcome& o, const std::vector<std::uint64_t>& before)
    {
        o.counts = counts();
        for (std::size_t i = 0; i < before.size(); ++i) {
            o.counts[i] -= before[i];
        }
        carrier_.notes().clear();
    }
    void expect_same(const std::vector<sent>& all, port_index to, int lap)
    {
        tsc_ += 1000 * hz; // as many may be told of what is too big
        const outcome a = together(all, to);
        tsc_ += 1000 * hz;
        const outcome b = each_alone(all, to);
        ASSERT_EQ(a.frames, b.frames) << "lap " << lap;
        ASSERT_EQ(a.words, b.words) << "lap " << lap;
        ASSERT_EQ(a.counts, b.counts) << "lap " << lap;
        came_ += a.frames.size();
    }

    std::size_t up_to(std::size_t most)
    {
        return std::uniform_int_distribution<std::size_t>{0, most}(random_);
    }
    bool once_in(std::size_t n) { return up_to(n - 1) == 0; }

    // From now on flows choose the tunnel's key.
    void have_the_key_by_flow()
    {
        settings s;
        s.remote = there;
        s.destination_port = vxlan_port;
        s.key_by_flow = true;
        auto port = std::make_shared<port_config>(*config_.ports[0]);
        port->tunnel = std::make_shared<settings>(s);
        config_.ports[0] = port;
    }

    // As guests send them: most are IP's, some have something about them.
    frame inner(bool blank)
    {
        test::ip_frame f{.ipv6 = once_in(4),
                         .protocol = once_in(2) ? protocol_udp : protocol_tcp,
                         .payload = once_in(8) ? up_to(1500) : up_to(80),
                         .seed = static_cast<std::uint8_t>(up_to(255))};
        if (once_in(10)) {
            f.tags = {0x8100};
        }
        frame bytes = f.build(blank);
        const std::size_t at = f.network();
        if (once_in(4)) { // ECN and DSCP
            bytes[at + 1] = static_cast<std::uint8_t>(up_to(255));
        }
        if (once_in(10)) {
            test::put16(bytes, at - 2, once_in(2) ? 0x0806 : 0x1234);
        }
        if (once_in(20)) {
            bytes.resize(14 + up_to(20));
        }
        return bytes;
    }
    std::vector<sent> some_inner()
    {
        std::vector<sent> all(1 + up_to(burst::capacity - 1));
        for (sent& s : all) {
            const bool blank = once_in(10);
            s = {.bytes = inner(blank),
                 .destinations = static_cast<std::uint16_t>(once_in(10) ? 2 : 1),
                 .by_flow = once_in(10),
                 .queue = static_cast<std::uint16_t>(once_in(4) ? up_to(7) : 0),
                 .unfinished = blank};
        }
        return all;
    }
    // As the far end sends them back.
    frame outer()
    {
        auto all =
            take(put(test::ip_frame{.protocol = protocol_udp, .payload = up_to(300)}.build(false)),
                 vxlan);
        frame f = all.at(0).bytes;
        std::swap_ranges(f.begin() + 26, f.begin() + 30, f.begin() + 30);
        std::memcpy(f.data(), own_mac.bytes().data(), 6);
        return f;
    }
    static void mend_checksum(frame& f)
    {
        test::put16(f, 24, 0);
        test::put16(f, 24, 0xffff ^ test::plain_sum(f, 14, 34));
    }
    void spoil(frame& f)
    {
        if (once_in(3)) { // one bit of the headers, and of a little more
            f[up_to(std::min<std::size_t>(f.size(), 64) - 1)] ^=
                static_cast<std::uint8_t>(1U << up_to(7));
        }
        if (once_in(6)) { // a length, of IP or of UDP
            const std::size_t at = once_in(2) ? 16 : 38;
            test::put16(f, at, test::get16(f, at) + static_cast<unsigned>(up_to(8)) - 4);
        }
        if (once_in(6)) { // both lengths, of a frame that may be too short
            const auto length = static_cast<unsigned>(20 + up_to(40));
            test::put16(f, 16, length);
            test::put16(f, 38, length - 20);
        }
        if (once_in(6)) {
            test::put16(f, 18, static_cast<unsigned>(up_to(0xffff))); // identification
        }
        if (once_in(8)) {
            f.resize(f.size() + up_to(20)); // padding
        }
        if (once_in(12)) {
            f.resize(up_to(f.size()));
        }
        if (f.size() >= 34 && !once_in(4)) {
            mend_checksum(f);
        }
    }

    std::mt19937 random_{1}; // NOLINT(cert-msc51-cpp): the same each time
    std::size_t came_{0};
};

TEST_F(templates, put_the_headers_in_front_that_each_would_get_alone)
{
    for (int lap = 0; lap < laps; ++lap) {
        if (lap == laps / 2) {
            have_the_key_by_flow();
        }
        expect_same(some_inner(), vxlan, lap);
        if (HasFatalFailure()) {
            return;
        }
    }
    EXPECT_GT(came_, static_cast<std::size_t>(laps));
}

TEST_F(templates, take_off_the_headers_that_each_would_lose_alone)
{
    for (int lap = 0; lap < laps; ++lap) {
        std::vector<sent> all(1 + up_to(burst::capacity - 1));
        const auto traffic_class = static_cast<std::uint8_t>(once_in(2) ? 0 : up_to(255));
        for (sent& s : all) {
            s.bytes = outer();
            s.bytes[15] = traffic_class;
            mend_checksum(s.bytes);
            s.destinations = once_in(10) ? 2 : 1;
            if (once_in(2)) {
                spoil(s.bytes);
            }
        }
        expect_same(all, local, lap);
        if (HasFatalFailure()) {
            return;
        }
    }
    EXPECT_GT(came_, static_cast<std::size_t>(laps));
}

// Whoever pushes a tag afterwards does not ask.
TEST_F(templates, leave_room_for_tags)
{
    const frame f = test::ip_frame{.payload = 30}.build(false);
    std::size_t in_place = 0;
    for (std::size_t room = overhead; room <= head_room; ++room) {
        std::array<frame, 2> frames{f, f};
        const auto b = std::make_unique<burst>();
        std::vector<packet*> packets;
        for (frame& each : frames) {
            packet_slot& p = put(each, *b);
            std::byte* const at = p.room.data() + room;
            std::memmove(at, p.data, p.head_length);
            p.data = at;
            packets.push_back(&p);
        }
        const auto all = take(packets, vxlan);
        ASSERT_EQ(all.size(), 2U);
        for (std::size_t i = 0; i < 2; ++i) {
            EXPECT_EQ(inner_of(all[i].bytes), f);
            if (packets[i]->length != f.size()) { // it is the one that went
                ++in_place;
                EXPECT_GE(room_before(static_cast<packet_slot&>(*packets[i])), room_for_tags);
            }
        }
    }
    EXPECT_EQ(in_place, 2 * (head_room - overhead - room_for_tags + 1));
}

// So that the first two are not of the whole way alone.
TEST_F(templates, are_used)
{
    auto s = std::vector<sent>{{outer()}, {outer()}};
    const auto b = std::make_unique<burst>();
    auto& first = static_cast<packet_slot&>(put_one(s[0], *b));
    auto& second = static_cast<packet_slot&>(put_one(s[1], *b));
    outer_ip ip;
    contents c;
    ASSERT_EQ(read_ip(first, 14, false, ip), fault::none);
    ASSERT_EQ(read_udp(first, ip, kind::vxlan, c), fault::none);
    receive_template in;
    EXPECT_FALSE(in.pop(second));
    in.set(first, ip, c, vxlan, {});
    EXPECT_EQ(in.from(), vxlan);
    EXPECT_TRUE(in.pop(second));
    EXPECT_EQ(second.length, s[1].bytes.size() - overhead);

    description d = c.header;
    d.source = there;
    d.destination = here;
    transmit_template out;
    EXPECT_FALSE(out.push(second));
    out.set(first, d, second.length, local);
    EXPECT_TRUE(out.push(second));
    frame again(second.length);
    ASSERT_TRUE(copy_frame(second, 0, again.data(), again.size()));
    EXPECT_EQ(again, s[1].bytes);
    pop(second, c);
    second.length = static_cast<std::uint32_t>(s[1].bytes.size() - overhead);
    out.set(first, d, second.length - 1, local);
    EXPECT_FALSE(out.push(second)) << "too long";
}

} // namespace
} // namespace strait::tunnel
