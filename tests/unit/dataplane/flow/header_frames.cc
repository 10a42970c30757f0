// SPDX-License-Identifier: BSD-3-Clause
// The plain reader, the sums, and the maker of frames.
#include "tests/unit/dataplane/flow/header_frames.hh"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>
#include <stdexcept>

namespace strait::flow {

void PrintTo(const key& k, std::ostream* out) // NOLINT(readability-identifier-naming)
{
    for (std::size_t i = 0; i < k.words.size(); ++i) {
        if (k.words[i] != 0) {
            *out << std::dec << i << ':' << std::hex << k.words[i] << std::dec << ' ';
        }
    }
}

} // namespace strait::flow

namespace strait::test {

namespace {

using flow::field;
using flow::wide;

// A part of a frame. What is not in it cannot be read: std::out_of_range.
class part {
public:
    part(const frame& f, std::size_t from, std::size_t to) : f_{&f}, from_{from}, to_{to}
    {
        if (to > f.size() || from > to) {
            throw std::out_of_range{"part"};
        }
    }
    [[nodiscard]] std::size_t size() const { return to_ - from_; }
    [[nodiscard]] std::size_t begin() const { return from_; }
    [[nodiscard]] std::size_t end() const { return to_; }
    [[nodiscard]] wide bytes(std::size_t at, std::size_t count) const
    {
        wide out;
        for (std::size_t i = at; i < at + count; ++i) {
            out = out << 8 | wide{byte(i)};
        }
        return out;
    }
    [[nodiscard]] unsigned byte(std::size_t at) const
    {
        if (from_ + at >= to_) {
            throw std::out_of_range{"byte"};
        }
        return (*f_)[from_ + at];
    }
    [[nodiscard]] unsigned half(std::size_t at) const { return byte(at) * 256 + byte(at + 1); }
    [[nodiscard]] part first(std::size_t count) const
    {
        if (count > size()) {
            throw std::out_of_range{"first"};
        }
        return {*f_, from_, from_ + count};
    }
    [[nodiscard]] part from(std::size_t at) const { return {*f_, from_ + at, to_}; }
    void need(std::size_t count) const { (void)first(count); }

private:
    const frame* f_;
    std::size_t from_;
    std::size_t to_;
};

class reader {
public:
    explicit reader(const frame& f) : f_{f} {}

    plain_headers read()
    {
        put(field::packet_length, std::min<std::size_t>(f_.size(), 0xffff));
        if (f_.size() >= 14) {
            ethernet(part{f_, 0, f_.size()});
        }
        return h_;
    }

private:
    void put(field f, wide value)
    {
        h_.fields.set(f, value);
        h_.present.insert(f);
    }

    void ethernet(const part& whole)
    {
        put(field::eth_dst, whole.bytes(0, 6));
        put(field::eth_src, whole.bytes(6, 6));
        std::size_t at = 12;
        const auto tag_at = [&](std::size_t i) {
            return whole.half(i) == 0x8100 || whole.half(i) == 0x88a8;
        };
        while (h_.tags < 2 && tag_at(at) && at + 6 <= whole.size()) {
            put(h_.tags == 0 ? field::vlan_tci : field::inner_vlan_tci,
                whole.half(at + 2) | 0x1000U);
            ++h_.tags;
            at += 4;
        }
        unsigned type = whole.half(at);
        part rest = whole.from(at + 2);
        if (type < 0x600) {
            type = 0x5ff;
            if (rest.size() >= 8 && rest.bytes(0, 6) == wide{0xaaaa'0300'0000} &&
                rest.half(6) >= 0x600) {
                type = rest.half(6);
                rest = rest.from(8);
            }
        }
        put(field::eth_type, type);
        try {
            switch (type) {
            case 0x0800:
                ipv4(rest);
                break;
            case 0x86dd:
                ipv6(rest);
                break;
            case 0x0806:
            case 0x8035:
                arp(rest);
                break;
            default:
                break;
            }
        } catch (const std::out_of_range&) {
            // What was found before stands.
        }
    }

    void arp(const part& p)
    {
        p.need(28);
        if (p.half(0) != 1 || p.half(2) != 0x0800 || p.byte(4) != 6 || p.byte(5) != 4) {
            return;
        }
        h_.network = p.begin();
        put(field::nw_proto, p.half(6) < 256 ? p.half(6) : 0);
        put(field::arp_sha, p.bytes(8, 6));
        put(field::nw_src, p.bytes(14, 4));
        put(field::arp_tha, p.bytes(18, 6));
        put(field::nw_dst, p.bytes(24, 4));
    }

    void ipv4(const part& p)
    {
        p.need(20);
        const std::size_t header = (p.byte(0) % 16) * std::size_t{4};
        const std::size_t total = p.half(2);
        if (header < 20 || total < header || p.size() - p.first(total).size() > 65535) {
            return;
        }
        h_.network = p.begin();
        h_.end = p.begin() + total;
        put(field::nw_src, p.bytes(12, 4));
        put(field::nw_dst, p.bytes(16, 4));
        put(field::nw_tos, p.byte(1));
        put(field::nw_ttl, p.byte(8));
        put(field::nw_proto, p.byte(9));
        const unsigned offset = p.half(6) & 0x1fff;
        h_.fragment = offset != 0 || (p.half(6) & 0x2000) != 0;
        put(field::nw_frag, (h_.fragment ? 1U : 0U) + (offset != 0 ? 2U : 0U));
        if (offset == 0) {
            transport(p.first(total).from(header), p.byte(9));
        }
    }

    void ipv6(const part& p)
    {
        p.need(40);
        const std::size_t payload = p.half(4);
        if (p.size() - p.first(40 + payload).size() > 65535) {
            return;
        }
        h_.network = p.begin();
        h_.end = p.begin() + 40 + payload;
        h_.ipv6 = true;
        put(field::ipv6_src, p.bytes(8, 16));
        put(field::ipv6_dst, p.bytes(24, 16));
        part rest = p.first(40 + payload).from(40);
        unsigned next = p.byte(6);
        unsigned offset = 0;
        for (bool walking = true; walking;) {
            std::size_t size = 8;
            switch (next) {
            case 44:
                rest.need(8);
                offset = rest.half(2) & 0xfff8;
                h_.fragment = h_.fragment || rest.half(2) != 0;
                break;
            case 0:
            case 43:
            case 60:
                rest.need(8);
                size = 8 + rest.byte(1) * std::size_t{8};
                h_.routed = h_.routed || (next == 43 && rest.byte(3) != 0);
                break;
            case 51:
                rest.need(8);
                size = 8 + rest.byte(1) * std::size_t{4};
                break;
            default:
                walking = false;
                continue;
            }
            if (offset != 0) {
                break;
            }
            next = rest.byte(0);
            rest = rest.from(size);
        }
        put(field::nw_tos, (p.half(0) >> 4) & 0xff);
        put(field::ipv6_label, p.bytes(0, 4) & wide{0xfffff});
        put(field::nw_ttl, p.byte(7));
        put(field::nw_proto, next);
        put(field::nw_frag, (h_.fragment ? 1U : 0U) + (offset != 0 ? 2U : 0U));
        if (offset == 0) {
            transport(rest, next);
        }
    }

    void transport(const part& p, unsigned protocol)
    {
        const auto has = [&] {
            h_.transport = p.begin();
            h_.protocol = static_cast<std::uint8_t>(protocol);
        };
        switch (protocol) {
        case 6: {
            p.need(20);
            has();
            const std::size_t header = (p.byte(12) >> 4) * std::size_t{4};
            if (header >= 20 && header <= p.size()) {
                put(field::tp_src, p.half(0));
                put(field::tp_dst, p.half(2));
                put(field::tcp_flags, p.half(12) & 0xfff);
            }
            break;
        }
        case 17:
        case 132:
            p.need(protocol == 17 ? 8 : 12);
            has();
            put(field::tp_src, p.half(0));
            put(field::tp_dst, p.half(2));
            break;
        case 1:
        case 2:
        case 58:
            p.need(8);
            has();
            put(field::tp_src, p.byte(0));
            put(field::tp_dst, p.byte(1));
            if (protocol == 58 && (p.byte(0) == 135 || p.byte(0) == 136) && p.byte(1) == 0) {
                neighbour(p.from(8));
            }
            break;
        default:
            break;
        }
    }

    void neighbour(const part& p)
    {
        p.need(16);
        wide addresses[2];
        bool seen[2]{};
        part rest = p.from(16);
        while (rest.size() >= 8) {
            const std::size_t size = rest.byte(1) * std::size_t{8};
            if (size == 0 || size > rest.size()) {
                break;
            }
            if (size == 8 && (rest.byte(0) == 1 || rest.byte(0) == 2)) {
                const std::size_t which = rest.byte(0) - 1U;
                if (!addresses[which].is_zero()) {
                    return; // said twice: nothing of it counts
                }
                addresses[which] = rest.bytes(2, 6);
                seen[which] = true;
            }
            rest = rest.from(size);
        }
        put(field::nd_target, p.bytes(0, 16));
        if (seen[0]) {
            put(field::arp_sha, addresses[0]);
        }
        if (seen[1]) {
            put(field::arp_tha, addresses[1]);
        }
    }

    const frame& f_;
    plain_headers h_;
};

// Of the pseudo-header and all that is there of the rest. The field is in it.
unsigned transport_sum(const frame& f, const plain_headers& h)
{
    frame pseudo;
    const bool addresses = h.protocol == 6 || h.protocol == 17 || (h.protocol == 58 && h.ipv6);
    if (addresses) {
        const std::size_t from = h.network + (h.ipv6 ? 8 : 12);
        const std::size_t size = h.ipv6 ? (h.routed ? 16 : 32) : 8;
        pseudo.assign(f.begin() + static_cast<std::ptrdiff_t>(from),
                      f.begin() + static_cast<std::ptrdiff_t>(from + size));
        pseudo.insert(pseudo.end(), {0, h.protocol, 0, 0});
        put16(pseudo, pseudo.size() - 2, static_cast<unsigned>(h.end - h.transport));
    }
    pseudo.insert(pseudo.end(), f.begin() + static_cast<std::ptrdiff_t>(h.transport),
                  f.begin() + static_cast<std::ptrdiff_t>(h.end));
    return plain_sum(pseudo, 0, pseudo.size()) % 0xffff;
}

// ---- Making frames.

class maker {
public:
    explicit maker(random_source& random) : random_{random} {}

    frame make()
    {
        bytes(12);
        f_[0] &= 0xfe;
        for (unsigned tags = one_in(2) ? 0 : pick({1U, 1U, 2U, 3U}); tags > 0; --tags) {
            half(one_in(3) ? 0x88a8 : 0x8100);
            half(below(0x10000));
        }
        const unsigned kind = below(10);
        const bool ipv6 = kind >= 5 && kind < 9;
        const unsigned type = kind < 5 ? 0x0800 : ipv6 ? 0x86dd : pick({0x0806U, 0x8035U});
        if (one_in(12)) {
            half(below(0x600));
            for (const unsigned value : {0xaaU, 0xaaU, 3U, 0U, 0U, 0U}) {
                byte(value);
            }
        }
        half(type);
        if (kind < 5) {
            ipv4();
        } else if (ipv6) {
            this->ipv6();
        } else {
            arp();
        }
        if (one_in(3)) { // Ethernet's padding, or a trailer
            bytes(below(40));
        }
        return std::move(f_);
    }

private:
    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
    bool one_in(unsigned n) { return below(n) == 0; }
    unsigned pick(std::initializer_list<unsigned> from)
    {
        return from.begin()[below(static_cast<unsigned>(from.size()))];
    }
    void byte(unsigned value) { f_.push_back(static_cast<std::uint8_t>(value)); }
    void half(unsigned value)
    {
        byte(value >> 8);
        byte(value & 0xff);
    }
    void bytes(std::size_t count)
    {
        for (; count > 0; --count) {
            byte(below(256));
        }
    }

    void arp()
    {
        half(1);
        half(0x0800);
        half(0x0604);
        half(one_in(5) ? below(0x10000) : 1 + below(2));
        bytes(20);
    }

    void ipv4()
    {
        const std::size_t at = f_.size();
        const unsigned options = one_in(4) ? below(11) : 0;
        byte(0x45 + options);
        byte(below(256));
        half(0); // length
        half(below(0x10000));
        const unsigned place = one_in(5) ? pick({0x2000U, 0x2001U, 0x0005U, 0x1fffU}) : 0x4000;
        half(place);
        byte(below(256));
        const unsigned protocol = pick({6, 6, 17, 17, 1, 2, 132, 132, 47, 58});
        byte(protocol);
        half(0);
        bytes(8 + options * std::size_t{4});
        const std::size_t start = f_.size();
        transport(protocol);
        put16(f_, at + 2, static_cast<unsigned>(f_.size() - at));
        put16(f_, at + 10, 0xffff ^ plain_sum(f_, at, start));
        if ((place & 0x1fff) == 0) {
            finish();
        }
    }

    void ipv6()
    {
        const std::size_t at = f_.size();
        half(0x6000 | below(0x1000));
        half(below(0x10000));
        half(0); // length
        std::vector<unsigned> chain;
        while (one_in(3)) {
            chain.push_back(pick({0, 43, 60, 51, 44}));
        }
        chain.push_back(pick({6, 6, 17, 17, 58, 58, 58, 132, 47, 1, 135, 59}));
        byte(chain[0]);
        byte(below(256));
        bytes(32);
        for (std::size_t i = 0; i + 1 < chain.size(); ++i) {
            byte(chain[i + 1]);
            switch (chain[i]) {
            case 44:
                byte(0);
                half(pick({0, 0, 1, 1, 6, 8, 0xfff9}));
                bytes(4);
                break;
            case 51: {
                const unsigned more = below(4);
                byte(more);
                bytes(6 + more * std::size_t{4});
                break;
            }
            default: {
                const unsigned more = below(3);
                byte(more);
                byte(below(8));
                byte(below(2)); // segments left
                bytes(4 + more * std::size_t{8});
                break;
            }
            }
        }
        transport(chain.back());
        put16(f_, at + 4, static_cast<unsigned>(f_.size() - at - 40));
        finish();
    }

    void transport(unsigned protocol)
    {
        const std::size_t at = f_.size();
        switch (protocol) {
        case 6: {
            bytes(12);
            const unsigned options = one_in(2) ? below(11) : 0;
            byte((5 + options) << 4 | below(16));
            bytes(7 + options * std::size_t{4});
            break;
        }
        case 1:
        case 2:
            bytes(8);
            break;
        case 58:
            neighbour();
            break;
        default:
            bytes(12);
            break;
        }
        if (protocol != 58) {
            bytes(below(one_in(10) ? 1000 : 50));
        }
        if (protocol == 17 && one_in(4)) {
            put16(f_, at + 6, 0);
        }
    }

    void neighbour()
    {
        byte(pick({128, 133, 134, 135, 135, 135, 136, 136, 136}));
        byte(one_in(8) ? below(3) : 0);
        bytes(6 + 16);
        for (unsigned options = below(4); options > 0; --options) {
            const unsigned kind = pick({1, 2, 14, 1, 2});
            byte(kind);
            const unsigned size = kind == 14 || one_in(8) ? 1 + below(4) : 1;
            byte(size);
            if (one_in(6)) {
                f_.insert(f_.end(), size * std::size_t{8} - 2, 0);
            } else {
                bytes(size * std::size_t{8} - 2);
            }
        }
    }

    // Puts the transport's checksum right.
    void finish()
    {
        const plain_headers h = read_plainly(f_);
        if (h.transport == 0) {
            return;
        }
        if (h.protocol == 132) {
            put32(f_, h.transport + 8, plain_crc32c(f_, h.transport, h.end));
            return;
        }
        const std::size_t field = h.transport + (h.protocol == 6 ? 16 : h.protocol == 17 ? 6 : 2);
        if (h.protocol == 17 && get16(f_, field) == 0) {
            return;
        }
        put16(f_, field, 0);
        const unsigned sum = 0xffff - transport_sum(f_, h);
        put16(f_, field, sum == 0 && h.protocol == 17 ? 0xffff : sum);
    }

    random_source& random_;
    frame f_;
};

} // namespace

plain_headers read_plainly(const frame& f)
{
    return reader{f}.read();
}

std::uint32_t plain_crc32c(const frame& f, std::size_t from, std::size_t to)
{
    std::uint32_t crc = 0xffff'ffff;
    for (std::size_t i = from; i < to; ++i) {
        const bool field = i >= from + 8 && i < from + 12; // counts as zeros
        crc ^= field ? 0U : f.at(i);
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0x82f6'3b78 : crc >> 1;
        }
    }
    return __builtin_bswap32(~crc); // RFC 9260, appendix A: its lowest byte goes first
}

checksum_faults faults_of(const frame& f, const plain_headers& h)
{
    checksum_faults out;
    if (h.network != 0 && h.end != 0 && !h.ipv6) {
        out.ipv4 =
            plain_sum(f, h.network, h.network + (f[h.network] % 16) * std::size_t{4}) % 0xffff;
    }
    switch (h.transport == 0 ? 0 : h.protocol) {
    case 132:
        out.sctp = get32(f, h.transport + 8) ^ plain_crc32c(f, h.transport, h.end);
        break;
    case 17:
        out.udp_without = get16(f, h.transport + 6) == 0;
        out.transport = out.udp_without ? 0 : transport_sum(f, h);
        break;
    case 1:
    case 6:
    case 58:
        out.transport = transport_sum(f, h);
        break;
    default:
        break;
    }
    return out;
}

frame random_frame(random_source& random)
{
    return maker{random}.make();
}

frame damaged(frame f, random_source& random)
{
    static constexpr std::array<std::uint8_t, 14> telling{0,  1,  2,  4,  5,   6,   17,
                                                          43, 44, 51, 58, 132, 135, 255};
    for (auto changes = random() % 4; changes > 0; --changes) {
        const std::size_t at = f.size() > 12 ? 12 + random() % (f.size() - 12) : 0;
        f.at(at) = random() % 2 == 0 ? telling[random() % telling.size()]
                                     : static_cast<std::uint8_t>(random());
    }
    if (random() % 3 == 0) {
        f.resize(random() % (f.size() + 1));
    } else if (random() % 8 == 0) {
        f.resize(f.size() + random() % 300, 0x5a);
    }
    if (random() % 500 == 0) {
        f.resize(f.size() + 66'000);
    }
    return f;
}

std::string to_text(const frame& f)
{
    std::ostringstream out;
    for (const unsigned byte : f) {
        out << std::hex << std::setfill('0') << std::setw(2) << byte;
    }
    return out.str();
}

} // namespace strait::test
