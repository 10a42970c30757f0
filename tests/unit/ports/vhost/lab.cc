// SPDX-License-Identifier: BSD-3-Clause
// The switch of the vhost-user tests.
#include "lab.hh"

#include "../../dataplane/eal.hh"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <malloc.h>
#include <stdexcept>
#include <thread>

#include <rte_log.h>
#include <rte_malloc.h>

namespace strait::vhost::test {

namespace {

rte_mempool* packet_pool()
{
    static strait::test::pool_ptr pool = strait::test::make_pool();
    return pool.get();
}

} // namespace

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds patience)
{
    const auto until = std::chrono::steady_clock::now() + patience;
    while (!holds()) {
        if (std::chrono::steady_clock::now() > until) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
}

lab::lab(unsigned ports, bool client, unsigned queues, unsigned workers)
    : client_{client}, queues_{queues}, workers_{workers}
{
    constexpr unsigned most_workers = 2;
    strait::test::start_eal(most_workers);
    rte_log_set_level_pattern("lib.vhost.*", RTE_LOG_CRIT);
    dataplane::guest_range_registration::install_handler();
    char name[] = "/tmp/strait-vhost-XXXXXX";
    if (::mkdtemp(name) == nullptr) {
        throw std::runtime_error{"no temporary folder"};
    }
    folder_ = name;
    std::vector<unsigned> lcores;
    for (unsigned i = 1; i <= workers; ++i) {
        lcores.push_back(i);
    }
    engine_ =
        std::make_unique<dataplane::engine>(dataplane::engine_settings{.lcores = std::move(lcores),
                                                                       .share_cpus = true,
                                                                       .flow_cache_bytes = 1 << 20,
                                                                       .connections = 4096,
                                                                       .pool = packet_pool()});
    macs_ = std::make_shared<dataplane::mac_table>(1024);
    ports_.resize(ports);
    for (unsigned i = 0; i < ports; ++i) {
        start(i);
    }
}

lab::~lab()
{
    for (auto& p : ports_) {
        if (p) {
            p->stop();
        }
    }
    engine_->publish(std::make_unique<const dataplane::snapshot>());
    ports_.clear();
    engine_.reset();
    std::filesystem::remove_all(folder_);
}

std::string lab::socket(unsigned port) const
{
    return folder_ + "/vm" + std::to_string(port) + ".sock";
}

void lab::publish()
{
    auto next = std::make_unique<dataplane::snapshot>();
    auto bridge = std::make_shared<dataplane::bridge_config>();
    bridge->name = "br0";
    bridge->macs = macs_;
    for (std::size_t i = 0; i < ports_.size(); ++i) {
        if (!ports_[i]) {
            next->ports.push_back(nullptr);
            continue;
        }
        auto port = std::make_shared<dataplane::port_config>();
        port->index = dataplane::port_index{static_cast<std::uint16_t>(i)};
        port->incarnation = ++incarnation_;
        port->name = "vm" + std::to_string(i);
        port->mtu = 9000;
        std::uint16_t worker = 0;
        for (const auto& q : ports_[i]->queues()) {
            port->queues.push_back({q.rx, q.tx, dataplane::worker_index{worker++}});
        }
        bridge->members.push_back(port->index);
        next->ports.push_back(std::move(port));
    }
    next->bridges.push_back(std::move(bridge));
    engine_->publish(std::move(next));
}

void lab::stop(unsigned port)
{
    ports_[port]->stop();
    const std::unique_ptr<ports::port> gone = std::move(ports_[port]);
    publish();
}

void lab::start(unsigned port)
{
    settings s;
    s.name = "vm" + std::to_string(port);
    s.socket = socket(port);
    s.client = client_;
    s.state_dir = folder_;
    s.mtu = 9000;
    s.queues = queues_;
    s.workers = workers_;
    ports_[port] = make_port(std::move(s), engine_->rcu()).value();
    publish();
    ports_[port]->start().value();
}

const dataplane::port_counters& lab::counters(unsigned port, std::uint16_t worker) const
{
    return engine_->counters(dataplane::worker_index{worker},
                             dataplane::port_index{static_cast<std::uint16_t>(port)});
}

std::string lab::detail(unsigned port, std::string_view name) const
{
    for (const auto& [key, value] : ports_[port]->details()) {
        if (key != name) {
            continue;
        }
        struct to_text {
            std::string operator()(bool b) const { return b ? "true" : "false"; }
            std::string operator()(std::int64_t n) const { return std::to_string(n); }
            std::string operator()(const std::string& s) const { return s; }
            std::string operator()(const std::vector<std::string>& list) const
            {
                std::string text;
                for (const auto& s : list) {
                    text += (text.empty() ? "" : " ") + s;
                }
                return text;
            }
        };
        return std::visit(to_text{}, value);
    }
    return "";
}

bytes make_broadcast(unsigned from, std::size_t size, unsigned seed)
{
    bytes frame = make_frame(0, from, size, seed);
    std::fill_n(frame.begin(), 6, std::byte{0xff});
    return frame;
}

bytes make_frame(unsigned to, unsigned from, std::size_t size, unsigned seed)
{
    bytes frame(size);
    for (std::size_t i = 14; i < size; ++i) {
        frame[i] = static_cast<std::byte>(seed * 31 + i * 7 + i / 253);
    }
    frame[0] = frame[6] = std::byte{0x02};
    frame[5] = static_cast<std::byte>(to);
    frame[11] = static_cast<std::byte>(from);
    frame[12] = std::byte{0x88};
    frame[13] = std::byte{0xb5};
    return frame;
}

testing::AssertionResult talk(guest& a, unsigned a_address, guest& b, unsigned b_address,
                              unsigned count)
{
    const auto one_way = [&](guest& from, unsigned from_address, guest& to, unsigned to_address) {
        // Whatever was flooded to it before is none of this.
        to.receive();
        for (unsigned i = 0; i < count; ++i) {
            const bytes sent = make_frame(to_address, from_address, 60 + i * 61 % 1400, i);
            if (!eventually([&] { return from.transmit(sent); })) {
                return testing::AssertionFailure() << "transmit ring full at frame " << i;
            }
            bool arrived = false;
            const bool in_time = eventually([&] {
                for (const auto& frame : to.receive()) {
                    arrived = arrived || frame == sent;
                }
                return arrived;
            });
            if (!in_time) {
                return testing::AssertionFailure()
                       << "frame " << i << " from " << from_address << " did not arrive";
            }
        }
        return testing::AssertionSuccess();
    };
    if (auto first = one_way(a, a_address, b, b_address); !first) {
        return first;
    }
    return one_way(b, b_address, a, a_address);
}

holdings holdings::now()
{
    const auto count = [](const char* folder) {
        return static_cast<std::size_t>(
            std::distance(std::filesystem::directory_iterator{folder}, {}));
    };
    std::ifstream maps{"/proc/self/maps"};
    std::size_t mappings = 0;
    for (std::string line; std::getline(maps, line);) {
        // The C library's arenas and threads' stacks come and go by themselves.
        mappings += line.find(" rw-s ") != std::string::npos ? 1U : 0U;
    }
    rte_malloc_socket_stats stats{};
    rte_malloc_get_socket_stats(0, &stats);
    return {count("/proc/self/fd"), mappings, ::mallinfo2().uordblks, stats.heap_allocsz_bytes};
}

} // namespace strait::vhost::test
