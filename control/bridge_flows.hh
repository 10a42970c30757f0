// SPDX-License-Identifier: BSD-3-Clause
// One bridge's flows as operators change them, and what workers see of them: each change makes a
// pipeline that shares with the one before it what did not change, and is swapped for it. Text is
// flow_text.hh's business; ports are the switch's.
#pragma once

#include "control/failure.hh"
#include "control/flow_group_text.hh"
#include "control/flow_meter_text.hh"
#include "control/flow_text.hh"
#include "dataplane/engine.hh"
#include "dataplane/flow/pass_layouts.hh"
#include "dataplane/flow/pipeline.hh"
#include "dataplane/flow/rule_changes.hh"

#include <array>
#include <bitset>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace strait::control {

// Flows that a bridge may have unless it is told otherwise.
inline constexpr std::size_t usual_flow_limit_of_bridges = 4'000'000;

// What a bundle came to.
struct flow_summary {
    std::size_t added{0};
    std::size_t modified{0};
    std::size_t removed{0};
};
// And what one came to that is about groups, or meters; `flows` counts those that went with them.
struct object_summary {
    std::size_t added{0};
    std::size_t modified{0};
    std::size_t removed{0};
    std::size_t flows{0};
};

// Pipelines that workers do not use any more, until what their rules carried was brought home.
class retired_flows {
public:
    // Counts of a rule that another took the place of, and that come later, are the other's.
    struct heir {
        flow::rule_ptr from;
        flow::rule_ptr to;
        std::uint64_t packets; // of `from`, when `to` was made
        std::uint64_t bytes;
    };

    explicit retired_flows(dataplane::engine& engine) : engine_{engine} {}
    // Waits for what is not brought home yet.
    ~retired_flows();
    retired_flows(const retired_flows&) = delete;
    retired_flows& operator=(const retired_flows&) = delete;

    // After a grace period since no worker could find it.
    void add(std::unique_ptr<const flow::pipeline> flows, std::vector<heir> heirs);
    // From time to time.
    void look();

private:
    struct one {
        std::unique_ptr<const flow::pipeline> flows;
        std::vector<heir> heirs;
        std::vector<std::uint64_t> rounds; // by worker, when it was added
    };
    [[nodiscard]] bool brought_home(const one& r) const;

    dataplane::engine& engine_;
    std::deque<one> all_;
};

// What a stage of hidden tables has (dataplane/flow/hidden.hh). Its rules match the ports' numbers
// themselves: others' packets come through its first table as well. Those that it lets through they
// send on behind it, with registers as they came; of the last stage, out by the port they have as
// in_port.
struct hidden_stage {
    std::vector<flow::rule_ptr> rules; // of priority 1 and more, in the stage's tables
    std::vector<flow::port_number> ports;
    std::function<std::string(const flow::rule&)> describe; // for traces; empty: not worth a word
};

// What a change comes to, for who keeps it: all that may be other than before, as it will be.
struct changed_flows {
    const flow::flow_tables& tables;
    std::span<const flow::rule_ptr> rules; // that are in the tables, or were
    const flow::group_map& groups;
    std::span<const std::uint32_t> group_ids;
    const flow::meter_map& meters;
    std::span<const std::uint32_t> meter_ids;
    const port_names& names; // for their text: see bridge_flows::names()
};

class bridge_flows {
public:
    // What the bridge's ports have sent into it so far.
    struct traffic {
        std::uint64_t packets{0};
        std::uint64_t bytes{0};
    };

    // What a new bridge has: table 0 with one rule, priority 0, that switches. As long as there is
    // no other, packets do not meet it: it has carried what `received` grew by.
    bridge_flows(dataplane::engine& engine, retired_flows& retired,
                 std::function<traffic()> received = {});
    // No worker sees the bridge any more.
    ~bridge_flows();
    bridge_flows(const bridge_flows&) = delete;
    bridge_flows& operator=(const bridge_flows&) = delete;

    // For the bridge's configuration.
    [[nodiscard]] const std::shared_ptr<flow::live_pipeline>& live() const noexcept
    {
        return live_;
    }

    // Changes that workers see at once, when they are committed; no packet sees a part of them.
    class bundle;
    [[nodiscard]] bundle begin() const;       // of what there is
    [[nodiscard]] bundle begin_empty() const; // of what is to take the place of all
    // After an error the bundle is good for nothing.
    [[nodiscard]] outcome<void> apply(bundle& b, const flow_change& change) const;
    // Flows go with the groups and meters that they name.
    [[nodiscard]] outcome<void> apply(bundle& b, const group_change& change) const;
    [[nodiscard]] outcome<void> apply(bundle& b, const meter_change& change) const;
    // Refused if others were committed since it began. Of one that was begun empty: rules that
    // were there already keep their counters and their age.
    outcome<flow_summary> commit(bundle b);
    outcome<object_summary> commit_objects(bundle b);
    // Of all that was committed so far, and how many flows' time was up.
    struct totals {
        std::uint64_t added{0};
        std::uint64_t modified{0};
        std::uint64_t removed{0};
        std::uint64_t expired{0};
        bool operator==(const totals&) const noexcept = default;
    };
    [[nodiscard]] const totals& so_far() const noexcept { return so_far_; }
    // What committing one that was begun empty would do; a rule that does something else than
    // before is in both.
    struct difference {
        std::vector<flow::rule_ptr> removed;
        std::vector<flow::rule_ptr> added;
    };
    [[nodiscard]] difference compare(const bundle& b) const;

    // In place of what the stages had; workers see all of it at once. A rule that has the cookie,
    // the table and the match of one before it has counted what that has.
    struct new_stage {
        flow::stage which;
        hidden_stage what;
    };
    void set_stages(std::vector<new_stage> to);
    [[nodiscard]] std::string describe_hidden(const flow::rule& r) const;
    // Of the rules of a stage, in no order.
    [[nodiscard]] const hidden_stage& stage_at(flow::stage which) const noexcept
    {
        return stages_[static_cast<std::size_t>(which)];
    }

    // Asked before a bundle is committed, which is refused if this fails; told of flows whose time
    // was up.
    using keeper = std::function<outcome<void>(const changed_flows&)>;
    void set_keeper(keeper k) { keeper_ = std::move(k); }

    // How many there may be; those that are there already stay.
    void set_limit(std::size_t flows) noexcept { limit_ = flows; }
    [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
    // Whether there is too little memory for more flows; for tests.
    void set_memory_check(std::function<bool()> is_low) { memory_is_low_ = std::move(is_low); }

    // The bridge's ports, whenever they change.
    void set_ports(std::shared_ptr<const flow::port_numbers> ports);
    // And the options of Geneve that it knows; null: none. Of those that are there no longer, no
    // flow has any, and bundles that are under way are refused.
    void set_options(std::shared_ptr<const flow::option_map> options);
    // How many flows and groups' buckets have each, by its index.
    // For text that has ports by their numbers: what else flows can name.
    [[nodiscard]] const port_names& names() const noexcept { return names_; }
    using option_references = std::array<std::size_t, flow::option_name_count>;
    [[nodiscard]] option_references count_options() const;

    [[nodiscard]] const flow::flow_tables& tables() const noexcept { return tables_; }
    [[nodiscard]] const flow::group_map& groups() const noexcept { return groups_; }
    [[nodiscard]] const flow::meter_map& meters() const noexcept { return meters_; }
    // How many flows, or buckets of groups, name a group; how many flows a meter.
    using references = std::unordered_map<std::uint32_t, std::size_t>;
    [[nodiscard]] references group_references() const;
    [[nodiscard]] references meter_references() const;
    [[nodiscard]] std::size_t size() const noexcept { return tables_.size(); }
    // For tracing: the same tables, ports and layout that workers see. Null never.
    [[nodiscard]] std::unique_ptr<const flow::pipeline> pipeline() const;
    // In order of tables, priorities from the highest.
    void for_each(const flow_spec& filter,
                  const std::function<void(const flow::rule&)>& visit) const;
    void for_each_in_no_order(const std::function<void(const flow::rule&)>& visit) const;
    // That flows' ages are counted by.
    [[nodiscard]] flow::instant time() const;

    // From time to time: removes rules whose time is up.
    void look();
    // Before counters are read: gives the rule that all packets would meet what they were.
    void count_switched();

private:
    using heir = retired_flows::heir;
    outcome<void> add(bundle& b, const flow_spec& spec) const;
    [[nodiscard]] outcome<void> check_room(bundle& b, flow::table_id table,
                                           const flow_spec& spec) const;
    [[nodiscard]] bundle begin_with_objects_of(bundle&& other) const;
    static void put(bundle& b, flow::rule_ptr fresh);
    static void take_out(bundle& b, const flow::rule& old);
    [[nodiscard]] std::vector<heir> take_counts(hidden_stage& what, const hidden_stage& old) const;
    void make_hidden();
    [[nodiscard]] outcome<void> check_memory(bundle& b) const;
    // How many.
    [[nodiscard]] outcome<std::size_t> modify(bundle& b, const flow_change& change) const;
    static void remove(bundle& b, const flow_change& change);
    // Whether the switch can do them, and has what they name.
    [[nodiscard]] static outcome<void> check_actions(const bundle& b,
                                                     const flow::action_list& actions);
    outcome<void> add_group(bundle& b, flow::group_settings settings) const;
    outcome<void> modify_group(bundle& b, flow::group_settings settings) const;
    outcome<void> put_group(bundle& b, flow::group_settings settings,
                            const flow::bucket_group* before) const;
    static outcome<void> check_groups(const bundle& b);
    static outcome<void> remove_group(bundle& b, const group_change& change);
    outcome<void> change_buckets(bundle& b, const group_change& change) const;
    template <typename Names>
    static void remove_flows_that(bundle& b, const Names& names);
    [[nodiscard]] std::unique_ptr<flow::pipeline> make_pipeline() const;
    void publish(std::vector<heir> heirs);
    // If there is no other than what a new bridge has; else null.
    [[nodiscard]] flow::rule_ptr only_switching_rule() const;
    // Bits of keys that actions read and write.
    struct used_bits {
        flow::action_uses read;
        flow::key written;

        void add(const flow::rule& r);
        void add(const flow::bucket_group& g);
    };
    [[nodiscard]] std::optional<used_bits> used_now() const;
    void publish_less(const std::optional<used_bits>& left, std::vector<heir> heirs);

    dataplane::engine& engine_;
    retired_flows& retired_;
    std::shared_ptr<flow::live_pipeline> live_{std::make_shared<flow::live_pipeline>()};
    std::shared_ptr<const flow::port_numbers> ports_{std::make_shared<flow::port_numbers>()};
    std::shared_ptr<const flow::option_map> options_;
    port_names names_; // with these
    flow::flow_tables tables_;
    std::array<hidden_stage, flow::stage_count> stages_;
    flow::flow_tables hidden_; // of all of these
    used_bits hidden_used_;
    flow::group_map groups_;
    flow::meter_map meters_;
    used_bits used_;              // of some rules that are gone, too
    std::size_t used_by_gone_{0}; // so many
    std::size_t limit_{usual_flow_limit_of_bridges};
    std::function<bool()> memory_is_low_;
    flow::rule_changes changes_;
    std::vector<flow::rule_ptr> timed_;
    std::unique_ptr<const flow::pipeline> current_; // null: there is but a rule that switches
    flow::rule_ptr switching_;                      // that rule
    traffic switched_;                              // what is counted of it, or was others'
    std::function<traffic()> received_;
    keeper keeper_;
    std::uint64_t commits_; // the last one
    totals so_far_;
};

// Ports whose packets begin in hidden tables; null: none.
[[nodiscard]] std::shared_ptr<const std::bitset<dataplane::max_ports>>
guarded_ports(std::span<const hidden_stage, flow::stage_count> stages,
              const flow::port_numbers& ports);
// As it was said, or as it would be said now.
[[nodiscard]] flow_spec spec_of(const flow::rule& r);

class bridge_flows::bundle {
public:
    [[nodiscard]] const flow::group_map& groups() const noexcept { return groups_; }
    [[nodiscard]] const flow::meter_map& meters() const noexcept { return meters_; }

private:
    friend class bridge_flows;

    flow::flow_tables tables_;
    flow::group_map groups_;
    flow::meter_map meters_;
    std::size_t size_{0}; // of the tables
    std::size_t made_{0};
    used_bits used_;
    std::size_t used_by_gone_{0};
    flow::changed_rules changed_;
    std::vector<heir> heirs_;
    std::vector<flow::rule_ptr> timed_;
    flow_summary done_;
    object_summary objects_;
    std::vector<flow::group_ptr> changed_groups_;
    std::vector<flow::rule_ptr> touched_; // that came or went
    std::vector<std::uint32_t> touched_groups_;
    std::vector<std::uint32_t> touched_meters_;
    std::uint64_t commits_{0};
    bool replaces_{false};
};

} // namespace strait::control
