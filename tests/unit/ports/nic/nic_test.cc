// SPDX-License-Identifier: BSD-3-Clause
// NIC ports over DPDK's virtual devices, with the kernel at the far end.
#include "tests/unit/ports/nic/lab.hh"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <rte_ethdev.h>
#include <sys/resource.h>

namespace strait::test {
namespace {

using dataplane::drop_reason;
using ::testing::HasSubstr;

const std::string a = "02:00:00:00:00:0a";
const std::string b = "02:00:00:00:00:0b";

class nic : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (!enter_lab()) {
            GTEST_SKIP() << "skipped: a network namespace of the test's own needs root";
        }
        pool_ = make_pool();
    }
    void TearDown() override
    {
        if (pool_) {
            EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << "mbufs leaked";
        }
    }

    port_under_test add(const std::string& device, std::uint32_t mtu = 1500, unsigned queues = 1,
                        unsigned workers = 1)
    {
        auto made = strait::nic::make_port(
            {.name = "up0", .device = device, .mtu = mtu, .queues = queues, .workers = workers},
            pool_.get());
        if (!made) {
            throw std::runtime_error{made.error().message};
        }
        port_under_test port{std::move(made).value(), pool_.get()};
        EXPECT_TRUE(port->start());
        return port;
    }
    std::string refusal(const std::string& device, std::uint32_t mtu = 1500, unsigned queues = 1)
    {
        auto made = strait::nic::make_port(
            {.name = "up0", .device = device, .mtu = mtu, .queues = queues, .workers = queues},
            pool_.get());
        return made ? "accepted" : made.error().message;
    }
    static void add_veth(const std::string& options = "")
    {
        run("ip link add veth0 " + options + " type veth peer name veth1");
        run("ip link set veth1 " + options);
        run("ip link set veth0 up && ip link set veth1 up");
    }
    static void delete_veth() { run("ip link del veth0"); }

    pool_ptr pool_;
};

TEST_F(nic, null_device_receives_and_swallows)
{
    port_under_test port = add("net_null0,size=128");
    const auto in = port.receive(64);
    ASSERT_GE(in.size(), 64U);
    EXPECT_EQ(in.front().size(), 128U);
    EXPECT_EQ(port.counters().rx_packets.read(), in.size());
    EXPECT_EQ(port.counters().rx_bytes.read(), in.size() * 128);

    borrowed_packet one{make_frame(b, a, 1514), 3};
    borrowed_packet two{make_frame(b, a, 60)};
    port.transmit({&one.get(), &two.get()});
    EXPECT_EQ(port.counters().tx_packets.read(), 2U);
    EXPECT_EQ(port.counters().tx_bytes.read(), 1574U);
    EXPECT_TRUE(port->link_up());
}

TEST_F(nic, an_empty_pool_is_a_drop_with_its_reason)
{
    port_under_test port = add("net_null0");
    std::vector<rte_mbuf*> all;
    while (rte_mbuf* const m = rte_pktmbuf_alloc(pool_.get())) {
        all.push_back(m);
    }
    borrowed_packet one{make_frame(b, a, 200)};
    port.transmit({&one.get()});
    EXPECT_EQ(port.drops(drop_reason::no_memory), 1U);
    EXPECT_EQ(port.counters().tx_packets.read(), 0U);
    rte_pktmbuf_free_bulk(all.data(), static_cast<unsigned>(all.size()));
}

TEST_F(nic, an_owned_packet_leaves_in_its_own_mbuf_at_the_last_destination)
{
    port_under_test port = add("net_null0");
    const auto b_ = std::make_unique<dataplane::burst>();
    rte_mbuf* const m = to_mbuf(make_frame(b, a, 3000), pool_.get());
    dataplane::packet_slot& p = b_->slots[0];
    ASSERT_TRUE(dataplane::from_mbuf(p, m, *b_));
    p.destinations = 2;
    port.transmit({&p});
    EXPECT_EQ(p.mbuf, m) << "another destination needs it";
    p.destinations = 1;
    port.transmit({&p});
    EXPECT_EQ(p.mbuf, nullptr);
    EXPECT_EQ(port.counters().tx_bytes.read(), 6000U);
}

TEST_F(nic, pcap_files_in_and_out_byte_for_byte)
{
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() / ("strait_nic_" + std::to_string(getpid()));
    std::filesystem::create_directory(folder);
    const auto file = [&](const char* name) { return (folder / name).string(); };
    const std::vector<frame> frames{make_frame(b, a, 60, 1), make_frame(b, a, 1514, 2),
                                    make_frame(b, a, 9014, 3), make_frame(b, a, 14, 4)};
    {
        port_under_test out = add("net_pcap0,tx_pcap=" + file("a.pcap"), 9000);
        for (const frame& f : frames) {
            borrowed_packet p{f, 5};
            out.transmit({&p.get()});
        }
        EXPECT_EQ(out.counters().tx_packets.read(), frames.size());
    }
    port_under_test in = add("net_pcap0,rx_pcap=" + file("a.pcap"), 9000);
    EXPECT_EQ(in.receive(frames.size()), frames);
    EXPECT_TRUE(in.receive(1, std::chrono::milliseconds{20}).empty());
    std::filesystem::remove_all(folder);
}

TEST_F(nic, tap_both_ways_up_to_jumbo)
{
    port_under_test port = add("net_tap0,iface=tap0", 9000);
    EXPECT_THAT(output_of("ip link show tap0"), HasSubstr("mtu 9000"));
    EXPECT_TRUE(port->link_up());
    const raw_socket kernel{"tap0"};
    for (const std::size_t length : {60UL, 64UL, 1514UL, 1522UL, 1600UL, 9014UL}) {
        const frame in = make_frame(a, b, length, 9);
        kernel.send(in);
        EXPECT_EQ(port.receive(1), std::vector<frame>{in}) << length;

        const frame out = make_frame(b, a, length, 5);
        borrowed_packet p{out, 4};
        port.transmit({&p.get()});
        EXPECT_EQ(kernel.receive(), out) << length;
    }
    EXPECT_EQ(port.counters().tx_packets.read(), 6U);
    EXPECT_EQ(port.counters().rx_packets.read(), 6U);
}

TEST_F(nic, tap_keeps_order_and_counts_through_a_long_run)
{
    port_under_test port = add("net_tap0,iface=tap0");
    const raw_socket kernel{"tap0"};
    std::vector<frame> sent;
    for (unsigned i = 0; i < 400; ++i) {
        sent.push_back(make_frame(a, b, 60 + i, static_cast<std::uint8_t>(i)));
        kernel.send(sent.back());
    }
    EXPECT_EQ(port.receive(sent.size()), sent);

    std::vector<std::unique_ptr<borrowed_packet>> packets;
    std::vector<dataplane::packet*> pointers;
    for (unsigned i = 0; i < 64; ++i) {
        packets.push_back(std::make_unique<borrowed_packet>(sent[i]));
        pointers.push_back(&packets.back()->get());
    }
    port.transmit(pointers);
    for (unsigned i = 0; i < 64; ++i) {
        EXPECT_EQ(kernel.receive(), sent[i]);
    }
}

// Nothing is left to take, and a worker would sleep.
void expect_to_sleep(port_under_test& port)
{
    ports::rx_queue& queue = *port->queues().front().rx;
    ASSERT_TRUE(queue.can_wake());
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{5};
    while (true) {
        // What the kernel itself says on a link comes, too.
        static_cast<void>(port.receive(1000, std::chrono::milliseconds{20}));
        std::vector<pollfd> wakers;
        ASSERT_TRUE(queue.list_wakers(wakers));
        ASSERT_EQ(wakers.size(), 1U);
        ::poll(wakers.data(), wakers.size(), 0);
        if (queue.ask_to_wake(wakers)) {
            return;
        }
        ASSERT_LT(std::chrono::steady_clock::now(), until);
    }
}

// And is woken by what `kernel` sends.
void expect_to_wake(port_under_test& port, const raw_socket& kernel)
{
    ports::rx_queue& queue = *port->queues().front().rx;
    for (std::uint8_t i = 1; i <= 3; ++i) {
        const frame f = make_frame(a, b, 60, i);
        expect_to_sleep(port);
        std::vector<pollfd> wakers;
        ASSERT_TRUE(queue.list_wakers(wakers));
        kernel.send(f);
        EXPECT_EQ(::poll(wakers.data(), wakers.size(), 2000), 1);
        EXPECT_FALSE(queue.ask_to_wake(wakers)) << "something is there";
        EXPECT_THAT(port.receive(1), ::testing::Contains(f));
    }
}

TEST_F(nic, tap_wakes_its_worker)
{
    port_under_test port = add("net_tap0,iface=tap0");
    expect_to_wake(port, raw_socket{"tap0"});
}

TEST_F(nic, tap_that_was_deleted_keeps_nobody_awake)
{
    port_under_test port = add("net_tap0,iface=tap0");
    run("ip link del tap0");
    ports::rx_queue& queue = *port->queues().front().rx;
    std::vector<pollfd> wakers;
    ASSERT_TRUE(queue.list_wakers(wakers));
    ::poll(wakers.data(), wakers.size(), 0);
    static_cast<void>(queue.ask_to_wake(wakers));
    wakers.clear();
    EXPECT_TRUE(queue.list_wakers(wakers));
    EXPECT_TRUE(wakers.empty());
    EXPECT_TRUE(queue.ask_to_wake(wakers));
    EXPECT_FALSE(port->link_up());
}

// Two taps may have one name, in different namespaces: each port has its own queue.
TEST_F(nic, tap_is_not_mistaken_for_one_of_its_name_elsewhere)
{
    const std::string space = "nicut" + std::to_string(getpid());
    ASSERT_EQ(run("ip netns add " + space), 0);
    {
        port_under_test first = add("net_tap0,iface=tap0");
        run("ip link set tap0 down && ip link set tap0 name tap1 netns " + space);
        port_under_test second = add("net_tap1,iface=tap1");
        const raw_socket kernel{"tap1"};
        expect_to_wake(second, kernel);
        const frame out = make_frame(b, a, 60, 5);
        borrowed_packet p{out};
        second.transmit({&p.get()});
        EXPECT_EQ(kernel.receive(), out);
    }
    run("ip netns del " + space);
}

TEST_F(nic, af_packet_wakes_its_worker_also_after_its_interface_was_down)
{
    add_veth();
    {
        port_under_test port = add("net_af_packet0,iface=veth0");
        const raw_socket kernel{"veth1"};
        expect_to_wake(port, kernel);
        run("ip link set veth0 down");
        expect_to_sleep(port);
        run("ip link set veth0 up");
        expect_to_wake(port, kernel);
    }
    delete_veth();
}

TEST_F(nic, a_device_without_a_descriptor_keeps_its_worker_awake)
{
    port_under_test port = add("net_null0");
    EXPECT_FALSE(port->queues().front().rx->can_wake());
}

TEST_F(nic, tap_that_is_down_says_not_connected)
{
    port_under_test port = add("net_tap0,iface=tap0");
    run("ip link set tap0 down");
    EXPECT_FALSE(port->link_up());
    borrowed_packet one{make_frame(b, a, 60)};
    borrowed_packet two{make_frame(b, a, 60)};
    port.transmit({&one.get(), &two.get()});
    EXPECT_EQ(port.drops(drop_reason::receiver_not_connected), 2U);
    EXPECT_EQ(port.counters().tx_packets.read(), 0U);
    run("ip link set tap0 up");
    EXPECT_TRUE(port->link_up());
    port.transmit({&one.get()});
    EXPECT_EQ(port.counters().tx_packets.read(), 1U);
}

TEST_F(nic, tap_works_on_after_it_was_moved_to_another_namespace)
{
    const std::string space = "nicut" + std::to_string(getpid());
    ASSERT_EQ(run("ip netns add " + space), 0);
    {
        port_under_test port = add("net_tap0,iface=tap0");
        ASSERT_EQ(run("ip link set tap0 netns " + space), 0);
        EXPECT_FALSE(port->link_up());
        const std::string inside = "ip netns exec " + space + " ";
        run(inside + "ip link set tap0 up");
        EXPECT_TRUE(port->link_up());
        EXPECT_TRUE(port->set_mtu(9000)) << "its MTU is that namespace's business";
        borrowed_packet p{make_frame(b, a, 60)};
        port.transmit({&p.get()});
        EXPECT_EQ(port.counters().tx_packets.read(), 1U);
    }
    EXPECT_EQ(output_of("ip netns exec " + space + " ip -br link | grep tap0"), "");
    run("ip netns del " + space);
}

TEST_F(nic, tap_is_gone_with_its_port_and_keeps_its_address_over_restarts)
{
    std::string first;
    {
        port_under_test port = add("net_tap0,iface=tap0");
        EXPECT_TRUE(interface_exists("tap0"));
        first = std::get<std::string>(port.detail("mac"));
        EXPECT_THAT(output_of("cat /proc/net/dev; ip link show tap0"), HasSubstr(first));
    }
    EXPECT_FALSE(interface_exists("tap0"));
    port_under_test again = add("net_tap0,iface=tap0");
    EXPECT_EQ(std::get<std::string>(again.detail("mac")), first);
    EXPECT_EQ(first.substr(0, 3), "02:");
    again.remove();
    port_under_test other = add("net_tap0,iface=tap1,mac=02:11:22:33:44:55");
    EXPECT_EQ(std::get<std::string>(other.detail("mac")), "02:11:22:33:44:55");
}

TEST_F(nic, a_flood_of_tap_signals_does_not_end_the_process)
{
    rlimit before{};
    getrlimit(RLIMIT_SIGPENDING, &before);
    port_under_test port = add("net_tap0,iface=tap0");
    const raw_socket kernel{"tap0"};
    const rlimit none{0, before.rlim_max};
    setrlimit(RLIMIT_SIGPENDING, &none);
    // No signal can be queued: the kernel falls back to SIGIO.
    sigset_t all;
    sigset_t old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 0; i < 10; ++i) {
        kernel.send(make_frame(a, b, 60));
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    setrlimit(RLIMIT_SIGPENDING, &before);
    kernel.send(make_frame(a, b, 60));
    EXPECT_EQ(port.receive(11).size(), 11U);
}

TEST_F(nic, af_packet_both_ways)
{
    add_veth();
    {
        port_under_test port = add("net_af_packet0,iface=veth0");
        EXPECT_TRUE(port->link_up());
        const raw_socket kernel{"veth1"};
        for (const frame& f : {make_frame(a, b, 60, 1), make_frame(a, b, 1514, 2),
                               with_tag(make_frame(a, b, 100, 3), 0x600a),
                               with_tag(make_frame(a, b, 1514, 4), 20)}) {
            kernel.send(f);
            EXPECT_EQ(port.receive(1), std::vector<frame>{f});
            borrowed_packet p{f, 2};
            port.transmit({&p.get()});
            EXPECT_EQ(kernel.receive(), f);
        }
        EXPECT_EQ(port.counters().rx_packets.read(), 4U);
        EXPECT_EQ(port.counters().tx_packets.read(), 4U);
        run("ip link set veth1 down");
        EXPECT_FALSE(port->link_up());
    }
    EXPECT_TRUE(interface_exists("veth0")) << "an interface that was there stays";
    delete_veth();
}

// IPv4 and UDP, of one of 64 flows.
frame of_flow(std::uint8_t flow, std::uint8_t number)
{
    frame f = make_frame(a, b, 60, number);
    constexpr std::array<std::uint8_t, 30> header{
        0x08, 0x00, 0x45, 0x00, 0x00, 0x2e, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 10,
        0,    0,    1,    10,   0,    0,    2,    0x10, 0x00, 0x20, 0x00, 0x00, 0x1a, 0x00, 0x00};
    std::ranges::copy(header, f.begin() + 12);
    f[35] = flow;
    f[50] = number;
    return f;
}

TEST_F(nic, af_packet_spreads_flows_over_its_queues)
{
    constexpr std::uint8_t flows = 64;
    constexpr std::uint8_t rounds = 3;
    add_veth();
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 1500, 4, 4);
        ASSERT_EQ(port->queues().size(), 4U);
        EXPECT_EQ(std::get<std::int64_t>(port.detail("rx_queues")), 4);
        const raw_socket kernel{"veth1"};
        std::map<std::uint8_t, std::set<std::size_t>> queues_of;
        std::vector<std::vector<frame>> arrived(4);
        for (std::uint8_t round = 0; round < rounds; ++round) {
            for (std::uint8_t flow = 0; flow < flows; ++flow) {
                kernel.send(of_flow(flow, round));
            }
        }
        for (std::size_t queue = 0; queue < 4; ++queue) {
            port.use(queue);
            arrived[queue] = port.receive(flows * rounds, std::chrono::milliseconds{200});
            std::map<std::uint8_t, int> next;
            for (const frame& f : arrived[queue]) {
                queues_of[f[35]].insert(queue);
                EXPECT_EQ(f[50], next[f[35]]++) << "in its order";
            }
        }
        EXPECT_EQ(queues_of.size(), flows);
        EXPECT_TRUE(std::ranges::all_of(queues_of, [](const auto& one) {
            return one.second.size() == 1;
        })) << "a flow has one queue";
        EXPECT_EQ(port.counters().rx_packets.read(), flows * rounds);
        EXPECT_GE(std::ranges::count_if(arrived, [](const auto& one) { return !one.empty(); }), 3);
        for (std::size_t queue = 0; queue < 4; ++queue) {
            port.use(queue);
            const frame f = make_frame(b, a, 100, static_cast<std::uint8_t>(queue));
            borrowed_packet p{f, 2};
            port.transmit({&p.get()});
            EXPECT_EQ(kernel.receive(), f);
        }
    }
    delete_veth();
}

TEST_F(nic, each_queue_is_woken_by_what_comes_to_it)
{
    add_veth();
    run("sysctl -qw net.ipv6.conf.veth0.disable_ipv6=1 net.ipv6.conf.veth1.disable_ipv6=1");
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 1500, 4, 4);
        const raw_socket kernel{"veth1"};
        const auto readable = [&](std::size_t queue) {
            std::vector<pollfd> wakers;
            EXPECT_TRUE(port->queues()[queue].rx->list_wakers(wakers));
            return ::poll(wakers.data(), wakers.size(), 0) == 1;
        };
        for (std::size_t queue = 0; queue < 4; ++queue) { // what the kernel said of the link
            port.use(queue);
            (void)port.receive(1000, std::chrono::milliseconds{100});
        }
        for (std::uint8_t flow = 0; flow < 64; ++flow) {
            kernel.send(of_flow(flow, 0));
            std::vector<bool> woken;
            for (std::size_t queue = 0; queue < 4; ++queue) {
                woken.push_back(readable(queue));
            }
            EXPECT_EQ(std::ranges::count(woken, true), 1);
            for (std::size_t queue = 0; queue < 4; ++queue) {
                port.use(queue);
                const auto patience = std::chrono::milliseconds{woken[queue] ? 3000 : 1};
                EXPECT_EQ(port.receive(1, patience).size(), woken[queue] ? 1U : 0U);
            }
        }
    }
    delete_veth();
}

TEST_F(nic, has_no_more_queues_than_there_are_workers)
{
    EXPECT_EQ(add("net_null0", 1500, 16, 3)->queues().size(), 3U);
    EXPECT_EQ(add("net_null0", 1500, 2, 8)->queues().size(), 2U);
}

TEST_F(nic, errors_of_several_queues_are_counted_once)
{
    add_veth();
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 1500, 2, 2);
        run("ip link set veth0 down");
        const frame f = make_frame(b, a, 100, 1);
        for (std::size_t i = 0; i < 10; ++i) {
            port.use(i % 2);
            borrowed_packet p{f, 2};
            port.transmit({&p.get()});
        }
        EXPECT_EQ(port.drops(drop_reason::transmit_error), 10U);
        EXPECT_EQ(port.counters().tx_packets.read(), 0U);
    }
    delete_veth();
}

TEST_F(nic, af_packet_jumbo)
{
    add_veth("mtu 9000");
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 9000);
        const raw_socket kernel{"veth1"};
        for (const std::size_t length : {60UL, 2000UL, 5000UL, 9014UL}) {
            const frame f = make_frame(a, b, length, 7);
            kernel.send(f);
            EXPECT_EQ(port.receive(1), std::vector<frame>{f}) << length;
            borrowed_packet p{f, 6};
            port.transmit({&p.get()});
            EXPECT_EQ(kernel.receive(), f) << length;
        }
        const auto refused = port->set_mtu(16000);
        ASSERT_FALSE(refused);
        const auto most = std::get<std::int64_t>(port.detail("max_mtu"));
        EXPECT_TRUE(most >= 9000 && most < 16000) << most;
        EXPECT_THAT(refused.error().message, HasSubstr("remove the port and add it"));
        EXPECT_TRUE(port->set_mtu(4000));
        EXPECT_THAT(output_of("ip link show veth0"), HasSubstr("mtu 4000"));
    }
    delete_veth();
}

TEST_F(nic, af_packet_drops_what_its_ring_may_have_cut)
{
    add_veth("mtu 9000");
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 1500);
        run("ip link set veth0 mtu 9000");
        const raw_socket kernel{"veth1"};
        kernel.send(make_frame(a, b, 9000));
        kernel.send(make_frame(a, b, 1900));
        const auto in = port.receive(1);
        ASSERT_EQ(in.size(), 1U);
        EXPECT_EQ(in.front().size(), 1900U);
        EXPECT_EQ(port.drops(drop_reason::frame_too_long), 1U);
    }
    delete_veth();
}

TEST_F(nic, af_packet_whose_interface_is_down_counts_errors)
{
    add_veth();
    {
        port_under_test port = add("net_af_packet0,iface=veth0");
        run("ip link set veth0 down");
        borrowed_packet p{make_frame(b, a, 60)};
        port.transmit({&p.get()});
        EXPECT_EQ(port.drops(drop_reason::transmit_error), 1U);
        EXPECT_EQ(port.counters().tx_packets.read(), 0U);
        EXPECT_EQ(port.counters().tx_bytes.read(), 0U);
    }
    delete_veth();
}

TEST_F(nic, af_packet_whose_interface_is_another_of_its_name_is_down)
{
    add_veth();
    port_under_test port = add("net_af_packet0,iface=veth0");
    EXPECT_TRUE(port->link_up());
    delete_veth();
    EXPECT_FALSE(port->link_up());
    add_veth();
    EXPECT_FALSE(port->link_up()) << "nothing passes between it and the port";
    const auto changed = port->set_mtu(1400);
    ASSERT_TRUE(changed.has_error());
    EXPECT_THAT(changed.error().message, HasSubstr("veth0, which the port was opened on, is gone"));
    EXPECT_THAT(output_of("ip link show veth0"), HasSubstr("mtu 1500"));
    port.remove();
    EXPECT_TRUE(add("net_af_packet0,iface=veth0")->link_up());
    delete_veth();
}

TEST_F(nic, af_packet_leaves_its_interface_as_it_was)
{
    const auto shown = [] { return output_of("ip -details link show veth0"); };
    add_veth();
    run("ip link set veth0 mtu 2000");
    const std::string before = shown();
    add("net_af_packet0,iface=veth0", 4000).remove();
    EXPECT_EQ(shown(), before);
    {
        port_under_test port = add("net_af_packet0,iface=veth0", 4000);
        EXPECT_THAT(shown(), AllOf(HasSubstr("mtu 4000"), HasSubstr("PROMISC")));
        run("ip link set veth0 mtu 3000");
    }
    EXPECT_THAT(shown(), HasSubstr("mtu 3000")) << "that was somebody else's wish";
    run("ip link set veth0 promisc on");
    add("net_af_packet0,iface=veth0", 3000).remove();
    EXPECT_THAT(shown(), AllOf(HasSubstr("mtu 3000"), HasSubstr("PROMISC")));
    EXPECT_THAT(refusal("net_af_packet0,iface=veth0,framesz=2048", 9000), HasSubstr("too small"));
    EXPECT_THAT(shown(), HasSubstr("mtu 3000"));
    delete_veth();
}

TEST_F(nic, every_refusal_is_one_sentence_and_leaves_nothing)
{
    add_veth();
    const struct {
        std::string device;
        std::uint32_t mtu;
        std::string says;
    } cases[] = {
        {"", 1500, "no device was named"},
        {"net_nothing0", 1500, "unknown device \"net_nothing0\""},
        {"virtio", 1500, "unknown device"},
        {"net_" + std::string(60, 'x'), 1500, "name is longer than DPDK takes (63 bytes)"},
        {"net_null0,size=" + std::string(1010, '1'), 1500,
         "with its arguments is 1025 bytes long; at most 1024 can be taken"},
        {"class=eth", 1500, "device \"class=eth\" is not named but described by bus, class or"},
        {"net_null6/class=eth", 1500, "is not named but described"},
        {"net_null6,size=64/class=eth", 1500, "is not named but described"},
        {"bus=vdev", 1500, "is not named but described"},
        {"bus=vdev,name=net_null6", 1500, "is not named but described"},
        {"bus=pci", 1500, "is not named but described"},
        {"bus=pci,addr=0000:7f:1f.7/class=eth/driver=x", 1500, "is not named but described"},
        {"net_tun0,iface=tun0", 1500, "use net_tap instead"},
        {"0000:7f:1f.7", 1500, "there is no PCI device 0000:7f:1f.7"},
        {"net_tap0,iface", 1500, "\"iface\" is not of the form name=value"},
        {"net_tap0,iface=", 1500, "is not of the form name=value"},
        {"net_tap0,iface=tap0,bogus=1", 1500,
         "device net_tap0 has no argument \"bogus\": it takes iface, mac, remote, persist"},
        {"net_tap0,iface=tap0,iface=tap0", 1500, "the argument iface is given twice"},
        {"net_null0,sise=64", 1500, "it takes size, copy, no-rx"},
        {"net_null0,size=abc", 1500,
         "device net_null0 cannot set up its receive queue: Cannot allocate memory; its driver "
         "says no more: check its arguments, size=abc"},
        {"net_af_packet0,iface=veth0,frames=3", 1500, "no argument \"frames\""},
        {"net_pcap0,rx=/tmp/x.pcap", 1500, "no argument \"rx\""},
        {"net_tap0,iface=a_name_that_is_too_long", 1500, "cannot be an interface's name"},
        {"net_tap0,iface=veth0", 1500, "exists and is not a tap"},
        {"net_tap0,iface=tap0,mac=rubbish", 1500, "device net_tap0 cannot be opened: TAP user MAC"},
        {"net_tap0,iface=tap0", 67, "MTU 67 is out of range: 68 to 65521"},
        {"net_tap0,iface=tap0", 70000, "MTU 70000 is out of range"},
        {"net_af_packet0", 1500, "needs an interface"},
        {"net_af_packet0,iface=none0", 1500, "there is no interface none0"},
        {"net_af_packet0,iface=veth0,framesz=1000", 1500, "framesz=1000 is not a multiple of 16"},
        {"net_af_packet0,iface=veth0,framesz=4294967280", 1500, "of at most 131072"},
        {"net_af_packet0,iface=veth0,blocksz=6144", 1500, "framesz=2048 and blocksz=6144"},
        {"net_af_packet0,iface=veth0,framesz=2048", 9000, "framesz=2048 is too small for an MTU"},
        {"net_af_packet0,iface=veth0,framesz=x", 1500, "framesz=x is not a number"},
        {"net_af_packet0,iface=veth0,qpairs=2", 1500, "leave it out"},
        {"net_pcap0,rx_pcap=/nowhere/x.pcap", 1500, "device net_pcap0 cannot be opened: Couldn't"},
        {"net_pcap0,iface=none0", 1500, "there is no interface none0"},
    };
    // What DPDK keeps from its first device on is not a leak.
    static_cast<void>(refusal("net_tap0,iface=tap0,mac=rubbish"));
    const std::size_t descriptors = open_descriptors();
    for (const auto& c : cases) {
        const std::string message = refusal(c.device, c.mtu);
        EXPECT_THAT(message, HasSubstr("port up0: ")) << c.device;
        EXPECT_THAT(message, HasSubstr(c.says)) << c.device;
        EXPECT_THAT(message, Not(HasSubstr("\n"))) << c.device;
        EXPECT_EQ(rte_eth_dev_count_avail(), 0U) << c.device;
        EXPECT_FALSE(interface_exists("tap0")) << c.device;
        EXPECT_EQ(open_descriptors(), descriptors) << c.device;
    }
    EXPECT_THAT(refusal("net_tap0,iface=tap0", 1500, 2),
                HasSubstr("device net_tap0 has one queue pair, not 2"));
    EXPECT_THAT(refusal("net_pcap0,iface=veth0", 1500, 2), HasSubstr("has one queue pair, not 2"));
    EXPECT_EQ(open_descriptors(), descriptors);
    // Refused names are free again.
    EXPECT_EQ(refusal("net_tap0,iface=tap0"), "accepted");
    delete_veth();
}

TEST_F(nic, a_device_or_interface_in_use_is_refused)
{
    add_veth();
    {
        port_under_test tap = add("net_tap0,iface=tap0");
        port_under_test veth = add("net_af_packet0,iface=veth0");
        EXPECT_EQ(refusal("net_tap0,iface=tap5"),
                  "port up0: device net_tap0 is in use by port up0");
        EXPECT_EQ(refusal("net_tap1,iface=tap0"), "port up0: interface tap0 is in use by port up0");
        EXPECT_EQ(refusal("net_af_packet1,iface=veth0"),
                  "port up0: interface veth0 is in use by port up0");
        // The refusals touched neither.
        const raw_socket kernel{"tap0"};
        kernel.send(make_frame(a, b, 60));
        EXPECT_EQ(tap.receive(1).size(), 1U);
    }
    EXPECT_EQ(refusal("net_tap1,iface=tap0"), "accepted");
    delete_veth();
}

TEST_F(nic, mtu_changes_where_it_can)
{
    port_under_test port = add("net_tap0,iface=tap0");
    EXPECT_TRUE(port->set_mtu(9000));
    EXPECT_THAT(output_of("ip link show tap0"), HasSubstr("mtu 9000"));
    const auto refused = port->set_mtu(66000);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message, "port up0: MTU 66000 is out of range: 68 to 65521");
    EXPECT_EQ(std::get<std::int64_t>(port.detail("mtu")), 9000);
    const raw_socket kernel{"tap0"};
    const frame f = make_frame(a, b, 9014, 3);
    kernel.send(f);
    EXPECT_EQ(port.receive(1), std::vector<frame>{f});
    EXPECT_TRUE(port->set_mtu(1280));
    EXPECT_THAT(output_of("ip link show tap0"), HasSubstr("mtu 1280"));
}

TEST_F(nic, details_tell_what_it_is)
{
    port_under_test port = add("net_tap0,iface=tap0");
    EXPECT_EQ(std::get<std::string>(port.detail("driver")), "net_tap");
    EXPECT_EQ(std::get<std::string>(port.detail("device")), "net_tap0");
    EXPECT_EQ(std::get<std::string>(port.detail("interface")), "tap0");
    EXPECT_EQ(std::get<std::int64_t>(port.detail("mtu")), 1500);
    EXPECT_EQ(std::get<std::int64_t>(port.detail("rx_queues")), 1);
    EXPECT_EQ(std::get<std::int64_t>(port.detail("device_rx_errors")), 0);
}

TEST_F(nic, thirty_lives_leak_nothing)
{
    add_veth("mtu 9000");
    std::size_t descriptors = 0;
    unsigned pools = 0;
    for (int i = 0; i < 30; ++i) {
        {
            port_under_test tap = add("net_tap0,iface=tap0");
            port_under_test veth = add("net_af_packet0,iface=veth0", 9000);
            borrowed_packet p{make_frame(b, a, 500)};
            tap.transmit({&p.get()});
            veth.transmit({&p.get()});
        }
        ASSERT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << i;
        unsigned now = 0;
        rte_mempool_walk([](rte_mempool*, void* n) { ++*static_cast<unsigned*>(n); }, &now);
        if (i == 1) {
            descriptors = open_descriptors();
            pools = now;
        } else if (i > 1) {
            ASSERT_EQ(open_descriptors(), descriptors) << i;
            ASSERT_EQ(now, pools) << i;
        }
    }
    delete_veth();
}

} // namespace
} // namespace strait::test
