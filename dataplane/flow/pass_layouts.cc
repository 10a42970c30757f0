// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/flow/pass_layouts.hh"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

namespace strait::flow {

namespace {

void add_bits(const key& from, key& to)
{
    for (std::size_t i = 0; i < key_words; ++i) {
        to.words[i] |= from.words[i];
    }
}

void need(key& bits, field f)
{
    bits.set(f, ~wide{});
}
void need(key& bits, const subfield& s)
{
    bits.set(s.of, ~wide{}, s.mask());
}
// Whether there is a tag, and what comes up when one goes.
void need_tags(key& bits)
{
    need(bits, field::vlan_tci);
    need(bits, field::inner_vlan_tci);
}

// Where the one may be looked at in place of the other, so may the other.
void share_with_connection(key& bits)
{
    using enum field;
    constexpr auto pairs = std::to_array<std::pair<field, field>>({{nw_proto, ct_nw_proto},
                                                                   {nw_src, ct_nw_src},
                                                                   {nw_dst, ct_nw_dst},
                                                                   {ipv6_src, ct_ipv6_src},
                                                                   {ipv6_dst, ct_ipv6_dst},
                                                                   {tp_src, ct_tp_src},
                                                                   {tp_dst, ct_tp_dst}});
    for (const auto& [own, connection] : pairs) {
        const wide either = bits.get(own) | bits.get(connection);
        bits.set(own, either);
        bits.set(connection, either);
    }
    need(bits, eth_type);
    need(bits, ct_nw_proto);
}

} // namespace

// `later`: of actions in an action set, which are done when the last table is behind.
struct action_uses::reader {
    table_id table;
    uses& here;
    uses& later;

    void operator()(const output& a) const
    {
        if (a.port == ports::table) {
            here.leads_to.set(0);
        }
    }
    void operator()(const output_field& a) const { need(here.read, a.port); }
    void operator()(const set_field& a) const { tags_if(a.of); }
    void operator()(const move_field& a) const
    {
        need(here.read, a.from);
        tags_if(a.to.of);
    }
    void operator()(const push_vlan&) const { need_tags(here.read); }
    void operator()(const pop_vlan&) const { need_tags(here.read); }
    void operator()(const dec_ttl&) const
    {
        need(here.read, field::eth_type);
        need(here.read, field::nw_ttl);
    }
    void operator()(const resubmit& a) const
    {
        if (const table_id to = a.table.value_or(table); to != all_tables) {
            here.leads_to.set(to);
        }
        here.by_connection |= a.by_connection;
    }
    void operator()(const goto_table& a) const { here.leads_to.set(a.table); }
    void operator()(const clear_actions&) const {}
    void operator()(const set_queue&) const {}
    void operator()(const pop_queue&) const {}
    void operator()(const enqueue&) const {}
    void operator()(const group&) const {}
    void operator()(const meter&) const {}
    void operator()(const conjunction&) const {}
    void operator()(const check_pkt_larger& a) const { tags_if(a.to.of); }
    void operator()(const stack_push& a) const { need(here.read, a.from); }
    void operator()(const stack_pop& a) const { tags_if(a.to.of); }
    void operator()(const exit_processing&) const {}
    void operator()(const note&) const {}
    void operator()(const deny&) const {}
    void operator()(const ct_clear&) const {}
    void operator()(const clone& a) const { add(table, a.actions, here, later); }
    void operator()(const write_actions& a) const { add(all_tables, a.actions, later, later); }
    void operator()(const ct& a) const
    {
        if (const auto* const zone = std::get_if<subfield>(&a.zone)) {
            need(here.read, *zone);
        }
        if (a.table) {
            here.goes_on.set(*a.table);
        }
        add(table, a.exec, here, later);
    }

private:
    void tags_if(field f) const
    {
        if (f == field::vlan_tci) {
            need_tags(here.read);
        }
    }
};

void action_uses::add(table_id table, const action_list& actions, uses& here, uses& later)
{
    for (const action& a : actions) {
        std::visit(reader{table, here, later}, a.is);
    }
}

void action_uses::add(table_id table, const action_list& actions)
{
    if (tables_.size() <= table) {
        tables_.resize(std::size_t{table} + 1);
    }
    add(table, actions, tables_[table], everywhere_);
}

void action_uses::add(const action_uses& others)
{
    tables_.resize(std::max(tables_.size(), others.tables_.size()));
    const auto add_one = [](const uses& from, uses& to) {
        add_bits(from.read, to.read);
        to.leads_to |= from.leads_to;
        to.goes_on |= from.goes_on;
        to.by_connection |= from.by_connection;
    };
    for (std::size_t i = 0; i < others.tables_.size(); ++i) {
        add_one(others.tables_[i], tables_[i]);
    }
    add_one(others.everywhere_, everywhere_);
}

void action_uses::add_everywhere(const action_list& actions)
{
    add(all_tables, actions, everywhere_, everywhere_);
}

void action_uses::add_everywhere(const key& bits)
{
    add_bits(bits, everywhere_.read);
}

action_uses::table_set action_uses::reached_from(table_id first) const
{
    table_set reached = everywhere_.leads_to;
    reached.set(first);
    for (table_set seen; seen != reached;) {
        const table_set fresh = reached & ~seen;
        seen = reached;
        for (std::size_t i = 0; i < tables_.size(); ++i) {
            if (fresh.test(i)) {
                reached |= tables_[i].leads_to;
            }
        }
    }
    return reached;
}

action_uses::table_set action_uses::begins() const
{
    table_set out = everywhere_.goes_on;
    for (const uses& one : tables_) {
        out |= one.goes_on;
    }
    return out;
}

key_layout action_uses::layout_of(const pipeline& p, table_id first, bool later) const
{
    const table_set reached = reached_from(first);
    key matched;
    key read = everywhere_.read;
    bool by_connection = everywhere_.by_connection;
    for (std::size_t i = 0; i < reached.size(); ++i) {
        if (!reached.test(i)) {
            continue;
        }
        if (const classifier* const rules = p.find(static_cast<table_id>(i))) {
            add_bits(rules->union_mask(), matched);
        }
        if (i < tables_.size()) {
            add_bits(tables_[i].read, read);
            by_connection |= tables_[i].by_connection;
        }
    }
    if (by_connection) {
        add_bits(matched, read);
        share_with_connection(read);
    }
    key_layout out = later ? make_later_layout(matched, read) : make_layout(matched, read);
    out.tables = reached;
    return out;
}

void action_uses::make_layouts(pipeline& p) const
{
    p.layout = layout_of(p, 0, false);
    p.later.clear();
    for (const table_id table : {first_of_row, first_table(stage::acl_to)}) {
        if (p.find(table) != nullptr) {
            p.later.push_back({table, layout_of(p, table, false)});
        }
    }
    const table_set first = begins();
    for (std::size_t i = 0; i < first.size(); ++i) {
        if (first.test(i)) {
            const auto table = static_cast<table_id>(i);
            p.later.push_back({table, layout_of(p, table, true)});
        }
    }
}

} // namespace strait::flow
