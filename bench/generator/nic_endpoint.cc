// SPDX-License-Identifier: BSD-3-Clause
// Bursts of mbufs. Which of them a device sends when is its own affair, so each frame is copied
// into a new one from the one that is shaped.
#include "bench/generator/nic_endpoint.hh"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

namespace strait::bench {

namespace {

constexpr unsigned ethernet_header = 14;
constexpr unsigned usual_mtu = 1500;
constexpr unsigned packets = 8192;
constexpr unsigned cache = 256;
constexpr std::uint16_t descriptors = 1024;

// What DPDK logs is left out: sentences of ours have of it what matters.
void silence_dpdk()
{
    static FILE* const nowhere = std::fopen("/dev/null", "we");
    if (nowhere != nullptr) {
        (void)rte_openlog_stream(nowhere);
    }
}

void start_dpdk(const options& settings)
{
    static bool started = false;
    if (started) {
        return;
    }
    std::vector<std::string> words{"strait-generator",
                                   "--lcores=0@" + std::to_string(settings.cpu),
                                   "--no-telemetry",
                                   "--iova-mode=va",
                                   "-a",
                                   nic::no_device};
    if (settings.no_huge) {
        words.insert(words.end(), {"--no-huge", "--no-shconf", "-m", "256"});
    } else {
        words.emplace_back("--in-memory");
    }
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0) {
        throw std::runtime_error{std::string{"DPDK could not start: "} + rte_strerror(rte_errno)};
    }
    started = true;
}

} // namespace

nic_endpoint::nic_endpoint(std::size_t which, const options& settings)
    : endpoint(which, settings),
      name_(settings.ends[which].where),
      sent_(largest_size()),
      gathered_(largest_frame)
{
    silence_dpdk();
    auto request = nic::parse_device(name_);
    if (request.has_error()) {
        throw std::runtime_error{request.error().message};
    }
    start_dpdk(settings);
    auto plugged = nic::device::plug(*request);
    if (plugged.has_error()) {
        throw std::runtime_error{plugged.error().message};
    }
    device_.emplace(std::move(*plugged));
    configure(settings);
}

nic_endpoint::~nic_endpoint()
{
    rte_pktmbuf_free_bulk(waiting_.data(), waiting_count_);
    device_.reset();
    rte_mempool_free(pool_);
}

void nic_endpoint::fail(const std::string& what) const
{
    throw std::runtime_error{"device " + name_ + ": " + what};
}

void nic_endpoint::configure(const options& settings)
{
    const std::uint16_t port = device_->port_id();
    const unsigned mtu = std::max<unsigned>(usual_mtu, largest_size() - ethernet_header);
    const auto expect = [this](int failed, const char* what) {
        if (failed != 0) {
            fail(std::string{"it cannot "} + what + ": " + rte_strerror(-failed));
        }
    };
    rte_eth_dev_info info{};
    expect(rte_eth_dev_info_get(port, &info), "be described");
    const auto room = static_cast<std::uint16_t>(
        std::max<unsigned>(settings.buffer_size, mtu + ethernet_header + 8) + RTE_PKTMBUF_HEADROOM);
    pool_ = rte_pktmbuf_pool_create(("generator_" + std::to_string(port)).c_str(), packets, cache,
                                    0, room, rte_eth_dev_socket_id(port));
    if (pool_ == nullptr) {
        fail(std::string{"there is no memory for its packets: "} + rte_strerror(rte_errno));
    }
    rte_eth_conf conf{};
    conf.rxmode.mtu = std::min<unsigned>(mtu, info.max_mtu);
    expect(rte_eth_dev_configure(port, 1, 1, &conf), "be configured");
    std::uint16_t receive = descriptors;
    std::uint16_t send = descriptors;
    expect(rte_eth_dev_adjust_nb_rx_tx_desc(port, &receive, &send), "have its rings");
    const auto node = static_cast<unsigned>(rte_eth_dev_socket_id(port));
    expect(rte_eth_rx_queue_setup(port, 0, receive, node, nullptr, pool_), "receive");
    expect(rte_eth_tx_queue_setup(port, 0, send, node, nullptr), "send");
    expect(rte_eth_dev_start(port), "be started");
    (void)rte_eth_promiscuous_enable(port); // what has none takes all
}

bool nic_endpoint::is_up() const noexcept
{
    rte_eth_link link{};
    return rte_eth_link_get_nowait(device_->port_id(), &link) == 0 &&
           link.link_status == RTE_ETH_LINK_UP;
}

void nic_endpoint::attach(std::chrono::milliseconds patience)
{
    build(sent_);
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!is_up()) {
        if (std::chrono::steady_clock::now() >= end) {
            fail("its link is not up");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

void nic_endpoint::expect_connected()
{
    if (!is_up()) {
        fail("its link went down");
    }
}

// Null: all packets are under way.
rte_mbuf* nic_endpoint::make(std::uint64_t now) noexcept
{
    rte_mbuf* const m = rte_pktmbuf_alloc(pool_);
    if (m != nullptr) {
        const std::uint16_t bytes = fixed() ? largest_size() : shape(sent_.data(), 0, now);
        std::memcpy(rte_pktmbuf_append(m, bytes), sent_.data(), bytes);
    }
    return m;
}

unsigned nic_endpoint::transmit(unsigned most, std::uint64_t now) noexcept
{
    const auto wanted = static_cast<std::uint16_t>(std::min<unsigned>(most, burst));
    while (waiting_count_ < wanted) {
        rte_mbuf* const m = make(now);
        if (m == nullptr) {
            break;
        }
        waiting_[waiting_count_++] = m;
    }
    const std::uint16_t taken =
        rte_eth_tx_burst(device_->port_id(), 0, waiting_.data(), std::min(waiting_count_, wanted));
    std::copy(waiting_.begin() + taken, waiting_.begin() + waiting_count_, waiting_.begin());
    waiting_count_ = static_cast<std::uint16_t>(waiting_count_ - taken);
    count_sent(most, taken);
    return taken;
}

void nic_endpoint::drop_waiting() noexcept
{
    for (const rte_mbuf* const m : std::span{waiting_}.first(waiting_count_)) {
        take_back({rte_pktmbuf_mtod(m, const std::byte*), m->data_len});
    }
    rte_pktmbuf_free_bulk(waiting_.data(), std::exchange(waiting_count_, std::uint16_t{0}));
}

unsigned nic_endpoint::receive(std::uint64_t now) noexcept
{
    std::array<rte_mbuf*, burst> arrived;
    const std::uint16_t count =
        rte_eth_rx_burst(device_->port_id(), 0, arrived.data(), arrived.size());
    for (std::uint16_t i = 0; i < count; ++i) {
        if (i + 1 < count) {
            __builtin_prefetch(rte_pktmbuf_mtod(arrived[i + 1], void*));
        }
        const rte_mbuf* const m = arrived[i];
        std::span frame{rte_pktmbuf_mtod(m, const std::byte*), m->data_len};
        if (m->nb_segs > 1 && m->pkt_len <= gathered_.size()) {
            (void)rte_pktmbuf_read(m, 0, m->pkt_len, gathered_.data());
            frame = std::span<const std::byte>{gathered_}.first(m->pkt_len);
        }
        begin_frame(frame, now);
        end_frame(frame, m->pkt_len);
    }
    if (count != 0) {
        rte_pktmbuf_free_bulk(arrived.data(), count);
        end_burst(now);
    }
    return count;
}

} // namespace strait::bench
