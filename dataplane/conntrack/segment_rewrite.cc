// SPDX-License-Identifier: BSD-3-Clause
// Headers by way of a copy, which tells what they come to in a checksum; payload as a list of
// pieces.
#include "dataplane/conntrack/segment_rewrite.hh"

#include "dataplane/ip.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <bit>
#include <cstring>

namespace strait::conntrack {

namespace {

using namespace dataplane;
using flow::network_header;

constexpr std::size_t longest_header = 60;
constexpr std::size_t largest_ip = 65'535;

[[nodiscard]] std::size_t tcp_header_of(const request& r) noexcept
{
    return (load<std::uint8_t>(r.p->data + r.at.transport + 12) >> 4) * std::size_t{4};
}
// Whether the switch has all of the header before it.
[[nodiscard]] bool has_header(const request& r) noexcept
{
    const std::size_t size = tcp_header_of(r);
    return size >= min_tcp_header &&
           r.at.transport + size <= std::min<std::size_t>(r.p->head_length, r.p->length);
}
// Its checksum is blank: no more than the pseudo-header's sum.
[[nodiscard]] bool is_blank(const request& r) noexcept
{
    return r.p->offload.network_start == r.at.network;
}
[[nodiscard]] bool make_local(packet& p, rte_mempool* pool) noexcept
{
    if (p.remote != nullptr && pool != nullptr) {
        packet* const one[] = {&p};
        localise(one, pool);
    }
    return p.remote == nullptr;
}

void map_selective(std::span<std::byte> options, const stream_edits& edits) noexcept
{
    tcp::each_option(options, [&](std::uint8_t kind, std::span<const std::byte> content) noexcept {
        if (kind == tcp::selective && content.size() % 8 == 0) {
            std::byte* const first = options.data() + (content.data() - options.data());
            for (std::size_t i = 0; i < content.size(); i += 4) {
                store(first + i, be32{edits.to_sender(load<be32>(first + i))});
            }
        }
    });
}

void write_numbers(request& r, const stream_edits& own, const stream_edits& other) noexcept
{
    std::byte* const header = r.p->data + r.at.transport;
    const std::size_t size = tcp_header_of(r);
    std::array<std::byte, longest_header> now;
    std::memcpy(now.data(), header, size);
    const auto flags = load<std::uint8_t>(header + 13);
    const std::uint32_t sequence = load<be32>(header + 4);
    const std::uint32_t becomes = own.to_receiver(sequence);
    store(now.data() + 4, be32{becomes});
    if ((flags & tcp::ack) != 0) {
        store(now.data() + 8, be32{other.to_sender(load<be32>(header + 8))});
        map_selective(std::span{now}.subspan(min_tcp_header, size - min_tcp_header), other);
    }
    if ((flags & tcp::urg) != 0) {
        const std::uint32_t urgent = sequence + load<be16>(header + 18);
        store(now.data() + 18, be16{static_cast<std::uint16_t>(own.to_receiver(urgent) - becomes)});
    }
    sum_change sum;
    for (std::size_t i = 0; i < size; i += 4) {
        sum.replace(load<std::uint32_t>(header + i), load<std::uint32_t>(now.data() + i));
    }
    std::memcpy(header, now.data(), size);
    if (!is_blank(r)) {
        std::byte* const field = header + tcp_checksum;
        store(field, sum.checksum(load<std::uint16_t>(field)));
    }
}

// The bytes of a payload from its first to the last that is replaced, in the burst's memory; then
// the pieces of the frame that stay.
class new_payload {
public:
    new_payload(packet_slot& p, burst& b, const payload_extent& old) noexcept
        : p_{p}, b_{b}, old_{old}, at_{old.begin}
    {}

    // False: there is no room.
    [[nodiscard]] bool put(const stream_edits& edits, std::uint32_t sequence) noexcept
    {
        const auto size = static_cast<std::int32_t>(old_.size());
        for (const stream_edits::edit& e : edits.all()) {
            const auto begins = static_cast<std::int32_t>(e.begin - sequence);
            const std::int32_t first = std::max(begins, 0);
            const std::int32_t last = std::min(begins + std::int32_t{e.old_size}, size);
            if (first >= last) {
                continue;
            }
            const auto number = [&](std::int32_t n) noexcept {
                return edits.to_receiver(sequence + static_cast<std::uint32_t>(n)) -
                       edits.to_receiver(e.begin);
            };
            if (!keep_up_to(old_.begin + static_cast<std::size_t>(first)) ||
                !add(std::string_view{e.text.data(), e.size}.substr(
                    number(first), number(last) - number(first)))) {
                return false;
            }
            at_ = old_.begin + static_cast<std::size_t>(last);
        }
        // A slot's own memory behind the head is where lengthen_head() writes.
        const std::size_t head = std::min<std::size_t>(p_.head_length, old_.end);
        return used_ > 0 && (p_.mbuf != nullptr || at_ >= head || keep_up_to(head)) && list();
    }
    // The packet has it.
    void commit() noexcept
    {
        p_.segments = b_.segments.data() + b_.segments_used;
        p_.segment_count = static_cast<std::uint16_t>(count_);
        p_.length = static_cast<std::uint32_t>(old_.begin + used_ + stays_);
        p_.head_length = static_cast<std::uint16_t>(old_.begin);
        b_.segments_used += count_;
        b_.bytes_used += used_;
        if (p_.mbuf != nullptr) {
            ++p_.destinations; // it does not say what the packet is: own() copies
        }
    }
    [[nodiscard]] std::size_t size() const noexcept { return used_ + stays_; }

private:
    [[nodiscard]] std::byte* room_for(std::size_t size) noexcept
    {
        std::byte* const to = b_.bytes.data() + b_.bytes_used + used_;
        if (size > b_.bytes.size() - b_.bytes_used - used_) {
            return nullptr;
        }
        used_ += size;
        return to;
    }
    [[nodiscard]] bool keep_up_to(std::size_t end) noexcept
    {
        std::byte* const to = room_for(end - at_);
        const bool kept = to != nullptr && copy_frame(p_, at_, to, end - at_);
        at_ = end;
        return kept;
    }
    [[nodiscard]] bool add(std::string_view text) noexcept
    {
        std::byte* const to = room_for(text.size());
        if (to != nullptr) {
            std::memcpy(to, text.data(), text.size());
        }
        return to != nullptr;
    }
    [[nodiscard]] bool add(guest_span piece) noexcept
    {
        const std::size_t room =
            std::min(burst::segment_capacity - b_.segments_used, burst::max_segments);
        if (count_ == room) {
            return false;
        }
        b_.segments[b_.segments_used + count_++] = piece;
        return true;
    }
    // What stays, from `at_` on.
    [[nodiscard]] bool list() noexcept
    {
        stays_ = old_.end - at_;
        std::size_t left = stays_;
        std::size_t skip = at_;
        const auto take = [&](guest_span from) noexcept {
            const std::size_t here = std::min(skip, from.size());
            const std::size_t size = std::min(from.size() - here, left);
            skip -= here;
            left -= size;
            return size == 0 || add(from.subspan(here, size));
        };
        bool fits = add(guest_span{b_.bytes.data() + b_.bytes_used, used_}) &&
                    take(guest_span{p_.data, p_.head_length});
        for (std::size_t i = 0; i < p_.segment_count && left > 0 && fits; ++i) {
            fits = take(p_.segments[i]);
        }
        return fits && left == 0;
    }

    packet_slot& p_;
    burst& b_;
    payload_extent old_;
    std::size_t at_; // in the old frame: up to there it is done
    std::size_t used_{0};
    std::size_t stays_{0};
    std::size_t count_{0};
};

// IP's length, by so many bytes of payload. False: it cannot be that long.
[[nodiscard]] bool write_length(request& r, std::size_t old_size, std::size_t size) noexcept
{
    const bool ipv4 = r.at.network_is == network_header::ipv4;
    std::byte* const network = r.p->data + r.at.network;
    std::byte* const field = network + (ipv4 ? 2 : 4);
    const std::size_t length = load<be16>(field) - old_size + size;
    if (length > largest_ip) {
        return false;
    }
    const be16 now{static_cast<std::uint16_t>(length)};
    if (ipv4) {
        sum_change sum;
        sum.replace(load<std::uint16_t>(field), std::bit_cast<std::uint16_t>(now));
        store(network + ipv4_checksum, sum.checksum(load<std::uint16_t>(network + ipv4_checksum)));
    }
    store(field, now);
    return true;
}

// A segment that has become longer is cut into those that its sender makes: what is on the way was
// asked for them. Short ones fit everywhere.
[[nodiscard]] std::uint16_t segment_size_of(const packet& p, std::size_t old_size,
                                            std::size_t size) noexcept
{
    constexpr std::size_t fits_everywhere = 536; // RFC 9293
    const std::size_t longest = std::max(old_size, fits_everywhere);
    if (p.offload.segment_size != 0) {
        return p.offload.segment_size;
    }
    return size > longest ? static_cast<std::uint16_t>(longest) : std::uint16_t{0};
}

[[nodiscard]] bool replace_texts(request& r, const payload_extent& old, const stream_edits& edits,
                                 std::uint32_t sequence, rte_mempool* pool) noexcept
{
    if (r.payload == nullptr || !is_intact(r, pool)) {
        return false;
    }
    packet_slot& p = *r.p;
    new_payload made{p, *r.payload, old};
    if (!made.put(edits, sequence) || !write_length(r, old.size(), made.size())) {
        return false;
    }
    const std::uint16_t cut = segment_size_of(p, old.size(), made.size());
    made.commit();
    return leave_unfinished(p, cut) == offload_fault::none;
}

} // namespace

payload_extent payload_of(const request& r, bool tcp) noexcept
{
    const std::byte* const network = r.p->data + r.at.network;
    const std::size_t size = r.at.network_is == network_header::ipv4
                                 ? std::size_t{load<be16>(network + 2)}
                                 : load<be16>(network + 4) + ipv6_header;
    const payload_extent out{r.at.transport + (tcp ? tcp_header_of(r) : udp_header),
                             r.at.network + size};
    return out.begin < out.end ? out : payload_extent{};
}

bool is_intact(request& r, rte_mempool* pool) noexcept
{
    const payload_extent payload = payload_of(r, true);
    return make_local(*r.p, pool) && (is_blank(r) || has_right_checksum(*r.p, payload.end));
}

void number_as_sent(tcp::segment& s, const stream_edits& other_side, option_room& room) noexcept
{
    if ((s.flags & (tcp::ack | tcp::syn)) != tcp::ack) {
        return;
    }
    s.acknowledged = other_side.to_sender(s.acknowledged);
    const std::size_t size = std::min(s.options.size(), room.size());
    std::copy_n(s.options.begin(), size, room.begin());
    const std::span copied = std::span{room}.first(size);
    map_selective(copied, other_side);
    s.options = copied;
}

bool rewrite_segment(request& r, const connection_edits& edits, bool reply,
                     rte_mempool* pool) noexcept
{
    if (!has_header(r)) {
        return false;
    }
    if ((load<std::uint8_t>(r.p->data + r.at.transport + 13) & tcp::syn) != 0) {
        return true; // where numbers begin
    }
    const stream_edits& own = edits[reply ? 1 : 0];
    const std::uint32_t sequence = load<be32>(r.p->data + r.at.transport + 4);
    const payload_extent payload = payload_of(r, true);
    const auto size = static_cast<std::int32_t>(payload.size());
    const bool has_text = std::ranges::any_of(own.all(), [&](const stream_edits::edit& e) {
        const auto begins = static_cast<std::int32_t>(e.begin - sequence);
        return begins < size && begins + std::int32_t{e.old_size} > 0;
    });
    if (has_text && !replace_texts(r, payload, own, sequence, pool)) {
        return false;
    }
    write_numbers(r, own, edits[reply ? 0 : 1]);
    r.translated = true;
    return true;
}

} // namespace strait::conntrack
