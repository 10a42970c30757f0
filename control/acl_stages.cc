// SPDX-License-Identifier: BSD-3-Clause
// The tables of a stage. Where a port's sets are stateful, its packets are tracked in its zone, and
// go on by what is known of their connection: replies pass, and what a connection was begun by, or
// is to be, meets the rules, whose verdict is carried out by the state of the connection. Rules are
// looked at for the first time behind tracking: the pass before has one entry a port.
#include "control/acl_stages.hh"

#include "dataplane/conntrack/request.hh"
#include "dataplane/ip.hh"
#include "dataplane/parse.hh"

#include <array>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace strait::control {

namespace {

using dataplane::drop_reason;
using flow::action;
using flow::action_list;
using flow::field;
using flow::match;
using flow::priority_t;
using flow::rule;
using flow::table_id;
namespace state = conntrack::state;

// Within a stage.
enum class place : std::uint8_t { entry, tracked, rules, allow, deny, stateless };

// What rules that are of no set say in a trace; their cookies are no port's.
enum class built_in : std::uint8_t {
    silent,
    reply,
    related,
    invalid,
    cut,
    arp,
    neighbour,
    nothing_allows,
    count
};
constexpr std::array<std::string_view, static_cast<std::size_t>(built_in::count)> sentences{
    "",
    "a reply of a connection that was allowed",
    "related to a connection that was allowed",
    "it belongs to no connection, and begins none",
    "of a connection that is not allowed any more",
    "ARP is allowed if no rule says otherwise",
    "neighbour discovery is allowed if no rule says otherwise",
    "no rule allows it",
};

constexpr unsigned port_shift = 48;
constexpr unsigned id_shift = 16;

constexpr std::uint64_t cookie_of(built_in what) noexcept
{
    return static_cast<std::uint64_t>(what);
}
constexpr std::uint64_t cookie_of(flow::port_number port, std::uint32_t id) noexcept
{
    return std::uint64_t{port} << port_shift | std::uint64_t{id} << id_shift;
}

// Priorities of rules of no set, in the tables that have both.
constexpr priority_t by_default = 1;
constexpr priority_t allowed_by_default = 2;
constexpr priority_t first_rule = 65'000;

// ICMP that is no connection's, and neither a question, an answer nor an error.
constexpr auto icmpv6_of_links =
    std::to_array<std::uint8_t>({130, 131, 132, 133, 134, 135, 136, 137, 143, 151, 152, 153});
constexpr auto icmp_of_links = std::to_array<std::uint8_t>({9, 10});
// What a host sends and is sent for neighbour discovery and multicast listeners (RFC 4861, 3810):
// routers' part is not among it.
constexpr auto sent_by_hosts = std::to_array<std::uint8_t>({131, 132, 133, 135, 136, 143});
constexpr auto sent_to_hosts = std::to_array<std::uint8_t>({130, 134, 135, 136});

match of_port(flow::port_number number)
{
    match out;
    out.require(field::in_port, std::uint64_t{number});
    return out;
}

match of_type(std::uint16_t type)
{
    match out;
    out.require(field::eth_type, std::uint64_t{type});
    return out;
}

match icmp(bool ipv6, std::uint8_t type)
{
    match out = of_type(ipv6 ? dataplane::ethertype_ipv6 : dataplane::ethertype_ipv4);
    out.require(field::nw_proto,
                std::uint64_t{ipv6 ? dataplane::protocol_icmpv6 : dataplane::protocol_icmp});
    out.require(field::tp_src, std::uint64_t{type});
    return out;
}

// With these flags, and without those.
match in_state(match m, std::uint32_t with, std::uint32_t without)
{
    m.require(field::ct_state, std::uint64_t{with}, std::uint64_t{with | without});
    return m;
}
match with_mark(match m, std::uint32_t mark)
{
    m.require(field::ct_mark, std::uint64_t{mark}, std::uint64_t{acl_mark_blocked});
    return m;
}

// Of a connection that the port's guest began, or of one that it did not.
match begun_by(match m, bool guest)
{
    m.require(field::ct_mark, std::uint64_t{guest ? acl_mark_from : 0},
              std::uint64_t{acl_mark_from});
    return m;
}

action set_mark(std::uint32_t mark, std::uint32_t which = acl_mark_blocked)
{
    return {flow::set_field{field::ct_mark, std::uint64_t{mark}, std::uint64_t{which}}};
}

class compiler {
public:
    explicit compiler(flow::stage which) : stage_{which}, sends_{which == flow::stage::acl_from}
    {
        // Not one at a time: 100 ports may share them.
        allows_ = shared({{flow::goto_table{table(place::allow)}}});
        denies_ = shared({{flow::goto_table{table(place::deny)}}});
        passes_ = shared({{flow::ct_clear{}}, on()});
        drops_ = shared({denied()});
    }

    void add(const acl_port& p)
    {
        if (p.sets.empty()) {
            return;
        }
        out_.ports.push_back(p.number);
        const bool stateful = p.sets.front()->stateful;
        stateful_ = stateful_ || stateful;
        stateless_ = stateless_ || !stateful;
        add_entry(p, stateful);
        std::size_t before = 0;
        for (const auto& set : p.sets) {
            for (std::size_t i = 0; i < set->rules.size(); ++i) {
                if (set->rules[i].sends == sends_) {
                    add_rule(p, *set, i, static_cast<priority_t>(first_rule - before++), stateful);
                }
            }
        }
        if (stateful) {
            add_verdicts(p);
        }
    }

    hidden_stage finish()
    {
        if (stateful_) {
            add_states();
            add_defaults(place::rules, allows_, denies_);
            put(place::allow, by_default, built_in::silent, {}, passes_);
            put(place::deny, by_default, built_in::silent, {}, drops_);
        }
        if (stateless_) {
            add_defaults(place::stateless, passes_, drops_);
        }
        out_.describe = [names = std::move(names_)](const rule& r) -> std::string {
            if (const auto id = acl_rule_of(r)) {
                return names.at(id);
            }
            return std::string{sentences.at(r.cookie() & 0xff)};
        };
        return std::move(out_);
    }

private:
    using shared_actions = std::shared_ptr<const action_list>;
    static shared_actions shared(action_list actions)
    {
        return std::make_shared<const action_list>(std::move(actions));
    }
    [[nodiscard]] table_id table(place p) const
    {
        return static_cast<table_id>(first_table(stage_) + static_cast<std::size_t>(p));
    }
    // Where what passes goes.
    [[nodiscard]] action on() const
    {
        return sends_ ? action{flow::goto_table{behind(stage_)}}
                      : action{flow::output{flow::ports::in_port}};
    }
    [[nodiscard]] action denied() const
    {
        return {flow::deny{sends_ ? drop_reason::acl_from_denied : drop_reason::acl_to_denied}};
    }
    [[nodiscard]] static action track(const acl_port& p, bool commit,
                                      std::optional<table_id> then = {}, action_list exec = {})
    {
        flow::ct out;
        out.commit = commit;
        out.zone = static_cast<std::uint16_t>(to_index(p.index));
        out.of_port = true;
        out.table = then;
        out.exec = std::move(exec);
        return {out};
    }

    void put(place where, priority_t priority, std::uint64_t cookie, const match& m,
             shared_actions actions)
    {
        out_.rules.push_back(
            rule::make({.cookie = cookie, .priority = priority, .table = table(where)}, m,
                       std::move(actions)));
    }
    void put(place where, priority_t priority, built_in what, const match& m,
             shared_actions actions)
    {
        put(where, priority, cookie_of(what), m, std::move(actions));
    }

    void add_entry(const acl_port& p, bool stateful)
    {
        put(place::entry, by_default, built_in::silent, of_port(p.number),
            shared({stateful ? track(p, false, table(place::tracked))
                             : action{flow::goto_table{table(place::stateless)}}}));
    }

    void add_rule(const acl_port& p, const acl_set& set, std::size_t number, priority_t priority,
                  bool stateful)
    {
        const acl_rule& r = set.rules[number];
        const std::uint32_t id = set.ids[number];
        names_.try_emplace(id, "acl " + set.name + ", rule " + std::to_string(number + 1) + ": " +
                                   r.text);
        const shared_actions& stateless = r.allows ? passes_ : drops_;
        const shared_actions& verdict = r.allows ? allows_ : denies_;
        for (match m : r.matches) {
            m.require(field::in_port, std::uint64_t{p.number});
            put(stateful ? place::rules : place::stateless, priority, cookie_of(p.number, id), m,
                stateful ? verdict : stateless);
        }
    }

    // By the connection's state: a new one that is allowed is made, one that was cut is one again;
    // one that is not allowed any more is cut, so that replies end, too.
    void add_verdicts(const acl_port& p)
    {
        const match port = of_port(p.number);
        const auto original = [&port](std::uint32_t mark) {
            return with_mark(in_state(port, state::established, state::reply), mark);
        };
        put(place::allow, allowed_by_default, built_in::silent,
            in_state(port, state::fresh, state::invalid),
            shared(
                {track(p, true, {}, {set_mark(sends_ ? acl_mark_from : 0, acl_mark_from)}), on()}));
        put(place::allow, allowed_by_default, built_in::silent, original(acl_mark_blocked),
            shared({track(p, true, {}, {set_mark(0)}), on()}));
        put(place::deny, allowed_by_default, built_in::silent, original(0),
            shared({track(p, true, {}, {set_mark(acl_mark_blocked)}), denied()}));
    }

    // Behind tracking.
    void add_states()
    {
        constexpr priority_t of_links = 5;
        constexpr priority_t invalid = 4;
        constexpr priority_t known = 3;
        const shared_actions to_rules = shared({{flow::goto_table{table(place::rules)}}});
        for (const std::uint8_t type : icmpv6_of_links) {
            put(place::tracked, of_links, built_in::silent, icmp(true, type), to_rules);
        }
        for (const std::uint8_t type : icmp_of_links) {
            put(place::tracked, of_links, built_in::silent, icmp(false, type), to_rules);
        }
        const shared_actions drops_invalid = shared(
            {{flow::deny{sends_ ? drop_reason::acl_from_invalid : drop_reason::acl_to_invalid}}});
        for (const auto type : {dataplane::ethertype_ipv4, dataplane::ethertype_ipv6}) {
            put(place::tracked, invalid, built_in::invalid,
                in_state(of_type(type), state::invalid, 0), drops_invalid);
        }
        const match reply = in_state({}, state::established | state::reply, 0);
        const match related = in_state({}, state::related, state::fresh | state::established);
        const match original = in_state({}, state::established, state::reply);
        // Who answers in the direction that a connection was begun in is nobody's peer.
        put(place::tracked, known, built_in::invalid, begun_by(original, !sends_), drops_invalid);
        put(place::tracked, known, built_in::invalid, begun_by(reply, sends_), drops_invalid);
        put(place::tracked, known, built_in::reply, begun_by(with_mark(reply, 0), !sends_),
            passes_);
        put(place::tracked, known, built_in::cut,
            begun_by(with_mark(reply, acl_mark_blocked), !sends_), drops_);
        // Rules see no ports of fragments, and would cut what they belong to.
        match fragment = begun_by(with_mark(original, 0), sends_);
        fragment.require(field::nw_frag, flow::frag_any, flow::frag_any);
        for (const auto type : {dataplane::ethertype_ipv4, dataplane::ethertype_ipv6}) {
            match of_family = fragment;
            of_family.require(field::eth_type, type);
            put(place::tracked, known, built_in::reply, of_family, passes_);
        }
        put(place::tracked, known, built_in::related, with_mark(related, 0), passes_);
        put(place::tracked, known, built_in::cut, with_mark(related, acl_mark_blocked), drops_);
        put(place::tracked, by_default, built_in::silent, {}, to_rules);
    }

    // Where no rule matches.
    void add_defaults(place where, const shared_actions& allow, const shared_actions& deny)
    {
        put(where, allowed_by_default, built_in::arp, of_type(dataplane::ethertype_arp), allow);
        const std::span<const std::uint8_t> types =
            sends_ ? std::span<const std::uint8_t>{sent_by_hosts} : sent_to_hosts;
        for (const std::uint8_t type : types) {
            put(where, allowed_by_default, built_in::neighbour, icmp(true, type), allow);
        }
        put(where, by_default, built_in::nothing_allows, {}, deny);
    }

    flow::stage stage_;
    bool sends_;
    shared_actions allows_;
    shared_actions denies_;
    shared_actions passes_;
    shared_actions drops_;
    bool stateful_{false};
    bool stateless_{false};
    hidden_stage out_;
    std::unordered_map<std::uint32_t, std::string> names_; // by id
};

} // namespace

hidden_stage compile_acls(std::span<const acl_port> ports, flow::stage which)
{
    compiler c{which};
    for (const acl_port& p : ports) {
        c.add(p);
    }
    return c.finish();
}

std::uint32_t acl_rule_of(const rule& r) noexcept
{
    return static_cast<std::uint32_t>(r.cookie() >> id_shift);
}

} // namespace strait::control
