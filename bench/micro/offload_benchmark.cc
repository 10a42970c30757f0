// SPDX-License-Identifier: BSD-3-Clause
// Offloads in software: finding what a frame's headers allow, checksums by frame size, and cutting
// 64 KiB, with the segments' checksums and without. Payload is warm: what is measured is our own
// work, not the memory's.

#include "bench/micro/cycles.hh"
#include "dataplane/offload.hh"
#include "dataplane/parse.hh"

#include <cstring>
#include <memory>
#include <vector>

namespace strait::bench {

namespace {

using namespace dataplane;

constexpr std::uint32_t headers = ethernet_header + 20 + 20;

// A frame of TCP over IPv4 from a guest, whose payload lies in pieces of a page.
class guest_frame {
public:
    explicit guest_frame(std::uint32_t length) : memory_(length, std::byte{0x5a})
    {
        packet& p = *slot_;
        p.data = slot_->head.data();
        p.length = length;
        p.head_length = static_cast<std::uint16_t>(std::min<std::size_t>(length, head_copy));
        std::memset(p.data, 0, p.head_length);
        const be16 type = ethertype_ipv4;
        std::memcpy(p.data + 12, &type, sizeof type);
        p.data[14] = std::byte{0x45};
        p.data[23] = std::byte{6};
        p.data[46] = std::byte{0x50};
        constexpr std::size_t page = 4096;
        for (std::size_t at = p.head_length; at < length;) {
            const std::size_t size = std::min(page - at % page, length - at);
            segments_.emplace_back(memory_.data() + at, size);
            at += size;
        }
        p.segments = segments_.data();
        p.segment_count = static_cast<std::uint16_t>(segments_.size());
        p.mbuf = nullptr;
        p.remote = nullptr;
        p.destinations = 1;
    }
    [[nodiscard]] packet& get() noexcept { return *slot_; }

private:
    std::vector<std::byte> memory_;
    std::vector<guest_span> segments_;
    std::unique_ptr<packet_slot> slot_{new packet_slot{}};
};

void offload_infer(benchmark::State& state)
{
    guest_frame f{1514};
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        for (unsigned i = 0; i < burst::capacity; ++i) {
            auto fault = infer_offload(f.get(), true, segmentation::none, 0);
            benchmark::DoNotOptimize(fault);
        }
        meter.stop(burst::capacity);
    }
    meter.report();
}

void offload_checksum(benchmark::State& state)
{
    guest_frame f{static_cast<std::uint32_t>(state.range(0))};
    cycle_meter meter{state};
    for (auto _ : state) {
        meter.start();
        for (unsigned i = 0; i < burst::capacity; ++i) {
            f.get().offload = {.checksum_start = 34, .checksum_offset = 16};
            finish_checksum(f.get());
        }
        meter.stop(burst::capacity);
    }
    state.SetBytesProcessed(state.iterations() * std::int64_t{burst::capacity} * state.range(0));
    meter.report();
}

// Cycles a packet are those of a segment.
void cut(benchmark::State& state, offloads taken)
{
    const auto b = std::make_unique<burst>();
    const auto size = static_cast<std::uint16_t>(state.range(0));
    guest_frame f{headers + 65'000};
    if (infer_offload(f.get(), true, segmentation::tcp_ipv4, size) != offload_fault::none) {
        state.SkipWithError("the frame cannot be cut");
        return;
    }
    cycle_meter meter{state};
    for (auto _ : state) {
        std::uint64_t made = 0;
        meter.start();
        for (segmenter s{f.get(), taken}; !s.done();) {
            b->clear();
            made += s.cut(*b, burst::capacity);
        }
        meter.stop(made);
    }
    state.SetBytesProcessed(state.iterations() * 65'000);
    meter.report();
}

void offload_cut(benchmark::State& state)
{
    cut(state, offloads::none);
}

void offload_cut_without_checksums(benchmark::State& state)
{
    cut(state, offloads::checksum_ipv4);
}

} // namespace

BENCHMARK(offload_infer)->UseManualTime();
BENCHMARK(offload_checksum)->Arg(64)->Arg(1514)->Arg(9014)->Arg(65'054)->UseManualTime();
BENCHMARK(offload_cut)->Arg(536)->Arg(1448)->Arg(8948)->UseManualTime();
BENCHMARK(offload_cut_without_checksums)->Arg(1448)->UseManualTime();

} // namespace strait::bench
