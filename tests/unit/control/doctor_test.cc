// SPDX-License-Identifier: BSD-3-Clause
// What is found on hosts that are made of a few files, and in reports of a switch.
#include "control/doctor.hh"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

namespace strait::control {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using testing::HasSubstr;

class doctor_of_a_host : public testing::Test {
protected:
    doctor_of_a_host()
    {
        std::string pattern = fs::temp_directory_path() / "strait-host-XXXXXX";
        root_ = ::mkdtemp(pattern.data());
        put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu ssse3 sse4_2 popcnt constant_tsc "
                            "nonstop_tsc\nbugs\t\t:\n");
        put("proc/meminfo", "MemTotal:       8000000 kB\nMemAvailable:   4000000 kB\n");
        put("proc/stat", "cpu  100 0 100 1000 0 0 0 0 0 0\n");
        put("proc/mounts", "none /dev/hugepages hugetlbfs rw 0 0\n");
        put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
        put("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "256\n");
        put("sys/devices/system/cpu/isolated", "2-3,6\n");
        put("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n");
        put("dev/net/tun", "");
        put("dev/kvm", "");
        put("proc/77/limits",
            "Max locked memory         unlimited            unlimited    bytes\n"
            "Max open files            65536                65536        files\n");
    }
    ~doctor_of_a_host() override { fs::remove_all(root_); }

    void put(const std::string& path, const std::string& text) const
    {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream{root_ / path} << text;
    }
    void take(const std::string& path) const { fs::remove_all(root_ / path); }
    // One of each line: is, about, found.
    [[nodiscard]] std::string wrong() const
    {
        std::string out;
        for (const finding& f : examine_host(root_, use_)) {
            EXPECT_EQ(f.is == finding::kind::good, f.mend.empty()) << f.found;
            if (f.is != finding::kind::good) {
                out += (f.is == finding::kind::fault ? "fault " : "") + f.about + ": " + f.found +
                       " -> " + f.mend + "\n";
            }
        }
        return out;
    }

    fs::path root_;
    host_use use_{.worker_cpus = {2, 6}, .hugepages = true, .pid = 77};
};

TEST_F(doctor_of_a_host, finds_nothing_where_all_is_well)
{
    EXPECT_EQ(wrong(), "");
}

TEST_F(doctor_of_a_host, finds_a_cpu_that_is_too_old)
{
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu ssse3 popcnt\n");
    EXPECT_THAT(wrong(), HasSubstr("fault CPU: it lacks sse4_2"));
    put("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu ssse3 popcnt sse4_2 constant_tsc\n");
    EXPECT_THAT(wrong(), HasSubstr("time-stamp counter"));
}

TEST_F(doctor_of_a_host, finds_what_is_wrong_with_huge_pages)
{
    use_.hugepages = false;
    EXPECT_THAT(wrong(), HasSubstr("huge pages: 1024 MiB are reserved, 512 MiB free, and the "
                                   "switch runs without them -> restart straitd"));
    put("proc/mounts", "none /proc proc rw 0 0\n");
    EXPECT_THAT(wrong(), HasSubstr("fault huge pages: they are reserved, but no hugetlbfs"));
    put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
    EXPECT_THAT(wrong(), HasSubstr("huge pages: none are reserved"));
    take("sys/kernel/mm/hugepages");
    EXPECT_THAT(wrong(), HasSubstr("vm.nr_hugepages=512"));
}

TEST_F(doctor_of_a_host, finds_worker_cpus_that_others_use)
{
    use_.worker_cpus = {1, 2, 4, 5, 1};
    EXPECT_THAT(wrong(), HasSubstr("on CPU 1,4-5, which delays packets -> kernel command line: "
                                   "isolcpus=managed_irq,domain,1,4-5"));
    put("sys/fs/cgroup/cpuset.cpus.isolated", "1,4-5\n");
    EXPECT_EQ(wrong(), "");
    use_.worker_cpus = {7};
    EXPECT_THAT(wrong(), HasSubstr("isolated, and no worker's, is 2-3,6 -> straitd --workers with "
                                   "CPUs of 2-3,6 (STRAITD_OPTIONS in /etc/default/strait)"));
    use_.worker_cpus = {1, 2, 4, 5, 1};
    put("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n");
    EXPECT_THAT(wrong(), HasSubstr("CPU 2 saves power"));
    // None are asked for where none run.
    use_ = {};
    take("sys/devices/system/cpu/isolated");
    EXPECT_EQ(wrong(), "");
}

TEST_F(doctor_of_a_host, finds_time_that_was_stolen_and_memory_that_is_short)
{
    put("proc/stat", "cpu  100 0 100 700 0 0 0 100 0 0\n");
    put("proc/meminfo", "MemAvailable:   100000 kB\n");
    EXPECT_THAT(wrong(), HasSubstr("has given 10 % of the CPUs' time"));
    EXPECT_THAT(wrong(), HasSubstr("97 MiB are available, which is little"));
}

TEST_F(doctor_of_a_host, finds_devices_that_are_missing)
{
    take("dev/net");
    take("dev/kvm");
    put("sys/hypervisor/type", "xen\n");
    put("dev/xen/gntdev", "");
    put("dev/xen/xenbus", "");
    const std::string all = wrong();
    EXPECT_THAT(all, HasSubstr("no /dev/net/tun"));
    EXPECT_THAT(all, HasSubstr("no /dev/kvm"));
    EXPECT_THAT(all, HasSubstr("fault Xen: there is no /dev/xen/evtchn -> modprobe xen-evtchn"));
    EXPECT_THAT(all, testing::Not(HasSubstr("gntdev")));
}

TEST_F(doctor_of_a_host, finds_what_nics_need)
{
    const std::string nic = "sys/bus/pci/devices/0000:01:00.0";
    put("sys/bus/pci/devices/0000:00:01.0/class", "0x060000\n");
    EXPECT_EQ(wrong(), "");
    put(nic + "/class", "0x020000\n");
    EXPECT_THAT(wrong(), HasSubstr("IOMMU: there is none in use"));
    EXPECT_THAT(wrong(), HasSubstr("modprobe vfio-pci"));
    put("sys/kernel/iommu_groups/0/type", "DMA\n");
    put("sys/module/vfio_pci/refcnt", "1\n");
    EXPECT_EQ(wrong(), "");
    put(nic + "/uevent", "DRIVER=vfio-pci\n");
    put(nic + "/numa_node", "1\n");
    put("sys/devices/system/node/node1/cpulist", "4-7\n");
    EXPECT_THAT(wrong(),
                HasSubstr("NUMA: NIC 0000:01:00.0 is on node 1, and a worker runs on CPU 2"));
    put(nic + "/numa_node", "-1\n");
    EXPECT_EQ(wrong(), "");
}

TEST_F(doctor_of_a_host, finds_nics_that_work_at_other_addresses_than_the_switch)
{
    const std::string nic = "sys/bus/pci/devices/0000:01:00.0";
    put("sys/kernel/iommu_groups/0/type", "identity\n");
    put(nic + "/class", "0x020000\n");
    put(nic + "/iommu_group/type", "identity\n");
    for (const std::string driver : {"uio_pci_generic", "igb_uio"}) {
        put(nic + "/uevent", "DRIVER=" + driver + "\nPCI_CLASS=20000\n");
        use_.physical_addresses = false;
        EXPECT_EQ(wrong(), "uio: NIC 0000:01:00.0 is bound to " + driver +
                               ", by which it works at physical addresses, and the switch was "
                               "started for virtual ones -> straitd --iova-mode pa "
                               "(STRAITD_OPTIONS in /etc/default/strait), then restart straitd\n");
        use_.physical_addresses = true;
        EXPECT_EQ(wrong(), "");
    }
    put(nic + "/iommu_group/type", "DMA-FQ\n");
    EXPECT_THAT(wrong(), HasSubstr("the IOMMU lets no physical address of it through -> driverctl "
                                   "set-override 0000:01:00.0 vfio-pci"));
    take(nic + "/iommu_group"); // of a host without an IOMMU
    EXPECT_EQ(wrong(), "");
    put(nic + "/numa_node", "1\n");
    put("sys/devices/system/node/node1/cpulist", "4-7\n");
    EXPECT_THAT(wrong(), HasSubstr("NUMA: NIC 0000:01:00.0 is on node 1"));
}

TEST_F(doctor_of_a_host, finds_limits_that_are_low)
{
    put("proc/77/limits", "Max locked memory         8388608              8388608      bytes\n"
                          "Max open files            1024                 524288       files\n");
    EXPECT_THAT(wrong(), HasSubstr("may lock 8388608 bytes"));
    EXPECT_THAT(wrong(), HasSubstr("may open 1024 files"));
    use_.pid = std::nullopt;
    EXPECT_EQ(wrong(), "");
}

class doctor_of_a_switch : public testing::Test {
protected:
    doctor_of_a_switch()
    {
        report_.version = json::parse(R"({"version":"1","pid":7,"hugepages":true,
            "physical_addresses":true})")
                              .as_object();
        report_.workers =
            json::parse(R"({"pool":{"size":1000,"in_use":10},"workers":[{"worker":0,"cpu":2,
                "utilisation":10.0,"longest_gap_us":50,"kept_awake_by":[],"naps_for":[]}]})")
                .as_object();
        add(R"({"name":"up0","bridge":"br0","type":"nic","admin":"up","link":"up","mtu":1500,
            "details":{"tx_offloads":["checksum","segmentation"]}})");
        add(R"({"name":"vm1","bridge":"br0","type":"vhost-user","admin":"up","link":"up",
            "mtu":1500,"details":{"connected":true,"socket":"/run/vm1","guest_mtu":1500,
            "features":["host_tso4","guest_tso4"]}})");
        report_.drops = json::parse(R"({"ports":[],"reasons":[{"name":"bad_offload",
            "direction":"rx","explanation":"an offload that lies"}]})")
                            .as_object();
    }
    void add(std::string_view port) { report_.ports.push_back(json::parse(port)); }
    json::object& port(std::size_t i) { return report_.ports.at(i).as_object(); }
    json::object& details(std::size_t i) { return port(i).at("details").as_object(); }
    json::object& worker() { return report_.workers.at("workers").at(0).as_object(); }
    void drop(std::string_view port, std::string_view reason, int count)
    {
        report_.drops.at("ports").as_array().push_back(
            {{"name", port}, {"drops", {{reason, count}}}});
    }
    [[nodiscard]] std::string wrong() const
    {
        std::string out;
        for (const finding& f : examine_switch(report_)) {
            if (f.is != finding::kind::good) {
                out += (f.is == finding::kind::fault ? "fault " : "") + f.about + ": " + f.found +
                       " -> " + f.mend + "\n";
            }
        }
        return out;
    }

    switch_report report_;
};

TEST_F(doctor_of_a_switch, finds_nothing_where_all_is_well)
{
    EXPECT_EQ(wrong(), "");
    const host_use use = use_of(report_);
    EXPECT_EQ(use.worker_cpus, std::vector<unsigned>{2});
    EXPECT_TRUE(use.hugepages);
    EXPECT_TRUE(use.physical_addresses);
    EXPECT_EQ(use.pid, 7);
}

TEST_F(doctor_of_a_switch, finds_mtus_that_do_not_go_together)
{
    port(0)["mtu"] = 9000;
    EXPECT_THAT(wrong(), HasSubstr("MTU: on bridge br0 port up0 sends packets of up to 9000 bytes, "
                                   "and port vm1 takes 1500 -> straitctl port set vm1 --mtu 9000"));
    details(1)["max_mtu"] = 9000;
    EXPECT_THAT(wrong(), HasSubstr("port vm1 takes 1500 -> straitctl port set vm1 --mtu 9000, or "
                                   "port set up0 --mtu 1500; guests' own MTU as well"));
    details(1)["max_mtu"] = 8999; // what it would refuse is not what mends it
    EXPECT_THAT(wrong(), HasSubstr("port vm1 takes 1500, and can take 8999 at most -> "
                                   "straitctl port set up0 --mtu 1500; guests' own MTU as well"));
    drop("vm1", "mtu_exceeded", 1);
    EXPECT_THAT(wrong(), HasSubstr("fault MTU: "));
    EXPECT_THAT(wrong(), HasSubstr("; 1 was dropped for it"));
    report_.drops.at("ports").as_array().clear();
    drop("vm1", "mtu_exceeded", 12);
    EXPECT_THAT(wrong(), HasSubstr("; 12 were dropped for it"));
    // Who shares no VLAN sends the other nothing.
    port(0)["trunk"] = {10, 20};
    port(0)["native"] = 1;
    for (const int shared : {1, 20}) {
        port(1)["vlan"] = shared;
        EXPECT_THAT(wrong(), HasSubstr("fault MTU: ")) << shared;
    }
    port(1)["vlan"] = 30;
    EXPECT_EQ(wrong(), "");
    port(1)["vlan"] = nullptr;
    EXPECT_THAT(wrong(), HasSubstr("fault MTU: "));
    report_.mirrors = json::parse(R"([{"name":"m","output":{"port":"up0"}}])").as_array();
    EXPECT_EQ(wrong(), ""); // what comes from there goes nowhere
    report_.mirrors.clear();
    port(1)["isolated"] = true;
    EXPECT_THAT(wrong(), HasSubstr("fault MTU: "));
    port(0)["isolated"] = true; // nor who is isolated from it
    EXPECT_EQ(wrong(), "");
    port(0)["isolated"] = false;
    port(1)["bridge"] = "br1";
    EXPECT_EQ(wrong(), "");
    port(1)["mtu"] = 9000;
    EXPECT_THAT(wrong(), HasSubstr("vm1 has 9000, and its guest was told 1500"));
}

TEST_F(doctor_of_a_switch, finds_tunnels_that_take_more_than_fits)
{
    add(R"({"name":"under","bridge":"under","type":"local","admin":"up","link":"up","mtu":1500,
        "options":{},"details":{}})");
    add(R"({"name":"vx","bridge":"br0","type":"vxlan","admin":"up","link":"up","mtu":1500,
        "options":{"remote":"10.0.0.2"},"details":{}})");
    EXPECT_THAT(wrong(),
                HasSubstr("tunnel vx takes packets of up to 1500 bytes, of which 1450 fit"));
    port(3)["mtu"] = 1450;
    EXPECT_EQ(wrong(), "");
    port(3)["options"] = {{"remote", "fd00::2"}};
    EXPECT_THAT(wrong(), HasSubstr("of which 1430 fit"));
}

TEST_F(doctor_of_a_switch, finds_ports_that_carry_nothing)
{
    details(1)["connected"] = false;
    details(1)["last_loss"] = "it hung up";
    EXPECT_THAT(wrong(),
                HasSubstr("port vm1: nobody is connected to it; the last one left: it hung "
                          "up -> a VMM with its vhost-user socket /run/vm1"));
    details(1)["connected"] = true;
    details(1)["obstacle"] = "its memory cannot be mapped";
    EXPECT_THAT(wrong(), HasSubstr("fault port vm1: its memory cannot be mapped"));
    details(1).erase("obstacle");
    port(0)["link"] = "down";
    EXPECT_THAT(wrong(), HasSubstr("port up0: its link is down"));
    port(0)["admin"] = "down";
    EXPECT_THAT(wrong(),
                HasSubstr("port up0: it is switched off -> straitctl port set up0 --admin up"));
}

TEST_F(doctor_of_a_switch, finds_large_segments_that_the_cpu_cuts)
{
    details(0)["tx_offloads"] = json::array{"checksum"};
    EXPECT_THAT(wrong(), HasSubstr("offloads: port up0 takes no large segments, so those of vm1"));
    details(1)["features"] = json::array{"guest_tso4"};
    EXPECT_EQ(wrong(), "");
}

TEST_F(doctor_of_a_switch, finds_workers_in_trouble)
{
    worker()["utilisation"] = 99.0;
    worker()["longest_gap_us"] = 250'000;
    worker()["kept_awake_by"] = {"up0", "up1"};
    worker()["naps_for"] = json::array{"up2"};
    report_.workers.at("workers").as_array().push_back(worker());
    report_.workers["pool"] = {{"size", 1000}, {"in_use", 950}};
    const std::string all = wrong();
    EXPECT_THAT(all, HasSubstr("worker 0: it has had hardly any time left"));
    EXPECT_THAT(all, HasSubstr("kept it from its ports for 250,000 us"));
    EXPECT_THAT(all, HasSubstr("ports up0, up1 cannot wake it, so it never sleeps"));
    EXPECT_THAT(all, HasSubstr("port up2 cannot wake it, so it looks every 25 us"));
    EXPECT_THAT(all, HasSubstr("it shares CPU 2 with another one"));
    EXPECT_THAT(all, HasSubstr("fault packet memory: 950 of 1,000 buffers"));
}

TEST_F(doctor_of_a_switch, tells_drops_that_tell_of_a_configuration)
{
    drop("vm1", "bad_offload", 3);
    drop("up0", "receiver_full", 1000); // traffic's
    EXPECT_EQ(wrong(), "port vm1: 3 packets were dropped, bad_offload: an offload that lies -> "
                       "straitctl capture vm1 shows such packets\n");
}

TEST(doctor, is_a_fault_where_nobody_answers)
{
    const json::object found = examine("/nonexistent/strait");
    EXPECT_TRUE(has_fault(found));
    const std::string text = doctor_text(found);
    EXPECT_THAT(text, HasSubstr("fault   daemon: "));
    EXPECT_THAT(text, HasSubstr("straitd --run-dir /nonexistent/strait"));
}

} // namespace
} // namespace strait::control
