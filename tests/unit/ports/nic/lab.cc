// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/ports/nic/lab.hh"

#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace strait::test {

namespace {

constexpr std::uint16_t test_type = 0x88b5;

} // namespace

bool enter_lab()
{
    static const bool entered = [] {
        if (unshare(CLONE_NEWNET) != 0) {
            return false;
        }
        run("sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=1");
        run("ip link set lo up");
        start_eal(0, 256);
        return true;
    }();
    return entered;
}

int run(const std::string& command)
{
    return std::system((command + " 2>/dev/null").c_str()); // NOLINT(cert-env33-c)
}

std::string output_of(const std::string& command)
{
    std::string out;
    if (std::FILE* const pipe = popen(command.c_str(), "r")) { // NOLINT(cert-env33-c)
        std::array<char, 4096> part{};
        while (std::fgets(part.data(), part.size(), pipe) != nullptr) {
            out += part.data();
        }
        pclose(pipe);
    }
    return out;
}

bool interface_exists(const std::string& name)
{
    return if_nametoindex(name.c_str()) != 0;
}

std::size_t open_descriptors()
{
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator{"/proc/self/fd"}) {
        ++n;
    }
    return n;
}

raw_socket::raw_socket(const std::string& interface)
    : fd_{socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))}
{
    sockaddr_ll where{};
    where.sll_family = AF_PACKET;
    where.sll_protocol = htons(ETH_P_ALL);
    where.sll_ifindex = static_cast<int>(if_nametoindex(interface.c_str()));
    const int on = 1;
    setsockopt(fd_, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
    if (fd_ < 0 || where.sll_ifindex == 0 ||
        bind(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0) {
        throw std::runtime_error{"no raw socket on " + interface};
    }
}

raw_socket::~raw_socket()
{
    close(fd_);
}

void raw_socket::send(const frame& f) const
{
    if (::send(fd_, f.data(), f.size(), 0) != static_cast<ssize_t>(f.size())) {
        throw std::runtime_error{"a frame of " + std::to_string(f.size()) + " bytes was not sent"};
    }
}

std::optional<frame> raw_socket::receive(std::chrono::milliseconds patience) const
{
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            end - std::chrono::steady_clock::now());
        pollfd p{fd_, POLLIN, 0};
        if (left.count() < 0 || poll(&p, 1, static_cast<int>(left.count())) <= 0) {
            return std::nullopt;
        }
        frame f(70000);
        sockaddr_ll from{};
        std::array<std::byte, 256> control{};
        iovec part{f.data(), f.size()};
        msghdr message{&from, sizeof from, &part, 1, control.data(), control.size(), 0};
        const ssize_t n = recvmsg(fd_, &message, 0);
        if (n < 14 || from.sll_pkttype == PACKET_OUTGOING) {
            continue;
        }
        f.resize(static_cast<std::size_t>(n));
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
                tpacket_auxdata aux{};
                std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
                if ((aux.tp_status & TP_STATUS_VLAN_VALID) != 0) {
                    f = with_tag(f, aux.tp_vlan_tci, aux.tp_vlan_tpid);
                }
            }
        }
        const auto type = [&f](std::size_t at) { return (f[at] << 8) | f[at + 1]; };
        if (type(12) == test_type || (f.size() >= 18 && type(16) == test_type)) {
            return f;
        }
    }
}

port_under_test::port_under_test(std::unique_ptr<ports::port> port, rte_mempool* pool)
    : port_{std::move(port)}, pool_{pool}
{}

std::vector<frame> port_under_test::receive(std::size_t count, std::chrono::milliseconds patience)
{
    std::vector<frame> out;
    const auto end = std::chrono::steady_clock::now() + patience;
    ports::rx_queue& queue = *port_->queues()[queue_].rx;
    while (out.size() < count && std::chrono::steady_clock::now() < end) {
        burst_->clear();
        const ports::queue_context context{0, pool_, counters_.get(), nullptr};
        if (queue.receive(*burst_, context) != ports::rx_queue::poll::taken) {
            continue;
        }
        for (dataplane::packet_slot& p : burst_->packets()) {
            out.push_back(bytes_of(p));
        }
        queue.release(*burst_, context);
    }
    return out;
}

void port_under_test::transmit(std::vector<dataplane::packet*> packets)
{
    port_->queues()[queue_].tx->transmit(packets, {0, pool_, counters_.get(), nullptr});
}

std::uint64_t port_under_test::drops(dataplane::drop_reason reason) const
{
    return counters_->drops[static_cast<std::size_t>(reason)].read();
}

ports::port_detail port_under_test::detail(const std::string& key) const
{
    for (const auto& [k, v] : port_->details()) {
        if (k == key) {
            return v;
        }
    }
    throw std::runtime_error{"no detail " + key};
}

} // namespace strait::test
