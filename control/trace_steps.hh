// SPDX-License-Identifier: BSD-3-Clause
// What a trace says of a packet's way, as JSON: the steps of its translation, and what is chosen
// when its program is run.
#pragma once

#include "control/bridge_flows.hh"
#include "control/flow_text.hh"
#include "dataplane/conntrack/request.hh"
#include "dataplane/flow/forward.hh"
#include "dataplane/flow/translate.hh"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace strait::control {

// Writes the steps down. Each has the depth that it is at: tables that lead into others.
class step_list final : public flow::observer {
public:
    // The bridge that the packet is on, whose names and flows are there until it is on another.
    void is_on(const port_names& names, const bridge_flows& flows) noexcept
    {
        names_ = &names;
        flows_ = &flows;
    }

    void looked_up(flow::table_id table, const flow::rule* found, const flow::key& with) override;
    void does(const flow::action& what) override;
    void came_back() override;
    void begins(const flow::bucket_group& of, const flow::bucket& one) override;
    void ends_bucket() override { came_back(); }
    void says(std::string_view sentence) override;
    // Behind a ct action.
    void goes_on(flow::table_id table, const flow::key& with);
    // What a ct action found: `connection` null where there is none.
    void tracked(const conntrack::result& answer, boost::json::value owner,
                 boost::json::value connection);
    // What a pass is told apart by, and the workers that know it.
    void cached(const flow::match& told_by, boost::json::array workers);
    // From a port without queues, with what comes out of it.
    void comes_from(std::string_view port, const flow::key& with);

    [[nodiscard]] boost::json::array take() noexcept { return std::move(steps_); }

private:
    [[nodiscard]] bool is_within_hidden() const
    {
        return !tables_.empty() && flow::is_hidden(tables_.back());
    }
    void met_hidden(flow::table_id table, const flow::rule* found);
    void add(boost::json::object step) { steps_.push_back(std::move(step)); }
    [[nodiscard]] bool is_full();

    const port_names* names_{nullptr};
    const bridge_flows* flows_{nullptr};
    std::size_t depth_{0};
    std::size_t length_{0}; // of what the steps say
    bool told_{false};
    std::vector<flow::match> match_; // of the rules that are under way
    std::vector<flow::table_id> tables_;
    boost::json::array steps_;
};

// Writes down what is found when the packet is there.
class choice_list final : public flow::run_observer {
public:
    void took(const flow::bucket_group& of, std::size_t bucket, std::uint64_t hash) override;
    void met(const flow::packet_meter& m, bool passes) override;
    [[nodiscard]] boost::json::array take() noexcept { return std::move(choices_); }

private:
    boost::json::array choices_;
};

} // namespace strait::control
