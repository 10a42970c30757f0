// SPDX-License-Identifier: BSD-3-Clause
// Flows that change while several workers use them: each packet is counted by one rule or as a
// drop, once, whatever became of the rule meanwhile.
#include "control/bridge_flows.hh"

#include "dataplane/flow/cache.hh"
#include "ports/port.hh"
#include "tests/unit/dataplane/eal.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>

namespace strait::control {
namespace {

using dataplane::drop_reason;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::worker_index;
using namespace std::chrono_literals;

// Gives UDP frames of ever other ports, without a pause while it may; keeps nothing.
class generator final : public ports::rx_queue {
public:
    explicit generator(unsigned seed) : random_{seed} {}

    std::atomic<bool> runs{false};
    std::atomic<std::uint64_t> given{0};

    poll receive(dataplane::burst& b, const ports::queue_context& /*c*/) noexcept override
    {
        if (!runs) {
            return poll::empty;
        }
        constexpr std::size_t size = 60;
        constexpr std::size_t some = 32;
        for (; b.count < some; ++b.count) {
            dataplane::packet_slot& p = b.slots[b.count];
            static_cast<dataplane::packet&>(p) = {};
            p.data = p.head.data();
            p.length = size;
            p.head_length = size;
            std::fill_n(p.data, size, std::byte{0});
            p.data[0] = p.data[6] = std::byte{2};
            p.data[12] = std::byte{8};
            p.data[14] = std::byte{0x45};
            p.data[17] = std::byte{46};
            p.data[22] = std::byte{64};
            p.data[23] = std::byte{17};
            p.data[35] = static_cast<std::byte>(random_());
            p.data[37] = static_cast<std::byte>(random_() & 3);
            p.data[39] = std::byte{26};
        }
        given.fetch_add(some);
        return poll::taken;
    }
    void release(dataplane::burst& /*b*/, const ports::queue_context& /*c*/) noexcept override {}

private:
    std::minstd_rand random_;
};

class counter final : public ports::tx_queue {
public:
    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override
    {
        context.counters->tx_packets.add(packets.size());
    }
};

class changing_flows : public ::testing::Test {
protected:
    static constexpr std::uint16_t port_count = 3;

    static void SetUpTestSuite() { test::start_eal(port_count, 128); }
    void SetUp() override
    {
        pool_ = test::make_pool(8192);
        engine_ = std::make_unique<dataplane::engine>(
            dataplane::engine_settings{.lcores = {1, 2, 3},
                                       .share_cpus = true,
                                       .flow_cache_bytes = std::size_t{1} << 20,
                                       .pool = pool_.get()});
        retired_ = std::make_unique<retired_flows>(*engine_);
        for (std::uint16_t i = 0; i < port_count; ++i) {
            auto port = std::make_shared<port_config>();
            port->index = port_index{i};
            port->number = static_cast<std::uint16_t>(i + 1);
            port->incarnation = 1;
            port->mtu = 1500;
            // The first bridge has the ports of workers 0 and 1, the second that of worker 2.
            port->bridge = dataplane::bridge_index{static_cast<std::uint16_t>(i / 2)};
            port->queues.push_back({&in_[i], &out_[i], worker_index{i}});
            ports_[i] = port;
        }
        for (std::size_t i = 0; i < bridges_.size(); ++i) {
            make(i);
        }
        publish(true);
    }

    void make(std::size_t bridge)
    {
        bridges_[bridge] = std::make_unique<bridge_flows>(*engine_, *retired_);
        auto numbers = std::make_shared<flow::port_numbers>();
        for (const auto& p : ports_) {
            if (dataplane::to_index(p->bridge) == bridge) {
                numbers->add(p->number, p->index);
            }
        }
        bridges_[bridge]->set_ports(numbers);
        change(bridge, flow_command::add, "priority=1,actions=drop");
    }
    void publish(bool second)
    {
        auto next = std::make_unique<dataplane::snapshot>();
        const std::size_t bridges = second ? 2 : 1;
        for (std::size_t i = 0; i < bridges; ++i) {
            auto bridge = std::make_shared<dataplane::bridge_config>();
            bridge->index = dataplane::bridge_index{static_cast<std::uint16_t>(i)};
            bridge->macs = std::make_shared<dataplane::mac_table>(1024);
            bridge->flows = bridges_[i]->live();
            next->bridges.push_back(bridge);
        }
        for (const auto& p : ports_) {
            if (dataplane::to_index(p->bridge) < bridges) {
                next->ports.push_back(p);
            }
        }
        engine_->publish(std::move(next));
    }

    using rules = std::map<const flow::rule*, flow::rule_ptr>;
    rules all_of(std::size_t bridge) const
    {
        rules out;
        bridges_[bridge]->for_each(all(), [&](const flow::rule& r) { out.emplace(&r, &r); });
        return out;
    }
    void note(std::size_t bridge) { rules_.merge(all_of(bridge)); }
    static flow_spec all()
    {
        flow_spec out;
        out.table = flow::all_tables;
        return out;
    }
    void apply(std::size_t bridge, bridge_flows::bundle& b, flow_command command,
               const std::string& text)
    {
        auto specs = parse_flow(text, command);
        ASSERT_TRUE(specs.has_value()) << specs.error().message;
        for (flow_spec& s : *specs) {
            ASSERT_TRUE(bridges_[bridge]->apply(b, {command, std::move(s), 0}).has_value());
        }
    }
    void change(std::size_t bridge, flow_command command, const std::string& text)
    {
        auto b = bridges_[bridge]->begin();
        apply(bridge, b, command, text);
        const auto before = all_of(bridge);
        ASSERT_TRUE(bridges_[bridge]->commit(std::move(b)).has_value());
        note(bridge);
        if (command == flow_command::modify) { // what they counted goes on with others
            const auto after = all_of(bridge);
            for (const auto& [at, r] : before) {
                if (!after.contains(at)) {
                    succeeded_.emplace(at, r);
                }
            }
        }
    }

    std::uint64_t counted() const
    {
        std::uint64_t n = 0;
        for (const auto& [at, r] : rules_) {
            n += succeeded_.contains(at) ? 0 : r->packets();
        }
        for (std::uint16_t w = 0; w < port_count; ++w) {
            for (std::uint16_t p = 0; p < port_count; ++p) {
                n += engine_->counters(worker_index{w}, port_index{p})
                         .drops[static_cast<std::size_t>(drop_reason::flow_miss)]
                         .read();
            }
        }
        return n;
    }
    std::uint64_t given() const
    {
        std::uint64_t n = 0;
        for (const generator& g : in_) {
            n += g.given;
        }
        return n;
    }

    void TearDown() override
    {
        engine_->publish(std::make_unique<dataplane::snapshot>());
        bridges_ = {};
        retired_.reset();
        engine_.reset();
    }

    test::pool_ptr pool_;
    std::array<generator, port_count> in_{generator{1}, generator{2}, generator{3}};
    std::array<counter, port_count> out_;
    std::array<std::shared_ptr<port_config>, port_count> ports_;
    std::unique_ptr<dataplane::engine> engine_;
    std::unique_ptr<retired_flows> retired_;
    std::array<std::unique_ptr<bridge_flows>, 2> bridges_;
    rules rules_; // all that there ever were
    rules succeeded_;
};

TEST_F(changing_flows, count_each_packet_once)
{
    for (generator& g : in_) {
        g.runs = true;
    }
    std::minstd_rand random{7};
    std::uint64_t seen = 0;
    for (int turn = 0; turn < 150; ++turn) {
        const std::size_t bridge = random() % bridges_.size();
        const std::string number = std::to_string(random() % 4);
        switch (random() % 6) {
        case 0:
            change(bridge, flow_command::add,
                   "priority=" + std::to_string(2 + random() % 9) + ",udp,udp_dst=" + number +
                       ",actions=" + std::to_string(1 + random() % 3));
            break;
        case 1:
            change(bridge, flow_command::add, "udp,udp_src=" + number + "/3,actions=1,2,3");
            break;
        case 2: {
            auto b = bridges_[bridge]->begin_empty();
            apply(bridge, b, flow_command::add, "priority=1,actions=drop");
            apply(bridge, b, flow_command::add, "udp,udp_dst=" + number + ",actions=2");
            ASSERT_TRUE(bridges_[bridge]->commit(std::move(b)).has_value());
            note(bridge);
            break;
        }
        case 3: {
            auto b = bridges_[bridge]->begin();
            ASSERT_TRUE(bridges_[bridge]->apply(b, {flow_command::remove, all(), 0}).has_value());
            ASSERT_TRUE(bridges_[bridge]->commit(std::move(b)).has_value());
            break;
        }
        case 4:
            change(bridge, flow_command::modify, "udp,actions=in_port");
            break;
        default: // the second bridge goes, and another comes
            publish(false);
            bridges_[1].reset();
            make(1);
            publish(true);
            break;
        }
        for (const auto& b : bridges_) {
            b->look();
        }
        retired_->look();
        seen = std::max(seen, counted());
        std::this_thread::sleep_for(1ms);
    }
    for (generator& g : in_) {
        g.runs = false;
    }
    const auto end = std::chrono::steady_clock::now() + 20s;
    while (counted() != given() && std::chrono::steady_clock::now() < end) {
        retired_->look();
        std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(counted(), given());
    for (int i = 0; i < 100; ++i) { // nor does anything come later
        retired_->look();
        std::this_thread::sleep_for(1ms);
    }
    EXPECT_EQ(counted(), given());
    EXPECT_LE(seen, given());
    EXPECT_GT(seen, 0U);
    for (std::uint16_t w = 0; w < port_count; ++w) {
        EXPECT_GT(engine_->flow_cache(worker_index{w}).counters.hits.read(), 0U) << w;
    }
}

} // namespace
} // namespace strait::control
