// SPDX-License-Identifier: BSD-3-Clause
// The vhost ring engine by stage: a burst out of one guest's ring, through the L2 path, into
// another's, as xen_ring_benchmark.cc has it of Xen's, whose stages these are to be held beside.
// Times of their own (direct) have the lookup, the checksum, the answers to the sender and the
// guests' being told. The engine copies where it walks its rings: its copies are made once more,
// alone, and the rings' stages are what is left of theirs (by difference).

#include "bench/micro/cycles.hh"
#include "bench/micro/local_queue.hh"
#include "bench/micro/stages.hh"
#include "dataplane/file_descriptor.hh"
#include "dataplane/ip.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"
#include "ports/vhost/ring.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <vector>

#include <sys/eventfd.h>

namespace strait::bench {

namespace {

using dataplane::burst;
using dataplane::file_descriptor;
using dataplane::guest_span;
using dataplane::head_copy;

constexpr std::uint16_t ring_size = 256;
constexpr std::uint16_t burst_size = burst::capacity;
constexpr std::uint32_t header = sizeof(vhost::net_header);
// A frame has one of them.
constexpr std::uint32_t receive_buffer = 2048;

file_descriptor make_call()
{
    file_descriptor call{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!call) {
        throw std::runtime_error{"no eventfd can be had"};
    }
    return call;
}

vhost::ring_setup with_call(vhost::ring_setup setup, const file_descriptor& call) noexcept
{
    setup.call_fd = call.get();
    return setup;
}

class vhost_pair {
public:
    // Cycles of one burst.
    struct stages {
        std::uint64_t packets{0};
        std::uint64_t out{0}; // of the sender's ring, heads copied
        std::uint64_t lookup{0};
        std::uint64_t checksum{0};
        std::uint64_t in{0};      // into the receiver's ring, all copied
        std::uint64_t release{0}; // answers to the sender
        std::uint64_t notify{0};  // looking whether they wait, and telling them
        [[nodiscard]] std::uint64_t all() const noexcept
        {
            return out + lookup + checksum + in + release + notify;
        }
    };
    struct copies {
        std::uint64_t heads{0};
        std::uint64_t frames{0};
    };

    // With `fills`, the sender leaves checksums and the receiver takes none that were.
    vhost_pair(virtqueue::layout kind, std::uint32_t bytes, bool fills)
        : fills_{fills},
          arrives_{fills ? make_whole_segment(bytes) : make_segment(bytes)},
          from_{{kind, virtqueue::direction::to_device, ring_size, bytes + header}},
          to_{{kind, virtqueue::direction::to_driver, ring_size, receive_buffer}},
          alone_from_{{kind, virtqueue::direction::to_device, ring_size, bytes + header}},
          alone_to_{{kind, virtqueue::direction::to_driver, ring_size, receive_buffer}},
          source_{vhost::make_source(with_call(
              from_.setup(fills ? 1ULL << vhost::feature::checksum : 0), call_of_sender_))},
          sink_{vhost::make_sink(with_call(to_.setup(), call_of_receiver_))}
    {
        const std::vector<std::byte> frame = make_segment(bytes);
        vhost::net_header left{};
        if (fills) {
            left.flags = dataplane::virtio_offload::needs_checksum;
            left.checksum_start = dataplane::ethernet_header + dataplane::min_ipv4_header;
            left.checksum_offset = dataplane::tcp_checksum;
        }
        for (std::uint16_t i = 0; i < ring_size; ++i) {
            const auto buffer = from_.driver().buffer(i);
            std::memcpy(buffer.data(), &left, header);
            std::ranges::copy(frame, buffer.subspan(header).begin());
        }
        static_cast<void>(to_.driver().offer(ring_size));
    }

    // Whether both drivers are to be told of the next burst.
    void wait(bool yes) noexcept
    {
        from_.driver().want_interrupts(yes);
        to_.driver().want_interrupts(yes);
    }
    // Nobody is to be kicked: the engine is called.
    void offer() noexcept { static_cast<void>(from_.driver().offer(burst_size)); }

    stages forward() noexcept
    {
        stages s;
        burst_->clear();
        const ports::queue_context receiving{rte_rdtsc(), nullptr, &path_.sender(),
                                             &notifications_};
        const ports::queue_context sending{receiving.now, nullptr, &path_.receiver(),
                                           &notifications_};
        const std::uint64_t t0 = rte_rdtsc_precise();
        if (source_->receive(*burst_, receiving) != ports::rx_queue::poll::taken) {
            return s;
        }
        const std::uint64_t t1 = rte_rdtsc_precise();
        const std::span<dataplane::packet*> packets = path_.look_up(*burst_);
        const std::uint64_t t2 = rte_rdtsc_precise();
        if (fills_) {
            fill_checksums(packets, nullptr); // all is local
        }
        const std::uint64_t t3 = rte_rdtsc_precise();
        sink_->transmit(packets, sending);
        const std::uint64_t t4 = rte_rdtsc_precise();
        path_.clear();
        source_->release(receiving);
        const std::uint64_t t5 = rte_rdtsc_precise();
        notifications_.flush();
        const std::uint64_t t6 = rte_rdtsc_precise();
        s = {.packets = burst_->count,
             .out = t1 - t0,
             .lookup = t2 - t1,
             .checksum = t3 - t2,
             .in = t4 - t3,
             .release = t5 - t4,
             .notify = t6 - t5};
        return s;
    }

    // What the drivers do then. False unless all that was sent came back and arrived.
    [[nodiscard]] bool settle() noexcept
    {
        const bool sent = from_.driver().reclaim() == burst_size;
        arrived_ = to_.driver().take(filled_);
        static_cast<void>(to_.driver().offer(static_cast<std::uint16_t>(arrived_)));
        at_ = static_cast<std::uint16_t>((at_ + burst_size) % ring_size);
        return sent && arrived_ == burst_size;
    }
    // Whether all that settle() found is as it has to be.
    [[nodiscard]] bool arrived_as_expected() noexcept
    {
        return std::ranges::all_of(
            std::span{filled_}.first(arrived_), [this](const virtqueue::completion& one) {
                return one.length == header + arrives_.size() &&
                       std::ranges::equal(
                           to_.driver().buffer(one.buffer).subspan(header, arrives_.size()),
                           arrives_);
            });
    }

    // A burst's copies once more: of rings of their own, at the same place, as far from the caches
    // as the engine's, and, as there (source.cc, sink.cc), asked for before, heads first.
    copies copy_alone() noexcept
    {
        const auto span_of = [](local_queue& queue, std::uint16_t at) {
            const auto buffer = queue.driver().buffer(at);
            return guest_span{buffer.data(), buffer.size()};
        };
        const std::size_t bytes = arrives_.size();
        const std::size_t head = std::min(bytes, head_copy);
        std::array<guest_span, burst_size> sent;
        std::array<guest_span, burst_size> received;
        for (std::uint16_t i = 0; i < burst_size; ++i) {
            const auto at = static_cast<std::uint16_t>((at_ + i) % ring_size);
            sent[i] = span_of(alone_from_, at);
            received[i] = span_of(alone_to_, at);
        }
        const std::uint64_t t0 = rte_rdtsc_precise();
        for (const guest_span& one : sent) {
            one.prefetch(header);
            one.prefetch(header + head - 1);
        }
        for (const guest_span& one : sent) {
            one.touch(header);
        }
        for (std::size_t i = 0; i < burst_size; ++i) {
            sent[i].copy_out(burst_->slots[i].head.data(), header, head);
        }
        const std::uint64_t t1 = rte_rdtsc_precise();
        for (const guest_span& one : received) {
            one.prefetch_for_write(header);
        }
        for (std::size_t i = 0; i < burst_size; ++i) {
            received[i].copy_in(burst_->slots[i].head.data(), header, head);
            if (bytes > head) {
                guest_span::copy(received[i], header + head, sent[i], header + head, bytes - head);
            }
        }
        return {.heads = t1 - t0, .frames = rte_rdtsc_precise() - t1};
    }

private:
    const bool fills_;
    const std::vector<std::byte> arrives_;
    l2_path path_;
    file_descriptor call_of_sender_{make_call()};
    file_descriptor call_of_receiver_{make_call()};
    local_queue from_;
    local_queue to_;
    // Of what is copied alone.
    local_queue alone_from_;
    local_queue alone_to_;
    std::unique_ptr<vhost::source> source_;
    std::unique_ptr<vhost::sink> sink_;
    std::unique_ptr<burst> burst_ = std::make_unique<burst>();
    ports::notification_list notifications_;
    std::array<virtqueue::completion, ring_size> filled_{};
    std::size_t arrived_{0};
    std::uint16_t at_{0}; // buffer of the next burst's first packet, on both sides
};

// What is left of a stage without its part; two medians may differ by less than nothing.
double without(const stage_meter& whole, const stage_meter& part)
{
    return std::max(0.0, whole.cycles_a_packet() - part.cycles_a_packet());
}

// "cycles/packet" is all of a burst whose guests do not wait, in one piece but for the clock.
void run_stages(benchmark::State& state, virtqueue::layout kind, bool fills)
{
    vhost_pair guests{kind, static_cast<std::uint32_t>(state.range(0)), fills};
    stage_meter out;
    stage_meter heads;
    stage_meter lookup;
    stage_meter checksum;
    stage_meter in;
    stage_meter frames;
    stage_meter release;
    stage_meter looks; // nobody waits
    stage_meter tells; // both do
    stage_meter all;
    bool wait = false;
    bool first = true;
    for (auto _ : state) {
        guests.wait(wait);
        guests.offer();
        const auto s = guests.forward();
        if (s.packets != burst_size) {
            state.SkipWithError("the engine left packets in the ring");
            return;
        }
        out.add(s.out, s.packets);
        lookup.add(s.lookup, s.packets);
        checksum.add(s.checksum, s.packets);
        in.add(s.in, s.packets);
        release.add(s.release, s.packets);
        (wait ? tells : looks).add(s.notify, s.packets);
        if (!wait) {
            all.add(s.all(), s.packets);
        }
        state.SetIterationTime(static_cast<double>(s.all()) /
                               static_cast<double>(rte_get_tsc_hz()));
        if (!guests.settle()) {
            state.SkipWithError("a packet was lost on the way");
            return;
        }
        if (first && !guests.arrived_as_expected()) {
            state.SkipWithError("a frame did not arrive as it has to");
            return;
        }
        first = false;
        const auto alone = guests.copy_alone();
        heads.add(alone.heads, burst_size);
        frames.add(alone.frames, burst_size);
        wait = !wait;
    }
    state.SetItemsProcessed(state.iterations() * burst_size);
    state.counters["cycles/packet"] = all.cycles_a_packet();
    state.counters["ring_out"] = without(out, heads);
    state.counters["copy"] = heads.cycles_a_packet() + frames.cycles_a_packet();
    if (fills) {
        state.counters["checksum"] = checksum.cycles_a_packet();
    }
    state.counters["lookup"] = lookup.cycles_a_packet();
    state.counters["ring_in"] = without(in, frames);
    state.counters["release"] = release.cycles_a_packet();
    state.counters["notify"] = looks.cycles_a_packet();
    state.counters["tell"] = without(tells, looks);
}

void ring_split_stages(benchmark::State& state)
{
    run_stages(state, virtqueue::layout::split, false);
}
void ring_packed_stages(benchmark::State& state)
{
    run_stages(state, virtqueue::layout::packed, false);
}
void ring_split_filled(benchmark::State& state)
{
    run_stages(state, virtqueue::layout::split, true);
}
void ring_packed_filled(benchmark::State& state)
{
    run_stages(state, virtqueue::layout::packed, true);
}

} // namespace

BENCHMARK(ring_split_stages)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_packed_stages)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_split_filled)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_packed_filled)->Arg(64)->Arg(1500)->UseManualTime();

} // namespace strait::bench
