// SPDX-License-Identifier: BSD-3-Clause
// Headers from Ethernet to TCP or UDP, sums, and cutting. Ones' complement sums (RFC 1071) are
// kept of words as they lie in memory; what is added to them from a host integer is swapped first.
#include "dataplane/offload.hh"

#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <emmintrin.h>

#include <algorithm>
#include <array>

namespace strait::dataplane {

namespace {

constexpr std::size_t tcp_flags = 13; // of its header
constexpr std::size_t udp_length = 4;

constexpr std::uint8_t tcp_fin = 0x01;
constexpr std::uint8_t tcp_psh = 0x08;
constexpr std::uint8_t tcp_cwr = 0x80;

// What the switch finds in a head.
struct headers {
    std::uint16_t network; // offsets from the frame's first byte
    std::uint16_t transport;
    std::uint16_t payload;
    std::uint8_t protocol;
    bool ipv6;
    bool routed; // the pseudo-header's destination is not the IPv6 header's

    [[nodiscard]] std::uint16_t checksum_offset() const noexcept
    {
        return protocol == protocol_tcp ? tcp_checksum : udp_checksum;
    }
};

// A host integer as a word of a frame.
constexpr std::uint16_t word(std::uint16_t host) noexcept
{
    return __builtin_bswap16(host);
}

// Of private bytes, at most 64 KiB. An odd last byte is followed by a zero.
std::uint64_t sum_of(const std::byte* at, std::size_t size) noexcept
{
    // 32-bit words into 64-bit lanes: no carry is lost, and none has to be looked after.
    const __m128i zero = _mm_setzero_si128();
    __m128i low = zero;
    __m128i high = zero;
    for (; size >= 16; at += 16, size -= 16) {
        const __m128i words =
            _mm_loadu_si128(static_cast<const __m128i*>(static_cast<const void*>(at)));
        low = _mm_add_epi64(low, _mm_unpacklo_epi32(words, zero));
        high = _mm_add_epi64(high, _mm_unpackhi_epi32(words, zero));
    }
    const __m128i both = _mm_add_epi64(low, high);
    auto sum = static_cast<std::uint64_t>(_mm_cvtsi128_si64(both)) +
               static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_unpackhi_epi64(both, both)));
    for (; size >= 4; at += 4, size -= 4) {
        sum += load<std::uint32_t>(at);
    }
    if (size >= 2) {
        sum += load<std::uint16_t>(at);
        at += 2;
        size -= 2;
    }
    if (size == 1) {
        sum += load<std::uint8_t>(at);
    }
    return sum;
}

// Of bytes that lie in pieces of any size. They are gathered in private memory, where they stand
// one behind the other, so that odd pieces shift nobody's bytes.
class gathered_sum {
public:
    void add(const guest_span& from, std::size_t offset, std::size_t size) noexcept
    {
        while (size > 0) {
            if (used_ == buffer_.size()) {
                take();
            }
            const std::size_t n = std::min(size, buffer_.size() - used_);
            from.copy_out(buffer_.data() + used_, offset, n);
            used_ += n;
            offset += n;
            size -= n;
        }
    }
    [[nodiscard]] std::uint64_t result() noexcept
    {
        take();
        return sum_;
    }

private:
    void take() noexcept
    {
        sum_ += sum_of(buffer_.data(), used_);
        used_ = 0;
    }

    alignas(16) std::array<std::byte, 1024> buffer_; // even: a full one ends with a whole word
    std::size_t used_{0};
    std::uint64_t sum_{0};
};

// Sums from `start` to the frame's end, what stands in the field included, and fills the field.
void fill_checksum(packet& p, std::size_t start, std::size_t offset) noexcept
{
    gathered_sum sum;
    sum.add({p.data, p.head_length}, start, p.head_length - start);
    for (const guest_span& s : std::span{p.segments, p.segment_count}) {
        sum.add(s, 0, s.size());
    }
    auto value = static_cast<std::uint16_t>(~fold(sum.result()));
    if (value == 0 && offset == udp_checksum) {
        value = 0xffff; // RFC 768: 0 says that there is no checksum
    }
    store(p.data + start + offset, value);
}

// Nothing beyond the head is looked at, whatever lengths the headers give.
offload_fault parse_headers(const packet& p, headers& h) noexcept
{
    const std::byte* const frame = p.data;
    const std::size_t limit = std::min<std::size_t>(p.head_length, max_header_length);
    const auto missing = [&](std::size_t end) noexcept {
        return end > p.length ? offload_fault::truncated : offload_fault::beyond_head;
    };
    std::size_t at = ethernet_header;
    if (at > limit) {
        return missing(at);
    }
    std::uint16_t type = load<be16>(frame + 12);
    for (int tags = 0; type == ethertype_vlan || type == ethertype_qinq; ++tags) {
        if (tags == 2) {
            return offload_fault::protocol;
        }
        if (at + tag_length > limit) {
            return missing(at + tag_length);
        }
        type = load<be16>(frame + at + 2);
        at += tag_length;
    }
    h.network = static_cast<std::uint16_t>(at);
    h.ipv6 = type == ethertype_ipv6;
    h.routed = false;
    if (type == ethertype_ipv4) {
        if (at + min_ipv4_header > limit) {
            return missing(at + min_ipv4_header);
        }
        const unsigned first = load<std::uint8_t>(frame + at);
        const std::size_t size = (first & 0x0f) * 4;
        if (first >> 4 != 4 || size < min_ipv4_header) {
            return offload_fault::protocol;
        }
        constexpr std::uint16_t more_or_offset = 0x3fff;
        if ((load<be16>(frame + at + 6) & more_or_offset) != 0) {
            return offload_fault::fragment;
        }
        h.protocol = load<std::uint8_t>(frame + at + 9);
        at += size;
    } else if (h.ipv6) {
        if (at + ipv6_header > limit) {
            return missing(at + ipv6_header);
        }
        if (load<std::uint8_t>(frame + at) >> 4 != 6) {
            return offload_fault::protocol;
        }
        h.protocol = load<std::uint8_t>(frame + at + 6);
        at += ipv6_header;
        while (h.protocol == ipv6_hop_by_hop || h.protocol == ipv6_routing ||
               h.protocol == ipv6_destination) {
            if (at + 8 > limit) {
                return missing(at + 8);
            }
            if (h.protocol == ipv6_routing && load<std::uint8_t>(frame + at + 3) != 0) {
                h.routed = true;
            }
            h.protocol = load<std::uint8_t>(frame + at);
            at += (load<std::uint8_t>(frame + at + 1) + 1U) * 8;
        }
        if (h.protocol == ipv6_fragment) {
            return offload_fault::fragment;
        }
    } else {
        return offload_fault::protocol;
    }

    std::size_t end = at + udp_header;
    if (h.protocol == protocol_tcp) {
        if (at + min_tcp_header > limit) {
            return missing(at + min_tcp_header);
        }
        const std::size_t size = (load<std::uint8_t>(frame + at + 12) >> 4) * 4U;
        if (size < min_tcp_header) {
            return offload_fault::protocol;
        }
        end = at + size;
    } else if (h.protocol != protocol_udp) {
        return offload_fault::protocol;
    }
    if (end > limit) {
        return missing(end);
    }
    h.transport = static_cast<std::uint16_t>(at);
    h.payload = static_cast<std::uint16_t>(end);
    return offload_fault::none;
}

// Of RFC 9293's pseudo-header, for so many bytes behind IP's.
std::uint64_t pseudo_sum(const packet& p, const headers& h, std::size_t length) noexcept
{
    const std::byte* const addresses = p.data + h.network + (h.ipv6 ? 8 : 12);
    return sum_of(addresses, h.ipv6 ? 32 : 8) + word(h.protocol) +
           word(static_cast<std::uint16_t>(length));
}

// Makes a checksum field blank: the pseudo-header's sum, not complemented.
void write_pseudo_sum(packet& p, const headers& h) noexcept
{
    store(p.data + h.transport + h.checksum_offset(),
          fold(pseudo_sum(p, h, p.length - h.transport)));
}

// What who cuts a packet with these headers is to be able to.
offloads cut_by(const headers& h, bool udp) noexcept
{
    if (udp) {
        return h.ipv6 ? offloads::udp_segmentation_ipv6 : offloads::udp_segmentation_ipv4;
    }
    return h.ipv6 ? offloads::segmentation_ipv6 : offloads::segmentation_ipv4;
}

// Sets the intent of a packet whose headers are known.
offload_fault set_intent(packet& p, const headers& h, bool checksum_blank, segmentation kind,
                         std::uint16_t size) noexcept
{
    offload_intent intent;
    if (kind != segmentation::none) {
        const bool udp = kind == segmentation::udp;
        if (size < (udp ? 1 : min_segment_size)) {
            return offload_fault::segment_size;
        }
        if (h.protocol != (udp ? protocol_udp : protocol_tcp)) {
            return offload_fault::protocol;
        }
        if (!udp && h.ipv6 != (kind == segmentation::tcp_ipv6)) {
            return offload_fault::version;
        }
        const std::uint32_t payload = p.length - h.payload;
        if (payload > max_segments_of_packet * size) {
            return offload_fault::too_many_segments;
        }
        if (payload > size) {
            if (!checksum_blank) {
                if (h.routed) {
                    return offload_fault::protocol;
                }
                write_pseudo_sum(p, h);
                checksum_blank = true;
            }
            intent.segment_size = size;
            intent.required |= cut_by(h, udp);
            if (!udp && (load<std::uint8_t>(p.data + h.transport + tcp_flags) & tcp_cwr) != 0) {
                intent.required |= offloads::segmentation_ecn;
            }
        }
    }
    if (checksum_blank) {
        intent.checksum_start = h.transport;
        intent.checksum_offset = h.checksum_offset();
        intent.header_length = h.payload;
        intent.network_start = h.network;
        intent.required |= h.ipv6 ? offloads::checksum_ipv6 : offloads::checksum_ipv4;
    }
    p.offload = intent;
    return offload_fault::none;
}

} // namespace

std::string_view to_string(offload_fault fault) noexcept
{
    switch (fault) {
    case offload_fault::none:
        return "none";
    case offload_fault::truncated:
        return "the frame ends inside its headers";
    case offload_fault::beyond_head:
        return "the headers are longer than what the switch looks at";
    case offload_fault::protocol:
        return "no TCP or UDP over IP where they were expected";
    case offload_fault::fragment:
        return "a fragment";
    case offload_fault::version:
        return "segments of another IP version than the frame's";
    case offload_fault::segment_size:
        return "segments of less than 8 bytes, or of UDP without any";
    case offload_fault::too_many_segments:
        return "more than 256 segments";
    case offload_fault::place:
        return "a checksum outside the frame";
    case offload_fault::complete:
        return "segments of a frame whose checksum is not left blank";
    case offload_fault::header_length:
        return "headers said to be longer than the frame";
    case offload_fault::not_negotiated:
        return "work that was not negotiated";
    case offload_fault::kind:
        return "an unknown kind of segmentation";
    }
    return "unknown";
}

offload_fault infer_offload(packet& p, bool checksum_blank, segmentation kind,
                            std::uint16_t size) noexcept
{
    p.offload = {};
    if (!checksum_blank && kind == segmentation::none) {
        return offload_fault::none;
    }
    headers h;
    const offload_fault fault = parse_headers(p, h);
    return fault != offload_fault::none ? fault : set_intent(p, h, checksum_blank, kind, size);
}

offload_fault leave_unfinished(packet& p, std::uint16_t size) noexcept
{
    p.offload = {};
    headers h;
    if (const offload_fault fault = parse_headers(p, h); fault != offload_fault::none) {
        return fault;
    }
    if (h.routed) {
        return offload_fault::protocol;
    }
    write_pseudo_sum(p, h);
    const segmentation kind = size == 0 ? segmentation::none
                              : h.ipv6  ? segmentation::tcp_ipv6
                                        : segmentation::tcp_ipv4;
    return set_intent(p, h, true, kind, size);
}

bool has_right_checksum(const packet& p, std::size_t end) noexcept
{
    headers h;
    if (parse_headers(p, h) != offload_fault::none || h.routed || end < h.payload) {
        return false;
    }
    gathered_sum sum;
    std::size_t at = h.transport;
    const auto add = [&](const guest_span& from, std::size_t begin) noexcept {
        const std::size_t size = std::min(begin + from.size(), end);
        if (at < size) {
            sum.add(from, at - begin, size - at);
            at = size;
        }
    };
    std::size_t begin = p.head_length;
    add({p.data, p.head_length}, 0);
    for (const guest_span& s : std::span{p.segments, p.segment_count}) {
        add(s, begin);
        begin += s.size();
    }
    return fold(sum.result() + pseudo_sum(p, h, end - h.transport)) == 0xffff;
}

offload_fault checked_intent(packet& p, const virtio_offload& claim, offloads negotiated) noexcept
{
    p.offload = {};
    segmentation kind = segmentation::none;
    offloads needed = offloads::checksum_ipv4 | offloads::checksum_ipv6;
    switch (claim.gso_type) {
    case virtio_offload::gso_none:
        break;
    case virtio_offload::gso_tcp_ipv4 | virtio_offload::gso_ecn:
        needed |= offloads::segmentation_ecn;
        [[fallthrough]];
    case virtio_offload::gso_tcp_ipv4:
        kind = segmentation::tcp_ipv4;
        needed |= offloads::segmentation_ipv4;
        break;
    case virtio_offload::gso_tcp_ipv6 | virtio_offload::gso_ecn:
        needed |= offloads::segmentation_ecn;
        [[fallthrough]];
    case virtio_offload::gso_tcp_ipv6:
        kind = segmentation::tcp_ipv6;
        needed |= offloads::segmentation_ipv6;
        break;
    case virtio_offload::gso_udp:
        kind = segmentation::udp;
        needed |= offloads::udp_segmentation_ipv4 | offloads::udp_segmentation_ipv6;
        break;
    default:
        return offload_fault::kind;
    }
    if ((claim.flags & virtio_offload::needs_checksum) == 0) {
        return kind == segmentation::none ? offload_fault::none : offload_fault::complete;
    }
    if (!contains(negotiated, needed)) {
        return offload_fault::not_negotiated;
    }
    if (claim.header_length > p.length) {
        return offload_fault::header_length;
    }
    headers h;
    const offload_fault fault = parse_headers(p, h);
    if (fault == offload_fault::none && claim.checksum_start == h.transport &&
        claim.checksum_offset == h.checksum_offset()) {
        return set_intent(p, h, true, kind, claim.gso_size);
    }
    if (kind != segmentation::none) {
        return fault != offload_fault::none ? fault : offload_fault::place;
    }
    const std::size_t end = std::size_t{claim.checksum_start} + claim.checksum_offset + 2;
    if (claim.checksum_start < ethernet_header || claim.checksum_offset % 2 != 0 ||
        end > p.length || p.remote != nullptr) {
        return offload_fault::place;
    }
    if (end > p.head_length) {
        return offload_fault::beyond_head;
    }
    fill_checksum(p, claim.checksum_start, claim.checksum_offset);
    return offload_fault::none;
}

std::uint16_t pseudo_sum_without_length(const packet& p) noexcept
{
    const offload_intent& todo = p.offload;
    const auto length = static_cast<std::uint16_t>(p.length - todo.checksum_start);
    // In ones' complement, to take a number out is to add its inverse.
    return fold(load<std::uint16_t>(p.data + todo.checksum_start + todo.checksum_offset) +
                std::uint64_t{static_cast<std::uint16_t>(~word(length))});
}

void finish_checksum(packet& p) noexcept
{
    fill_checksum(p, p.offload.checksum_start, p.offload.checksum_offset);
    p.offload = {};
}

segmenter::segmenter(const packet& whole, offloads taken) noexcept
    : whole_{whole},
      ipv6_{contains(whole.offload.required, offloads::checksum_ipv6)},
      udp_{segmentation_of(whole.offload) == segmentation::udp},
      leaves_checksum_{contains(taken, ipv6_ ? offloads::checksum_ipv6 : offloads::checksum_ipv4)},
      left_{whole.length - whole.offload.header_length},
      head_at_{whole.offload.header_length}
{
    const offload_intent& todo = whole.offload;
    const std::byte* const network = whole.data + todo.network_start;
    network_sum_ = 0;
    identifier_ = 0;
    if (!ipv6_) {
        // All but total length, identification and checksum.
        const std::size_t size = std::size_t{todo.checksum_start} - todo.network_start;
        network_sum_ = static_cast<std::uint32_t>(
            fold(sum_of(network, 2) + sum_of(network + 6, 4) + sum_of(network + 12, size - 12)));
        identifier_ = load<be16>(network + 4);
    }
    if (!udp_) {
        const std::byte* const tcp = whole.data + todo.checksum_start;
        sequence_ = load<be32>(tcp + 4);
        const auto flags = load<std::uint8_t>(tcp + tcp_flags);
        last_flags_ = flags & (tcp_fin | tcp_psh);
        flags_ = static_cast<std::uint8_t>(flags & ~last_flags_);
    }
    pseudo_sum_ = pseudo_sum_without_length(whole);
}

std::size_t segmenter::cut(burst& b, std::size_t most) noexcept
{
    std::size_t made = 0;
    // A segment has at most all that is left of the original's, and a piece of its head.
    while (left_ > 0 && made < most && b.count < burst::capacity &&
           b.segments_used + (whole_.segment_count - segment_) + 1U <= burst::segment_capacity) {
        make(b);
        ++made;
    }
    return made;
}

// Lengths, and what goes with them, of a frame of `size` bytes.
void segmenter::write_network_header(std::byte* at, std::uint32_t size) noexcept
{
    const auto length = static_cast<std::uint16_t>(size - whole_.offload.network_start);
    if (ipv6_) {
        store(at + 4, be16{static_cast<std::uint16_t>(length - ipv6_header)});
        return;
    }
    const std::uint16_t identifier = identifier_++;
    store(at + 2, be16{length});
    store(at + 4, be16{identifier});
    store(at + 10, static_cast<std::uint16_t>(
                       ~fold(std::uint64_t{network_sum_} + word(length) + word(identifier))));
}

// The number of a segment's first byte, and its flags.
void segmenter::write_tcp_header(std::byte* at, std::uint32_t size) noexcept
{
    store(at + 4, be32{sequence_});
    store(at + tcp_flags, static_cast<std::uint8_t>(left_ == 0 ? flags_ | last_flags_ : flags_));
    sequence_ += size;
    flags_ = static_cast<std::uint8_t>(flags_ & ~tcp_cwr); // the first has it, RFC 3168, 6.1.2
}

void segmenter::make(burst& b) noexcept
{
    const offload_intent& todo = whole_.offload;
    const std::uint32_t size = std::min<std::uint32_t>(left_, todo.segment_size);
    left_ -= size;
    packet_slot& p = b.slots[b.count++];
    p.data = p.head.data();
    p.length = todo.header_length + size;
    p.head_length = todo.header_length;
    p.segments = b.segments.data() + b.segments_used;
    p.mbuf = nullptr;
    p.remote = nullptr;
    p.in_port = whole_.in_port;
    p.vlan = whole_.vlan;
    p.priority = whole_.priority;
    p.note = whole_.note;
    p.tagged = whole_.tagged;
    p.tags = whole_.tags;
    p.destinations = 1;
    p.offload = {};
    std::memcpy(p.data, whole_.data, todo.header_length);

    const std::size_t first = b.segments_used;
    std::uint32_t wanted = size;
    if (head_at_ < whole_.head_length) {
        const std::uint32_t n = std::min(wanted, whole_.head_length - head_at_);
        b.segments[b.segments_used++] = guest_span{whole_.data + head_at_, n};
        head_at_ += n;
        wanted -= n;
    }
    while (wanted > 0) {
        const guest_span& from = whole_.segments[segment_];
        const std::size_t n = std::min<std::size_t>(wanted, from.size() - segment_at_);
        if (n > 0) {
            b.segments[b.segments_used++] = from.subspan(segment_at_, n);
        }
        segment_at_ += n;
        wanted -= static_cast<std::uint32_t>(n);
        if (segment_at_ == from.size()) {
            ++segment_;
            segment_at_ = 0;
        }
    }
    p.segment_count = static_cast<std::uint16_t>(b.segments_used - first);

    write_network_header(p.data + todo.network_start, p.length);
    std::byte* const transport = p.data + todo.checksum_start;
    const auto length = static_cast<std::uint16_t>(p.length - todo.checksum_start);
    if (udp_) {
        store(transport + udp_length, be16{length});
    } else {
        write_tcp_header(transport, size);
    }
    store(transport + todo.checksum_offset, fold(std::uint64_t{pseudo_sum_} + word(length)));
    if (leaves_checksum_) {
        p.offload = todo;
        p.offload.segment_size = 0;
        p.offload.required = todo.required & (offloads::checksum_ipv4 | offloads::checksum_ipv6);
    } else {
        fill_checksum(p, todo.checksum_start, todo.checksum_offset);
    }
}

} // namespace strait::dataplane
