// SPDX-License-Identifier: BSD-3-Clause
// The virtio-user devices of the generator and its loops over a burst. A frame is written when its
// pool is made; sending it again costs what the driver costs, and a few stores when flows, sizes or
// stamps vary.

#include "bench/generator/endpoint.hh"

#include <algorithm>
#include <cstring>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace strait::bench {

namespace {

// 64, 594 and 1514 bytes as 7:4:1, mixed so that no size comes in runs.
constexpr std::array<std::uint8_t, 12> imix_order = {0, 1, 0, 1, 0, 2, 0, 1, 0, 1, 0, 0};
constexpr std::array<std::uint16_t, 3> imix_sizes = {64, 594, 1514};

// mbufs kept by the core beside each pool: enough for a ring's worth not to go back to the pool.
constexpr unsigned pool_cache = 256;
constexpr auto any_socket = static_cast<unsigned>(SOCKET_ID_ANY);

const char* name_of(side which) noexcept
{
    return which == side::a ? "a" : "b";
}

std::string device_name(side which)
{
    return which == side::a ? "net_virtio_user0" : "net_virtio_user1";
}

std::span<std::byte> data_of(rte_mbuf& frame) noexcept
{
    return {rte_pktmbuf_mtod(&frame, std::byte*), rte_pktmbuf_data_len(&frame)};
}

} // namespace

std::string device_argument(side which, const options& settings)
{
    const auto flag = [](const char* name, bool on) {
        return std::string(",") + name + (on ? "=1" : "=0");
    };
    std::string text = device_name(which);
    text += ",path=" + (which == side::a ? settings.socket_a : settings.socket_b);
    text += ",mac=02:53:ff:00:00:0";
    text += name_of(which);
    text += ",queues=1,queue_size=" + std::to_string(settings.queue_size);
    text += flag("packed_vq", settings.packed);
    text += flag("mrg_rxbuf", settings.mergeable);
    text += flag("in_order", settings.in_order);
    text += flag("vectorized", settings.vectorized);
    if (settings.server) {
        text += ",server=1";
    }
    return text;
}

std::unique_ptr<endpoint> endpoint::create(side which, const options& settings, std::string& error)
{
    std::unique_ptr<endpoint> made(new endpoint(which, settings));
    if (auto wrong = made->start(settings)) {
        error = std::move(*wrong);
        return nullptr;
    }
    return made;
}

endpoint::endpoint(side which, const options& settings) noexcept
    : side_(which),
      several_sizes_(settings.frame == 0),
      stamps_(settings.latency),
      flows_(settings.macs / 2),
      verify_every_(settings.verify_every)
{
    writes_flow_ = flows_ != 1 || settings.rewrite;
    fixed_ = !writes_flow_ && !several_sizes_ && !stamps_;
    if (several_sizes_) {
        size_count_ = imix_sizes.size();
        std::transform(imix_sizes.begin(), imix_sizes.end(), sizes_.begin(), make_frame_size);
    } else {
        sizes_[0] = make_frame_size(settings.frame);
    }
}

std::optional<std::string> endpoint::start(const options& settings)
{
    const std::string name = device_name(side_);
    const std::string socket = side_ == side::a ? settings.socket_a : settings.socket_b;
    const auto failed = [&](const char* what, int code) {
        return "end " + std::string(name_of(side_)) + " (" + socket + "): " + what + ": " +
               rte_strerror(code < 0 ? -code : code);
    };
    if (const int code = rte_eth_dev_get_port_by_name(name.c_str(), &device_); code != 0) {
        return failed("the virtio device could not be made; does a switch serve the socket?", code);
    }
    device_exists_ = true;

    const auto largest = static_cast<std::uint16_t>(sizes_[size_count_ - 1].bytes);
    const unsigned count = settings.queue_size * 2U + pool_cache * 2U + burst * 2U;
    frames_ = rte_pktmbuf_pool_create(
        (std::string("frames_") + name_of(side_)).c_str(), count, pool_cache, 0,
        static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + largest), SOCKET_ID_ANY);
    // A large frame takes several buffers, and a burst of them must not run the pool dry.
    const unsigned chain = largest / settings.buffer_size + 1U;
    buffers_ = rte_pktmbuf_pool_create(
        (std::string("buffers_") + name_of(side_)).c_str(), count + burst * 4U * chain, pool_cache,
        0, static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + settings.buffer_size), SOCKET_ID_ANY);
    if (frames_ == nullptr || buffers_ == nullptr) {
        return failed("no memory for its frames", rte_errno);
    }

    struct build_context {
        side from;
        const frame_size& size;
    } context{side_, sizes_[size_count_ - 1]};
    rte_mempool_obj_iter(
        frames_,
        [](rte_mempool*, void* argument, void* object, unsigned) {
            const auto& built = *static_cast<build_context*>(argument);
            auto& frame = *static_cast<rte_mbuf*>(object);
            frame.data_len = built.size.bytes;
            frame.pkt_len = built.size.bytes;
            frame.data_off = RTE_PKTMBUF_HEADROOM;
            build_frame(data_of(frame), built.from, built.size);
        },
        &context);

    rte_eth_conf conf{};
    rte_eth_dev_info info{};
    if (const int code = rte_eth_dev_info_get(device_, &info); code != 0) {
        return failed("its description cannot be had", code);
    }
    if (largest > settings.buffer_size) {
        conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
    }
    if (largest > RTE_ETHER_MAX_LEN - RTE_ETHER_CRC_LEN) {
        if (largest > info.max_rx_pktlen) {
            return failed("frames of this size are too large for it", EMSGSIZE);
        }
        conf.rxmode.mtu = static_cast<std::uint32_t>(largest - RTE_ETHER_HDR_LEN);
    }
    if (const int code = rte_eth_dev_configure(device_, 1, 1, &conf); code != 0) {
        return failed("it cannot be configured", code);
    }
    if (const int code =
            rte_eth_rx_queue_setup(device_, 0, settings.queue_size, any_socket, nullptr, buffers_);
        code != 0) {
        return failed("its receive queue cannot be set up", code);
    }
    if (const int code =
            rte_eth_tx_queue_setup(device_, 0, settings.queue_size, any_socket, nullptr);
        code != 0) {
        return failed("its transmit queue cannot be set up", code);
    }
    if (const int code = rte_eth_dev_start(device_); code != 0) {
        return failed("it cannot be started", code);
    }
    device_started_ = true;
    return std::nullopt;
}

endpoint::~endpoint()
{
    if (device_started_) {
        rte_eth_dev_stop(device_);
    }
    if (device_exists_) {
        rte_eth_dev_close(device_);
    }
    if (pending_count_ != 0) {
        rte_mempool_put_bulk(frames_, reinterpret_cast<void**>(pending_.data()), pending_count_);
    }
    rte_mempool_free(frames_);
    rte_mempool_free(buffers_);
}

bool endpoint::connected() const noexcept
{
    rte_eth_link link{};
    return rte_eth_link_get_nowait(device_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

void endpoint::start_flows(std::uint32_t flow, std::uint32_t stride) noexcept
{
    if (pending_count_ != 0) {
        rte_mempool_put_bulk(frames_, reinterpret_cast<void**>(pending_.data()), pending_count_);
        pending_count_ = 0;
    }
    next_flow_ = flow % flows_;
    stride_ = stride % flows_;
}

void endpoint::clear(std::uint64_t now) noexcept
{
    counts_ = {};
    latency_->clear();
    last_arrival_ = now;
    verify_at_ = 0;
}

void endpoint::stamp_and_shape(std::span<rte_mbuf* const> frames, std::uint64_t now) noexcept
{
    for (rte_mbuf* const frame : frames) {
        auto* const data = rte_pktmbuf_mtod(frame, std::byte*);
        if (writes_flow_) {
            set_flow(data, side_, next_flow_);
            next_flow_ += stride_;
            next_flow_ -= next_flow_ >= flows_ ? flows_ : 0;
        }
        if (several_sizes_) {
            const frame_size& size = sizes_[imix_order[next_size_]];
            next_size_ = next_size_ + 1 == imix_order.size() ? 0 : next_size_ + 1;
            frame->data_len = size.bytes;
            frame->pkt_len = size.bytes;
            set_size(data, size);
        }
        if (stamps_) {
            set_stamp(data, now);
        }
    }
}

unsigned endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    if (pending_count_ < most) {
        const unsigned wanted = most - pending_count_;
        if (rte_mempool_get_bulk(frames_, reinterpret_cast<void**>(&pending_[pending_count_]),
                                 wanted) == 0) {
            if (!fixed_) {
                stamp_and_shape({&pending_[pending_count_], wanted}, now);
            }
            pending_count_ = most;
        }
    }
    const auto offered = static_cast<std::uint16_t>(std::min(most, pending_count_));
    if (offered == 0) {
        return 0;
    }
    const unsigned taken = rte_eth_tx_burst(device_, 0, pending_.data(), offered);
    pending_count_ -= taken;
    std::memmove(pending_.data(), &pending_[taken], pending_count_ * sizeof(pending_[0]));
    counts_.sent += taken;
    counts_.bursts += 1;
    counts_.blocked += taken < offered ? 1 : 0;
    return taken;
}

unsigned endpoint::receive(std::uint64_t now) noexcept
{
    std::array<rte_mbuf*, burst * 2> frames;
    const unsigned count = rte_eth_rx_burst(device_, 0, frames.data(), frames.size());
    if (count == 0) {
        return 0;
    }
    std::uint64_t bytes = 0;
    unsigned segments = 0;
    for (unsigned i = 0; i < count; ++i) {
        bytes += frames[i]->pkt_len;
        segments |= frames[i]->nb_segs;
    }
    counts_.received_bytes += bytes;
    counts_.received += count;
    counts_.longest_gap = std::max(counts_.longest_gap, now - last_arrival_);
    last_arrival_ = now;

    if (stamps_) {
        record_latency({frames.data(), count}, now);
    }
    if (verify_every_ != 0 && counts_.received >= verify_at_) {
        const auto due =
            std::min<std::uint64_t>((counts_.received - verify_at_) / verify_every_ + 1, count);
        for (std::uint64_t i = 0; i < due; ++i) {
            check(*frames[count - 1 - i]);
        }
        verify_at_ += due * verify_every_;
    }
    // A received mbuf of one segment is as its pool wants it back.
    if (segments == 1) {
        rte_mempool_put_bulk(buffers_, reinterpret_cast<void**>(frames.data()), count);
    } else {
        rte_pktmbuf_free_bulk(frames.data(), count);
    }
    return count;
}

void endpoint::record_latency(std::span<rte_mbuf* const> frames, std::uint64_t now) noexcept
{
    for (const rte_mbuf* const frame : frames) {
        if (rte_pktmbuf_data_len(frame) >= smallest_frame) {
            const std::uint64_t sent = stamp_of(rte_pktmbuf_mtod(frame, const std::byte*));
            if (sent != 0 && sent <= now) {
                latency_->add(now - sent);
            }
        }
    }
}

void endpoint::check(const rte_mbuf& frame) noexcept
{
    std::array<std::byte, largest_frame> copy;
    ++counts_.checked;
    const std::uint32_t length = rte_pktmbuf_pkt_len(&frame);
    const void* data =
        length <= copy.size() ? rte_pktmbuf_read(&frame, 0, length, copy.data()) : nullptr;
    if (data == nullptr) {
        ++counts_.foreign;
        return;
    }
    switch (check_frame({static_cast<const std::byte*>(data), length}, other(side_),
                        {sizes_.data(), size_count_}, flows_)) {
    case verdict::good:
        break;
    case verdict::corrupt:
        ++counts_.corrupt;
        break;
    case verdict::foreign:
        ++counts_.foreign;
        break;
    }
}

} // namespace strait::bench
