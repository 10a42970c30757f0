// SPDX-License-Identifier: BSD-3-Clause
// Groups and meters of a bridge, and the flows that go with them.
#include "control/bridge_flows.hh"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include <rte_cycles.h>

namespace strait::control {

using flow::bucket;
using flow::bucket_group;
using flow::group_ptr;
using flow::group_settings;

namespace {

template <typename Visit>
void for_each_rule(const flow::flow_tables& tables, const Visit& visit)
{
    for (unsigned id = 0; id < flow::all_tables; ++id) {
        if (const auto* const one = tables.find(static_cast<flow::table_id>(id))) {
            one->for_each(visit);
        }
    }
}

// Calls `visit` for each group that the buckets lead into.
template <typename Visit>
void for_each_group_below(const bucket_group& g, const Visit& visit)
{
    for (const bucket& b : g.buckets()) {
        flow::for_each_group(b.actions, visit);
    }
}

// How many groups lead into one another, from this one on.
class chain {
public:
    explicit chain(const flow::group_map& groups) : groups_{groups} {}

    [[nodiscard]] std::size_t length(std::uint32_t id)
    {
        if (const auto known = lengths_.find(id); known != lengths_.end()) {
            return known->second;
        }
        const bucket_group* const g = groups_.find(id);
        if (g == nullptr) {
            return 0;
        }
        if (!under_way_.insert(id).second) {
            loops_ = true;
            return 0;
        }
        std::size_t below = 0;
        if (under_way_.size() <= flow::deepest_groups) {
            for_each_group_below(*g, [&](std::uint32_t next) {
                below = loops_ ? below : std::max(below, length(next));
            });
        }
        under_way_.erase(id);
        return lengths_[id] = below + 1;
    }
    [[nodiscard]] bool loops() const noexcept { return loops_; }

private:
    const flow::group_map& groups_;
    std::unordered_map<std::uint32_t, std::size_t> lengths_;
    std::unordered_set<std::uint32_t> under_way_;
    bool loops_{false};
};

std::string numbered(std::uint32_t id)
{
    return "group " + std::to_string(id);
}

failure no_group(std::uint32_t id)
{
    return {failure_kind::not_found, "there is no " + numbered(id)};
}

} // namespace

template <typename Names>
void bridge_flows::remove_flows_that(bundle& b, const Names& names)
{
    std::vector<flow::rule_ptr> going;
    for_each_rule(b.tables_, [&](const flow::rule& r) {
        if (names(r.actions())) {
            going.emplace_back(&r);
        }
    });
    for (const flow::rule_ptr& r : going) {
        take_out(b, *r);
        ++b.objects_.flows;
    }
}

outcome<void> bridge_flows::apply(bundle& b, const group_change& change) const
{
    switch (change.command) {
    case group_command::add:
        return add_group(b, change.group);
    case group_command::modify:
        return modify_group(b, change.group);
    case group_command::add_or_modify:
        return b.groups_.find(change.group.id) == nullptr ? add_group(b, change.group)
                                                          : modify_group(b, change.group);
    case group_command::remove:
        return remove_group(b, change);
    case group_command::insert_buckets:
    case group_command::remove_buckets:
        return change_buckets(b, change);
    }
    return {};
}

outcome<void> bridge_flows::add_group(bundle& b, group_settings settings) const
{
    if (b.groups_.find(settings.id) != nullptr) {
        return failure{failure_kind::exists,
                       numbered(settings.id) + " exists already; group mod changes it"};
    }
    ++b.objects_.added;
    return put_group(b, std::move(settings), nullptr);
}

outcome<void> bridge_flows::modify_group(bundle& b, group_settings settings) const
{
    const group_ptr before{b.groups_.find(settings.id)};
    if (!before) {
        return failure{failure_kind::not_found, "there is no " + numbered(settings.id) +
                                                    "; group mod --may-create makes it"};
    }
    ++b.objects_.modified;
    return put_group(b, std::move(settings), before.get());
}

outcome<void> bridge_flows::put_group(bundle& b, group_settings settings,
                                      const bucket_group* before) const
{
    number_buckets(settings);
    const group_ptr made{
        new bucket_group{std::move(settings), time(), engine_.worker_count(), before}};
    b.groups_.put(made);
    b.touched_groups_.push_back(made->id());
    b.used_.add(*made);
    b.changed_groups_.push_back(made);
    b.changed_.add_all();
    return {};
}

// When all of a command is there: groups may lead into others that come later.
outcome<void> bridge_flows::check_groups(const bundle& b)
{
    for (const group_ptr& g : b.changed_groups_) {
        if (b.groups_.find(g->id()) != g.get()) {
            continue; // changed again, or removed
        }
        const auto refuse = [&g](failure_kind kind, const std::string& why) {
            return failure{kind, numbered(g->id()) + ": " + why};
        };
        for (const bucket& one : g->buckets()) {
            if (const auto good = check_actions(b, one.actions); good.has_error()) {
                return refuse(good.error().kind, good.error().message);
            }
        }
        chain below{b.groups_};
        const std::size_t length = below.length(g->id());
        if (below.loops()) {
            return refuse(failure_kind::invalid, "its buckets lead back into it");
        }
        if (length > flow::deepest_groups) {
            return refuse(failure_kind::limit, "more than " + std::to_string(flow::deepest_groups) +
                                                   " groups would lead into one another");
        }
    }
    return {};
}

outcome<void> bridge_flows::remove_group(bundle& b, const group_change& change)
{
    if (change.every) {
        b.objects_.removed += b.groups_.size();
        b.groups_.for_each([&b](const bucket_group& g) { b.touched_groups_.push_back(g.id()); });
        b.groups_ = {};
        remove_flows_that(b, [](const flow::action_list& actions) {
            bool any = false;
            flow::for_each_group(actions, [&any](std::uint32_t) { any = true; });
            return any;
        });
        b.changed_.add_all();
        return {};
    }
    const std::uint32_t id = change.group.id;
    if (b.groups_.find(id) == nullptr) {
        return {}; // as ovs-ofctl has it
    }
    std::optional<std::uint32_t> user;
    b.groups_.for_each([&](const bucket_group& g) {
        for_each_group_below(g, [&](std::uint32_t next) {
            if (next == id && (!user || g.id() < *user)) {
                user = g.id();
            }
        });
    });
    if (user) {
        return failure{failure_kind::in_use, numbered(*user) + " leads into " + numbered(id) +
                                                 "; change or remove that first"};
    }
    b.groups_.erase(id);
    b.touched_groups_.push_back(id);
    ++b.objects_.removed;
    remove_flows_that(b, [id](const flow::action_list& actions) {
        bool named = false;
        flow::for_each_group(actions,
                             [&named, id](std::uint32_t other) { named = named || other == id; });
        return named;
    });
    b.changed_.add_all();
    return {};
}

outcome<void> bridge_flows::change_buckets(bundle& b, const group_change& change) const
{
    using place = group_change::place;
    const group_ptr before{b.groups_.find(change.group.id)};
    if (!before) {
        return no_group(change.group.id);
    }
    group_settings settings = before->settings();
    auto& buckets = settings.buckets;
    auto at = buckets.begin();
    const bool inserts = change.command == group_command::insert_buckets;
    if (const auto* const id = std::get_if<std::uint32_t>(&change.where)) {
        at = std::ranges::find(buckets, *id, &bucket::id);
        if (at == buckets.end()) {
            return failure{failure_kind::not_found,
                           numbered(settings.id) + " has no bucket " + std::to_string(*id)};
        }
    } else if (std::get<place>(change.where) == place::last) {
        at = inserts || buckets.empty() ? buckets.end() : std::prev(buckets.end());
    }
    if (inserts) {
        buckets.insert(at, change.group.buckets.begin(), change.group.buckets.end());
    } else if (change.where == decltype(change.where){place::all}) {
        buckets.clear();
    } else if (at != buckets.end()) {
        buckets.erase(at);
    }
    if (const std::string why = group_fault(settings); !why.empty()) {
        return failure{failure_kind::invalid, numbered(settings.id) + ": " + why};
    }
    ++b.objects_.modified;
    return put_group(b, std::move(settings), before.get());
}

outcome<void> bridge_flows::apply(bundle& b, const meter_change& change) const
{
    const std::uint32_t id = change.meter.id;
    const std::string name = "meter " + std::to_string(id);
    const flow::packet_meter* const before = b.meters_.find(id);
    if (change.command == meter_command::remove) {
        if (change.every) {
            b.objects_.removed += b.meters_.size();
            b.meters_.for_each(
                [&b](const flow::packet_meter& m) { b.touched_meters_.push_back(m.id()); });
            b.meters_ = {};
        } else if (before != nullptr) {
            b.meters_.erase(id);
            b.touched_meters_.push_back(id);
            ++b.objects_.removed;
        }
        const auto names_missing = [&b](const flow::action_list& actions) {
            bool missing = false;
            flow::for_each_meter(actions, [&](std::uint32_t named) {
                missing = missing || b.meters_.find(named) == nullptr;
            });
            return missing;
        };
        remove_flows_that(b, names_missing);
        b.changed_.add_all();
        return {};
    }
    const bool adds = change.command == meter_command::add;
    if (adds && before != nullptr) {
        return failure{failure_kind::exists, name + " exists already; meter mod changes it"};
    }
    if (!adds && before == nullptr) {
        return failure{failure_kind::not_found, "there is no " + name + "; meter add makes it"};
    }
    ++(adds ? b.objects_.added : b.objects_.modified);
    const flow::packet_meter::clock clock{rte_rdtsc(), rte_get_tsc_hz()};
    b.meters_.put(flow::meter_ptr{
        new flow::packet_meter{change.meter, time(), engine_.worker_count(), clock}});
    b.touched_meters_.push_back(id);
    b.changed_.add_all();
    return {};
}

bridge_flows::references bridge_flows::group_references() const
{
    references out;
    const auto count = [&out](const flow::action_list& actions) {
        std::unordered_set<std::uint32_t> named;
        flow::for_each_group(actions, [&named](std::uint32_t id) { named.insert(id); });
        for (const std::uint32_t id : named) {
            ++out[id];
        }
    };
    for_each_rule(tables_, [&](const flow::rule& r) { count(r.actions()); });
    groups_.for_each([&](const bucket_group& g) {
        for (const bucket& b : g.buckets()) {
            count(b.actions);
        }
    });
    return out;
}

bridge_flows::references bridge_flows::meter_references() const
{
    references out;
    for_each_rule(tables_, [&](const flow::rule& r) {
        flow::for_each_meter(r.actions(), [&out](std::uint32_t id) { ++out[id]; });
    });
    return out;
}

} // namespace strait::control
