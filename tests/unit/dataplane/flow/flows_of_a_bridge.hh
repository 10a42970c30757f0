// SPDX-License-Identifier: BSD-3-Clause
// A bridge of five ports with flows, whose bursts are forwarded as a worker does and caught.
#pragma once

#include "tests/unit/dataplane/flow/plain_walk.hh"

#include "dataplane/flow/forward.hh"
#include "dataplane/flow/pass_layouts.hh"
#include "dataplane/flow/rule_changes.hh"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace strait::flow {

class flows_of_a_bridge : public ::testing::Test {
protected:
    flows_of_a_bridge()
    {
        auto bridge = std::make_shared<dataplane::bridge_config>();
        bridge->macs = std::make_shared<dataplane::mac_table>(1024);
        auto numbers = std::make_shared<port_numbers>();
        config_.ports.resize(1);
        for (std::uint16_t i = 1; i <= port_count; ++i) {
            auto port = std::make_shared<dataplane::port_config>();
            port->index = port_index{i};
            port->number = i;
            port->incarnation = 1;
            port->vlan = dataplane::vlan_policy::transparent();
            port->mtu = 9000;
            links_.push_back(std::make_shared<std::atomic<bool>>(true));
            port->link = links_.back();
            config_.ports.push_back(port);
            bridge->members.push_back(port->index);
            numbers->add(i, port->index);
        }
        config_.bridges.push_back(bridge);
        plain_config_ = config_;
        auto plain = std::make_shared<dataplane::bridge_config>(*bridge);
        plain->macs = std::make_shared<dataplane::mac_table>(1024);
        plain_config_.bridges.front() = plain;
        numbers_ = numbers;
        switcher_.set_tracking(connections_);
    }

    void put_group(const group_ptr& g)
    {
        for (const bucket& b : g->buckets()) {
            uses_.add_everywhere(b.actions);
            add_written(b.actions, written_);
        }
        for (const selection::part& p : g->settings().select.fields) {
            key bits;
            bits.set(p.of, ~wide{}, p.mask);
            uses_.add_everywhere(bits);
        }
        groups_.put(g);
        changes_.add_all();
    }
    void publish(const std::vector<plain_rule>& rules)
    {
        auto next = std::make_unique<pipeline>();
        for (std::size_t i = rules.size(); i < compiled_.size(); ++i) {
            changes_.add(*compiled_[i].made);
        }
        compiled_.resize(rules.size());
        for (std::size_t i = 0; i < rules.size(); ++i) {
            const plain_rule& r = rules[i];
            compiled& c = compiled_[i];
            if (!c.made || !c.of.is(r)) {
                if (c.made) {
                    changes_.add(*c.made);
                }
                c = {r,
                     rule::make({.priority = r.priority, .table = r.table}, r.match,
                                std::make_shared<const action_list>(r.actions)),
                     0};
                changes_.add(*c.made);
                add_written(r.actions, written_);
                uses_.add(r.table, r.actions);
            }
            c.packets_before = c.made->packets();
            next->tables.own(r.table).insert(c.made);
        }
        uses_.make_layouts(*next);
        next->ports = numbers_;
        next->groups = groups_;
        next->options = options_;
        next->version = ++version_;
        changes_.tell(*next, written_);
        old_.push_back(std::move(current_));
        current_ = std::move(next);
    }

    struct at_once final : delivery {
        explicit at_once(flows_of_a_bridge& t) : test{t} {}
        void deliver_lists() noexcept override { test.deliver(); }
        flows_of_a_bridge& test;
    };
    void deliver()
    {
        const bool several = lists_.ports().size() > 1;
        for (const port_index port : lists_.ports()) {
            const std::size_t i = to_index(port);
            const auto packets = lists_.packets(port);
            const auto kept = dataplane::admit(packets, *config_.ports[i], counters_);
            for (const dataplane::packet* const p : packets.first(kept.count)) {
                sent_[i].push_back(bytes_of(*p));
                queues_[i].push_back(p->note >> dataplane::packet_note::tunnel_bits);
                // A NIC takes the memory of what goes nowhere else.
                EXPECT_FALSE(taken_.contains(p)) << "sent once more after a NIC took it";
                if (p->destinations <= 1 && p >= burst_->slots.data() &&
                    p < burst_->slots.data() + burst_->slots.size()) {
                    taken_.insert(p);
                }
            }
            if (several) { // as a worker does
                for (dataplane::packet* const p : packets) {
                    --p->destinations;
                }
            }
        }
        lists_.clear();
    }

    sent send(std::size_t port, const std::vector<frame_bytes>& frames)
    {
        sent_.clear();
        queues_.clear();
        taken_.clear();
        burst_->clear();
        for (const frame_bytes& f : frames) {
            put(burst_->slots[burst_->count++], f, *burst_);
        }
        at_once lists{*this};
        switcher_.forward(*burst_, {*current_,
                                    *config_.ports[port],
                                    {&config_, 1, &worker_, learns_},
                                    counters_,
                                    lists_,
                                    lists,
                                    nullptr,
                                    nullptr,
                                    {},
                                    tsc_,
                                    errors_});
        deliver();
        return sent_;
    }

    // Of a frame, newly translated.
    std::string program_of(std::size_t port, const frame_bytes& frame)
    {
        auto room = std::make_unique<burst>();
        put(room->slots[0], frame, *room);
        key k;
        header_layout at;
        (void)extract(room->slots[0], k, at);
        k.set(field::in_port, port);
        const auto made = std::make_unique<translation>();
        translate(*current_, k, *made);
        std::ostringstream out;
        out << std::hex;
        for (const std::uint64_t word : made->words()) {
            out << ' ' << word;
        }
        return out.str();
    }

    dataplane::snapshot config_;
    dataplane::snapshot plain_config_;
    std::shared_ptr<const port_numbers> numbers_;
    std::vector<std::shared_ptr<std::atomic<bool>>> links_;
    group_map groups_;
    std::shared_ptr<const option_map> options_;
    std::unique_ptr<const pipeline> current_;
    std::vector<std::unique_ptr<const pipeline>> old_;
    struct compiled {
        plain_rule of;
        rule_ptr made;
        std::uint64_t packets_before; // when it was published last
    };
    std::vector<compiled> compiled_; // as the plain ones
    rule_changes changes_;
    key written_;
    action_uses uses_;
    std::uint32_t version_{0xfffffff0}; // there is one behind the last
    switcher switcher_{std::size_t{8} << 20};
    fake_tracking connections_;
    fake_tracking plain_connections_;
    bool learns_{true}; // MACs
    std::uint64_t tsc_{0};
    endpoint::error_limit* errors_{nullptr};
    std::unique_ptr<burst> burst_{new burst};
    dataplane::output_lists lists_;
    dataplane::port_counters counters_;
    dataplane::worker_counters worker_;
    sent sent_;
    std::map<std::size_t, std::vector<unsigned>> queues_; // of what was sent, by port
    std::set<const dataplane::packet*> taken_;
};

} // namespace strait::flow
