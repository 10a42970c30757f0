// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/ports/xen-netback/switch_lab.hh"

#include <cstdio>
#include <stdexcept>
#include <thread>
#include <variant>

namespace strait::xen::test {

namespace {

constexpr unsigned most_workers = 2;
constexpr unsigned pool_size = 4096;

rte_mempool* packet_pool()
{
    static strait::test::pool_ptr pool = [] {
        strait::test::start_eal(most_workers);
        return strait::test::make_pool(pool_size);
    }();
    return pool.get();
}

} // namespace

std::string detail_of(const std::vector<std::pair<std::string, ports::port_detail>>& all,
                      std::string_view name)
{
    struct to_text {
        std::string operator()(bool b) const { return b ? "yes" : "no"; }
        std::string operator()(std::int64_t n) const { return std::to_string(n); }
        std::string operator()(const std::string& s) const { return s; }
        std::string operator()(const std::vector<std::string>& list) const
        {
            std::string text;
            for (const auto& s : list) {
                text += (text.empty() ? "" : ", ") + s;
            }
            return text;
        }
    };
    for (const auto& [key, value] : all) {
        if (key == name) {
            return std::visit(to_text{}, value);
        }
    }
    return "";
}

// ---- guests ----

live_guest::live_guest(lab& l, tool_stack& t, std::uint16_t id, netfront_options o,
                       simulated::vif_options v)
    : domain_{id}, options_{o}
{
    constexpr std::uint32_t pages_a_queue = 520;
    const simulated::memory_layout layout{32'768, o.queues * pages_a_queue + 64};
    t.create_domain(domain_, "guest", layout).value();
    t.add_vif(domain_, 0, mac(), v).value();
    guest_ = l.guest(domain_, layout);
    driver_ = std::make_unique<netfront>(*guest_, options_);
}

live_guest::~live_guest() = default;

std::string live_guest::mac() const
{
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "00:16:3e:00:00:%02x",
                  static_cast<unsigned>(domain_) & 0xffU);
    return text.data();
}

testing::AssertionResult live_guest::connect()
{
    const auto done = driver_->connect(patience);
    return done.has_error() ? testing::AssertionFailure() << done.error().message
                            : testing::AssertionSuccess();
}

void live_guest::kill()
{
    driver_.reset();
    guest_.reset();
}

void live_guest::pump()
{
    for (const auto& q : driver_->queues()) {
        q->take_events();
        q->reap();
        q->receive(1000, [&](const simulated::received_frame& f) {
            received.push_back({to_frame(f.bytes), f.extras});
        });
        (void)q->may_sleep();
    }
}

bool live_guest::send(const frame& f, simulated::frame_extras e, std::size_t queue)
{
    simulated::netfront_queue& q = driver_->queue(queue);
    q.reap();
    const bool sent = q.send({.bytes = as_bytes(f), .extras = e});
    q.publish_sent();
    return sent;
}

frame make_frame_between(const live_guest& a, const live_guest& b, std::size_t size,
                         std::uint8_t seed)
{
    return make_frame(b.mac(), a.mac(), size, seed);
}

testing::AssertionResult talk(live_guest& a, live_guest& b, unsigned count)
{
    const auto one_way = [&](live_guest& from, live_guest& to) -> testing::AssertionResult {
        to.pump();
        to.received.clear();
        std::vector<frame> sent;
        for (unsigned i = 0; i < count; ++i) {
            sent.push_back(
                make_frame_between(from, to, 60 + i * 611 % 9000, static_cast<std::uint8_t>(i)));
            if (!eventually([&] { return from.send(sent.back()); })) {
                return testing::AssertionFailure() << "the ring is full at frame " << i;
            }
            // A receiver's ring is not to be overrun.
            if (!eventually([&] {
                    to.pump();
                    return to.received.size() == i + 1;
                })) {
                return testing::AssertionFailure()
                       << "frame " << i << " from " << from.mac() << " did not arrive; "
                       << from.driver().violation() << to.driver().violation();
            }
            if (to.received.back().bytes != sent.back()) {
                return testing::AssertionFailure() << "frame " << i << " is another one";
            }
        }
        if (to.received.size() != sent.size()) {
            return testing::AssertionFailure() << "some arrived more than once";
        }
        return testing::AssertionSuccess();
    };
    if (auto first = one_way(a, b); !first) {
        return first;
    }
    return one_way(b, a);
}

// ---- the switch ----

xen_switch::xen_switch(lab& l, unsigned workers)
{
    auto* const pool = packet_pool();
    auto h = l.hypervisor();
    hypervisor_ = h.get();
    backend_ = xen::backend::open(std::move(h)).value();
    dataplane::engine_settings s{.lcores = {},
                                 .share_cpus = true,
                                 .flow_cache_bytes = 1 << 20,
                                 .connections = 4096,
                                 .pool = pool};
    for (unsigned i = 1; i <= workers; ++i) {
        s.lcores.push_back(i);
    }
    engine_ = std::make_unique<dataplane::engine>(s);
    macs_ = std::make_shared<dataplane::mac_table>(1024);
}

xen_switch::~xen_switch()
{
    stop();
    ports_.clear();
    engine_.reset();
}

void xen_switch::stop()
{
    for (const auto& p : ports_) {
        if (p) {
            p->stop();
        }
    }
    engine_->publish(std::make_unique<const dataplane::snapshot>());
}

unsigned xen_switch::add(vif_id id, std::uint32_t mtu, std::uint32_t queues)
{
    const auto index = static_cast<unsigned>(ports_.size());
    ports_.push_back(
        make_port({.name = "port" + std::to_string(index), .vif = id, .mtu = mtu, .queues = queues},
                  *backend_, engine_->rcu())
            .value());
    mtus_.push_back(mtu);
    incarnations_.push_back(++last_incarnation_);
    publish();
    ports_.back()->start().value();
    return index;
}

void xen_switch::remove(unsigned port)
{
    ports_[port]->stop();
    const std::unique_ptr<ports::port> gone = std::move(ports_[port]);
    publish();
    gone->forget();
}

void xen_switch::publish()
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
        port->incarnation = incarnations_[i];
        port->name = "port" + std::to_string(i);
        port->mtu = mtus_[i];
        const dataplane::worker_index worker{
            static_cast<std::uint16_t>(i % engine_->worker_count())};
        for (const auto& q : ports_[i]->queues()) {
            port->queues.push_back({q.rx, q.tx, worker});
        }
        bridge->members.push_back(port->index);
        next->ports.push_back(std::move(port));
    }
    next->bridges.push_back(std::move(bridge));
    engine_->publish(std::move(next));
}

std::string xen_switch::detail(unsigned port, std::string_view name) const
{
    return detail_of(ports_[port]->details(), name);
}

template <typename Read>
std::uint64_t xen_switch::sum(unsigned port, Read&& read) const
{
    std::uint64_t all = 0;
    for (std::size_t w = 0; w < engine_->worker_count(); ++w) {
        all += read(engine_->counters(dataplane::worker_index{static_cast<std::uint16_t>(w)},
                                      dataplane::port_index{static_cast<std::uint16_t>(port)}));
    }
    return all;
}

std::uint64_t xen_switch::drops(unsigned port, dataplane::drop_reason r) const
{
    return sum(port, [r](const auto& c) { return c.drops[static_cast<std::size_t>(r)].read(); });
}

std::uint64_t xen_switch::all_drops(unsigned port) const
{
    return sum(port, [](const auto& c) {
        std::uint64_t all = 0;
        for (const auto& d : c.drops) {
            all += d.read();
        }
        return all;
    });
}

std::uint64_t xen_switch::tx_packets(unsigned port) const
{
    return sum(port, [](const auto& c) { return c.tx_packets.read(); });
}

std::uint64_t xen_switch::rx_packets(unsigned port) const
{
    return sum(port, [](const auto& c) { return c.rx_packets.read(); });
}

unsigned xen_switch::mbufs_in_use()
{
    return pool_size - rte_mempool_avail_count(packet_pool());
}

} // namespace strait::xen::test
