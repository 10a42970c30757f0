// SPDX-License-Identifier: BSD-3-Clause
// NIC ports: how an ethdev is configured, polled and described. Opening and removing it is
// device.cc's; what is particular to taps is tap.cc's.
#include "ports/nic/nic.hh"

#include "dataplane/packet_pool.hh"
#include "ports/nic/bond.hh"
#include "ports/nic/device.hh"
#include "ports/nic/driver_descriptor.hh"
#include "ports/nic/ethdev_queue.hh"
#include "ports/nic/interface.hh"
#include "ports/nic/tap.hh"
#include "ports/number.hh"

#include <net/if.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <algorithm>
#include <fstream>
#include <numeric>

namespace strait::nic {

namespace {

using ports::error;

constexpr std::uint32_t default_mtu = 1500;
// What an Ethernet frame adds to its MTU: header and up to two VLAN tags.
constexpr std::uint32_t frame_overhead = 14 + 8;
// What an AF_PACKET ring slot holds in front of a received frame, and of one to be sent.
constexpr std::uint32_t slot_overhead = 66;
constexpr std::uint32_t slot_overhead_tx = 32;
// A tap's frames arrive in a chain of this many buffers at most, enough for 64 KiB. The kernel is
// given all of them at each read: no more than needed.
constexpr std::uint16_t tap_descriptors = 33;
// Of a port's own pool: each queue's ring, and what workers' caches keep to themselves.
constexpr unsigned large_packets_a_queue = 512;
constexpr unsigned large_cache = 64;
// The longest frame a guest leaves to be segmented has this many buffers of the packet pool's.
constexpr std::uint16_t longest_chain = 33;

// Devices and interfaces in use, so that a second port on one is refused. Control thread only.
struct use {
    std::string device;
    std::string interface; // empty: none, or not known
    std::string port;
};
std::vector<use>& uses()
{
    static std::vector<use> list;
    return list;
}

// Pools of ports that are gone, whose last mbufs are still in another device's transmit ring.
std::vector<rte_mempool*>& retired_pools()
{
    static std::vector<rte_mempool*> list;
    return list;
}

void free_idle_pools()
{
    std::erase_if(retired_pools(), [](rte_mempool* pool) {
        const bool idle = rte_mempool_full(pool) == 1;
        if (idle) {
            rte_mempool_free(pool);
        }
        return idle;
    });
}

struct retire_pool {
    void operator()(rte_mempool* pool) const
    {
        retired_pools().push_back(pool);
        free_idle_pools();
    }
};
using pool_ptr = std::unique_ptr<rte_mempool, retire_pool>;

error for_port(const std::string& port, error e)
{
    return error{"port " + port + ": " + std::move(e.message)};
}

// A locally administered address that stays the same over restarts on this machine.
std::string stable_mac(const std::string& name)
{
    std::string text;
    std::ifstream{"/etc/machine-id"} >> text;
    if (text.empty()) {
        std::array<char, 256> host{};
        ::gethostname(host.data(), host.size() - 1);
        text = host.data();
    }
    std::uint64_t hash = 0xcbf29ce484222325ULL; // FNV-1a
    for (const char c : text + "/" + name) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    hash ^= hash >> 29;
    return dataplane::mac_address{(hash & ~std::uint64_t{0xff}) | 0x02}.to_string();
}

ports::result<std::uint32_t> number_argument(const device_request& request, std::string_view key,
                                             std::uint32_t otherwise)
{
    const auto text = request.argument(key);
    if (!text) {
        return otherwise;
    }
    const auto value = to_number<std::uint32_t>(*text);
    if (value.value_or(0) == 0) {
        return error{"device " + request.name + ": " + std::string{key} + "=" + std::string{*text} +
                     " is not a number above 0"};
    }
    return *value;
}

// Sizes the rings' slots for the MTU unless the user did, of so many queue pairs. Value: the bytes
// of a slot.
ports::result<std::uint32_t> size_af_packet_ring(device_request& request, std::uint32_t mtu,
                                                 unsigned queues)
{
    const auto page = static_cast<std::uint32_t>(::getpagesize());
    const std::uint32_t needed = mtu + frame_overhead + slot_overhead + 1;
    const std::uint32_t fitting = needed <= 2048 ? 2048 : (needed + 1023) / 1024 * 1024;
    const auto given_frame = number_argument(request, "framesz", fitting);
    if (!given_frame) {
        return given_frame.error();
    }
    const std::uint32_t frame = given_frame.value();
    constexpr std::uint32_t largest_slot = 128 * 1024;
    if (frame % 16 != 0 || frame > largest_slot) {
        return error{"device " + request.name + ": framesz=" + std::to_string(frame) +
                     " is not a multiple of 16 of at most " + std::to_string(largest_slot)};
    }
    const auto given_block = number_argument(request, "blocksz", std::lcm(page, frame));
    if (!given_block) {
        return given_block.error();
    }
    const std::uint32_t block = given_block.value();
    const auto given_queues = number_argument(request, "qpairs", queues);
    if (!given_queues) {
        return given_queues.error();
    }
    if (given_queues.value() != queues) {
        return error{"device " + request.name + ": qpairs=" + std::to_string(given_queues.value()) +
                     " is not the number of queue pairs that are polled, " +
                     std::to_string(queues) + ": leave it out"};
    }
    request.set_argument("qpairs", std::to_string(queues));
    // The driver takes the ring for contiguous frames, which only blocks that hold a whole number
    // of them are.
    if (block % frame != 0 || block % page != 0) {
        return error{"device " + request.name + ": framesz=" + std::to_string(frame) +
                     " and blocksz=" + std::to_string(block) +
                     " do not fit: blocksz must be a multiple of framesz and of " +
                     std::to_string(page)};
    }
    if (frame < needed) {
        return error{"device " + request.name + ": framesz=" + std::to_string(frame) +
                     " is too small for an MTU of " + std::to_string(mtu) + ", which needs " +
                     std::to_string(needed) + " or more"};
    }
    request.set_argument("framesz", std::to_string(frame));
    request.set_argument("blocksz", std::to_string(block));
    return frame;
}

ports::result<void> check_mtu_range(std::uint32_t mtu)
{
    if (mtu < dataplane::min_mtu || mtu > dataplane::max_mtu) {
        return error{"MTU " + std::to_string(mtu) +
                     " is out of range: " + std::to_string(dataplane::min_mtu) + " to " +
                     std::to_string(dataplane::max_mtu)};
    }
    return {};
}

// What is asked of a device on the way out. Of the virtual ones, af_packet, pcap and null have
// nothing; the tap driver (22.11) says that it has all of it, and does it in software: it refuses
// segments that fill the MTU, for it counts their Ethernet header, and all that stand behind one,
// sends IPv6 uncut, copies CWR to every segment, and allocates mbufs for each. Ours is right.
// UDP_TSO is of devices that cut datagrams. The comment at RTE_MBUF_F_TX_UDP_SEG (22.11) calls that
// fragmentation, and rte_gso does that under its name; of the drivers that are in straitd, igc
// alone has it, and its device writes a UDP header in front of each segment.
std::uint64_t wanted_tx_offloads(driver kind, const rte_eth_dev_info& info)
{
    constexpr std::uint64_t segmentation = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_UDP_TSO;
    std::uint64_t wanted = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    if (are_as_said(kind)) {
        wanted |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                  RTE_ETH_TX_OFFLOAD_UDP_CKSUM | segmentation;
    }
    wanted &= info.tx_offload_capa;
    const std::uint16_t chain = info.tx_desc_lim.nb_seg_max; // 0: its driver does not say
    if ((wanted & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0 || (chain != 0 && chain < longest_chain)) {
        wanted &= ~segmentation;
    }
    return wanted;
}

// The same as workers see it. No device says that its segments' CWR flags are right, so that
// packets with one are cut before they come here.
dataplane::offloads taken_by_device(std::uint64_t tx_offloads)
{
    using dataplane::offloads;
    constexpr std::uint64_t checksums = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    if ((tx_offloads & checksums) != checksums) {
        return offloads::none;
    }
    offloads taken = offloads::checksum_ipv4 | offloads::checksum_ipv6;
    if ((tx_offloads & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0) {
        taken |= offloads::segmentation_ipv4 | offloads::segmentation_ipv6;
    }
    if ((tx_offloads & RTE_ETH_TX_OFFLOAD_UDP_TSO) != 0) {
        taken |= offloads::udp_segmentation_ipv4 | offloads::udp_segmentation_ipv6;
    }
    return taken;
}

class nic_port final : public ports::port {
public:
    nic_port(std::string name, device_request request, device dev,
             std::unique_ptr<bond> members = nullptr)
        : name_{std::move(name)},
          request_{std::move(request)},
          bond_{std::move(members)},
          device_{std::move(dev)}
    {}
    ~nic_port() override
    {
        put_back_interface();
        std::erase_if(uses(), [this](const use& u) { return u.port == name_; });
    }
    nic_port(const nic_port&) = delete;
    nic_port& operator=(const nic_port&) = delete;

    ports::result<void> open(const settings& s, std::uint16_t queues, rte_mempool* pool,
                             std::uint32_t slot_size, const driver_descriptors& descriptors);

    // The kernel's, empty if there is none behind the device.
    [[nodiscard]] const std::string& interface() const noexcept { return interface_; }

    std::span<const ports::queue_pair> queues() const noexcept override { return queues_; }
    ports::result<void> start() override { return {}; }
    void stop() noexcept override {}
    ports::result<void> set_mtu(std::uint32_t mtu) override;
    bool link_up() const noexcept override;
    dataplane::mac_address mac() const noexcept override;
    std::uint64_t link_speed() const noexcept override { return link_mbps().value_or(0); }
    std::string why_lost() const override;
    ports::result<void> rename(const std::string& name) override
    {
        for (use& u : uses()) {
            u.port = u.port == name_ ? name : u.port;
        }
        name_ = name;
        if (bond_) {
            bond_->rename(name);
        }
        return {};
    }
    void tend() override
    {
        if (bond_) {
            bond_->tend();
        }
    }
    std::vector<std::pair<std::string, ports::port_detail>> details() const override;

private:
    [[nodiscard]] std::uint16_t id() const noexcept { return device_.port_id(); }
    [[nodiscard]] bool ring_holds_50_microseconds() const noexcept;
    // Of the link; nothing: it is down, or its driver does not say.
    [[nodiscard]] std::optional<std::uint32_t> link_mbps() const noexcept;
    [[nodiscard]] std::string interface_name(const rte_eth_dev_info& info) const;
    [[nodiscard]] std::optional<interface_state> find_own_interface() const;
    void put_back_interface() noexcept;
    ports::result<rte_mempool*> receive_pool(rte_mempool* shared, std::uint32_t buffer,
                                             unsigned queues, unsigned workers);
    ports::result<void> configure(const settings& s, std::uint16_t queues, rte_mempool* pool);
    ports::result<void> begin(const rte_eth_conf& conf, std::uint16_t queues, rte_mempool* pool,
                              const log_capture& log);
    ports::result<void> make_queues(std::uint16_t queues, const driver_descriptors& descriptors);
    ports::result<void> apply_mtu(std::uint32_t mtu);
    // Of a device whose word is good.
    [[nodiscard]] ports::result<void> check_device_mtu(std::uint32_t mtu) const;
    // What set_mtu() can take.
    [[nodiscard]] std::uint32_t most_mtu() const noexcept;

    std::string name_;
    device_request request_;
    pool_ptr large_pool_;
    std::unique_ptr<bond> bond_; // null: it is a device
    device device_;              // before its members
    std::string interface_;
    std::optional<interface_state> interface_before_; // as it was found
    std::uint32_t slot_size_{0};
    std::uint32_t mtu_{0};
    std::uint16_t rx_descriptors_{0};
    std::uint16_t tx_descriptors_{0};
    std::uint64_t tx_offloads_{0}; // RTE_ETH_TX_OFFLOAD_*, as configured
    bool interrupts_{false};       // of receive queues, as configured
    device_errors errors_;
    std::vector<std::unique_ptr<ports::rx_queue>> rx_;
    std::vector<std::unique_ptr<ports::tx_queue>> tx_;
    tap_tx_queue* tap_{nullptr};
    std::vector<ports::queue_pair> queues_;
};

std::string nic_port::interface_name(const rte_eth_dev_info& info) const
{
    if (const auto given = request_.argument("iface")) {
        return std::string{*given};
    }
    std::array<char, IF_NAMESIZE> name{};
    if (info.if_index != 0 && if_indextoname(info.if_index, name.data()) != nullptr) {
        return name.data();
    }
    return {};
}

// The interface that the device was opened on, and not another that has its name since it is gone.
std::optional<interface_state> nic_port::find_own_interface() const
{
    auto state = find_interface(interface_);
    return state && interface_before_ && state->index == interface_before_->index ? state
                                                                                  : std::nullopt;
}

// What AF_PACKET works on is the administrator's: it is left as it was found, but for what others
// have changed since. A tap goes, or stays as whoever made it persistent wants it.
void nic_port::put_back_interface() noexcept
{
    if (request_.kind != driver::af_packet) {
        return;
    }
    const auto now = find_own_interface();
    if (!now) {
        return;
    }
    if (now->promiscuous && !interface_before_->promiscuous) {
        rte_eth_promiscuous_disable(id());
    }
    if (now->mtu == mtu_ && mtu_ != interface_before_->mtu) {
        static_cast<void>(set_interface_mtu(interface_, interface_before_->mtu));
    }
}

// The pool whose buffers hold `buffer` bytes of a frame: the shared one, or one of the port's own.
ports::result<rte_mempool*> nic_port::receive_pool(rte_mempool* shared, std::uint32_t buffer,
                                                   unsigned queues, unsigned workers)
{
    if (buffer + RTE_PKTMBUF_HEADROOM <= rte_pktmbuf_data_room_size(shared)) {
        return shared;
    }
    static unsigned made = 0;
    const std::string pool_name = "strait_nic_" + std::to_string(++made);
    const unsigned packets = queues * large_packets_a_queue + workers * large_cache * 3 / 2;
    const auto data_room = static_cast<std::uint16_t>(
        std::min<std::uint32_t>(buffer + RTE_PKTMBUF_HEADROOM, UINT16_MAX));
    large_pool_.reset(dataplane::make_packet_pool({.name = pool_name,
                                                   .packets = packets,
                                                   .cache = large_cache,
                                                   .private_size = rte_pktmbuf_priv_size(shared),
                                                   .data_room = data_room}));
    if (large_pool_ == nullptr) {
        return error{"there is no memory for " + std::to_string(packets) + " buffers of " +
                     std::to_string(buffer) + " bytes: start the switch with more --memory"};
    }
    return large_pool_.get();
}

bool is_virtio(const rte_eth_dev_info& info)
{
    return std::string_view{info.driver_name} == "net_virtio";
}

// Of PCI devices. DPDK 22.11's driver of e1000e asks for an interrupt that the device, with MSI-X,
// does not raise. With several queues some drivers change one word for all of them, without a lock,
// or have one interrupt for several. Under uio no queue has one, and drivers complain.
bool interrupts_can_be_had(const device_request& request, const rte_eth_dev_info& info,
                           std::uint16_t queues)
{
    return request.kind == driver::other && !request.is_virtual &&
           std::string_view{info.driver_name} != "net_e1000_em" &&
           (queues == 1 || is_virtio(info)) && !is_under_uio(request.name);
}

ports::result<void> nic_port::begin(const rte_eth_conf& conf, std::uint16_t queues,
                                    rte_mempool* pool, const log_capture& log)
{
    const auto refused = [&](const char* what, int failed) {
        return refused_by_driver(request_, what, log, failed);
    };
    if (const int failed = rte_eth_dev_configure(id(), queues, queues, &conf); failed != 0) {
        return refused("cannot be configured", failed);
    }
    if (const int failed =
            rte_eth_dev_adjust_nb_rx_tx_desc(id(), &rx_descriptors_, &tx_descriptors_);
        failed != 0) {
        return refused("does not take these numbers of descriptors", failed);
    }
    const auto node = static_cast<unsigned>(rte_eth_dev_socket_id(id()));
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
        if (const int failed =
                rte_eth_rx_queue_setup(id(), queue, rx_descriptors_, node, nullptr, pool);
            failed != 0) {
            return refused("cannot set up its receive queue", failed);
        }
        if (const int failed = rte_eth_tx_queue_setup(id(), queue, tx_descriptors_, node, nullptr);
            failed != 0) {
            return refused("cannot set up its transmit queue", failed);
        }
    }
    if (const int failed = rte_eth_dev_start(id()); failed != 0) {
        return refused("cannot be started", failed);
    }
    interrupts_ = conf.intr_conf.rxq != 0;
    return {};
}

// How the device spreads what it receives over its queues, by what is in its headers. `wanted` are
// those that it was asked for, however few of them are used.
ports::result<void> spread(const device_request& request, const rte_eth_dev_info& info,
                           unsigned wanted, std::uint16_t used, rte_eth_conf& conf)
{
    if (request.kind != driver::other) {
        return {}; // over af_packet's sockets the kernel does
    }
    const auto most = std::min(info.max_rx_queues, info.max_tx_queues);
    if (wanted > most) {
        return error{"device " + request.name + " has " + std::to_string(most) + " queue pair" +
                     (most == 1 ? "" : "s") + ", not " + std::to_string(wanted)};
    }
    // Whoever serves a virtio device spreads what it sends there.
    if (wanted == 1 || is_virtio(info)) {
        return {};
    }
    const std::uint64_t fields =
        info.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
    if (fields == 0) {
        return error{"device " + request.name + " (" + info.driver_name +
                     ") cannot spread flows over several queues: give it one"};
    }
    if (used > 1) {
        conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = fields;
    }
    return {};
}

ports::result<void> nic_port::configure(const settings& s, std::uint16_t queues, rte_mempool* pool)
{
    std::optional<log_capture> log{std::in_place, request_.kind == driver::tap};
    const auto refused = [&](const char* what, int failed) {
        return refused_by_driver(request_, what, *log, failed);
    };
    rte_eth_dev_info info{};
    if (const int failed = rte_eth_dev_info_get(id(), &info); failed != 0) {
        return refused("does not describe itself", failed);
    }
    interface_ = interface_name(info);
    interface_before_ = interface_.empty() ? std::nullopt : find_interface(interface_);
    if (interface_before_ && info.if_index != 0 && info.if_index != interface_before_->index) {
        return error{"interface " + interface_ + " was made anew just now: try again"};
    }
    const bool is_other = are_as_said(request_.kind);
    if (is_other) {
        if (auto ok = check_device_mtu(s.mtu); !ok) {
            return ok;
        }
    }
    rte_eth_conf conf{};
    // Virtual devices state limits that hold for none of their paths: their interface's MTU is
    // what counts, and apply_mtu sets it.
    conf.rxmode.mtu = is_other ? s.mtu : default_mtu;
    conf.rxmode.offloads = info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER;
    conf.txmode.offloads = wanted_tx_offloads(request_.kind, info);
    tx_offloads_ = conf.txmode.offloads;
    if (auto ok = spread(request_, info, s.queues, queues, conf); !ok) {
        return ok;
    }
    rx_descriptors_ = request_.kind == driver::tap ? tap_descriptors : s.rx_descriptors;
    tx_descriptors_ = s.tx_descriptors;

    std::uint32_t buffer = 0; // bytes of a frame that one buffer must hold
    if (request_.kind == driver::af_packet) {
        buffer = slot_size_ - slot_overhead_tx;
    } else if (is_other && conf.rxmode.offloads == 0) {
        buffer = s.mtu + frame_overhead;
    }
    auto receive = receive_pool(pool, buffer, queues, s.workers);
    if (!receive) {
        return std::move(receive).error();
    }
    // A worker with nothing to do is woken by these. A driver that has none may refuse to begin.
    conf.intr_conf.rxq = interrupts_can_be_had(request_, info, queues) ? 1 : 0;
    auto begun = begin(conf, queues, receive.value(), *log);
    if (!begun && conf.intr_conf.rxq != 0) {
        conf.intr_conf.rxq = 0;
        log.emplace();
        begun = begin(conf, queues, receive.value(), *log);
    }
    if (!begun) {
        return begun;
    }
    // A tap shows the switch all there is, whatever its flags.
    if (request_.kind != driver::tap) {
        if (const int failed = rte_eth_promiscuous_enable(id());
            failed != 0 && failed != -ENOTSUP) {
            return refused("cannot receive frames for other addresses than its own", failed);
        }
    }
    log->dismiss();
    return {};
}

ports::result<void> nic_port::open(const settings& s, std::uint16_t queues, rte_mempool* pool,
                                   std::uint32_t slot_size, const driver_descriptors& descriptors)
{
    slot_size_ = slot_size;
    if (auto ok = configure(s, queues, pool); !ok) {
        return ok;
    }
    if (auto ok = apply_mtu(s.mtu); !ok) {
        return ok;
    }
    return make_queues(queues, descriptors);
}

// Of the shortest frames at the link's speed, or at 10 Gbit/s as long as that is not known.
bool nic_port::ring_holds_50_microseconds() const noexcept
{
    constexpr std::uint32_t bits_of_shortest = 84 * 8; // with preamble, check sequence and gap
    constexpr std::uint32_t usual_mbps = 10'000;
    const std::uint64_t mbps = link_mbps().value_or(usual_mbps);
    return mbps * 50 / bits_of_shortest < rx_descriptors_;
}

std::optional<std::uint32_t> nic_port::link_mbps() const noexcept
{
    rte_eth_link link{};
    const bool known = rte_eth_link_get_nowait(id(), &link) == 0 &&
                       link.link_speed != RTE_ETH_SPEED_NUM_NONE &&
                       link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN;
    return known ? std::optional{link.link_speed} : std::nullopt;
}

dataplane::mac_address nic_port::mac() const noexcept
{
    rte_ether_addr address{};
    return rte_eth_macaddr_get(id(), &address) == 0 ? to_mac(address) : dataplane::mac_address{};
}

ports::result<void> nic_port::make_queues(std::uint16_t queues,
                                          const driver_descriptors& descriptors)
{
    ethdev_traits traits;
    traits.kind = request_.kind;
    traits.speaks_slowly = bond_ != nullptr;
    traits.may_wait = are_as_said(request_.kind) && ring_holds_50_microseconds();
    if (request_.kind == driver::af_packet) {
        // A frame that fills its slot may have been cut.
        traits.longest_received = slot_size_ - slot_overhead - 1;
    }
    std::vector<file_descriptor> wakers(queues);
    if (request_.kind == driver::tap) {
        auto tap = descriptors.find_tap(interface_);
        if (!tap) {
            return std::move(tap).error();
        }
        wakers.front() = std::move(tap).value();
    } else if (request_.kind == driver::af_packet && interface_before_) {
        auto sockets = descriptors.find_packet_sockets(interface_before_->index, queues);
        if (!sockets) {
            return std::move(sockets).error();
        }
        wakers = std::move(sockets).value();
    } else if (interrupts_) {
        traits.interrupts = true;
        for (std::uint16_t queue = 0; queue < queues; ++queue) {
            wakers[queue] = driver_descriptors::interrupt_of(id(), queue);
        }
    }
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
        rx_.push_back(
            std::make_unique<ethdev_rx_queue>(id(), queue, traits, std::move(wakers[queue])));
    }
    if (request_.kind == driver::tap) {
        auto tap = descriptors.find_tap(interface_);
        if (!tap) {
            return std::move(tap).error();
        }
        auto queue = std::make_unique<tap_tx_queue>(std::move(tap).value());
        tap_ = queue.get();
        tx_.push_back(std::move(queue));
    } else {
        rte_eth_dev_info info{};
        rte_eth_dev_info_get(id(), &info);
        // pcap gathers chains and null frees them, though neither says so.
        traits.takes_chains = (info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0 ||
                              !are_as_said(request_.kind);
        traits.takes = taken_by_device(tx_offloads_);
        traits.fills_ipv4 = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
        for (std::uint16_t queue = 0; queue < queues; ++queue) {
            tx_.push_back(std::make_unique<ethdev_tx_queue>(id(), queue, traits, errors_));
        }
    }
    for (std::size_t i = 0; i < rx_.size(); ++i) {
        queues_.push_back({rx_[i].get(), tx_[i].get()});
    }
    return {};
}

ports::result<void> nic_port::check_device_mtu(std::uint32_t mtu) const
{
    if (bond_) {
        if (auto ok = bond_->check_mtu(mtu); !ok) {
            return ok;
        }
    }
    return check_mtu(request_.name, id(), mtu);
}

std::uint32_t nic_port::most_mtu() const noexcept
{
    switch (request_.kind) {
    case driver::af_packet:
        return std::min<std::uint32_t>(slot_size_ - slot_overhead - frame_overhead - 1,
                                       dataplane::max_mtu);
    case driver::bond:
        return bond_->most_mtu();
    case driver::other:
        return mtus_of(id()).most;
    case driver::tap:
    case driver::pcap:
    case driver::null_device:
        break;
    }
    return dataplane::max_mtu;
}

ports::result<void> nic_port::apply_mtu(std::uint32_t mtu)
{
    switch (request_.kind) {
    case driver::tap:
        // Once a tap was moved to another network namespace, its MTU is set there: the tap itself
        // carries any frame.
        if (const auto state = find_interface(interface_); state && state->mtu != mtu) {
            if (auto ok = set_interface_mtu(interface_, mtu); !ok) {
                return ok;
            }
        }
        break;
    case driver::af_packet: {
        if (const std::uint32_t most = most_mtu(); mtu > most) {
            return error{"device " + request_.name + " was opened with slots of " +
                         std::to_string(slot_size_) + " bytes, enough for an MTU of " +
                         std::to_string(most) + ", not " + std::to_string(mtu) +
                         ": remove the port and add it with this MTU"};
        }
        const auto state = find_own_interface();
        if (!state) {
            return error{
                "interface " + interface_ +
                ", which the port was opened on, is gone: remove the port and add it anew"};
        }
        if (state->mtu != mtu) {
            if (auto ok = set_interface_mtu(interface_, mtu); !ok) {
                return ok;
            }
        }
        break;
    }
    case driver::pcap:
    case driver::null_device:
        break;
    case driver::bond:
    case driver::other: {
        // To set the MTU that there is makes some devices begin anew, and not all come up again.
        if (std::uint16_t now = 0; rte_eth_dev_get_mtu(id(), &now) == 0 && now == mtu) {
            break;
        }
        if (auto ok = check_device_mtu(mtu); !ok) {
            return ok;
        }
        const log_capture log;
        const int failed = rte_eth_dev_set_mtu(id(), static_cast<std::uint16_t>(mtu));
        if (failed == -EBUSY) {
            return error{"device " + request_.name +
                         " cannot change its MTU while it runs: remove the port and add it with "
                         "this MTU"};
        }
        if (failed != 0 && (failed != -ENOTSUP || mtu > default_mtu)) {
            return error{"device " + request_.name + " cannot do an MTU of " + std::to_string(mtu) +
                         ": " + cause(log, failed)};
        }
        break;
    }
    }
    mtu_ = mtu;
    return {};
}

ports::result<void> nic_port::set_mtu(std::uint32_t mtu)
{
    auto ok = check_mtu_range(mtu);
    if (ok) {
        ok = apply_mtu(mtu);
    }
    if (!ok) {
        return for_port(name_, std::move(ok).error());
    }
    return {};
}

std::string nic_port::why_lost() const
{
    if (device_.is_asked_for()) {
        return "device " + request_.name + " was unplugged";
    }
    if (request_.kind == driver::af_packet && !find_own_interface()) {
        return "interface " + interface_ + ", which the port was opened on, is gone";
    }
    return {};
}

bool nic_port::link_up() const noexcept
{
    if (device_.is_asked_for()) {
        return false;
    }
    if (bond_) {
        return bond_->link_up();
    }
    if (tap_ != nullptr) {
        return tap_->is_up();
    }
    if (!interface_.empty() && !are_as_said(request_.kind)) {
        const auto state = find_own_interface();
        return state && state->running;
    }
    rte_eth_link link{};
    return rte_eth_link_get_nowait(id(), &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

std::vector<std::pair<std::string, ports::port_detail>> nic_port::details() const
{
    std::vector<std::pair<std::string, ports::port_detail>> out;
    const auto number = [&](const char* key, std::uint64_t value) {
        out.emplace_back(key, static_cast<std::int64_t>(value));
    };
    rte_eth_dev_info info{};
    if (bond_) {
        out.emplace_back("members", bond_->describe());
    } else {
        out.emplace_back("device", request_.name);
    }
    if (rte_eth_dev_info_get(id(), &info) == 0) {
        out.emplace_back("driver", std::string{info.driver_name});
    }
    if (!interface_.empty()) {
        out.emplace_back("interface", interface_);
    }
    rte_ether_addr mac{};
    if (rte_eth_macaddr_get(id(), &mac) == 0) {
        out.emplace_back("mac", to_text(mac));
    }
    if (const auto mbps = link_mbps(); mbps && !bond_) {
        number("link_mbps", *mbps);
    }
    number("mtu", mtu_);
    number("max_mtu", most_mtu());
    number("rx_queues", queues_.size());
    number("tx_queues", queues_.size());
    number("rx_descriptors", rx_descriptors_);
    number("tx_descriptors", tx_descriptors_);
    std::vector<std::string> offloads;
    const dataplane::offloads taken = taken_by_device(tx_offloads_);
    if (contains(taken, dataplane::offloads::checksum_ipv4)) {
        offloads.emplace_back("checksum");
    }
    if (contains(taken, dataplane::offloads::segmentation_ipv4)) {
        offloads.emplace_back("segmentation");
    }
    if (contains(taken, dataplane::offloads::udp_segmentation_ipv4)) {
        offloads.emplace_back("udp_segmentation");
    }
    out.emplace_back("tx_offloads", std::move(offloads));
    rte_eth_stats stats{};
    if (rte_eth_stats_get(id(), &stats) == 0) {
        number("device_rx_missed", stats.imissed);
        number("device_rx_errors", stats.ierrors);
        number("device_rx_no_buffer", stats.rx_nombuf);
        number("device_tx_errors", stats.oerrors);
    }
    return out;
}

// Refuses what other ports use, and interfaces that the driver would fail on without a word.
ports::result<std::string> check_interface(const device_request& request)
{
    const auto given = request.argument("iface");
    for (const use& u : uses()) {
        if (u.device == request.name) {
            return error{"device " + request.name + " is in use by port " + u.port};
        }
        if (given && u.interface == *given) {
            return error{"interface " + u.interface + " is in use by port " + u.port};
        }
    }
    if (!given) {
        if (request.kind == driver::af_packet) {
            return error{"device " + request.name + " needs an interface: " + request.name +
                         ",iface=NAME"};
        }
        return ports::result<std::string>{boost::system::in_place_value};
    }
    std::string name{*given};
    if (!valid_interface_name(name)) {
        return error{"\"" + name +
                     "\" cannot be an interface's name: 1 to 15 characters without spaces, '/', "
                     "':', ',', '=', '%' or brackets"};
    }
    const auto state = find_interface(name);
    if (request.kind == driver::tap) {
        if (::access("/dev/net/tun", R_OK | W_OK) != 0) {
            return error{"a tap needs /dev/net/tun, which cannot be opened here (modprobe tun, or "
                         "run as root)"};
        }
        if (state && state->type != "tun") {
            return error{"interface " + name +
                         " exists and is not a tap: choose another name, or attach to it with "
                         "net_af_packet"};
        }
    } else if (!state) {
        return error{"there is no interface " + name +
                     " in the switch's network namespace (ip link lists them)"};
    }
    return {boost::system::in_place_value, std::move(name)};
}

ports::result<std::unique_ptr<ports::port>> open_port(const settings& s, rte_mempool* pool)
{
    free_idle_pools();
    if (auto ok = check_mtu_range(s.mtu); !ok) {
        return std::move(ok).error();
    }
    auto parsed = parse_device(s.device);
    if (!parsed) {
        return std::move(parsed).error();
    }
    device_request request = std::move(parsed).value();
    auto checked = check_interface(request);
    if (!checked) {
        return std::move(checked).error();
    }
    const std::string interface = std::move(checked).value(); // as asked for
    if (s.queues > 1 && (request.kind == driver::tap || request.kind == driver::pcap)) {
        return error{"device " + request.name + " has one queue pair, not " +
                     std::to_string(s.queues)};
    }
    const unsigned queues = std::clamp(s.workers, 1U, s.queues);
    std::uint32_t slot_size = 0;
    if (request.kind == driver::af_packet) {
        auto size = size_af_packet_ring(request, s.mtu, queues);
        if (!size) {
            return std::move(size).error();
        }
        slot_size = size.value();
    }
    if (request.kind == driver::tap) {
        survive_tap_signals();
        if (!request.argument("mac")) {
            request.set_argument("mac", stable_mac(interface.empty() ? s.name : interface));
        }
    }
    const driver_descriptors descriptors;
    auto plugged = device::plug(request);
    if (!plugged) {
        return std::move(plugged).error();
    }
    auto port = std::make_unique<nic_port>(s.name, request, std::move(plugged).value());
    if (auto ok = port->open(s, static_cast<std::uint16_t>(queues), pool, slot_size, descriptors);
        !ok) {
        return std::move(ok).error();
    }
    uses().push_back({request.name, port->interface(), s.name});
    return std::unique_ptr<ports::port>{std::move(port)};
}

// What can be a bond's, with the ring of one under af_packet sized.
ports::result<device_request> member_request(const std::string& text, std::uint32_t mtu)
{
    auto parsed = parse_device(text);
    if (!parsed) {
        return parsed;
    }
    device_request request = std::move(parsed).value();
    if (request.kind == driver::tap) {
        return error{"device " + request.name +
                     " is a tap, which has no link that could fail: a bond's members are NICs"};
    }
    if (auto ok = check_interface(request); !ok) {
        return std::move(ok).error();
    }
    if (request.kind == driver::af_packet) {
        if (auto size = size_af_packet_ring(request, mtu, 1); !size) {
            return std::move(size).error();
        }
    }
    return request;
}

ports::result<std::unique_ptr<ports::port>> open_bond(const bond_settings& s, rte_mempool* pool,
                                                      dataplane::rcu_domain& rcu)
{
    free_idle_pools();
    if (auto ok = check_mtu_range(s.mtu); !ok) {
        return std::move(ok).error();
    }
    std::vector<device_request> requests;
    if (s.members.empty()) {
        return error{"no device was named: a bond has one or more members"};
    }
    for (const std::string& text : s.members) {
        auto parsed = member_request(text, s.mtu);
        if (!parsed) {
            return std::move(parsed).error();
        }
        device_request request = std::move(parsed).value();
        const auto iface = request.argument("iface");
        for (const device_request& other : requests) {
            if (other.name == request.name) {
                return error{"device " + request.name + " is given twice"};
            }
            if (iface && other.argument("iface") == iface) {
                return error{"interface " + std::string{*iface} + " is given twice"};
            }
        }
        requests.push_back(std::move(request));
    }
    std::vector<use> used;
    for (const device_request& request : requests) {
        used.push_back({request.name, std::string{request.argument("iface").value_or("")}, s.name});
    }
    auto made = bond::make(s.name, s.mode, std::move(requests), rcu);
    if (!made) {
        return std::move(made).error();
    }
    std::unique_ptr<bond> members = std::move(made).value();
    device joined = members->take_device();
    device_request itself{"the bond", true, driver::bond, {}};
    auto port = std::make_unique<nic_port>(s.name, std::move(itself), std::move(joined),
                                           std::move(members));
    const settings as_one{s.name, {}, s.mtu, s.descriptors, s.descriptors, 1, s.workers};
    if (auto ok = port->open(as_one, 1, pool, 0, {}); !ok) {
        return std::move(ok).error();
    }
    std::ranges::move(used, std::back_inserter(uses()));
    return std::unique_ptr<ports::port>{std::move(port)};
}

} // namespace

ports::result<std::unique_ptr<ports::port>> make_bond(bond_settings s, rte_mempool* pool,
                                                      dataplane::rcu_domain& rcu)
{
    auto made = open_bond(s, pool, rcu);
    if (!made) {
        return for_port(s.name, std::move(made).error());
    }
    return made;
}

std::vector<std::string> split_devices(std::string_view text)
{
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto comma = std::min(text.find(','), text.size());
        const std::string_view word = text.substr(0, comma);
        if (out.empty() || word.find('=') == std::string_view::npos) {
            out.emplace_back(word);
        } else {
            out.back() += ',' + std::string{word};
        }
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return out;
}

ports::result<std::unique_ptr<ports::port>> make_port(settings s, rte_mempool* pool)
{
    auto made = open_port(s, pool);
    if (!made) {
        return for_port(s.name, std::move(made).error());
    }
    return made;
}

} // namespace strait::nic
