// SPDX-License-Identifier: BSD-3-Clause
// The vhost ring engine: a burst out of one guest's ring and into another's, by ring kind, frame
// size and what is left to do to the frames. The guests' drivers run on the same core between two
// bursts, untimed, so that rings are warm: what is measured is the engine's own work and its
// copies, not the traffic between cores.

#include "bench/micro/cycles.hh"
#include "bench/micro/local_queue.hh"
#include "dataplane/counters.hh"
#include "dataplane/offload.hh"
#include "dataplane/packet.hh"
#include "dataplane/parse.hh"
#include "ports/vhost/ring.hh"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

namespace strait::bench {

namespace {

using dataplane::burst;

constexpr std::uint16_t ring_size = 256;
constexpr std::uint32_t receive_buffer = 2048;

// A pattern that tells descriptors apart, so that the benchmark sees a frame that went astray.
std::byte pattern(std::uint16_t descriptor, std::size_t at) noexcept
{
    return static_cast<std::byte>(descriptor * 31U + at);
}

// What the guests have negotiated, and what the sender makes of it.
enum class work : std::uint8_t { unknown, none, checksum, segments };

std::uint64_t features_of(work left) noexcept
{
    namespace feature = vhost::feature;
    constexpr std::array all = {feature::checksum,       feature::host_tso4,  feature::host_tso6,
                                feature::guest_checksum, feature::guest_tso4, feature::guest_tso6};
    std::uint64_t bits = 0;
    for (const unsigned bit : all) {
        bits |= std::uint64_t{left != work::unknown} << bit;
    }
    return bits;
}

class guest_pair {
public:
    guest_pair(virtqueue::layout kind, std::uint32_t frame, work left = work::unknown)
        : from_{{kind, virtqueue::direction::to_device, ring_size,
                 frame + std::uint32_t{sizeof(vhost::net_header)}}},
          to_{{kind, virtqueue::direction::to_driver, ring_size, receive_buffer}},
          frame_{frame},
          source_{vhost::make_source(from_.setup(features_of(left)))},
          sink_{vhost::make_sink(to_.setup(features_of(left)))}
    {
        for (std::uint16_t i = 0; i < ring_size; ++i) {
            const auto buffer = from_.driver().buffer(i);
            std::fill_n(buffer.begin(), sizeof(vhost::net_header), std::byte{0});
            for (std::size_t at = sizeof(vhost::net_header); at < buffer.size(); ++at) {
                buffer[at] = pattern(i, at);
            }
            if (left == work::checksum || left == work::segments) {
                leave(left, buffer);
            }
        }
        offer(to_, ring_size);
    }

    // Packets of one burst, as many as the receiver's ring has room for.
    [[nodiscard]] std::uint16_t burst_size() const noexcept
    {
        const std::size_t buffers =
            (frame_ + sizeof(vhost::net_header) + receive_buffer - 1) / receive_buffer;
        return static_cast<std::uint16_t>(std::min(burst::capacity, ring_size / 2 / buffers));
    }

    void offer() noexcept { offer(from_, burst_size()); }

    // One burst through the engine, payload straight from guest to guest.
    std::size_t forward() noexcept
    {
        burst_->clear();
        const ports::queue_context receiving{rte_rdtsc(), nullptr, &counters_[0], &notifications_};
        const ports::queue_context sending{receiving.now, nullptr, &counters_[1], &notifications_};
        if (source_->receive(*burst_, receiving) != ports::rx_queue::poll::taken) {
            return 0;
        }
        for (std::size_t i = 0; i < burst_->count; ++i) {
            packets_[i] = &burst_->slots[i];
        }
        sink_->transmit({packets_.data(), burst_->count}, sending);
        source_->release(receiving);
        notifications_.flush();
        return burst_->count;
    }

    // What the drivers do then. False unless all that was sent came back and arrived.
    [[nodiscard]] bool settle() noexcept
    {
        const bool sent = from_.driver().reclaim() == burst_size();
        std::array<virtqueue::completion, ring_size> filled_buffers;
        const auto filled = static_cast<std::uint16_t>(to_.driver().take(filled_buffers));
        offer(to_, filled);
        return sent && filled >= burst_size() &&
               counters_[0].rx_packets.read() == counters_[1].tx_packets.read();
    }

    // Whether the first frame that was ever sent lies, byte for byte, in the first buffers.
    [[nodiscard]] bool first_frame_arrived() noexcept
    {
        const auto sent = from_.driver().buffer(0);
        std::size_t at = sizeof(vhost::net_header);
        std::size_t in_buffer = at;
        for (std::uint16_t i = 0; at < frame_ + sizeof(vhost::net_header); ++i, in_buffer = 0) {
            const auto buffer = to_.driver().buffer(i);
            for (; in_buffer < buffer.size() && at < frame_ + sizeof(vhost::net_header);
                 ++in_buffer, ++at) {
                if (buffer[in_buffer] != sent[at]) {
                    return false;
                }
            }
        }
        return true;
    }

private:
    // Nobody is to be kicked: the engine is called.
    static void offer(local_queue& to, std::uint16_t count) noexcept
    {
        static_cast<void>(to.driver().offer(count));
    }

    // Makes TCP over IPv4 of a frame, as far as the switch looks, with this to do.
    static void leave(work left, std::span<std::byte> buffer) noexcept
    {
        constexpr std::uint16_t ip_header = 20;
        constexpr std::uint16_t transport = dataplane::ethernet_header + ip_header;
        vhost::net_header header{.flags = dataplane::virtio_offload::needs_checksum,
                                 .gso_type = dataplane::virtio_offload::gso_none,
                                 .header_length = transport + 20,
                                 .gso_size = 0,
                                 .checksum_start = transport,
                                 .checksum_offset = 16,
                                 .buffers = 0};
        if (left == work::segments) {
            header.gso_type = dataplane::virtio_offload::gso_tcp_ipv4;
            header.gso_size = 1448;
        }
        std::memcpy(buffer.data(), &header, sizeof header);
        const auto frame = buffer.subspan(sizeof header);
        std::fill_n(frame.begin() + 12, transport + 20 - 12, std::byte{0});
        const dataplane::be16 type = dataplane::ethertype_ipv4;
        std::memcpy(frame.data() + 12, &type, sizeof type);
        frame[dataplane::ethernet_header] = std::byte{0x45};
        frame[dataplane::ethernet_header + 9] = std::byte{6};
        frame[transport + 12] = std::byte{0x50};
    }

    local_queue from_;
    local_queue to_;
    std::uint32_t frame_;
    std::unique_ptr<vhost::source> source_;
    std::unique_ptr<vhost::sink> sink_;
    std::unique_ptr<burst> burst_ = std::make_unique<burst>();
    std::array<dataplane::packet*, burst::capacity> packets_{};
    std::array<dataplane::port_counters, 2> counters_;
    ports::notification_list notifications_;
};

// The engine may leave a small burst for a moment so that it grows.
std::size_t forward_at_last(guest_pair& guests, cycle_meter& meter)
{
    for (int tries = 0; tries < 100000; ++tries) {
        meter.start();
        const std::size_t count = guests.forward();
        if (count > 0) {
            meter.stop(count);
            return count;
        }
    }
    return 0;
}

void run_ring(benchmark::State& state, virtqueue::layout kind, work left = work::unknown)
{
    guest_pair guests{kind, static_cast<std::uint32_t>(state.range(0)), left};
    cycle_meter meter{state};
    bool first = true;
    for (auto _ : state) {
        guests.offer();
        if (forward_at_last(guests, meter) != guests.burst_size()) {
            state.SkipWithError("the engine left packets in the ring");
            return;
        }
        if (first && !guests.first_frame_arrived()) {
            state.SkipWithError("the first frame did not arrive as it was sent");
            return;
        }
        first = false;
        if (!guests.settle()) {
            state.SkipWithError("a packet was lost on the way");
            return;
        }
    }
    meter.report();
    state.SetBytesProcessed(state.iterations() * guests.burst_size() * state.range(0));
}

void ring_split(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::split);
}
void ring_packed(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::packed);
}

// The guests have negotiated offloads, and there is nothing to do.
void ring_split_complete(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::split, work::none);
}
void ring_packed_complete(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::packed, work::none);
}
void ring_split_checksum(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::split, work::checksum);
}
void ring_packed_checksum(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::packed, work::checksum);
}
void ring_split_segments(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::split, work::segments);
}
void ring_packed_segments(benchmark::State& state)
{
    run_ring(state, virtqueue::layout::packed, work::segments);
}

// A poll that finds nothing: what every idle port costs each round.
void run_idle(benchmark::State& state, virtqueue::layout kind)
{
    guest_pair guests{kind, 64};
    for (auto _ : state) {
        if (guests.forward() != 0) {
            state.SkipWithError("an empty ring had packets");
            return;
        }
    }
}
void ring_split_idle(benchmark::State& state)
{
    run_idle(state, virtqueue::layout::split);
}
void ring_packed_idle(benchmark::State& state)
{
    run_idle(state, virtqueue::layout::packed);
}

} // namespace

BENCHMARK(ring_split)
    ->Arg(64)
    ->Arg(256)
    ->Arg(512)
    ->Arg(1024)
    ->Arg(1500)
    ->Arg(9000)
    ->UseManualTime();
BENCHMARK(ring_packed)
    ->Arg(64)
    ->Arg(256)
    ->Arg(512)
    ->Arg(1024)
    ->Arg(1500)
    ->Arg(9000)
    ->UseManualTime();
BENCHMARK(ring_split_complete)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_packed_complete)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_split_checksum)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_packed_checksum)->Arg(64)->Arg(1500)->UseManualTime();
BENCHMARK(ring_split_segments)->Arg(65'226)->UseManualTime(); // 45 segments
BENCHMARK(ring_packed_segments)->Arg(65'226)->UseManualTime();
BENCHMARK(ring_split_idle);
BENCHMARK(ring_packed_idle);

} // namespace strait::bench
