// SPDX-License-Identifier: BSD-3-Clause
// Connection tracking under packets that make no sense, and under those that do, in any order. An
// input is a list of steps of 16 bytes,
//   what, how it is asked, zone, seconds that pass, head length, ends, flags, window's high byte,
//   sequence (32 bits), acknowledgement (32 bits)
// where `what` is a packet of TCP, UDP or ICMP between two of a few ends, a line of FTP that
// announces a connection, an error about the last packet, a fragment, a damaged packet, or bytes as
// they stand in the input. Heads lie in memory of exact size on the heap, so that AddressSanitizer
// sees what leaves them. What is checked: states that contradict themselves, counts that do not add
// up, lengths and checksums of packets that were translated and rewritten, and that all connections
// are forgotten in the end.
#include "dataplane/conntrack/tracker.hh"
#include "dataplane/offload.hh"
#include "tests/fuzz/check.hh"
#include "tests/unit/dataplane/conntrack/packets.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace strait;
using fuzz::check;
using test::frame;
namespace ct = conntrack::state;

struct step {
    std::uint8_t what;
    std::uint8_t how;
    std::uint8_t zone;
    std::uint8_t seconds;
    std::uint8_t head;
    std::uint8_t ends;
    std::uint8_t flags;
    std::uint8_t window;
    std::uint32_t sequence;
    std::uint32_t acknowledged;
};
static_assert(sizeof(step) == 16);

class subject {
public:
    subject(const frame& f, std::size_t head) : rest_(f.begin() + signed_(head), f.end())
    {
        memory_.reset(new std::byte[head]);
        slot_->data = memory_.get();
        slot_->length = static_cast<std::uint32_t>(f.size());
        slot_->head_length = static_cast<std::uint16_t>(head);
        std::memcpy(slot_->data, f.data(), head);
        payload_ = {rest_.data(), rest_.size()};
        slot_->segments = &payload_;
        slot_->segment_count = rest_.empty() ? 0 : 1;
    }
    [[nodiscard]] dataplane::packet_slot& get() { return *slot_; }
    // As it leaves, with all done that was left to be done.
    [[nodiscard]] std::vector<frame> sent()
    {
        static const auto room = std::make_unique<dataplane::burst>();
        std::vector<frame> out;
        if (slot_->offload.segment_size == 0) {
            if (!slot_->offload.empty()) {
                dataplane::finish_checksum(*slot_);
            }
            out.push_back(test::bytes_of(*slot_));
            return out;
        }
        for (dataplane::segmenter s{*slot_, {}}; !s.done();) {
            room->clear();
            check(s.cut(*room, room->slots.size()) > 0);
            for (dataplane::packet_slot& segment : room->packets()) {
                if (!segment.offload.empty()) {
                    dataplane::finish_checksum(segment);
                }
                out.push_back(test::bytes_of(segment));
            }
        }
        return out;
    }

private:
    static std::ptrdiff_t signed_(std::size_t n) { return static_cast<std::ptrdiff_t>(n); }
    std::unique_ptr<std::byte[]> memory_;
    frame rest_;
    dataplane::guest_span payload_;
    std::unique_ptr<dataplane::packet_slot> slot_{new dataplane::packet_slot{}};
};

constexpr std::size_t connections = 24;

class run {
public:
    void take(const step& s, std::span<const std::uint8_t> rest)
    {
        now_ += s.seconds < 200 ? s.seconds / 64 : s.seconds - 199U;
        tracker_.maintain(now_);
        bool whole = true;
        const frame f = make(s, rest, whole);
        if (f.size() < 14) {
            return;
        }
        last_ = f;
        const std::size_t head =
            std::clamp<std::size_t>(s.head < 128 ? dataplane::longest_head : s.head, 14,
                                    std::min(f.size(), dataplane::longest_head));
        subject p{f, head};
        flow::key k;
        conntrack::request r;
        r.p = &p.get();
        burst_->clear();
        r.payload = (s.how & 0x30) == 0x30 ? nullptr : burst_.get();
        r.headers = &k;
        const bool complete = flow::extract(p.get(), k, r.at);
        if (whole && (s.flags & 0x80) != 0 && r.at.transport_is == flow::transport_header::tcp) {
            whole = dataplane::leave_unfinished(p.get(), s.head) == dataplane::offload_fault::none;
        }
        ask(r, s);
        for (int again = s.how >> 7; again >= 0; --again) {
            r.translated = false;
            r.dropped = false;
            tracker_.track({&r, 1}, now_);
            judge(r);
            (void)flow::extract(p.get(), k, r.at);
        }
        if (whole && complete && !r.dropped) {
            for (const frame& out : p.sent()) {
                const bool six = test::get16(out, 12) == 0x86dd;
                check(out.size() == 14 + (six ? 40 + test::get16(out, 18) : test::get16(out, 16)));
                check(test::checksums_fit(out));
            }
        }
        forget(s);
    }
    void end()
    {
        now_ += 100'000;
        for (int i = 0; i < 200; ++i) {
            tracker_.maintain(now_);
        }
        check(store_.connections().size() == 0);
        check(in_zones() == 0);
    }

private:
    [[nodiscard]] std::uint64_t in_zones()
    {
        std::uint64_t sum = 0;
        for (std::uint16_t zone = 0; zone < 4; ++zone) {
            sum += store_.limits().used(zone);
        }
        return sum;
    }
    void forget(const step& s)
    {
        if ((s.how & 0x3f) != 0x3f) {
            return;
        }
        flow::match of_zone;
        of_zone.require(flow::field::ct_zone, s.zone & 3U);
        conntrack::job j{conntrack::job::kind::forget, of_zone};
        check(tracker_.submit(j));
        while (!j.done()) {
            tracker_.maintain(now_);
        }
        check(j.at_end() && store_.limits().used(s.zone & 3U) == 0);
    }
    void ask(conntrack::request& r, const step& s)
    {
        r.asked.zone = s.zone & 3U;
        r.asked.commit = (s.how & 1) != 0;
        r.asked.force = (s.how & 2) != 0;
        r.asked.mark = s.sequence;
        r.asked.mark_mask = (s.how & 4) != 0 ? 0xff : 0;
        const bool ftp = (s.zone & 4) != 0;
        r.asked.alg = (s.how & 8) == 0 ? flow::ct::helper::none
                      : ftp            ? flow::ct::helper::ftp
                                       : flow::ct::helper::tftp;
        nat_ = {};
        nat_.ipv6 = r.at.network_is == flow::network_header::ipv6;
        nat_.which = static_cast<flow::nat::side>((s.how >> 4 & 3) % 3);
        if (nat_.which != flow::nat::side::restore && (s.flags & 0x40) == 0) {
            nat_.first = nat_.last = flow::wide{nat_.ipv6 ? std::uint64_t{0xfd00'0000} << 32 : 0,
                                                0x0a00'0010U + (s.zone >> 4)};
            nat_.first_port = nat_.last_port = (s.zone & 8) != 0 ? 1001 : 0;
            nat_.last_port += nat_.first_port != 0 ? 3 : 0;
        }
        r.asked.translation = (s.how & 0x40) != 0 ? &nat_ : nullptr;
    }
    void judge(const conntrack::request& r)
    {
        const std::uint32_t is = r.answer.state;
        if (!r.dropped) {
            check((is & ct::tracked) != 0);
            check(r.answer.zone == r.asked.zone);
            if ((is & ct::invalid) != 0) {
                check(is == (ct::tracked | ct::invalid) && r.answer.protocol == 0);
            } else {
                check(((is & ct::fresh) != 0) + ((is & ct::established) != 0) == 1 ||
                      (is & ct::related) != 0);
                check((is & (ct::fresh | ct::reply)) != (ct::fresh | ct::reply));
            }
        }
        check(store_.connections().size() <= connections);
        check(store_.connections().size() == in_zones());
    }
    // An announcement by the one with this address, or as if by it.
    static std::string line(const step& s, std::uint32_t address, bool ipv6)
    {
        const unsigned port = 1020U + (s.window & 0xfU);
        const auto number = [address](unsigned shift) {
            return std::to_string(address >> shift & 0xff);
        };
        const auto numbers = [&](char between) {
            return number(24) + between + number(16) + between + number(8) + between + number(0);
        };
        const std::string commas =
            numbers(',') + ',' + std::to_string(port >> 8) + ',' + std::to_string(port & 0xff);
        switch (s.window >> 4 & 3) {
        case 0:
            return "PORT " + commas + "\r\n";
        case 1:
            return "227 (" + commas + ")\r\n";
        case 2: {
            std::array<char, 16> tail{};
            (void)std::snprintf(tail.data(), tail.size(), "%x:%x", address >> 16, address & 0xffff);
            return std::string{"EPRT |"} +
                   (ipv6 ? "2|fd00::" + std::string{tail.data()} : "1|" + numbers('.')) + '|' +
                   std::to_string(port) + "|\r\n";
        }
        default:
            return "229 (|||" + std::to_string(port) + "|)\r\n";
        }
    }
    frame make(const step& s, std::span<const std::uint8_t> rest, bool& whole)
    {
        constexpr std::array ends{test::end{0x0a00'0001, 1000}, test::end{0x0a00'0002, 21},
                                  test::end{0x0a00'0003, 69}, test::end{0x0a00'0010, 1001}};
        const test::end from = ends[s.ends & 3];
        const test::end to = ends[s.ends >> 2 & 3];
        const bool ipv6 = (s.ends & 0x80) != 0;
        const std::size_t size = std::min<std::size_t>(rest.size(), s.ends >> 4 & 7U) * 16;
        const std::string data{
            rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(std::min(size, rest.size()))};
        switch (s.what % 8) {
        case 0:
        case 1:
        case 2: {
            test::tcp_packet p{from, to, s.flags, s.sequence, s.acknowledged};
            p.window = static_cast<std::uint16_t>(s.window << 8);
            p.ipv6 = ipv6;
            p.data = s.what % 8 == 2 ? line(s, from.address, ipv6) + data : data;
            if ((s.window & 1) != 0) {
                p.options = {1, 3, 3, s.head};
            }
            return p.build();
        }
        case 3:
            return udp_frame(from, to, data, ipv6);
        case 4:
            return echo_frame(from, to, (s.flags & 1) != 0, ipv6);
        case 5: {
            const bool six = last_.size() > 14 && test::get16(last_, 12) == 0x86dd;
            if (last_.size() < 14 + 28) {
                return {};
            }
            whole = false; // what it is about may have been anything
            return test::error_frame(from.address, to.address, last_, six ? 1 + s.flags % 4 : 3,
                                     six);
        }
        case 6: {
            whole = false;
            test::datagram d{.from = from, .to = to, .protocol = 17};
            d.content.assign(8 + (s.flags & 0x1fU) * 8U, s.window);
            d.place = static_cast<std::uint16_t>((s.sequence & 0xf) | (s.acknowledged & 0x2000));
            return d.build();
        }
        default: {
            whole = false;
            frame f = last_.empty() || (s.flags & 1) != 0 ? frame{rest.begin(), rest.end()} : last_;
            f.resize(std::min<std::size_t>(f.size(), 400));
            if (f.size() > 14) {
                f[14 + s.sequence % (f.size() - 14)] = s.window;
                f.resize(14 + s.acknowledged % (f.size() - 13));
            }
            return f;
        }
        }
    }

    conntrack::store store_{{.connections = connections}};
    conntrack::tracker tracker_{store_};
    flow::nat nat_;
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    frame last_;
    conntrack::seconds_t now_{1000};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    std::span<const std::uint8_t> left{data, size};
    run r;
    while (left.size() >= sizeof(step)) {
        step s;
        std::memcpy(&s, left.data(), sizeof s);
        left = left.subspan(sizeof s);
        r.take(s, left);
    }
    r.end();
    return 0;
}
