// SPDX-License-Identifier: BSD-3-Clause
// Bursts among flows: tables, translation, cache and execution together against a plain walk that
// reads each frame anew after each action, on random rules and frames, with rules that change.
#include "dataplane/flow/forward.hh"

#include "dataplane/flow/rewrite.hh"
#include "dataplane/flow/rule_changes.hh"
#include "dataplane/parse.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <vector>

#include <rte_cycles.h>

namespace strait::flow {
namespace {

using dataplane::be16;
using dataplane::burst;
using dataplane::packet_slot;
using dataplane::port_index;
using dataplane::to_index;
using bytes = std::vector<std::byte>;
using sent = std::map<std::size_t, std::vector<bytes>>; // by port

constexpr std::size_t port_count = 5; // numbers 1 to 5, at these indices

// A frame in a slot, as a guest's: its head private, the rest its memory.
void put(packet_slot& p, const bytes& frame, burst& b)
{
    static_cast<dataplane::packet&>(p) = {};
    const std::size_t head = std::min(frame.size(), dataplane::head_copy);
    p.data = p.head.data();
    std::memcpy(p.data, frame.data(), head);
    p.length = static_cast<std::uint32_t>(frame.size());
    p.head_length = static_cast<std::uint16_t>(head);
    p.segments = b.segments.data() + b.segments_used;
    if (head < frame.size()) {
        b.segments[b.segments_used++] =
            dataplane::guest_span{const_cast<std::byte*>(frame.data()) + head, frame.size() - head};
        p.segment_count = 1;
    }
}
bytes bytes_of(const dataplane::packet& p)
{
    bytes out(p.length);
    dataplane::copy_frame(p, 0, out.data(), out.size());
    return out;
}

struct plain_rule {
    table_id table;
    priority_t priority;
    flow::match match;
    action_list actions;
    std::uint64_t packets{0};

    [[nodiscard]] bool is(const plain_rule& other) const
    {
        return table == other.table && priority == other.priority && match == other.match &&
               actions == other.actions;
    }
};

// The plain walk: no cache, no program, no key that is kept.
class plain_walk {
public:
    plain_walk(std::vector<plain_rule>& rules, const dataplane::snapshot& config)
        : rules_{rules}, config_{config}, b_{new burst}
    {}

    sent send(std::size_t port, const bytes& frame)
    {
        out_.clear();
        b_->clear();
        packet_slot& p = b_->slots[0];
        put(p, frame, *b_);
        state s{&p, {}};
        s.meta.set(field::in_port, port);
        exited_ = false;
        stack_.clear();
        set_.clear();
        table(0, s);
        if (!exited_) {
            action_set(s);
        }
        return out_;
    }

private:
    struct state {
        packet_slot* p;
        key meta; // registers and in_port
    };

    key read(const state& s, header_layout& at) const
    {
        key k = s.meta;
        (void)extract(*s.p, k, at);
        return k;
    }
    void table(table_id id, state& s)
    {
        header_layout at;
        key k = read(s, at);
        if (k.number(field::nw_frag) != 0) {
            k.set(field::tp_src, 0);
            k.set(field::tp_dst, 0);
        }
        plain_rule* best = nullptr;
        for (plain_rule& r : rules_) {
            if (r.table == id && r.match.matches(k) &&
                (best == nullptr || r.priority > best->priority)) {
                best = &r;
            }
        }
        if (best != nullptr) {
            ++best->packets;
            all(best->actions, id, s);
        }
    }
    void all(const action_list& actions, table_id id, state& s)
    {
        for (const action& a : actions) {
            if (exited_ || !one(a, id, s)) {
                return;
            }
        }
    }
    void send_to(std::uint64_t port, const state& s, std::uint32_t max_length = 0)
    {
        if (port >= 1 && port <= port_count && port != s.meta.number(field::in_port)) {
            out_[port].push_back(cut(bytes_of(*s.p), max_length));
        }
    }
    static bytes cut(bytes frame, std::uint32_t max_length)
    {
        frame.resize(std::min<std::size_t>(frame.size(), max_length == 0 ? ~0U : max_length));
        return frame;
    }
    // On a copy: what comes after is to have the frame as it was.
    void by_switching(const state& s)
    {
        auto room = std::make_unique<burst>();
        const bytes frame = bytes_of(*s.p);
        packet_slot& p = room->slots[0];
        put(p, frame, *room);
        const auto& in = *config_.ports[s.meta.number(field::in_port)];
        dataplane::port_counters counters;
        dataplane::worker_counters worker;
        dataplane::forward_one(p, in, {&config_, 1, &worker}, counters, lists_);
        for (const port_index port : lists_.ports()) {
            if (dataplane::admit(lists_.packets(port), *config_.ports[to_index(port)], counters)
                    .count > 0) {
                out_[to_index(port)].push_back(bytes_of(p));
            }
        }
        lists_.clear();
    }
    // The last of each kind, in OpenFlow's order; of changes all.
    void action_set(state& s)
    {
        const action_list all = set_;
        const auto last = [&](auto&& is) {
            const action* found = nullptr;
            for (const action& a : all) {
                found = is(a) ? &a : found;
            }
            return found == nullptr || exited_ || one(*found, 0, s);
        };
        const auto leaves = [](const action& a) {
            return std::holds_alternative<output>(a.is) ||
                   std::holds_alternative<output_field>(a.is);
        };
        const auto pops = [](const action& a) { return std::holds_alternative<pop_vlan>(a.is); };
        const auto pushes = [](const action& a) { return std::holds_alternative<push_vlan>(a.is); };
        const auto decrements = [](const action& a) {
            return std::holds_alternative<dec_ttl>(a.is);
        };
        in_set_ = true;
        if (last(pops) && last(pushes) && last(decrements)) {
            for (const action& a : all) {
                if (!leaves(a) && !pops(a) && !pushes(a) && !decrements(a)) {
                    (void)one(a, 0, s);
                }
            }
            (void)last(leaves);
        }
        in_set_ = false;
    }
    void set(field f, wide value, wide mask, state& s)
    {
        header_layout at;
        const key k = read(s, at);
        if (f == field::vlan_tci) {
            const auto before = k.number(f);
            const auto after = (before & ~mask.low) | (value.low & mask.low);
            if ((after & vlan_present) == 0) {
                (void)remove_tag(*s.p, at);
            } else if ((before & vlan_present) == 0) {
                (void)insert_tag(*s.p, at, 0x8100, static_cast<std::uint16_t>(after));
            } else {
                write(f, value, mask, s, at);
            }
        } else if (place_of(f).word >= place_of(field::metadata).word) {
            s.meta.set(f, value, mask);
        } else {
            write(f, value, mask, s, at);
        }
    }
    static void write(field f, wide value, wide mask, state& s, const header_layout& at)
    {
        key v;
        key m;
        v.set(f, value, mask);
        m.set(f, ~wide{}, mask);
        (void)set_headers(*s.p, at, v, m);
    }
    bool one(const action& a, table_id id, state& s)
    {
        header_layout at;
        const key k = read(s, at);
        if (const auto* const o = std::get_if<output>(&a.is)) {
            if (o->port == ports::normal) {
                by_switching(s);
            } else if (o->port == ports::flood) {
                for (std::uint64_t port = 1; port <= port_count; ++port) {
                    send_to(port, s);
                }
            } else if (o->port == ports::in_port) {
                out_[s.meta.number(field::in_port)].push_back(cut(bytes_of(*s.p), o->max_length));
            } else {
                send_to(o->port, s, o->max_length);
            }
        } else if (const auto* const f = std::get_if<output_field>(&a.is)) {
            send_to(f->port.read(k).low, s);
        } else if (const auto* const t = std::get_if<set_field>(&a.is)) {
            set(t->of, t->value, t->mask, s);
        } else if (const auto* const m = std::get_if<move_field>(&a.is)) {
            set(m->to.of, m->from.read(k) << m->to.first, m->to.mask(), s);
        } else if (const auto* const push = std::get_if<push_vlan>(&a.is)) {
            (void)insert_tag(*s.p, at, push->tpid, vlan_present);
        } else if (std::holds_alternative<pop_vlan>(a.is)) {
            (void)remove_tag(*s.p, at);
        } else if (std::holds_alternative<dec_ttl>(a.is)) {
            const auto type = k.number(field::eth_type);
            if (type == 0x0800 || type == 0x86dd) {
                return decrement_ttl(*s.p, at);
            }
        } else if (const auto* const r = std::get_if<resubmit>(&a.is)) {
            table(r->table.value_or(id), s);
        } else if (const auto* const g = std::get_if<goto_table>(&a.is)) {
            table(g->table, s);
        } else if (const auto* const c = std::get_if<check_pkt_larger>(&a.is)) {
            set(c->to.of, wide{s.p->length > c->length ? 1U : 0U} << c->to.first, c->to.mask(), s);
        } else if (const auto* const other = std::get_if<clone>(&a.is)) {
            auto room = std::make_unique<burst>();
            const bytes frame = bytes_of(*s.p);
            put(room->slots[0], frame, *room);
            state copy{&room->slots[0], s.meta};
            const auto stack = stack_;
            const action_list set = set_;
            all(other->actions, id, copy);
            if (!exited_ && !in_set_) {
                action_set(copy);
            }
            exited_ = false;
            stack_ = stack;
            set_ = set;
        } else if (const auto* const put_there = std::get_if<stack_push>(&a.is)) {
            stack_.push_back(put_there->from.read(k));
        } else if (const auto* const taken = std::get_if<stack_pop>(&a.is)) {
            if (!stack_.empty()) {
                const wide v = stack_.back();
                stack_.pop_back();
                set(taken->to.of, v << taken->to.first, taken->to.mask(), s);
            }
        } else if (const auto* const later = std::get_if<write_actions>(&a.is)) {
            set_.insert(set_.end(), later->actions.begin(), later->actions.end());
        } else if (std::holds_alternative<clear_actions>(a.is)) {
            set_.clear();
        } else if (std::holds_alternative<exit_processing>(a.is)) {
            exited_ = true;
            return false;
        }
        return true;
    }

    std::vector<plain_rule>& rules_;
    const dataplane::snapshot& config_; // with MACs of its own
    std::unique_ptr<burst> b_;
    dataplane::output_lists lists_;
    std::vector<wide> stack_;
    action_list set_;
    sent out_;
    bool exited_{false};
    bool in_set_{false};
};

class random_flows {
public:
    // `writing`: actions change headers, too.
    random_flows(std::uint64_t seed, bool writing) : random_{seed}, writing_{writing} {}

    std::uint64_t upto(std::uint64_t n)
    {
        return std::uniform_int_distribution<std::uint64_t>{0, n}(random_);
    }
    bool one_in(std::uint64_t n) { return upto(n - 1) == 0; }
    template <typename T>
    T of(std::initializer_list<T> all)
    {
        return all.begin()[upto(all.size() - 1)];
    }

    bytes frame()
    {
        bytes f(14);
        const auto mac = [&](std::size_t at) {
            f[at] = std::byte{2};
            f[at + 5] = static_cast<std::byte>(upto(1));
        };
        mac(0);
        mac(6);
        std::size_t type_at = 12;
        const auto type = [&](std::uint16_t t) {
            const be16 value{t};
            std::memcpy(f.data() + type_at, &value, 2);
        };
        for (std::uint64_t tags = of<std::uint64_t>({0, 0, 1, 2}); tags > 0; --tags) {
            type(0x8100);
            f.resize(f.size() + 4);
            f[type_at + 2] = static_cast<std::byte>(of({0, 0x20, 0x60, 0x70}));
            f[type_at + 3] = static_cast<std::byte>(upto(2));
            type_at += 4;
        }
        if (one_in(8)) {
            type(0x88b5);
            f.resize(60);
            return f;
        }
        const bool six = one_in(3);
        type(six ? 0x86dd : 0x0800);
        const std::size_t ip = f.size();
        const bool tcp = one_in(2);
        const std::size_t payload = 20 + upto(300);
        f.resize(ip + (six ? 40 : 20) + payload);
        const auto length = [&](std::size_t at, std::size_t value) {
            const be16 v{static_cast<std::uint16_t>(value)};
            std::memcpy(f.data() + at, &v, 2);
        };
        const auto ttl = static_cast<std::byte>(of({0, 1, 2, 3, 64}));
        const auto protocol = static_cast<std::byte>(tcp ? 6 : 17);
        if (six) {
            f[ip] = std::byte{0x60};
            f[ip + 1] = static_cast<std::byte>(upto(3) << 4);
            f[ip + 3] = static_cast<std::byte>(upto(1));
            length(ip + 4, payload);
            f[ip + 6] = protocol;
            f[ip + 7] = ttl;
            f[ip + 23] = static_cast<std::byte>(upto(3));
            f[ip + 39] = static_cast<std::byte>(upto(3));
        } else {
            f[ip] = std::byte{0x45};
            f[ip + 1] = static_cast<std::byte>(upto(3));
            length(ip + 2, 20 + payload);
            f[ip + 6] = one_in(6) ? std::byte{0x20} : std::byte{0};
            f[ip + 8] = ttl;
            f[ip + 9] = protocol;
            f[ip + 12] = std::byte{10};
            f[ip + 15] = static_cast<std::byte>(upto(3));
            f[ip + 16] = std::byte{10};
            f[ip + 19] = static_cast<std::byte>(upto(3));
        }
        const std::size_t l4 = f.size() - payload;
        f[l4 + 1] = static_cast<std::byte>(upto(2));
        f[l4 + 3] = static_cast<std::byte>(upto(2));
        if (tcp) {
            f[l4 + 12] = std::byte{0x50};
            f[l4 + 13] = static_cast<std::byte>(of({2, 16, 18, 17}));
        } else {
            length(l4 + 4, payload);
        }
        return f;
    }

    flow::match match(table_id table)
    {
        flow::match m;
        if (one_in(3)) {
            m.require(field::in_port, 1 + upto(port_count - 1));
        }
        if (one_in(3)) {
            m.require(field::eth_dst, 0x020000000000 + upto(1),
                      wide{of<std::uint64_t>({0xffffffffffff, 1})});
        }
        if (one_in(4)) {
            m.require(field::vlan_tci, vlan_present | upto(2),
                      of<std::uint64_t>({0x1fff, 0x1001, 0x1000, 0xffff}));
        }
        if (one_in(3)) {
            m.require(field::eth_type, 0x0800);
            if (one_in(2)) {
                m.require(field::nw_dst, 0x0a000000 + upto(3),
                          of<std::uint64_t>({0xffffffff, 0xff000003, 0xfffffffe, 2}));
            }
            if (one_in(3)) {
                m.require(field::nw_src, 0x0a000000 + upto(3));
            }
            if (one_in(4)) {
                m.require(field::nw_ttl, of<std::uint64_t>({1, 2, 64}),
                          of<std::uint64_t>({0xff, 0x42}));
            }
            if (one_in(5)) {
                m.require(field::nw_tos, upto(3), of<std::uint64_t>({3, 1, 0xff}));
            }
            if (one_in(2)) {
                m.require(field::nw_proto, of<std::uint64_t>({6, 17}));
                if (one_in(2)) {
                    m.require(field::nw_frag, 0);
                }
                if (one_in(2)) {
                    m.require(field::tp_dst, upto(2));
                }
                if (one_in(4)) {
                    m.require(field::tcp_flags, 2, of<std::uint64_t>({2, 0x12, 0xfff}));
                }
            }
        }
        if (m.mask.number(field::eth_type) == 0 && one_in(4)) {
            m.require(field::eth_type, 0x86dd);
            if (one_in(2)) {
                m.require(field::ipv6_dst, upto(3), of<wide>({3, 1, wide::ones(128)}));
            }
            if (one_in(3)) {
                m.require(field::nw_ttl, of<std::uint64_t>({1, 2, 64}));
            }
            if (one_in(3)) {
                m.require(field::ipv6_label, upto(1), wide{1});
            }
            if (one_in(2)) {
                m.require(field::nw_proto, of<std::uint64_t>({6, 17}));
                m.require(field::tp_src, upto(2), of<std::uint64_t>({0xffff, 1}));
            }
        }
        if (one_in(6)) {
            m.require(field::packet_length, upto(1), wide{1});
        }
        if (table != 0 && one_in(2)) {
            m.require(field::reg0, upto(2), of<std::uint64_t>({3, 1, 0xffffffff}));
        }
        if (table != 0 && one_in(5)) {
            m.require(of({field::reg1, field::xreg0, field::xreg1}), upto(3),
                      of<std::uint64_t>({3, 1, 2}));
        }
        if (table != 0 && one_in(8)) {
            m.require(field::xxreg0, wide{upto(3), upto(3)}, of<wide>({{3, 0}, {1, 2}, {0, 3}}));
        }
        return m;
    }

    // What can be set is in all packets that `m` matches.
    action change(const flow::match& m)
    {
        const bool ip = m.mask.number(field::eth_type) != 0;
        const bool ports =
            m.mask.number(field::nw_proto) != 0 && m.mask.number(field::nw_frag) != 0;
        const bool six =
            m.mask.number(field::eth_type) != 0 && m.value.number(field::eth_type) == 0x86dd;
        if (six && writing_ && one_in(3)) {
            return {set_field{field::ipv6_dst, upto(3), of<wide>({3, wide::ones(128)})}};
        }
        switch (writing_ ? upto(12) : of<std::uint64_t>({2, 6, 8, 11})) {
        case 9:
            return {stack_push{subfield{
                of({field::eth_dst, field::nw_dst, field::ipv6_src, field::nw_ttl, field::reg0,
                    field::xreg0, field::tp_dst, field::vlan_tci, field::packet_length,
                    field::nw_tos, field::tcp_flags, field::in_port}),
                0, 8}}};
        case 10:
            return {stack_pop{subfield{of({field::reg0, field::reg1, field::xreg1, field::eth_src,
                                           field::vlan_tci, field::metadata}),
                                       static_cast<std::uint8_t>(upto(8)), 8}}};
        case 11:
            return {set_field{of({field::xxreg0, field::xreg0, field::xreg1}), upto(3),
                              of<wide>({3, 1, wide{0, 3ULL << 32}})}};
        case 0:
            return {set_field{field::eth_dst, 0x020000000000 + upto(1), wide::ones(48)}};
        case 1:
            if (ip && !six) {
                return {set_field{field::nw_dst, 0x0a000000 + upto(3),
                                  of<std::uint64_t>({0xffffffff, 3})}};
            }
            break;
        case 2:
            return {set_field{field::reg0, upto(3), of<std::uint64_t>({3, 1, 0xffffffff})}};
        case 3:
            return {set_field{field::vlan_tci, of<std::uint64_t>({0x1001, 0x1002, 0}),
                              of<std::uint64_t>({0x1fff, 0xffff, 0x1001})}};
        case 4:
            return {push_vlan{of<std::uint16_t>({0x8100, 0x88a8})}};
        case 5:
            return {pop_vlan{}};
        case 6:
            return {dec_ttl{}};
        case 7:
            return {move_field{
                {of({field::eth_src, field::nw_src, field::tp_src, field::nw_ttl, field::vlan_tci}),
                 0, 8},
                {ports ? of({field::reg0, field::eth_dst, field::tp_dst})
                       : of({field::reg0, field::eth_dst}),
                 0, 8}}};
        case 8:
            return {
                check_pkt_larger{static_cast<std::uint16_t>(60 + upto(200)), {field::reg0, 0, 1}}};
        default:
            if (ip) {
                return {set_field{ports ? of({field::tp_dst, field::nw_ttl, field::nw_tos})
                                        : of({field::nw_ttl, field::nw_tos}),
                                  upto(3), wide{3}}};
            }
            break;
        }
        return {set_field{field::reg0, 1, 1}};
    }
    action leave()
    {
        switch (upto(9)) {
        case 9: {
            const auto port = static_cast<port_number>(1 + upto(port_count));
            return {output{upto(3) == 0 ? ports::in_port : port,
                           static_cast<std::uint32_t>(14 + upto(upto(1) == 0 ? 60 : 2000))}};
        }
        case 6:
            return {output{ports::normal}};
        case 7:
            return {output_field{{of({field::eth_dst, field::nw_dst, field::tp_dst, field::nw_ttl,
                                      field::vlan_tci, field::ipv6_dst, field::packet_length}),
                                  0, static_cast<std::uint8_t>(1 + upto(3))}}};
        case 0:
            return {output{ports::flood}};
        case 1:
            return {output{ports::in_port}};
        case 2:
            return {output_field{{field::reg0, 0, 4}}};
        default:
            return {
                output{static_cast<port_number>(1 + upto(port_count))}}; // one that is not there
        }
    }
    action_list actions(table_id table, const flow::match& m, unsigned depth = 0)
    {
        action_list out;
        for (std::uint64_t n = upto(4); n > 0; --n) {
            const auto kind = upto(9);
            if (kind < 4) {
                out.push_back(change(m));
            } else if (kind < 8) {
                out.push_back(leave());
            } else if (kind == 8 && depth < 2) {
                out.push_back({clone{actions(table, m, depth + 1)}});
            } else if (table < 3) {
                out.push_back({resubmit{std::nullopt, static_cast<table_id>(table + 1)}});
            } else if (one_in(3)) {
                out.push_back({exit_processing{}});
            }
        }
        if (depth == 0 && one_in(5)) {
            action_list later;
            for (std::uint64_t n = upto(3); n > 0; --n) {
                later.push_back(one_in(2) ? change(m) : leave());
            }
            out.push_back({write_actions{later}});
        }
        if (depth == 0 && one_in(20)) {
            out.push_back({clear_actions{}});
        }
        if (table < 3 && one_in(3) && depth == 0) {
            out.push_back({goto_table{static_cast<table_id>(table + 1)}});
        }
        return out;
    }
    plain_rule rule(priority_t priority)
    {
        const auto table = static_cast<table_id>(std::max<std::uint64_t>(upto(5), 2) - 2);
        const flow::match m = match(table);
        return {table, priority, m, actions(table, m), 0};
    }

private:
    std::mt19937_64 random_;
    bool writing_;
};

// The bits that actions read: all, so that what rules say is asked for alone.
void read_all(key& k)
{
    for (const field f : {field::eth_type, field::eth_src, field::eth_dst, field::nw_src,
                          field::nw_dst, field::ipv6_src, field::ipv6_dst, field::tp_src,
                          field::tp_dst, field::nw_tos, field::vlan_tci, field::inner_vlan_tci}) {
        k.set(f, ~wide{});
    }
}

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
            }
            c.packets_before = c.made->packets();
            next->tables.own(r.table).insert(c.made);
        }
        key matched;
        for (table_id t = 0; t < 8; ++t) {
            if (const classifier* const c = next->tables.find(t)) {
                for (std::size_t i = 0; i < key_words; ++i) {
                    matched.words[i] |= c->union_mask().words[i];
                }
            }
        }
        key read;
        read_all(read);
        next->layout = make_layout(matched, read);
        next->ports = numbers_;
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
        for (const port_index port : lists_.ports()) {
            const std::size_t i = to_index(port);
            const auto packets = lists_.packets(port);
            const auto kept = dataplane::admit(packets, *config_.ports[i], counters_);
            for (const dataplane::packet* const p : packets.first(kept.count)) {
                sent_[i].push_back(bytes_of(*p));
                // A NIC takes the memory of what goes nowhere else.
                EXPECT_FALSE(taken_.contains(p)) << "sent once more after a NIC took it";
                if (p->destinations <= 1 && p >= burst_->slots.data() &&
                    p < burst_->slots.data() + burst_->slots.size()) {
                    taken_.insert(p);
                }
            }
        }
        if (lists_.ports().size() > 1) { // as a worker does
            for (const port_index port : lists_.ports()) {
                for (dataplane::packet* const p : lists_.packets(port)) {
                    --p->destinations;
                }
            }
        }
        lists_.clear();
    }

    sent send(std::size_t port, const std::vector<bytes>& frames)
    {
        sent_.clear();
        taken_.clear();
        burst_->clear();
        for (const bytes& f : frames) {
            put(burst_->slots[burst_->count++], f, *burst_);
        }
        at_once lists{*this};
        switcher_.forward(*burst_, {*current_,
                                    *config_.ports[port],
                                    {&config_, 1, &worker_},
                                    counters_,
                                    lists_,
                                    lists,
                                    nullptr});
        deliver();
        return sent_;
    }

    // Of a frame, newly translated.
    std::string program_of(std::size_t port, const bytes& frame)
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
    std::uint32_t version_{0xfffffff0}; // there is one behind the last
    switcher switcher_{std::size_t{8} << 20};
    std::unique_ptr<burst> burst_{new burst};
    dataplane::output_lists lists_;
    dataplane::port_counters counters_;
    dataplane::worker_counters worker_;
    sent sent_;
    std::set<const dataplane::packet*> taken_;
};

std::string hexadecimal(const bytes& frame)
{
    std::ostringstream out;
    out << std::hex;
    for (const std::byte b : frame) {
        out.width(2);
        out.fill('0');
        out << std::to_integer<int>(b);
    }
    return out.str();
}

// The beginnings of frames by port.
std::string describe(const sent& all)
{
    constexpr std::size_t shown = 40;
    std::string out;
    for (const auto& [port, frames] : all) {
        for (const bytes& f : frames) {
            out +=
                "\n  " + std::to_string(port) + ": " + std::to_string(f.size()) + " bytes " +
                hexadecimal({f.begin(),
                             f.begin() + static_cast<std::ptrdiff_t>(std::min(f.size(), shown))});
        }
    }
    return out;
}

class random_flows_of_a_bridge : public flows_of_a_bridge,
                                 public ::testing::WithParamInterface<int> {};

TEST_P(random_flows_of_a_bridge, are_as_a_plain_walk_has_them)
{
    random_flows random{static_cast<std::uint64_t>(GetParam()), GetParam() % 2 == 0};
    std::vector<plain_rule> rules;
    for (int i = 0; i < 24; ++i) {
        rules.push_back(random.rule(static_cast<priority_t>(i + 1)));
    }
    std::vector<bytes> pool;
    for (int i = 0; i < 60; ++i) {
        pool.push_back(random.frame());
    }
    for (int turn = 0; turn < 20; ++turn) {
        for (plain_rule& r : rules) {
            r.packets = 0;
        }
        publish(rules);
        for (int round = 0; round < 3; ++round) {
            const std::size_t port = 1 + random.upto(port_count - 1);
            std::vector<bytes> frames;
            for (std::size_t i = 0; i < burst::capacity; ++i) {
                frames.push_back(pool[random.upto(pool.size() - 1)]);
            }
            sent expected;
            plain_walk walk{rules, plain_config_};
            for (const bytes& f : frames) {
                for (const auto& [to, all] : walk.send(port, f)) {
                    expected[to].insert(expected[to].end(), all.begin(), all.end());
                }
            }
            const sent got = send(port, frames);
            if (got != expected) {
                // The first frame that differs alone says more.
                for (const bytes& f : frames) {
                    const sent alone = walk.send(port, f);
                    const sent here = send(port, {f});
                    ASSERT_EQ(alone == here, true)
                        << "turn " << turn << ", from port " << port << ": " << hexadecimal(f)
                        << "\nexpected" << describe(alone) << "\ngot" << describe(here)
                        << "\nprogram" << program_of(port, f);
                }
                FAIL() << "turn " << turn << ": frames alone are right, the burst is not";
            }
        }
        while (!switcher_.entries().settled()) {
            switcher_.entries().bring_home(rte_rdtsc(), true);
        }
        for (std::size_t i = 0; i < rules.size(); ++i) {
            ASSERT_EQ(compiled_[i].made->packets() - compiled_[i].packets_before, rules[i].packets)
                << "of the rule of priority " << rules[i].priority << " in turn " << turn;
        }
        for (std::uint64_t changed = random.upto(4); changed > 0; --changed) {
            const std::size_t which = random.upto(rules.size() - 1);
            rules[which] = random.rule(rules[which].priority);
        }
    }
    EXPECT_GT(switcher_.entries().counters.hits.read(), 0U);
    EXPECT_GT(switcher_.entries().counters.stale.read(), 0U);
}

// Of many flows those that a changed rule matches are looked up again, and hardly any other.
TEST_F(flows_of_a_bridge, stay_in_the_cache_when_a_change_does_not_concern_them)
{
    const auto to_port_2 = [](priority_t priority, std::uint64_t address, std::uint64_t mask) {
        plain_rule r{0, priority, {}, {{output{2}}}};
        r.match.require(field::eth_type, 0x0800);
        r.match.require(field::nw_dst, address & mask, mask);
        return r;
    };
    constexpr std::size_t flows = 1000;
    std::vector<plain_rule> rules = {to_port_2(1, 0, 0), to_port_2(3, 1, 0xffffffff),
                                     to_port_2(2, 1, 0xffffffff)};
    const auto send_all = [&] {
        const auto before = switcher_.entries().counters.misses.read();
        for (std::size_t i = 0; i < flows; ++i) {
            bytes f(60);
            const std::array<std::uint8_t, 20> start = {2, 0, 0, 0, 0, 1,    2, 0, 0,
                                                        0, 0, 2, 8, 0, 0x45, 0, 0, 46};
            std::memcpy(f.data(), start.data(), start.size());
            f[30] = std::byte{10};
            f[32] = static_cast<std::byte>(i >> 8);
            f[33] = static_cast<std::byte>(i);
            EXPECT_EQ(send(1, {f})[2].size(), 1U);
        }
        return switcher_.entries().counters.misses.read() - before;
    };
    publish(rules);
    EXPECT_EQ(send_all(), flows);
    EXPECT_EQ(send_all(), 0U);
    rules[2] = to_port_2(2, 0x0a000007, 0xffffffff); // one of them
    publish(rules);
    EXPECT_GE(send_all(), 1U);
    EXPECT_LE(send_all(), 5U);
    rules[2] = to_port_2(2, 0x0a000100, 0xffffff00); // 256 of them
    publish(rules);
    const auto some = send_all();
    EXPECT_GE(some, 257U);
    EXPECT_LE(some, 300U);
    EXPECT_EQ(send_all(), 0U);
    rules[2].actions = {{set_field{field::nw_dst, 1, wide::ones(32)}}, {output{2}}};
    publish(rules); // from here on a rule may meet what is written
    EXPECT_EQ(send_all(), flows);
    rules.pop_back();
    publish(rules);
    EXPECT_EQ(send_all(), flows);
}

INSTANTIATE_TEST_SUITE_P(seeds, random_flows_of_a_bridge, ::testing::Range(0, 200));

} // namespace
} // namespace strait::flow
