// SPDX-License-Identifier: BSD-3-Clause
// Bundles of changes, their publication, and the end of what they replaced.
#include "control/bridge_flows.hh"

#include "control/flow_options.hh"
#include "control/memory_left.hh"
#include "dataplane/flow/cache.hh"

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

namespace strait::control {

using flow::action;
using flow::action_list;
using flow::classifier;
using flow::rule;
using flow::rule_ptr;
using flow::table_id;

namespace {

// Of all bridges: entries of workers' caches are told apart by it.
std::uint32_t next_version() noexcept
{
    static std::atomic<std::uint32_t> last{0};
    return ++last;
}

// Of all bridges, too: one may come that has the name of one that went.
std::uint64_t next_commit() noexcept
{
    static std::atomic<std::uint64_t> last{0};
    return ++last;
}

// Whether a packet's key hangs on them.
bool uses_bits(const action_list& actions)
{
    return std::ranges::any_of(
        actions, [](const flow::action& a) { return !std::holds_alternative<flow::output>(a.is); });
}

bool memory_is_low()
{
    const auto left = look_at_memory();
    return left && left->is_low();
}

// A sentence about a group or meter that actions name and that there is not; empty: there are all.
std::string missing(const action_list& actions, const flow::group_map& groups,
                    const flow::meter_map& meters)
{
    std::string out;
    flow::for_each_group(actions, [&](std::uint32_t id) {
        if (groups.find(id) == nullptr) {
            out = "there is no group " + std::to_string(id) + "; make it first: group add";
        }
    });
    flow::for_each_meter(actions, [&](std::uint32_t id) {
        if (meters.find(id) == nullptr) {
            out = "there is no meter " + std::to_string(id) + "; make it first: meter add";
        }
    });
    return out;
}

bool names_group(const action_list& actions, std::uint32_t wanted)
{
    bool found = false;
    flow::for_each_group(actions,
                         [&found, wanted](std::uint32_t id) { found = found || id == wanted; });
    return found;
}

bool switches(const action_list& actions)
{
    return actions == action_list{action{flow::output{flow::ports::normal}}};
}

bool sends_to(const action_list& actions, flow::port_number port)
{
    return std::any_of(actions.begin(), actions.end(), [port](const action& a) {
        if (const auto* const out = std::get_if<flow::output>(&a.is)) {
            return out->port == port;
        }
        if (const auto* const copy = std::get_if<flow::clone>(&a.is)) {
            return sends_to(copy->actions, port);
        }
        const auto* const later = std::get_if<flow::write_actions>(&a.is);
        return later != nullptr && sends_to(later->actions, port);
    });
}

bool fits(const rule& r, const flow_spec& filter)
{
    return (r.cookie() & filter.cookie_mask) == filter.cookie_wanted &&
           (!filter.out_port || sends_to(r.actions(), *filter.out_port)) &&
           (!filter.out_group || names_group(r.actions(), *filter.out_group));
}

flow::rule_settings settings_of(const flow_spec& spec, flow::instant now)
{
    using flow::rule_flags;
    rule_flags flags = rule_flags::none;
    flags = spec.flags.send_flow_rem ? flags | rule_flags::send_removed : flags;
    flags = spec.flags.no_packet_counts ? flags | rule_flags::no_packet_counts : flags;
    flags = spec.flags.no_byte_counts ? flags | rule_flags::no_byte_counts : flags;
    return {.cookie = spec.cookie.value_or(0),
            .created = now,
            .priority = spec.priority,
            .idle_timeout = spec.idle_timeout,
            .hard_timeout = spec.hard_timeout,
            .importance = spec.importance,
            .table = spec.table,
            .flags = flags};
}

// Calls `visit` for the filter's table, or for all there are.
template <typename Visit>
void for_each_table(const flow::flow_tables& tables, const flow_spec& filter, const Visit& visit)
{
    if (filter.table != flow::all_tables) {
        if (const classifier* const one = tables.find(filter.table)) {
            visit(*one);
        }
        return;
    }
    for (unsigned id = 0; id < flow::all_tables; ++id) {
        if (const classifier* const one = tables.find(static_cast<table_id>(id))) {
            visit(*one);
        }
    }
}

// Rules that a command chooses: with the same match and priority, or with what the match takes in.
std::vector<rule_ptr> chosen(const flow::flow_tables& tables, const flow_spec& filter, bool strict)
{
    std::vector<rule_ptr> out;
    for_each_table(tables, filter, [&](const classifier& rules) {
        if (strict) {
            if (const rule* const one = rules.find_exact(filter.match, filter.priority);
                one != nullptr && fits(*one, filter)) {
                out.emplace_back(one);
            }
            return;
        }
        rules.for_each_within(filter.match, [&](const rule& r) {
            if (fits(r, filter)) {
                out.emplace_back(&r);
            }
        });
    });
    return out;
}

} // namespace

retired_flows::~retired_flows()
{
    constexpr auto patience = std::chrono::seconds{2};
    const auto end = std::chrono::steady_clock::now() + patience;
    for (look(); !all_.empty() && std::chrono::steady_clock::now() < end; look()) {
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    for (one& r : all_) { // better kept for ever than used after it is gone
        (void)r.flows.release();
        (void)new std::vector<heir>{std::move(r.heirs)};
    }
}

void retired_flows::add(std::unique_ptr<const flow::pipeline> flows, std::vector<heir> heirs)
{
    one r{std::move(flows), std::move(heirs), {}};
    for (std::size_t i = 0; i < engine_.worker_count(); ++i) {
        r.rounds.push_back(
            engine_.flow_cache(dataplane::worker_index{static_cast<std::uint16_t>(i)}).rounds());
    }
    all_.push_back(std::move(r));
    look();
}

// Two rounds bring home what was under way when the first began and what was being collected.
bool retired_flows::brought_home(const one& r) const
{
    for (std::size_t i = 0; i < r.rounds.size(); ++i) {
        const auto& cache =
            engine_.flow_cache(dataplane::worker_index{static_cast<std::uint16_t>(i)});
        if (!cache.nothing_pending() && cache.rounds() < r.rounds[i] + 2) {
            return false;
        }
    }
    return true;
}

void retired_flows::look()
{
    while (!all_.empty() && brought_home(all_.front())) {
        for (const heir& h : all_.front().heirs) {
            h.to->count(h.from->packets() - h.packets, h.from->bytes() - h.bytes,
                        h.from->last_used());
        }
        all_.pop_front();
    }
}

bridge_flows::bridge_flows(dataplane::engine& engine, retired_flows& retired,
                           std::function<traffic()> received)
    : engine_{engine},
      retired_{retired},
      memory_is_low_{memory_is_low},
      received_{std::move(received)},
      commits_{next_commit()}
{
    const auto normal =
        std::make_shared<const action_list>(action_list{action{flow::output{flow::ports::normal}}});
    switching_ = rule::make({.created = time(), .priority = 0}, {}, normal);
    tables_.own(0).insert(switching_);
}

bridge_flows::~bridge_flows()
{
    if (current_) {
        retired_.add(std::move(current_), {});
    }
}

flow::instant bridge_flows::time() const
{
    return std::chrono::duration_cast<flow::instant>(
        std::chrono::seconds{engine_.now()}); // as workers count it
}

rule_ptr bridge_flows::only_switching_rule() const
{
    const classifier* const first = tables_.find(0);
    if (tables_.size() != 1 || first == nullptr || first->size() != 1) {
        return nullptr;
    }
    const rule* const all = first->find_exact({}, 0);
    const bool does = all != nullptr && switches(all->actions()) &&
                      all->settings().idle_timeout == 0 && all->settings().hard_timeout == 0;
    return does ? rule_ptr{all} : nullptr;
}

void bridge_flows::count_switched()
{
    if (!received_) {
        return;
    }
    const traffic now_received = received_();
    if (switching_ && now_received.packets != switched_.packets) {
        switching_->count(now_received.packets - switched_.packets,
                          now_received.bytes - switched_.bytes, time());
    }
    switched_ = now_received;
}

bridge_flows::bundle bridge_flows::begin() const
{
    bundle b;
    b.tables_ = tables_;
    b.size_ = tables_.size();
    b.used_ = used_;
    b.groups_ = groups_;
    b.meters_ = meters_;
    b.timed_ = timed_;
    b.commits_ = commits_;
    return b;
}

bridge_flows::bundle bridge_flows::begin_empty() const
{
    bundle b;
    b.groups_ = groups_;
    b.meters_ = meters_;
    b.commits_ = commits_;
    b.replaces_ = true;
    return b;
}

// Of what there is, but for groups and meters.
bridge_flows::bundle bridge_flows::begin_with_objects_of(bundle&& other) const
{
    bundle b = begin();
    b.groups_ = std::move(other.groups_);
    b.meters_ = std::move(other.meters_);
    b.objects_ = other.objects_;
    b.changed_groups_ = std::move(other.changed_groups_);
    b.touched_groups_ = std::move(other.touched_groups_);
    b.touched_meters_ = std::move(other.touched_meters_);
    if (!b.touched_groups_.empty() || !b.touched_meters_.empty()) {
        b.changed_.add_all();
        b.groups_.for_each([&b](const flow::bucket_group& g) { b.used_.add(g); });
    }
    return b;
}

void bridge_flows::used_bits::add(const rule& r)
{
    read.add(r.table(), r.actions());
    flow::add_written(r.actions(), written);
}

void bridge_flows::used_bits::add(const flow::bucket_group& g)
{
    for (const flow::bucket& one : g.buckets()) {
        read.add_everywhere(one.actions);
        flow::add_written(one.actions, written);
    }
    // What does not come with a frame is looked at when a flow is translated.
    for (const flow::selection::part& p : g.settings().select.fields) {
        flow::key bits;
        bits.set(p.of, ~flow::wide{}, p.mask);
        read.add_everywhere(bits);
    }
}

void bridge_flows::put(bundle& b, rule_ptr fresh)
{
    b.used_.add(*fresh);
    b.changed_.add(*fresh);
    b.touched_.push_back(fresh);
    if (fresh->settings().idle_timeout != 0 || fresh->settings().hard_timeout != 0) {
        b.timed_.push_back(fresh);
    }
    const rule_ptr old = b.tables_.own(fresh->table()).insert(std::move(fresh));
    if (!old) {
        ++b.size_;
    } else if (uses_bits(old->actions())) {
        ++b.used_by_gone_;
    }
}

void bridge_flows::take_out(bundle& b, const rule& old)
{
    if (uses_bits(old.actions())) {
        ++b.used_by_gone_;
    }
    b.changed_.add(old);
    b.touched_.emplace_back(&old);
    --b.size_;
    b.tables_.own(old.table()).erase(old);
}

// Once for many rules that are made: to look takes longer than to make them.
outcome<void> bridge_flows::check_memory(bundle& b) const
{
    constexpr std::size_t many = 256;
    if (b.made_++ % many == 0 && memory_is_low_()) {
        return failure{failure_kind::limit, "there is too little memory left for more flows"};
    }
    return {};
}

outcome<void> bridge_flows::check_room(bundle& b, table_id table, const flow_spec& spec) const
{
    if (b.size_ >= limit_) {
        const classifier* const there = b.tables_.find(table);
        if (there == nullptr || there->find_exact(spec.match, spec.priority) == nullptr) {
            return failure{failure_kind::limit,
                           "this would be more than " + std::to_string(limit_) +
                               " flows, the bridge's flow limit (bridge set --flow-limit)"};
        }
    }
    return check_memory(b);
}

outcome<void> bridge_flows::add(bundle& b, const flow_spec& spec) const
{
    flow::rule_settings settings = settings_of(spec, time());
    if (settings.table == flow::all_tables) { // of a change that found none to change
        settings.table = 0;
    }
    if (auto room = check_room(b, settings.table, spec); room.has_error()) {
        return room;
    }
    const classifier* const there = b.tables_.find(settings.table);
    if (spec.flags.check_overlap && there != nullptr &&
        there->has_overlap(spec.match, spec.priority)) {
        return failure{failure_kind::exists,
                       "a flow of the same priority matches some of the same packets"};
    }
    put(b, rule::make(settings, spec.match, std::make_shared<const action_list>(spec.actions)));
    ++b.done_.added;
    return {};
}

outcome<std::size_t> bridge_flows::modify(bundle& b, const flow_change& change) const
{
    const auto actions = std::make_shared<const action_list>(change.flow.actions);
    const auto olds = chosen(b.tables_, change.flow, change.command == flow_command::modify_strict);
    for (const rule_ptr& old : olds) {
        if (auto room = check_memory(b); room.has_error()) {
            return room.error();
        }
        flow::rule_settings settings = old->settings();
        settings.cookie = change.flow.cookie.value_or(settings.cookie);
        rule_ptr fresh = rule::make(settings, old->match(), actions);
        const std::uint64_t packets = old->packets();
        const std::uint64_t bytes = old->bytes();
        if (!change.flow.flags.reset_counts) {
            fresh->count(packets, bytes, old->last_used());
        }
        b.heirs_.push_back({old, fresh, packets, bytes});
        put(b, std::move(fresh));
    }
    return olds.size();
}

void bridge_flows::remove(bundle& b, const flow_change& change)
{
    for (const rule_ptr& old :
         chosen(b.tables_, change.flow, change.command == flow_command::remove_strict)) {
        take_out(b, *old);
        ++b.done_.removed;
    }
}

outcome<void> bridge_flows::check_actions(const bundle& b, const action_list& actions)
{
    if (std::string why = missing(actions, b.groups_, b.meters_); !why.empty()) {
        return failure{failure_kind::not_found, std::move(why)};
    }
    return {};
}

outcome<void> bridge_flows::apply(bundle& b, const flow_change& change) const
{
    if (auto good = check_actions(b, change.flow.actions); good.has_error()) {
        return good;
    }
    switch (change.command) {
    case flow_command::add:
        return add(b, change.flow);
    case flow_command::modify:
    case flow_command::modify_strict: {
        const auto changed = modify(b, change);
        if (changed.has_error()) {
            return changed.error();
        }
        b.done_.modified += *changed;
        // As in Open vSwitch: what is looked for by its cookie is not made.
        const bool adds = *changed == 0 && change.flow.cookie_mask == 0;
        return adds ? add(b, change.flow) : outcome<void>{};
    }
    case flow_command::remove:
    case flow_command::remove_strict:
        remove(b, change);
        return {};
    case flow_command::list:
        break; // changes nothing
    }
    return {};
}

bridge_flows::difference bridge_flows::compare(const bundle& b) const
{
    const auto same = [](const rule& a, const rule* other) {
        return other != nullptr && a.actions() == other->actions() &&
               a.cookie() == other->cookie() &&
               a.settings().idle_timeout == other->settings().idle_timeout &&
               a.settings().hard_timeout == other->settings().hard_timeout;
    };
    const auto not_in = [&same](const flow::flow_tables& from, const flow::flow_tables& in) {
        std::vector<rule_ptr> out;
        flow_spec all;
        all.table = flow::all_tables;
        for_each_table(from, all, [&](const classifier& rules) {
            rules.for_each([&](const rule& r) {
                const classifier* const other = in.find(r.table());
                if (!same(r, other == nullptr ? nullptr
                                              : other->find_exact(r.match(), r.priority()))) {
                    out.emplace_back(&r);
                }
            });
        });
        return out;
    };
    return {not_in(tables_, b.tables_), not_in(b.tables_, tables_)};
}

outcome<object_summary> bridge_flows::commit_objects(bundle b)
{
    if (const auto good = check_groups(b); good.has_error()) {
        return good.error();
    }
    const object_summary objects = b.objects_;
    const auto done = commit(std::move(b));
    if (done.has_error()) {
        return done.error();
    }
    return objects;
}

outcome<flow_summary> bridge_flows::commit(bundle b)
{
    std::optional<used_bits> left;
    const std::size_t gone_with_groups = b.replaces_ ? 0 : b.objects_.flows;
    if (b.commits_ != commits_) {
        return failure{failure_kind::in_use,
                       "the bridge's flows were changed by somebody else meanwhile; nothing of "
                       "this is done"};
    }
    if (b.replaces_) {
        difference differs = compare(b);
        left = b.used_;
        b.groups_.for_each([&left](const flow::bucket_group& g) { left->add(g); });
        b = begin_with_objects_of(std::move(b));
        for (const rule_ptr& old : differs.removed) {
            take_out(b, *old);
            ++b.done_.removed;
        }
        for (rule_ptr& fresh : differs.added) {
            put(b, std::move(fresh));
            ++b.done_.added;
        }
    }
    if (keeper_) {
        const changed_flows what{b.tables_, b.touched_,        b.groups_, b.touched_groups_,
                                 b.meters_, b.touched_meters_, names_};
        if (auto kept = keeper_(what); kept.has_error()) {
            return kept.error();
        }
    }
    tables_ = std::move(b.tables_);
    used_ = b.used_;
    used_by_gone_ += b.used_by_gone_;
    groups_ = std::move(b.groups_);
    meters_ = std::move(b.meters_);
    changes_.add(b.changed_);
    timed_ = std::move(b.timed_);
    commits_ = next_commit();
    if (!left) {
        left = used_now();
    }
    publish_less(left, std::move(b.heirs_));
    so_far_.added += b.done_.added;
    so_far_.modified += b.done_.modified;
    so_far_.removed += b.done_.removed + gone_with_groups;
    return b.done_;
}

// Nothing: it would take too long to find out, for what it is good for.
std::optional<bridge_flows::used_bits> bridge_flows::used_now() const
{
    constexpr std::size_t few = 4096;
    constexpr std::size_t times = 16; // rules looked at for one that went
    const std::size_t size = tables_.size();
    if (used_by_gone_ == 0 || (size > few && used_by_gone_ * times < size)) {
        return std::nullopt;
    }
    used_bits out;
    for_each_in_no_order([&out](const rule& r) { out.add(r); });
    groups_.for_each([&out](const flow::bucket_group& g) { out.add(g); });
    return out;
}

// What entries of caches did that are stale now may have been written by rules that are gone: those
// count once more.
void bridge_flows::publish_less(const std::optional<used_bits>& left, std::vector<heir> heirs)
{
    if (left) {
        used_.read = left->read;
    }
    publish(std::move(heirs));
    if (left) {
        used_.written = left->written;
        used_by_gone_ = 0;
    }
}

void bridge_flows::set_ports(std::shared_ptr<const flow::port_numbers> ports)
{
    ports_ = std::move(ports);
    changes_.add_all();
    publish({});
}

void bridge_flows::set_options(std::shared_ptr<const flow::option_map> options)
{
    const auto stays = [&options](const flow::option& o) {
        return options && options->at(o.index) != nullptr;
    };
    if (options_ && !std::ranges::all_of(options_->all(), stays)) {
        commits_ = next_commit();
    }
    options_ = std::move(options);
    names_.set_options(options_ ? std::make_shared<const option_names>(*options_) : nullptr);
    changes_.add_all();
    publish({});
}

std::unique_ptr<const flow::pipeline> bridge_flows::pipeline() const
{
    return make_pipeline();
}

std::unique_ptr<flow::pipeline> bridge_flows::make_pipeline() const
{
    auto made = std::make_unique<flow::pipeline>();
    made->tables = tables_;
    made->hidden = hidden_;
    made->groups = groups_;
    made->meters = meters_;
    made->ports = ports_;
    made->options = options_;
    made->guarded = guarded_ports(stages_, *ports_);
    flow::action_uses uses = used_.read;
    uses.add(hidden_used_.read);
    uses.make_layouts(*made);
    made->version = next_version();
    return made;
}

void bridge_flows::publish(std::vector<heir> heirs)
{
    std::unique_ptr<flow::pipeline> next;
    rule_ptr switching = hidden_.size() == 0 ? only_switching_rule() : nullptr;
    if (switching) {
        changes_.add_all();
    } else {
        next = make_pipeline();
        flow::key written = used_.written;
        for (std::size_t i = 0; i < flow::key_words; ++i) {
            written.words[i] |= hidden_used_.written.words[i];
        }
        changes_.tell(*next, written);
    }
    live_->current.store(next.get(), std::memory_order_release);
    count_switched(); // for the one that was there until now
    switching_ = std::move(switching);
    std::unique_ptr<const flow::pipeline> old = std::exchange(current_, std::move(next));
    if (!old && heirs.empty()) {
        return;
    }
    engine_.rcu().synchronize();
    retired_.add(std::move(old), std::move(heirs));
}

flow_spec spec_of(const rule& r)
{
    const flow::rule_settings& s = r.settings();
    flow_spec out;
    out.table = s.table;
    out.priority = s.priority;
    out.cookie = s.cookie;
    out.idle_timeout = s.idle_timeout;
    out.hard_timeout = s.hard_timeout;
    out.importance = s.importance;
    out.flags.send_flow_rem = has(s.flags, flow::rule_flags::send_removed);
    out.flags.no_packet_counts = has(s.flags, flow::rule_flags::no_packet_counts);
    out.flags.no_byte_counts = has(s.flags, flow::rule_flags::no_byte_counts);
    out.match = r.match();
    out.actions = r.actions();
    return out;
}

void bridge_flows::for_each(const flow_spec& filter,
                            const std::function<void(const rule&)>& visit) const
{
    auto rules = chosen(tables_, filter, false);
    std::stable_sort(rules.begin(), rules.end(), [](const rule_ptr& a, const rule_ptr& b) {
        return a->table() != b->table() ? a->table() < b->table() : a->priority() > b->priority();
    });
    for (const rule_ptr& r : rules) {
        visit(*r);
    }
}

void bridge_flows::for_each_in_no_order(const std::function<void(const rule&)>& visit) const
{
    flow_spec all;
    all.table = flow::all_tables;
    for_each_table(tables_, all, [&visit](const classifier& rules) { rules.for_each(visit); });
}

void bridge_flows::look()
{
    const flow::instant t = time();
    std::vector<rule_ptr> left;
    std::vector<rule_ptr> over;
    for (const rule_ptr& r : timed_) {
        const classifier* const rules = tables_.find(r->table());
        if (rules == nullptr || rules->find_exact(r->match(), r->priority()) != r.get()) {
            continue; // removed, or another's place
        }
        const auto& s = r->settings();
        // Seconds are counted whole, and what workers counted comes home later: not a moment early.
        const bool idle =
            s.idle_timeout != 0 && t - r->last_used() > std::chrono::seconds{s.idle_timeout};
        const bool hard =
            s.hard_timeout != 0 && t - s.created > std::chrono::seconds{s.hard_timeout};
        (idle || hard ? over : left).push_back(r);
    }
    timed_ = std::move(left);
    if (over.empty()) {
        return;
    }
    for (const rule_ptr& r : over) {
        tables_.own(r->table()).erase(*r);
        changes_.add(*r);
        used_by_gone_ += uses_bits(r->actions());
    }
    so_far_.expired += over.size();
    commits_ = next_commit();
    if (keeper_) {
        (void)keeper_({tables_, over, groups_, {}, meters_, {}, names_});
    }
    publish_less(used_now(), {});
}

} // namespace strait::control
