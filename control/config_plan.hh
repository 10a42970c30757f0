// SPDX-License-Identifier: BSD-3-Clause
// From what there is to what a document says: which steps that takes, and taking them, all or none.
#pragma once

#include "control/config_document.hh"
#include "control/configuration.hh"
#include "control/rpc.hh"

#include <boost/json/object.hpp>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace strait::control {

// For one use, before anything else changes. All calls from the control thread.
class config_plan {
public:
    // Refused where the document can be told to be impossible: with its place.
    [[nodiscard]] static outcome<config_plan> make(configuration& config, virtual_switch& sw,
                                                   config_document wanted);

    // {"changes": [...], "lines": [...]}, as config.diff gives it.
    [[nodiscard]] boost::json::object describe() const;
    // The same, when it is done. After a failure all is as before, or the sentence says what is
    // not.
    [[nodiscard]] outcome<boost::json::object> carry_out(const rpc& handler);

private:
    enum class action : std::uint8_t { add, change, remove, remake };
    struct step {
        const config_kind* kind;
        std::string key;
        action does;
        boost::json::object from;
        boost::json::object to;
        std::vector<config_call> calls; // of a change
        json_path place;
    };
    // What is not the same of a bridge's lines of one kind.
    struct line_change {
        std::string bridge;
        line_kind kind;
        std::vector<std::string> removed;
        std::vector<std::string> added;
    };
    using records = std::map<std::string, boost::json::object>;

    config_plan(configuration& config, virtual_switch& sw, config_document wanted);

    [[nodiscard]] outcome<void> number_ports();
    [[nodiscard]] outcome<void> check_tree_numbers() const;
    [[nodiscard]] outcome<void> read_options();
    [[nodiscard]] bool changes_options(const std::string& bridge) const;
    void compare();
    void compare_kind(std::size_t i);
    [[nodiscard]] bool loses_parent(const config_kind& kind, const boost::json::object& r) const;
    [[nodiscard]] outcome<void> compare_lines();
    [[nodiscard]] port_names names_on(const std::string& bridge, const bridge_flows& flows) const;
    [[nodiscard]] outcome<bridge_flows::bundle> prepare(const bridge_flows& flows,
                                                        const std::string& bridge) const;
    void note_lines(const bridge_flows& flows, const std::string& bridge,
                    const bridge_flows::bundle& b);

    [[nodiscard]] outcome<void> take_steps(const rpc& handler);
    [[nodiscard]] outcome<void> take(const rpc& handler, const step& s, bool removing);
    void renumber_trees() const;
    [[nodiscard]] outcome<void> commit_lines();
    [[nodiscard]] std::string bring_back(const rpc& handler) const;

    configuration* config_;
    virtual_switch* switch_;
    config_document wanted_;
    std::vector<records> current_;                    // by kind
    std::map<std::string, flow::option_map> options_; // wanted, by bridge
    std::vector<step> steps_;                         // in order of kinds
    std::set<std::string> anew_;                      // keys of what is removed, or made anew
    std::set<std::string> forgotten_;
    std::vector<line_change> lines_;
    std::map<std::string, bridge_flows::bundle> prepared_; // of bridges that stay
    std::map<std::string, config_document::lines> lost_;   // of bridges that are made anew
};

} // namespace strait::control
