// SPDX-License-Identifier: BSD-3-Clause
// What the build promises of DPDK: linked statically with Strait's own choice of drivers, EAL
// starts without huge pages, has those drivers, and loads none of the distribution's plug-ins.

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_version.h>

namespace {

class dpdk_link : public testing::Test {
protected:
    static void SetUpTestSuite()
    {
        std::vector<std::string> words = {
            "dpdk_link_test", "--no-huge",      "-m",           "64", "--no-pci",
            "--no-shconf",    "--no-telemetry", "--log-level=4"};
        std::vector<char*> arguments;
        for (auto& word : words)
            arguments.push_back(word.data());
        ASSERT_GE(rte_eal_init(static_cast<int>(arguments.size()), arguments.data()), 0);
    }
};

TEST_F(dpdk_link, loads_no_shared_dpdk)
{
    std::ifstream maps("/proc/self/maps");
    std::string line;
    int lines = 0;
    while (std::getline(maps, line)) {
        ++lines;
        EXPECT_EQ(line.find("librte_"), std::string::npos) << line;
        EXPECT_EQ(line.find("/dpdk/"), std::string::npos) << line;
    }
    EXPECT_GT(lines, 10);
}

TEST_F(dpdk_link, has_the_null_driver_and_a_packet_pool)
{
    ASSERT_EQ(rte_eal_hotplug_add("vdev", "net_null0", ""), 0);
    std::uint16_t port = RTE_MAX_ETHPORTS;
    ASSERT_EQ(rte_eth_dev_get_port_by_name("net_null0", &port), 0);
    rte_mempool* pool = rte_pktmbuf_pool_create("link", 1023, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
    ASSERT_NE(pool, nullptr);
    rte_mbuf* packet = rte_pktmbuf_alloc(pool);
    ASSERT_NE(packet, nullptr);
    rte_pktmbuf_free(packet);
    EXPECT_EQ(rte_eal_hotplug_remove("vdev", "net_null0"), 0);
}

TEST_F(dpdk_link, has_every_driver_that_needs_no_device)
{
    // Each fails for want of its arguments or privileges, but none for want of a driver: an unknown
    // name is told apart by the bus, which finds nobody to probe it.
    EXPECT_NE(rte_eal_hotplug_add("vdev", "net_nosuch0", ""), 0);
    ASSERT_EQ(rte_eal_hotplug_add("vdev", "net_pcap0", "rx_iface=lo"), 0)
        << "net_pcap is not in this program, or the loopback interface cannot be opened";
    EXPECT_EQ(rte_eal_hotplug_remove("vdev", "net_pcap0"), 0);
    ASSERT_EQ(rte_eal_hotplug_add("vdev", "net_af_packet0", "iface=lo"), 0);
    EXPECT_EQ(rte_eal_hotplug_remove("vdev", "net_af_packet0"), 0);
}

TEST_F(dpdk_link, version_is_the_one_required)
{
    EXPECT_EQ(RTE_VER_YEAR, 22);
    EXPECT_EQ(RTE_VER_MONTH, 11);
    EXPECT_GE(RTE_VER_MINOR, 11);
}

} // namespace
