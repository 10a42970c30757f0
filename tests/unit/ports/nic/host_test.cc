// SPDX-License-Identifier: BSD-3-Clause
// Host ports: the tap, its address, and what is refused.
#include "ports/nic/interface.hh"
#include "tests/unit/ports/nic/lab.hh"

#include <gmock/gmock.h>

namespace strait::test {
namespace {

using strait::nic::host_settings;
using ::testing::HasSubstr;

class host_port : public ::testing::Test {
protected:
    void SetUp() override
    {
        if (!enter_lab()) {
            GTEST_SKIP() << "skipped: a network namespace of the test's own needs root";
        }
        pool_ = make_pool();
    }
    ports::result<std::unique_ptr<ports::port>> make(host_settings s)
    {
        return strait::nic::make_host_port(std::move(s), pool_.get());
    }
    std::string refusal(host_settings s)
    {
        auto made = make(std::move(s));
        return made ? "accepted" : made.error().message;
    }
    pool_ptr pool_;
};

TEST_F(host_port, is_up_with_its_address_and_mtu)
{
    auto made = make({.name = "local", .interface = "br0", .address = "10.77.0.1/24", .mtu = 9000});
    ASSERT_TRUE(made) << made.error().message;
    port_under_test port{std::move(made).value(), pool_.get()};
    ASSERT_TRUE(port->start());
    EXPECT_TRUE(port->link_up());
    const std::string shown = output_of("ip addr show br0");
    EXPECT_THAT(shown, HasSubstr("inet 10.77.0.1/24"));
    EXPECT_THAT(shown, HasSubstr("mtu 9000"));
    EXPECT_THAT(shown, HasSubstr("UP"));
    EXPECT_THAT(output_of("ip route"), HasSubstr("10.77.0.0/24 dev br0"));
    EXPECT_EQ(std::get<std::string>(port.detail("address")), "10.77.0.1/24");

    const raw_socket kernel{"br0"};
    const frame out =
        make_frame(std::get<std::string>(port.detail("mac")), "02:00:00:00:00:01", 200);
    borrowed_packet p{out};
    port.transmit({&p.get()});
    EXPECT_EQ(kernel.receive(), out);

    port.remove();
    EXPECT_FALSE(interface_exists("br0"));
}

TEST_F(host_port, takes_an_ipv6_address_or_none)
{
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=0");
    {
        auto made = make({.name = "local", .interface = "br6", .address = "fd00:77::1/64"});
        ASSERT_TRUE(made) << made.error().message;
        EXPECT_THAT(output_of("ip addr show br6"), HasSubstr("inet6 fd00:77::1/64"));
    }
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    auto bare = make({.name = "local", .interface = "br6", .address = ""});
    ASSERT_TRUE(bare) << bare.error().message;
    EXPECT_THAT(output_of("ip addr show br6"), Not(HasSubstr("inet")));
}

TEST_F(host_port, keeps_the_mtu_that_its_ipv6_address_needs)
{
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=0");
    auto made = make({.name = "local", .interface = "br6", .address = "fd00:77::1/64"});
    run("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
    ASSERT_TRUE(made) << made.error().message;
    const auto less = (*made)->set_mtu(1279);
    ASSERT_FALSE(less);
    EXPECT_THAT(less.error().message, HasSubstr("needs an MTU of at least 1280"));
    EXPECT_TRUE((*made)->set_mtu(1280));
    EXPECT_THAT(output_of("ip addr show br6"), HasSubstr("inet6 fd00:77::1/64"));
}

TEST_F(host_port, takes_addresses_that_a_host_can_have_and_no_others)
{
    using strait::nic::check_address;
    for (const auto* right : {"10.0.0.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32",
                              "10.0.0.255/32", "10.0.0.255/16", "10.0.1.0/16", "240.0.0.1/8",
                              "fd00::1/64", "fd00::/64", "fe80::1/128"}) {
        EXPECT_TRUE(check_address(right)) << right;
    }
    const struct {
        const char* address;
        const char* says;
    } cases[] = {
        {"10.0.0.3/024", "is not an address with its prefix length"},
        {"10.0.0.1/ 24", "is not an address with its prefix length"},
        {"10.0.0.2/+24", "is not an address with its prefix length"},
        {"10.0.0.2/0x18", "is not an address with its prefix length"},
        {"10.0.0.2/", "is not an address with its prefix length"},
        {"10.0.0.2/24/24", "is not an address with its prefix length"},
        {" 10.0.0.2/24", "is not an address with its prefix length"},
        {"10.0.0/24", "is not an address with its prefix length"},
        {"010.0.0.2/24", "is not an address with its prefix length"},
        {"fd00::1/129", "is not an address with its prefix length"},
        {"224.0.0.1/4", "224.0.0.1/4 is a multicast address"},
        {"ff02::1/64", "ff02::1/64 is a multicast address"},
        {"255.255.255.255/32", "is a broadcast address"},
        {"10.0.0.255/24", "is a broadcast address"},
        {"10.0.0.0/24", "10.0.0.0/24 is the address of the network itself"},
        {"0.0.0.0/0", "0.0.0.0/0 stands for no address"},
        {"10.0.0.1/0", "10.0.0.1/0 has every address in its network"},
        {"::/0", "::/0 stands for no address"},
    };
    for (const auto& c : cases) {
        const auto ok = check_address(c.address);
        ASSERT_FALSE(ok) << c.address;
        EXPECT_THAT(ok.error().message, HasSubstr(c.says));
        EXPECT_THAT(ok.error().message, HasSubstr("such as 10.0.0.1/24 or fd00::1/64"));
    }
}

TEST_F(host_port, refusals_are_one_sentence_and_leave_nothing)
{
    run("ip link add dum0 type veth peer name dum1");
    static_cast<void>(refusal({.name = "x", .interface = "br1", .address = "10.0.0.1/33"}));
    const std::size_t descriptors = open_descriptors();
    const struct {
        host_settings settings;
        std::string says;
    } cases[] = {
        {{.name = "local", .interface = "dum0", .address = ""},
         "there is an interface dum0 already"},
        {{.name = "local", .interface = "", .address = ""}, "cannot be an interface's name"},
        {{.name = "local", .interface = "sixteen_bytes_16", .address = ""},
         "cannot be an interface's name"},
        {{.name = "local", .interface = "a/b", .address = ""}, "cannot be an interface's name"},
        {{.name = "local", .interface = "br1", .address = "10.0.0.1"},
         "\"10.0.0.1\" is not an address with its prefix length"},
        {{.name = "local", .interface = "br1", .address = "10.0.0.1/33"},
         "is not an address with its prefix length"},
        {{.name = "local", .interface = "br1", .address = "300.0.0.1/24"},
         "is not an address with its prefix length"},
        {{.name = "local", .interface = "br1", .address = "02:00:00:00:00:01/24"},
         "is not an address with its prefix length"},
        {{.name = "local", .interface = "br1", .address = "fd00::1/64", .mtu = 1279},
         "an IPv6 address needs an MTU of at least 1280, and 1279 is less"},
        {{.name = "local", .interface = "br1", .address = "10.0.0.1/24", .mtu = 20},
         "MTU 20 is out of range"},
        {{.name = "local", .interface = "br1", .address = "fd00::1/64"},
         "interface br1 does not take the address fd00::1/64: "},
    };
    for (const auto& c : cases) {
        const std::string message = refusal(c.settings);
        EXPECT_THAT(message, HasSubstr("port local: "));
        EXPECT_THAT(message, HasSubstr(c.says));
        EXPECT_FALSE(interface_exists("br1")) << message;
        EXPECT_EQ(open_descriptors(), descriptors) << message;
    }
    EXPECT_TRUE(interface_exists("dum0"));
    run("ip link del dum0");
}

} // namespace
} // namespace strait::test
