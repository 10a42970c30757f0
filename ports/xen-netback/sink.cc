// SPDX-License-Identifier: BSD-3-Clause
// Responses stand in the slots of their requests, so that these are copied out before the first
// response is written. Extra infos take the slots behind a frame's first.
#include "ports/xen-netback/sink.hh"

#include "dataplane/offload.hh"
#include "dataplane/parse.hh"
#include "ports/xen-netback/fault.hh"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace strait::xen {

using dataplane::drop_reason;
using dataplane::packet;
using dataplane::remote_copy;
using dataplane::remote_span;
using dataplane::segmentation;

namespace {

constexpr std::uint16_t no_probe = 0xffff;
constexpr std::byte zero{};

} // namespace

sink::sink(netif::rx_ring ring, guest& g, event_channel& channel, bool left_behind) noexcept
    : ring_{ring},
      guest_{g},
      channel_{channel},
      taken_{ring.response_producer()},
      answered_{taken_},
      notified_{taken_},
      shown_{taken_}
{
    if (left_behind) {
        finish_answers();
    }
}

// Responses that were written but not published: the grants that they lie over are lost. Whole
// frames are the guest's; what is there of one that is not becomes errors.
void sink::finish_answers() noexcept
{
    const std::uint32_t end = ring_.request_producer();
    if (end - answered_ > netif::ring_size) {
        return; // transmit() will say so
    }
    // No reference of a grant looks like that: its upper half would be the status.
    const auto is_response = [](const netif::rx_response& r) noexcept {
        constexpr std::uint16_t all_flags = 0xf;
        return (r.flags & ~all_flags) == 0 &&
               (r.status == netif::status::error ||
                (r.status > 0 &&
                 r.offset + std::size_t{static_cast<std::uint16_t>(r.status)} <= page_size));
    };
    std::uint32_t at = answered_;
    std::uint32_t whole = at;                        // the end of what is certain
    std::array<std::uint16_t, netif::ring_size> ids; // of slots, as far as they are there
    bool inside = false;
    bool doubtful = false; // whether the extra infos at the end were written
    while (at != end) {
        const auto r = ring_.read<netif::rx_response>(at);
        if (!is_response(r)) {
            break;
        }
        if (!inside) {
            whole = at; // the frame before was written to its end, or this would not be there
        }
        ids[at++ % ids.size()] = r.id;
        bool extras = !inside && (r.flags & netif::rx_flag::extra_info) != 0;
        doubtful = extras;
        for (unsigned i = 0; extras && i < most_extras && at != end; ++i) {
            const auto e = ring_.read<netif::extra_info>(at);
            ids[at % ids.size()] = static_cast<std::uint16_t>(at % ids.size()); // as drivers do
            ++at;
            extras = (e.flags & netif::extra_more) != 0;
        }
        inside = (r.flags & netif::rx_flag::more_data) != 0;
    }
    if (!inside && !doubtful) {
        whole = at;
    }
    for (; whole != at; ++whole) {
        ring_.write(whole, netif::rx_response{.id = ids[whole % ids.size()],
                                              .offset = 0,
                                              .flags = 0,
                                              .status = netif::status::error});
    }
    ring_.publish_responses(at);
    taken_ = answered_ = at;
    shown_.store(at, std::memory_order_relaxed);
}

void sink::transmit(std::span<packet* const> packets, const ports::queue_context& context) noexcept
{
    const std::uint32_t ready = ring_.request_producer() - taken_;
    if (fault() != nullptr || ready > netif::ring_size) [[unlikely]] {
        if (fault() == nullptr) {
            fault_.store(fault_text::index, std::memory_order_release);
        }
        context.counters->drop(drop_reason::receiver_malformed, packets);
        return;
    }
    const std::uint32_t end = taken_ + ready;
    const std::uint32_t before = answered_;
    for (const packet* const p : packets) {
        if (guest_.features.multicast_control) {
            const auto to = dataplane::parse_ethernet(p->data).destination;
            if (to.is_multicast() && to != dataplane::mac_address{dataplane::mac_address::mask} &&
                !guest_.multicasts.wants(to)) {
                context.counters->drop(drop_reason::multicast_unwanted, *p);
                continue;
            }
        }
        while (!put(*p, end - taken_, context)) {
            flush(context);
        }
    }
    flush(context);
    if (answered_ != before) {
        ring_.publish_responses(answered_);
        shown_.store(answered_, std::memory_order_relaxed);
        context.notifications->add(*this);
    }
}

// False: there is no room for its pieces before a flush.
bool sink::put(const packet& p, std::uint32_t available,
               const ports::queue_context& context) noexcept
{
    const std::uint16_t headroom = guest_.headroom.load(std::memory_order_relaxed);
    const hash_config* const hash = guest_.hash.load(std::memory_order_acquire);
    const hash_config::value hashed = hash != nullptr ? hash->of(p) : hash_config::value{};
    constexpr std::uint32_t page = page_size;
    const std::uint32_t slots = (headroom + p.length + page - 1) / page;
    const std::uint32_t extras = (p.offload.segment_size != 0 ? 1U : 0U) +
                                 (headroom != 0 ? 1U : 0U) + (hashed.type != 0 ? 1U : 0U);
    if (dataplane::needs_work(p, guest_.features.offloads)) [[unlikely]] {
        // The guest that was asked what it takes has gone, and this is another.
        context.counters->drop(drop_reason::receiver_not_connected, p);
        return true;
    }
    if (slots > 1 && !guest_.features.scatter_gather) {
        context.counters->drop(drop_reason::receiver_buffer_too_small, p);
        return true;
    }
    if (slots + extras > available) {
        context.counters->drop(drop_reason::receiver_full, p);
        return true;
    }
    const std::size_t chunks =
        1 + (p.remote != nullptr ? p.remote->spans.size() : p.segment_count) + slots;
    if (piece_count_ + chunks > pieces_.size()) { // frames_ has room for all of a burst
        return false;
    }
    // Made where it stays. What is put together elsewhere and then copied in larger words waits for
    // its stores to land, tens of cycles a packet.
    frame& f = *::new (&frames_[frame_count_++])
                   frame{.packet = &p,
                         .first_slot = static_cast<std::uint16_t>(slot_count_),
                         .slots = static_cast<std::uint16_t>(slots),
                         .extras = static_cast<std::uint16_t>(extras),
                         .first_piece = static_cast<std::uint16_t>(piece_count_),
                         .pieces = 0,
                         .headroom = headroom,
                         .source_probe = no_probe,
                         .target_probe = no_probe,
                         .failed = false,
                         .hash = hashed};
    for (std::uint32_t i = 0; i < slots + extras; ++i) {
        slots_[slot_count_++] = ring_.read<netif::rx_request>(taken_++);
    }
    scatter(f);
    return true;
}

// Notes what is to be copied to where: to the frame's first slot, then to those behind its extras.
void sink::scatter(frame& f) noexcept
{
    const packet& p = *f.packet;
    std::size_t slot = f.first_slot;
    std::uint32_t at = f.headroom;
    const auto next = [&](std::uint32_t most) noexcept {
        if (at == page_size) {
            slot += slot == f.first_slot ? 1U + f.extras : 1U;
            at = 0;
        }
        const auto size = static_cast<std::uint16_t>(std::min<std::size_t>(most, page_size - at));
        const remote_span to{.reference = slots_[slot].grant,
                             .offset = static_cast<std::uint16_t>(at),
                             .owner = static_cast<std::uint16_t>(guest_.domain),
                             .size = size};
        at += size;
        return to;
    };
    for (std::uint32_t done = 0; done < p.head_length;) {
        const remote_span to = next(p.head_length - done);
        ::new (&pieces_[piece_count_++]) remote_copy(remote_copy::push(p.data + done, to));
        done += to.size;
    }
    if (p.remote != nullptr) {
        for (remote_span from : p.remote->spans) {
            while (from.size > 0) {
                const remote_span to = next(from.size);
                ::new (&pieces_[piece_count_++]) remote_copy(remote_copy::across(from, to));
                from.offset = static_cast<std::uint16_t>(from.offset + to.size);
                from.size = static_cast<std::uint16_t>(from.size - to.size);
            }
        }
    } else {
        for (std::size_t i = 0; i < p.segment_count; ++i) {
            const dataplane::guest_span& from = p.segments[i];
            for (std::size_t done = 0; done < from.size();) {
                const remote_span to = next(static_cast<std::uint32_t>(
                    std::min<std::size_t>(from.size() - done, page_size)));
                ::new (&pieces_[piece_count_++])
                    remote_copy(remote_copy::push(from.subspan(done), to));
                done += to.size;
            }
        }
    }
    f.pieces = static_cast<std::uint16_t>(piece_count_ - f.first_piece);
}

void sink::flush(const ports::queue_context& context) noexcept
{
    if (frame_count_ == 0) {
        return;
    }
    const std::span pieces = std::span{pieces_}.first(piece_count_);
    guest_.hypervisor->copy(pieces);
    guest_.counters.copies.add(pieces.size());
    if (!std::ranges::all_of(pieces, [](const remote_copy& c) { return c.done(); })) [[unlikely]] {
        find_failed();
    }
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
    for (const frame& f : std::span{frames_}.first(frame_count_)) {
        answer(f);
        if (!f.failed) [[likely]] {
            ++packets;
            bytes += f.packet->length;
        } else {
            context.counters->drop(drop_reason::copy_failed, *f.packet);
        }
    }
    context.counters->tx_packets.add(packets);
    context.counters->tx_bytes.add(bytes);
    frame_count_ = slot_count_ = piece_count_ = 0;
}

// Marks the frames of which a piece failed, and says whose grant it was. A piece between two guests
// does not tell: a byte of each side is tried alone, and where both are good by now, nobody is
// blamed. All are tried together: a guest whose grants fail costs others one more call a burst.
void sink::find_failed() noexcept
{
    std::size_t probes = 0;
    for (frame& f : std::span{frames_}.first(frame_count_)) {
        const std::span own = std::span{pieces_}.subspan(f.first_piece, f.pieces);
        const auto failed =
            std::ranges::find_if(own, [](const remote_copy& c) { return !c.done(); });
        if (failed == own.end()) {
            continue;
        }
        f.failed = true;
        const auto byte_of = [](const remote_copy::side& side) noexcept {
            return remote_span{.reference = side.granted.reference,
                               .offset = side.granted.offset,
                               .owner = side.granted.owner,
                               .size = sizeof(std::byte)};
        };
        const bool from_guest = (failed->flags() & remote_copy::source_granted) != 0;
        f.source_probe = from_guest ? static_cast<std::uint16_t>(probes) : no_probe;
        if (from_guest) {
            probes_[probes++] = remote_copy::pull(byte_of(failed->source()), &probed_);
        }
        f.target_probe = static_cast<std::uint16_t>(probes);
        // Into a frame that is lost anyway.
        probes_[probes++] = remote_copy::push(&zero, byte_of(failed->target()));
    }
    guest_.hypervisor->copy(std::span{probes_}.first(probes));
    for (const frame& f : std::span{frames_}.first(frame_count_)) {
        if (!f.failed) {
            continue;
        }
        if (f.source_probe != no_probe && !probes_[f.source_probe].done()) {
            f.packet->remote->unreadable = true;
        } else if (!probes_[f.target_probe].done()) {
            guest_.counters.target_errors.add(1);
        }
    }
}

void sink::answer(const frame& f) noexcept
{
    std::uint32_t left = f.headroom + f.packet->length;
    for (std::uint32_t i = 0; i < f.slots; ++i) {
        const std::uint32_t behind_extras = i == 0 ? 0 : f.extras;
        const std::uint32_t size = std::min<std::uint32_t>(left, page_size);
        left -= size;
        netif::rx_response response{
            .id = slots_[f.first_slot + i + behind_extras].id,
            .offset = i == 0 ? f.headroom : std::uint16_t{0},
            .flags = i + 1 < f.slots ? netif::rx_flag::more_data : std::uint16_t{0},
            .status = f.failed ? netif::status::error
                               : static_cast<std::int16_t>(i == 0 ? size - f.headroom : size)};
        if (i == 0) {
            // Segments imply it, even of a frame whose checksum is whole.
            if (!f.packet->offload.empty()) {
                response.flags |= netif::rx_flag::checksum_blank | netif::rx_flag::data_validated;
            }
            if (f.extras != 0) {
                response.flags |= netif::rx_flag::extra_info;
            }
        }
        ring_.write(answered_++, response);
        if (i == 0 && f.extras != 0) {
            write_extras(f);
        }
    }
}

void sink::write_extras(const frame& f) noexcept
{
    std::uint32_t left = f.extras;
    const auto write = [&](netif::extra type, std::uint64_t body) noexcept {
        netif::extra_info e{.type = static_cast<std::uint8_t>(type),
                            .flags = --left > 0 ? netif::extra_more : std::uint8_t{0},
                            .body = {}};
        std::memcpy(e.body, &body, sizeof e.body);
        ring_.write(answered_++, e);
    };
    const dataplane::offload_intent& intent = f.packet->offload;
    if (intent.segment_size != 0) {
        const std::uint64_t type = dataplane::segmentation_of(intent) == segmentation::tcp_ipv6
                                       ? netif::gso_tcp_v6
                                       : netif::gso_tcp_v4;
        write(netif::extra::gso, intent.segment_size | type << 16U);
    }
    if (f.headroom != 0) {
        write(netif::extra::xdp, f.headroom);
    }
    if (f.hash.type != 0) {
        const auto type = static_cast<std::uint64_t>(std::countr_zero(f.hash.type));
        write(netif::extra::hash,
              type | netif::hash_algorithm::toeplitz << 8U | std::uint64_t{f.hash.hash} << 16U);
    }
}

void sink::notify_if_wanted() noexcept
{
    if (answered_ - ring_.wanted_event() < answered_ - notified_) {
        channel_.notify();
        guest_.counters.notifications.add(1);
    }
    notified_ = answered_;
}

void sink::prefetch_ring(std::size_t n) const noexcept
{
    constexpr std::size_t slots_a_line = 8;
    for (std::size_t i = 0; i < n; i += slots_a_line) {
        ring_.prefetch(taken_ + static_cast<std::uint32_t>(i));
    }
}

} // namespace strait::xen
