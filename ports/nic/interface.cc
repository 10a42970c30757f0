// SPDX-License-Identifier: BSD-3-Clause
// Kernel interfaces through libnl.
#include "ports/nic/interface.hh"

#include "ports/number.hh"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>

#include <linux/rtnetlink.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <memory>
#include <string_view>
#include <vector>

namespace strait::nic {

namespace {

using ports::error;

template <auto Free>
struct freed_by {
    template <typename T>
    void operator()(T* p) const noexcept
    {
        Free(p);
    }
};
using socket_ptr = std::unique_ptr<nl_sock, freed_by<&nl_socket_free>>;
using link_ptr = std::unique_ptr<rtnl_link, freed_by<&rtnl_link_put>>;
using addr_ptr = std::unique_ptr<nl_addr, freed_by<&nl_addr_put>>;
using rtnl_addr_ptr = std::unique_ptr<rtnl_addr, freed_by<&rtnl_addr_put>>;

// Null when the kernel refuses a netlink socket.
socket_ptr route_socket()
{
    socket_ptr s{nl_socket_alloc()};
    if (s == nullptr || nl_connect(s.get(), NETLINK_ROUTE) != 0) {
        return nullptr;
    }
    return s;
}

error no_netlink()
{
    return error{"the kernel gave no netlink socket to configure interfaces with"};
}

error no_interface(const std::string& name)
{
    return error{"there is no interface " + name +
                 " in the switch's network namespace (ip link lists them)"};
}

link_ptr get_link(nl_sock* s, const std::string& name)
{
    rtnl_link* found = nullptr;
    if (rtnl_link_get_kernel(s, 0, name.c_str(), &found) != 0) {
        return nullptr;
    }
    return link_ptr{found};
}

struct cidr {
    int family;
    std::vector<std::uint8_t> bytes;
    unsigned prefix;
};

// libnl's own parsing takes what looks like no address to a person: a prefix length in octal, with
// a sign or behind a blank, and MACs.
std::optional<cidr> parse_cidr(const std::string& text)
{
    const auto slash = text.find('/');
    if (slash == std::string::npos) {
        return std::nullopt;
    }
    const std::string address = text.substr(0, slash);
    const std::string_view length = std::string_view{text}.substr(slash + 1);
    cidr c{address.find(':') == std::string::npos ? AF_INET : AF_INET6, {}, 0};
    c.bytes.resize(c.family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr));
    const auto prefix = to_number<unsigned>(length);
    if (!prefix || *prefix > c.bytes.size() * CHAR_BIT ||
        (length.size() > 1 && length.front() == '0') ||
        ::inet_pton(c.family, address.c_str(), c.bytes.data()) != 1) {
        return std::nullopt;
    }
    c.prefix = *prefix;
    return c;
}

// Whether every bit from `first` on is `value`.
bool all_bits(const cidr& c, unsigned first, bool value)
{
    for (unsigned i = first; i < c.bytes.size() * CHAR_BIT; ++i) {
        if (((c.bytes[i / CHAR_BIT] >> (CHAR_BIT - 1 - i % CHAR_BIT) & 1) != 0) != value) {
            return false;
        }
    }
    return true;
}

// Why no host can have this address; empty when one can.
std::string_view obstacle(const cidr& c)
{
    constexpr unsigned first_multicast = 224;
    constexpr unsigned first_class_e = 240;
    constexpr unsigned point_to_point = 31; // has neither of a network's two addresses
    const unsigned first = c.bytes.front();
    if (all_bits(c, 0, false)) {
        return "stands for no address";
    }
    if (c.prefix == 0) {
        return "has every address in its network";
    }
    if (c.family == AF_INET6) {
        return first == UINT8_MAX ? "is a multicast address" : "";
    }
    if (first >= first_multicast && first < first_class_e) {
        return "is a multicast address";
    }
    if (all_bits(c, 0, true) || (c.prefix < point_to_point && all_bits(c, c.prefix, true))) {
        return "is a broadcast address";
    }
    if (c.prefix < point_to_point && all_bits(c, c.prefix, false)) {
        return "is the address of the network itself";
    }
    return "";
}

// Asks the kernel to make `change` of the interface.
ports::result<void> change_link(const std::string& name, rtnl_link* change, const std::string& what)
{
    const socket_ptr s = route_socket();
    if (s == nullptr) {
        return no_netlink();
    }
    const link_ptr link = get_link(s.get(), name);
    if (link == nullptr) {
        return no_interface(name);
    }
    if (const int failed = rtnl_link_change(s.get(), link.get(), change, 0); failed != 0) {
        return error{"interface " + name + " does not take " + what + ": " + nl_geterror(failed)};
    }
    return {};
}

} // namespace

bool valid_interface_name(const std::string& name) noexcept
{
    return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
           std::ranges::all_of(name, [](unsigned char c) {
               return std::isgraph(c) != 0 && c != '/' && c != ':' && c != ',' && c != '=' &&
                      c != '%' && c != '[' && c != ']';
           });
}

std::optional<interface_state> find_interface(const std::string& name)
{
    const socket_ptr s = route_socket();
    const link_ptr link = s != nullptr ? get_link(s.get(), name) : nullptr;
    if (link == nullptr) {
        return std::nullopt;
    }
    const char* const type = rtnl_link_get_type(link.get());
    const unsigned flags = rtnl_link_get_flags(link.get());
    constexpr unsigned both = IFF_UP | IFF_RUNNING;
    return interface_state{static_cast<std::uint32_t>(rtnl_link_get_ifindex(link.get())),
                           rtnl_link_get_mtu(link.get()), (flags & both) == both,
                           (flags & IFF_PROMISC) != 0, type != nullptr ? type : ""};
}

ports::result<void> set_interface_mtu(const std::string& name, std::uint32_t mtu)
{
    const link_ptr change{rtnl_link_alloc()};
    rtnl_link_set_mtu(change.get(), mtu);
    return change_link(name, change.get(), "an MTU of " + std::to_string(mtu));
}

ports::result<void> set_interface_up(const std::string& name)
{
    const link_ptr change{rtnl_link_alloc()};
    rtnl_link_set_flags(change.get(), IFF_UP);
    return change_link(name, change.get(), "being set up");
}

ports::result<void> check_address(const std::string& cidr)
{
    constexpr std::string_view right = ", such as 10.0.0.1/24 or fd00::1/64";
    const auto parsed = parse_cidr(cidr);
    if (!parsed) {
        return error{"\"" + cidr + "\" is not an address with its prefix length" +
                     std::string{right}};
    }
    if (const auto why = obstacle(*parsed); !why.empty()) {
        return error{cidr + " " + std::string{why} + "; it must be one that a host can have" +
                     std::string{right}};
    }
    return {};
}

ports::result<void> add_interface_address(const std::string& name, const std::string& cidr)
{
    if (auto ok = check_address(cidr); !ok) {
        return ok;
    }
    const socket_ptr s = route_socket();
    if (s == nullptr) {
        return no_netlink();
    }
    const unsigned index = if_nametoindex(name.c_str());
    if (index == 0) {
        return no_interface(name);
    }
    const auto parsed = parse_cidr(cidr);
    const addr_ptr address{
        nl_addr_build(parsed->family, parsed->bytes.data(), parsed->bytes.size())};
    nl_addr_set_prefixlen(address.get(), static_cast<int>(parsed->prefix));
    const rtnl_addr_ptr request{rtnl_addr_alloc()};
    rtnl_addr_set_ifindex(request.get(), static_cast<int>(index));
    rtnl_addr_set_local(request.get(), address.get());
    if (const int failed = rtnl_addr_add(s.get(), request.get(), 0); failed != 0) {
        return error{"interface " + name + " does not take the address " + cidr + ": " +
                     nl_geterror(failed)};
    }
    return {};
}

} // namespace strait::nic
