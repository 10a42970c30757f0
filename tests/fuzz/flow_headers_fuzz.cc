// SPDX-License-Identifier: BSD-3-Clause
// The flows' parser, and changes of what it found. An input is
//   length of the head, what is left undone, size of segments (16 bits), number of changes, changes
//   of 34 bytes, frame
// where a change is its kind, and a field with its value and mask, or a tag. The head lies in
// memory of exact size on the heap, so that AddressSanitizer sees what leaves it, and what lies
// behind it nowhere. A reader that shares nothing with the parser must find the same, before and
// after, and checksums must stay as right or as wrong as they were, those that are left to be
// filled too.
#include "dataplane/flow/rewrite.hh"
#include "dataplane/offload.hh"
#include "tests/fuzz/check.hh"
#include "tests/unit/dataplane/flow/header_frames.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace {

using namespace strait;
using flow::field;
using flow::wide;
using fuzz::check;
using test::frame;

constexpr std::array settable{
    field::eth_dst,  field::eth_src,    field::vlan_tci, field::inner_vlan_tci, field::nw_proto,
    field::nw_tos,   field::nw_ttl,     field::nw_src,   field::nw_dst,         field::ipv6_src,
    field::ipv6_dst, field::ipv6_label, field::tp_src,   field::tp_dst,         field::arp_sha,
    field::arp_tha,  field::nd_target};

class input {
public:
    explicit input(std::span<const std::uint8_t> bytes) : left_{bytes} {}
    template <typename T>
    T take()
    {
        T out{};
        const std::size_t n = std::min(sizeof out, left_.size());
        std::memcpy(&out, left_.data(), n);
        left_ = left_.subspan(n);
        return out;
    }
    [[nodiscard]] frame rest() const { return {left_.begin(), left_.end()}; }

private:
    std::span<const std::uint8_t> left_;
};

class subject {
public:
    subject(const frame& f, std::size_t head) : rest_(f.begin() + signed_(head), f.end())
    {
        memory_.reset(new std::byte[dataplane::head_room + head]);
        p_.data = memory_.get() + dataplane::head_room;
        p_.length = static_cast<std::uint32_t>(f.size());
        p_.head_length = static_cast<std::uint16_t>(head);
        std::memcpy(p_.data, f.data(), head);
        nowhere_ = {reinterpret_cast<void*>(8), rest_.size()};
        p_.segments = &nowhere_;
        p_.segment_count = rest_.empty() ? 0 : 1;
    }
    [[nodiscard]] dataplane::packet& get() { return p_; }
    [[nodiscard]] frame bytes() const
    {
        frame f(p_.head_length);
        std::memcpy(f.data(), p_.data, f.size());
        f.insert(f.end(), rest_.begin(), rest_.end());
        return f;
    }
    // With what the intent leaves to be done, but for cutting.
    [[nodiscard]] frame finished() const
    {
        frame f = bytes();
        if (p_.offload.empty()) {
            return f;
        }
        dataplane::packet whole = p_;
        whole.data = reinterpret_cast<std::byte*>(f.data());
        whole.head_length = static_cast<std::uint16_t>(f.size());
        whole.segment_count = 0;
        whole.offload.segment_size = 0;
        finish_checksum(whole);
        return f;
    }

private:
    static std::ptrdiff_t signed_(std::size_t n) { return static_cast<std::ptrdiff_t>(n); }
    std::unique_ptr<std::byte[]> memory_;
    frame rest_;
    dataplane::guest_span nowhere_;
    dataplane::packet p_{};
};

bool writable(field f, const test::plain_headers& h)
{
    const bool arp = h.end == 0 && h.network != 0;
    const bool port = f == field::tp_src || f == field::tp_dst;
    return h.present.contains(f) && (f != field::nw_proto || arp) && !(port && h.protocol == 2);
}

wide bits_of(field f, const test::plain_headers& h)
{
    if (f == field::vlan_tci || f == field::inner_vlan_tci) {
        return 0xefff;
    }
    const bool byte =
        (f == field::tp_src || f == field::tp_dst) && (h.protocol == 1 || h.protocol == 58);
    return wide::ones(byte ? 8 : flow::width_of(f));
}

// One packet on its way through changes, and what is known of it.
class walk {
public:
    walk(subject& s, flow::key k, const flow::header_layout& at) : s_{s}, key_{k}, at_{at} {}

    void set(input& in)
    {
        const field f = settable[in.take<std::uint8_t>() % settable.size()];
        const wide value{in.take<std::uint64_t>(), in.take<std::uint64_t>()};
        const wide mask{in.take<std::uint64_t>(), in.take<std::uint64_t>()};
        flow::match m;
        m.require(f, value, mask);
        const frame before = s_.bytes();
        const frame finished = s_.finished();
        const test::plain_headers h = test::read_plainly(finished);
        const bool ports = f == field::tp_src || f == field::tp_dst;
        const bool refused = h.protocol == 132 && h.fragment && ports && !m.mask.get(f).is_zero();
        check(flow::set_headers(s_.get(), at_, m.value, m.mask) == !refused);
        if (refused) {
            check(s_.bytes() == before);
            return;
        }
        if (writable(f, h)) {
            key_.set(f, value, mask & bits_of(f, h));
        }
        const bool other_message = h.protocol == 58 && ports;
        compare(other_message);
        check(test::faults_of(s_.finished(), h) == test::faults_of(finished, h));
    }
    void push(input& in)
    {
        const auto tag = in.take<std::uint16_t>();
        const std::uint16_t type = in.take<std::uint8_t>() % 2 == 0 ? 0x8100 : 0x88a8;
        const frame before = s_.bytes();
        const unsigned tags = at_.tags;
        if (!flow::insert_tag(s_.get(), at_, type, tag)) {
            check(tags == flow::most_tags && s_.bytes() == before);
            return;
        }
        check(s_.bytes() == test::with_tag(before, static_cast<std::uint16_t>(tag & 0xefff), type));
        flow::insert_tag(key_, tag);
        compare(false);
    }
    // False: a third tag has come to light, and the frame has more to say than the key.
    bool pop()
    {
        const unsigned tags = at_.tags;
        const auto type = key_.number(field::eth_type);
        check(flow::remove_tag(s_.get(), at_) == (tags > 0));
        if (tags == 0) {
            return true;
        }
        flow::remove_tag(key_);
        if (tags == flow::most_tags && (type == 0x8100 || type == 0x88a8)) {
            return false;
        }
        compare(false);
        return true;
    }
    void decrement()
    {
        const frame finished = s_.finished();
        const test::plain_headers h = test::read_plainly(finished);
        const auto ttl = h.fields.number(field::nw_ttl);
        const bool ip = h.end != 0;
        check(flow::decrement_ttl(s_.get(), at_) == (!ip || ttl > 1));
        if (ip && ttl > 1) {
            key_.set(field::nw_ttl, ttl - 1);
        }
        compare(false);
        check(test::faults_of(s_.finished(), h) == test::faults_of(finished, h));
    }

private:
    void compare(bool other_message)
    {
        flow::key again;
        flow::header_layout layout;
        check(flow::extract(s_.get(), again, layout));
        if (other_message) { // of another type: its fields are others
            at_ = layout;
            for (const field f : {field::nd_target, field::arp_sha, field::arp_tha}) {
                key_.set(f, again.get(f));
            }
        }
        check(std::memcmp(&layout, &at_, sizeof at_) == 0);
        check(again == key_);
        check(again == test::read_plainly(s_.bytes()).fields);
    }

    subject& s_;
    flow::key key_;
    flow::header_layout at_;
};

using change = std::array<std::uint8_t, 34>;

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input in{{data, size}};
    const std::size_t wanted = in.take<std::uint8_t>();
    const auto undone = in.take<std::uint8_t>();
    const auto segment_size = in.take<std::uint16_t>();
    std::vector<change> changes(in.take<std::uint8_t>() % 8);
    for (change& c : changes) {
        c = in.take<change>();
    }
    const frame f = in.rest();
    if (f.size() < 14 || f.size() > 4096) {
        return 0;
    }
    const std::size_t head =
        std::clamp<std::size_t>(wanted, 14, std::min(f.size(), dataplane::longest_head));
    subject s{f, head};
    flow::key k;
    flow::header_layout at;
    const bool complete = flow::extract(s.get(), k, at);
    check(complete || head < f.size());
    check(s.bytes() == f);
    if (!complete) {
        return 0;
    }
    check(k == test::read_plainly(f).fields);
    if (undone != 0) { // a fault is as good as nothing left undone
        (void)infer_offload(s.get(), (undone & 1) != 0,
                            static_cast<dataplane::segmentation>((undone >> 1) % 4), segment_size);
    }
    walk w{s, k, at};
    for (const change& c : changes) {
        input bytes{c};
        switch (bytes.take<std::uint8_t>() % 8) {
        case 0:
            w.push(bytes);
            break;
        case 1:
            if (!w.pop()) {
                return 0;
            }
            break;
        case 2:
            w.decrement();
            break;
        default:
            w.set(bytes);
            break;
        }
    }
    return 0;
}
