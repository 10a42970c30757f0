// SPDX-License-Identifier: BSD-3-Clause
// Putting packets into a guest's receive virtqueue: the head from private memory, the payload
// straight from where its sender has it, by its hypervisor if that is out of our reach. Staged over
// the burst: buffers are taken, checked and prefetched; then written; then returned together, with
// one kick.
#include "dataplane/pull_batch.hh"
#include "ports/vhost/guarded_kick.hh"
#include "ports/vhost/offload.hh"
#include "ports/vhost/packed_layout.hh"
#include "ports/vhost/split_layout.hh"

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <tuple>
#include <utility>

namespace strait::vhost {

namespace {

using dataplane::burst;
using dataplane::drop_reason;
using dataplane::guest_span;
using dataplane::offloads;
using dataplane::packet;
using dataplane::remote_span;

template <typename Layout>
class sink_of final : public sink {
public:
    explicit sink_of(const ring_setup& setup)
        : log_{setup.log},
          layout_{setup, log_.on() ? &log_ : nullptr},
          memory_{*setup.memory},
          call_fd_{setup.call_fd},
          mergeable_{has_feature(setup.features, feature::mergeable_buffers)},
          header_{mergeable_ || has_feature(setup.features, feature::version_1)
                      ? sizeof(net_header)
                      : legacy_net_header},
          takes_{taken_by_guest(setup.features)}
    {
        if ((takes_ & dataplane::all_segmentation) != offloads::none) {
            cut_ = std::make_unique<burst>();
        }
    }

    void transmit(std::span<packet* const> packets,
                  const ports::queue_context& context) noexcept override;
    [[nodiscard]] offloads takes() const noexcept override { return takes_; }
    void prefetch_ring(std::size_t n) noexcept override;
    void prefetch_buffers(std::size_t n) noexcept override;
    void notify_if_wanted() noexcept override;
    [[nodiscard]] ring_index position() const noexcept override { return layout_.position(); }

private:
    // Most buffers of one packet: 64 KiB in Linux's smallest mergeable buffers.
    static constexpr std::size_t max_buffers = 64;

    struct written {
        const packet* p;
        guest_span buffer;
    };
    // Of a burst that has remote payload.
    struct remote_work {
        dataplane::pull_batch copies;
        // What is one descriptor's and was not published, no more than completions_.
        std::array<written, burst::capacity + max_buffers> frames;
        std::size_t count{0};
        std::uint64_t sent{0}; // of all packets, these and others
        std::uint64_t bytes{0};
    };

    struct target {
        packet* p;
        guest_span buffer;
    };
    // A buffer of one descriptor, found before its packet was known.
    struct found {
        guest_span buffer;
        std::uint32_t length; // the descriptor's
        std::uint16_t id;
    };

    [[nodiscard]] std::size_t put(std::span<packet* const> packets,
                                  dataplane::port_counters& counters) noexcept;
    [[nodiscard]] std::size_t put_into_found(std::span<packet* const> packets,
                                             dataplane::port_counters& counters) noexcept;
    [[nodiscard]] std::size_t put_into_next(std::span<packet* const> packets,
                                            dataplane::port_counters& counters) noexcept;
    void put_in_segments(packet& p, const ports::queue_context& context) noexcept;
    [[nodiscard]] drop_reason take_slowly(Layout& layout, chain_head head, const packet& p,
                                          const char*& fault) noexcept;
    void write(const packet& p, const guest_span& buffer) noexcept;
    void write_remote(const packet& p, const guest_span& buffer) noexcept;
    void begin_remote() noexcept;
    [[nodiscard]] bool write_scattered(const packet& p) noexcept;
    template <typename Append>
    void spoil(std::uint16_t buffers, Append append) const noexcept;
    void find_culprit(const packet& p) noexcept;
    void finish_remote(dataplane::port_counters& counters) noexcept;
    void count_sent(dataplane::port_counters& counters, std::uint64_t packets,
                    std::uint64_t bytes) const noexcept;
    void publish(dataplane::port_counters& counters) noexcept;
    void prefetch_buffer(const guest_span& buffer) const noexcept;

    const ring_log log_;
    Layout layout_;
    const guest_memory& memory_;
    const int call_fd_;
    const bool mergeable_;
    const std::size_t header_;
    const offloads takes_;
    bool published_{false};        // something of this burst
    remote_work* remote_{nullptr}; // while there is some in a burst
    std::unique_ptr<burst> cut_; // segments of what does not fit; only where packets may have some
    std::size_t there_{0};       // buffers that prefetch_ring() found, a ring's at most
    std::size_t prefetched_{0};  // buffers that prefetch_buffers() asked for
    std::size_t found_count_{0}; // of those, the first ones, which found_ holds
    std::array<found, burst::capacity> found_;
    std::size_t completed_{0};
    std::array<completion, burst::capacity + max_buffers> completions_;
    std::size_t spans_used_{0};
    std::size_t buffers_{0};
    std::array<guest_span, max_buffers * 4 + dataplane::burst::max_segments> spans_;
};

constexpr drop_reason none{0xff};

// A packet whose buffer is one descriptor. Most headers say no offload and one buffer, and did so
// in the last lap of most drivers' buffers.
template <typename Layout>
[[gnu::always_inline]] inline void sink_of<Layout>::write(const packet& p,
                                                          const guest_span& buffer) noexcept
{
    static_assert(offsetof(net_header, checksum_offset) == 8 &&
                  offsetof(net_header, buffers) == 10);
    std::uint64_t work = 0; // all of the header up to the checksum's offset
    std::uint16_t checksum_offset = 0;
    if (!p.offload.empty()) [[unlikely]] {
        const net_header header = header_of(p.offload, 1);
        std::memcpy(&work, &header, sizeof work);
        checksum_offset = header.checksum_offset;
    }
    buffer.store_if_different<std::uint64_t>(0, work);
    if (header_ == sizeof(net_header)) [[likely]] {
        constexpr std::uint32_t one_buffer = 1U << 16;
        buffer.store_if_different<std::uint32_t>(8, one_buffer | checksum_offset);
    } else {
        buffer.store_if_different<std::uint16_t>(8, checksum_offset);
    }
    buffer.copy_in(p.data, header_, p.head_length);
    if (p.head_length == p.length) {
        return;
    }
    if (p.remote != nullptr) [[unlikely]] {
        write_remote(p, buffer);
        return;
    }
    std::size_t at = header_ + p.head_length;
    for (std::size_t i = 0; i < p.segment_count; ++i) {
        guest_span::copy(buffer, at, p.segments[i], 0, p.segments[i].size());
        at += p.segments[i].size();
    }
}

// The burst has remote payload.
template <typename Layout>
void sink_of<Layout>::begin_remote() noexcept
{
    if (remote_ == nullptr) {
        thread_local remote_work work;
        work.sent = work.bytes = 0;
        remote_ = &work;
    }
}

// Leaves the payload for the hypervisor to copy, before anything is published.
template <typename Layout>
[[gnu::noinline]] void sink_of<Layout>::write_remote(const packet& p,
                                                     const guest_span& buffer) noexcept
{
    begin_remote();
    remote_->frames[remote_->count++] = {.p = &p, .buffer = buffer};
    std::size_t at = header_ + p.head_length;
    for (const remote_span& from : p.remote->spans) {
        const std::size_t size = std::min<std::size_t>(from.size, header_ + p.length - at);
        remote_->copies.add(*p.remote, from.part(0, size), buffer.subspan(at, size));
        at += size;
    }
    if (at < header_ + p.length) { // a port's mistake
        p.remote->unreadable = true;
    }
}

// Turns a frame that is in the guest's buffers already into one that no receiver takes: without
// offloads, from nobody to nobody. `append` writes from the frame's first byte on.
template <typename Layout>
template <typename Append>
void sink_of<Layout>::spoil(std::uint16_t buffers, Append append) const noexcept
{
    net_header header{};
    header.buffers = buffers;
    std::array<std::byte, 14> nobody{}; // both MAC addresses and the type
    append(guest_span{&header, header_});
    append(guest_span{nobody.data(), nobody.size()});
}

// A copy that failed does not tell whether for its source or for its target, where a receiver may
// have cut its own memory: a byte of each of the payload's spans is tried alone, with the next
// flush. If all can be read, its sender is not to blame.
template <typename Layout>
void sink_of<Layout>::find_culprit(const packet& p) noexcept
{
    static thread_local std::byte tried;
    p.remote->unreadable = false;
    for (const remote_span& from : p.remote->spans) {
        remote_->copies.add(*p.remote, from.part(0, sizeof tried), &tried);
    }
}

// Before what was written is published. A frame whose payload could not be had is in its buffers,
// and cannot be taken back: others may be behind it.
template <typename Layout>
void sink_of<Layout>::finish_remote(dataplane::port_counters& counters) noexcept
{
    remote_->copies.flush();
    for (const auto& f : std::span{remote_->frames}.first(remote_->count)) {
        if (!f.p->remote->unreadable) {
            continue;
        }
        find_culprit(*f.p);
        std::size_t at = 0;
        spoil(1, [&](const guest_span& from) {
            guest_span::copy(f.buffer, at, from, 0, from.size());
            at += from.size();
        });
        --remote_->sent;
        remote_->bytes -= f.p->length;
        counters.drop(drop_reason::copy_failed, *f.p);
    }
    remote_->copies.flush();
    remote_->count = 0;
}

// As write(), over the spans that take_slowly() found. False: its payload could not be had.
template <typename Layout>
bool sink_of<Layout>::write_scattered(const packet& p) noexcept
{
    net_header header = header_of(p.offload, static_cast<std::uint16_t>(buffers_));
    bool whole = true;
    std::size_t to = 0;
    std::size_t to_offset = 0;
    const auto append = [&](const guest_span& from) noexcept {
        std::size_t from_offset = 0;
        while (from_offset < from.size()) {
            const std::size_t size =
                std::min(from.size() - from_offset, spans_[to].size() - to_offset);
            guest_span::copy(spans_[to], to_offset, from, from_offset, size);
            from_offset += size;
            to_offset += size;
            if (to_offset == spans_[to].size()) {
                ++to;
                to_offset = 0;
            }
        }
    };
    append({&header, header_});
    append({p.data, p.head_length});
    if (p.remote != nullptr) [[unlikely]] {
        begin_remote();
        std::size_t left = p.length - p.head_length;
        for (const remote_span& from : p.remote->spans) {
            for (std::size_t done = 0; done < from.size && left > 0;) {
                const std::size_t size =
                    std::min({from.size - done, left, spans_[to].size() - to_offset});
                remote_->copies.add(*p.remote, from.part(done, size),
                                    spans_[to].subspan(to_offset, size));
                done += size;
                left -= size;
                to_offset += size;
                if (to_offset == spans_[to].size()) {
                    ++to;
                    to_offset = 0;
                }
            }
        }
        remote_->copies.flush(); // the spans are this frame's
        whole = left == 0 && !p.remote->unreadable;
        if (!whole) {
            find_culprit(p);
            const auto end = std::pair{std::exchange(to, 0), std::exchange(to_offset, 0)};
            spoil(static_cast<std::uint16_t>(buffers_), append);
            std::tie(to, to_offset) = end;
        }
    }
    for (std::size_t i = 0; i < p.segment_count; ++i) {
        append(p.segments[i]);
    }
    if (log_.on()) [[unlikely]] {
        for (const guest_span& span : std::span{spans_}.first(to)) {
            log_.wrote(span, span.size());
        }
        if (to_offset > 0) {
            log_.wrote(spans_[to], to_offset);
        }
    }
    return whole;
}

// Takes as many chains as the packet needs, starting with `head`, which was taken already. Leaves
// their spans, and appends their completions.
template <typename Layout>
drop_reason sink_of<Layout>::take_slowly(Layout& layout, chain_head head, const packet& p,
                                         const char*& fault) noexcept
{
    const std::size_t needed = header_ + p.length;
    std::size_t room = 0;
    std::size_t walked = 0; // descriptors: no less than spans
    spans_used_ = 0;
    buffers_ = 0;
    while (true) {
        std::size_t length = 0;
        fault = layout.walk(head, memory_,
                            [&](std::uint64_t address, std::uint32_t size,
                                std::uint16_t flags) noexcept -> const char* {
                                ++walked;
                                if ((flags & descriptor_flag::write) == 0) {
                                    return fault_text::direction;
                                }
                                // Room beyond what is needed is the guest's affair.
                                if (size == 0 || room + length >= needed) {
                                    return nullptr;
                                }
                                guest_span& span = spans_[spans_used_];
                                if (!memory_.translate(address, size, span)) {
                                    return fault_text::address;
                                }
                                length += size;
                                ++spans_used_;
                                return nullptr;
                            });
        if (fault != nullptr) {
            return drop_reason::receiver_malformed;
        }
        const std::size_t used = std::min(length, needed - room);
        room += used;
        completions_[completed_ + buffers_++] = {
            .length = static_cast<std::uint32_t>(used), .id = head.id, .slots = head.slots};
        if (room == needed) {
            return none;
        }
        if (!mergeable_ || buffers_ == max_buffers || walked + max_chain > spans_.size()) {
            return drop_reason::receiver_buffer_too_small;
        }
        if (!layout.next(head, fault)) {
            return fault != nullptr ? drop_reason::receiver_malformed : drop_reason::receiver_full;
        }
    }
}

template <typename Layout>
void sink_of<Layout>::count_sent(dataplane::port_counters& counters, std::uint64_t packets,
                                 std::uint64_t bytes) const noexcept
{
    if (remote_ != nullptr) [[unlikely]] {
        remote_->sent += packets;
        remote_->bytes += bytes;
        return;
    }
    counters.tx_packets.add(packets);
    counters.tx_bytes.add(bytes);
}

template <typename Layout>
void sink_of<Layout>::publish(dataplane::port_counters& counters) noexcept
{
    if (remote_ != nullptr) [[unlikely]] {
        finish_remote(counters);
    }
    published_ = true;
    layout_.complete(std::span{completions_}.first(completed_));
    completed_ = 0;
}

template <typename Layout>
void sink_of<Layout>::notify_if_wanted() noexcept
{
    if (layout_.wants_interrupt()) {
        guarded_kick(call_fd_);
        kicks_.add(1);
    }
}

template <typename Layout>
[[gnu::always_inline]] inline void
sink_of<Layout>::prefetch_buffer(const guest_span& buffer) const noexcept
{
    // DPDK's driver puts a header at a line's end and the frame into the next one.
    if (buffer.begins_line_at(header_)) {
        buffer.prefetch(0);
        buffer.prefetch_for_write(header_);
    } else {
        buffer.prefetch_for_write(0);
        buffer.prefetch_for_write(64);
    }
}

template <typename Layout>
void sink_of<Layout>::prefetch_ring(std::size_t n) noexcept
{
    there_ = prefetched_ = found_count_ = 0;
    // A fault is transmit()'s to find: no buffer is there until then.
    if (fault() == nullptr && layout_.refresh() == nullptr) {
        there_ = std::min(layout_.ready(), n);
        layout_.prefetch(there_);
    }
}

template <typename Layout>
void sink_of<Layout>::prefetch_buffers(std::size_t n) noexcept
{
    if (fault() != nullptr) {
        return;
    }
    Layout layout = layout_;
    const char* fault = nullptr;
    chain_head head;
    found_count_ = 0;
    // No further than a lap: a guest may make a packed ring's descriptors available again while
    // they are looked at.
    n = std::min(n, std::exchange(there_, 0));
    for (prefetched_ = 0; prefetched_ < n && layout.next(head, fault); ++prefetched_) {
        guest_span buffer;
        if (memory_.translate(head.address, head.length, buffer)) [[likely]] {
            prefetch_buffer(buffer);
            if (found_count_ == prefetched_ && head.simple() && head.writable()) [[likely]] {
                found_[found_count_++] = {.buffer = buffer, .length = head.length, .id = head.id};
            }
        }
    }
}

template <typename Layout>
void sink_of<Layout>::transmit(std::span<packet* const> packets,
                               const ports::queue_context& context) noexcept
{
    published_ = false;
    std::size_t done = put(packets, *context.counters);
    while (done < packets.size())
        [[unlikely]]
        {
            put_in_segments(*packets[done], context);
            packets = packets.subspan(done + 1);
            done = put(packets, *context.counters);
        }
    if (remote_ != nullptr) [[unlikely]] {
        context.counters->tx_packets.add(remote_->sent);
        context.counters->tx_bytes.add(remote_->bytes);
        remote_ = nullptr;
    }
    if (published_) {
        context.notifications->add(*this);
    }
}

// For a guest whose buffers are smaller than what it takes: its driver knows why.
template <typename Layout>
void sink_of<Layout>::put_in_segments(packet& p, const ports::queue_context& context) noexcept
{
    if (p.remote != nullptr) {
        packet* const one[] = {&p};
        dataplane::localise(one, context.pool);
        if (p.remote != nullptr) {
            context.counters->drop(
                p.remote->unreadable ? drop_reason::copy_failed : drop_reason::no_memory, p);
            return;
        }
    }
    std::array<packet*, burst::capacity> segments;
    for (dataplane::segmenter cutter{p, takes_}; !cutter.done();) {
        cut_->clear();
        const std::size_t count = cutter.cut(*cut_, segments.size());
        for (std::size_t i = 0; i < count; ++i) {
            segments[i] = &cut_->slots[i];
        }
        // Nothing of them is to be cut again.
        [[maybe_unused]] const std::size_t done =
            put(std::span{segments}.first(count), *context.counters);
    }
}

// Sends packets or counts why not; returns how many. Stops in front of one that fits the guest's
// buffers only in segments.
template <typename Layout>
std::size_t sink_of<Layout>::put(std::span<packet* const> packets,
                                 dataplane::port_counters& counters) noexcept
{
    if (fault() != nullptr) [[unlikely]] {
        counters.drop(drop_reason::receiver_not_connected, packets);
        return packets.size();
    }
    std::size_t done = put_into_found(packets, counters);
    if (done < packets.size()) {
        done += put_into_next(packets.subspan(done), counters);
    }
    if (completed_ > 0) {
        publish(counters);
    }
    return done;
}

// put() for the buffers that prefetch_buffers() found: their descriptors are not read again.
// Returns how many packets went, up to the first that needs a closer look. Does not publish.
template <typename Layout>
std::size_t sink_of<Layout>::put_into_found(std::span<packet* const> packets,
                                            dataplane::port_counters& counters) noexcept
{
    const std::size_t count = std::min(std::exchange(found_count_, 0), packets.size());
    std::uint64_t bytes = 0;
    std::size_t done = 0;
    for (; done < count; ++done) {
        const packet& p = *packets[done];
        const found& f = found_[done];
        if (needs_work(p, takes_) || f.length < header_ + p.length) [[unlikely]] {
            break;
        }
        write(p, f.buffer);
        completions_[done] = {
            .length = static_cast<std::uint32_t>(header_ + p.length), .id = f.id, .slots = 1};
        bytes += p.length;
    }
    if (log_.on()) [[unlikely]] {
        for (std::size_t i = 0; i < done; ++i) {
            log_.wrote(found_[i].buffer, completions_[i].length);
        }
    }
    layout_.skip(done);
    completed_ = done;
    prefetched_ -= done;
    count_sent(counters, done, bytes);
    return done;
}

// put() for the buffers behind those, each looked at now.
template <typename Layout>
std::size_t sink_of<Layout>::put_into_next(std::span<packet* const> packets,
                                           dataplane::port_counters& counters) noexcept
{
    const char* fault = layout_.refresh();
    std::array<target, burst::capacity> targets;
    std::size_t targeted = 0;
    std::uint64_t sent = 0;
    std::uint64_t bytes = 0;
    std::size_t next = 0;
    std::uint32_t too_long = std::numeric_limits<std::uint32_t>::max(); // for what room is left
    bool to_cut = false;

    Layout layout = layout_; // in registers: stores to the guest cannot alias it
    const std::size_t prefetched = std::exchange(prefetched_, 0);
    if (prefetched == 0) {
        layout.prefetch(std::min(layout.ready(), packets.size()));
    }
    const auto write_targets = [&]() noexcept {
        for (const target& t : std::span{targets}.first(targeted)) {
            write(*t.p, t.buffer);
        }
        if (log_.on()) [[unlikely]] {
            for (const target& t : std::span{targets}.first(targeted)) {
                log_.wrote(t.buffer, header_ + t.p->length);
            }
        }
        targeted = 0;
    };
    while (fault == nullptr && next < packets.size()) {
        packet& p = *packets[next];
        if (needs_work(p, takes_)) [[unlikely]] {
            // The guest that was asked what it takes has gone, and this is another.
            counters.drop(drop_reason::receiver_not_connected, p);
            ++next;
            continue;
        }
        const Layout mark = layout;
        bool whole = true;
        chain_head head;
        if (!layout.next(head, fault)) {
            break;
        }
        target& t = targets[targeted];
        if (head.simple() && head.writable() && head.length >= header_ + p.length &&
            memory_.translate(head.address, head.length, t.buffer)) [[likely]] {
            t.p = &p;
            if (next >= prefetched) {
                prefetch_buffer(t.buffer);
            }
            completions_[completed_++] = {.length = static_cast<std::uint32_t>(header_ + p.length),
                                          .id = head.id,
                                          .slots = 1};
            ++targeted;
        } else {
            const drop_reason reason = p.length < too_long ? take_slowly(layout, head, p, fault)
                                                           : drop_reason::receiver_full;
            if (reason == none) {
                whole = write_scattered(p);
                completed_ += buffers_;
                if (!whole) {
                    counters.drop(drop_reason::copy_failed, p);
                }
            } else {
                layout.rewind(mark);
                const bool segments = p.offload.segment_size != 0;
                if (fault != nullptr || (reason == drop_reason::receiver_full && !segments)) {
                    break; // this one and those behind it are counted below
                }
                if (reason == drop_reason::receiver_full) {
                    // It wanted the room of many: what is shorter may still find some.
                    too_long = std::min(too_long, p.length);
                } else if (segments) {
                    to_cut = true;
                    break;
                }
                counters.drop(reason, p);
                ++next;
                continue;
            }
        }
        sent += whole ? 1 : 0;
        bytes += whole ? p.length : 0;
        ++next;
        if (completed_ > burst::capacity) {
            write_targets();
            layout_ = layout;
            publish(counters);
            layout = layout_;
        }
    }
    write_targets();
    layout_ = layout;
    if (fault != nullptr) [[unlikely]] {
        fault_.store(fault, std::memory_order_release);
        counters.drop(drop_reason::receiver_malformed, packets.subspan(next));
        next = packets.size();
    } else if (next < packets.size() && !to_cut) {
        counters.drop(drop_reason::receiver_full, packets.subspan(next));
        next = packets.size();
    }
    count_sent(counters, sent, bytes);
    return next;
}

} // namespace

std::unique_ptr<sink> make_sink(const ring_setup& setup)
{
    if (setup.packed()) {
        return std::make_unique<sink_of<packed_layout>>(setup);
    }
    return std::make_unique<sink_of<split_layout>>(setup);
}

} // namespace strait::vhost
