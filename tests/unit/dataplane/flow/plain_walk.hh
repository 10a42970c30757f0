// SPDX-License-Identifier: BSD-3-Clause
// What flows do to a frame, in the plainest way: no cache, no program, each frame read anew after
// each action. What is faster is compared with it.
#pragma once

#include "tests/unit/dataplane/flow/fake_tracking.hh"

#include "dataplane/flow/group.hh"
#include "dataplane/flow/rewrite.hh"
#include "dataplane/flow/rule.hh"
#include "dataplane/forward.hh"
#include "dataplane/packet.hh"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace strait::flow {

using dataplane::burst;
using dataplane::packet_slot;
using dataplane::port_index;
using dataplane::to_index;
using frame_bytes = std::vector<std::byte>;
using sent = std::map<std::size_t, std::vector<frame_bytes>>; // by port

inline constexpr std::size_t port_count = 5; // numbers 1 to 5, at these indices

// A frame in a slot, as a guest's: its head private, the rest its memory.
inline void put(packet_slot& p, const frame_bytes& frame, burst& b)
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
inline frame_bytes bytes_of(const dataplane::packet& p)
{
    frame_bytes out(p.length);
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
    plain_walk(std::vector<plain_rule>& rules, const group_map& groups,
               const dataplane::snapshot& config, fake_tracking& connections, bool learns)
        : rules_{rules},
          groups_{groups},
          config_{config},
          connections_{connections},
          learns_{learns},
          b_{new burst}
    {}

    sent send(std::size_t port, const frame_bytes& frame)
    {
        out_.clear();
        b_->clear();
        packet_slot& p = b_->slots[0];
        put(p, frame, *b_);
        state s{&p, {}, std::nullopt};
        s.meta.set(field::in_port, port);
        exited_ = false;
        stack_.clear();
        set_.clear();
        table(0, s);
        if (!exited_) {
            action_set(set_, s);
        }
        return out_;
    }

private:
    struct state {
        packet_slot* p;
        key meta; // registers and in_port
        // What flows take for its address behind a ct action that changed it: the old one.
        std::optional<wide> address{};
    };

    static key read_frame(const state& s, header_layout& at)
    {
        key k = s.meta;
        (void)extract(*s.p, k, at);
        return k;
    }
    static key read(const state& s, header_layout& at)
    {
        key k = read_frame(s, at);
        if (s.address) {
            k.set(field::nw_dst, *s.address);
        }
        return k;
    }
    static void swap(key& k, field a, field b)
    {
        const wide kept = k.get(a);
        k.set(a, k.get(b));
        k.set(b, kept);
    }
    void table(table_id id, state& s, bool by_connection = false)
    {
        header_layout at;
        key k = read(s, at);
        if (by_connection) {
            const bool six = k.number(field::eth_type) == 0x86dd;
            if ((!six && k.number(field::eth_type) != 0x0800) ||
                k.number(field::ct_nw_proto) == 0) {
                return;
            }
            swap(k, field::nw_proto, field::ct_nw_proto);
            swap(k, field::tp_src, field::ct_tp_src);
            swap(k, field::tp_dst, field::ct_tp_dst);
            swap(k, six ? field::ipv6_src : field::nw_src,
                 six ? field::ct_ipv6_src : field::ct_nw_src);
            swap(k, six ? field::ipv6_dst : field::nw_dst,
                 six ? field::ct_ipv6_dst : field::ct_nw_dst);
        }
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
    static frame_bytes cut(frame_bytes frame, std::uint32_t max_length)
    {
        frame.resize(std::min<std::size_t>(frame.size(), max_length == 0 ? ~0U : max_length));
        return frame;
    }
    // On a copy: what comes after is to have the frame as it was.
    void by_switching(const state& s)
    {
        auto room = std::make_unique<burst>();
        const frame_bytes frame = bytes_of(*s.p);
        packet_slot& p = room->slots[0];
        put(p, frame, *room);
        const auto& in = *config_.ports[s.meta.number(field::in_port)];
        dataplane::port_counters counters;
        dataplane::worker_counters worker;
        dataplane::forward_one(p, in, {&config_, 1, &worker, learns_}, counters, lists_);
        for (const port_index port : lists_.ports()) {
            if (dataplane::admit(lists_.packets(port), *config_.ports[to_index(port)], counters)
                    .count > 0) {
                out_[to_index(port)].push_back(bytes_of(p));
            }
        }
        lists_.clear();
    }
    // The last of each kind, in OpenFlow's order; of changes all.
    void action_set(const action_list all, state& s) // NOLINT(performance-unnecessary-value-param)
    {
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
        const auto groups = [](const action& a) { return std::holds_alternative<group>(a.is); };
        const auto goes_on = [](const action& a) { return std::holds_alternative<resubmit>(a.is); };
        const bool inside = std::exchange(in_set_, true);
        if (last(pops) && last(pushes) && last(decrements)) {
            for (const action& a : all) {
                if (!leaves(a) && !pops(a) && !pushes(a) && !decrements(a) && !groups(a) &&
                    !goes_on(a)) {
                    (void)one(a, 0, s);
                }
            }
            if (std::ranges::any_of(all, groups)) {
                (void)last(groups);
            } else if (std::ranges::any_of(all, leaves)) {
                (void)last(leaves);
            } else {
                (void)last(goes_on);
            }
        }
        in_set_ = inside;
    }
    void to_group(std::uint32_t id, state& s)
    {
        const bucket_group* const g = groups_.find(id);
        if (g == nullptr) {
            return;
        }
        if (!g->chooses()) {
            for (const bucket& b : g->buckets()) {
                to_bucket(b, s);
            }
            return;
        }
        header_layout at;
        const key k = read(s, at);
        const std::size_t taken = g->choose(
            bucket_group::join(g->hash_of_metadata(k), g->hash_of_headers(k)),
            [this](const bucket& b) {
                return !b.watch_port || (*b.watch_port >= 1 && *b.watch_port <= port_count &&
                                         config_.ports[*b.watch_port]->link->load());
            });
        if (taken != bucket_group::no_bucket) {
            const auto stack = stack_;
            const action_list set = set_;
            to_bucket(g->buckets()[taken], s);
            stack_ = stack;
            set_ = set;
        }
    }
    void to_bucket(const bucket& b, const state& s)
    {
        auto room = std::make_unique<burst>();
        const frame_bytes frame = bytes_of(*s.p);
        put(room->slots[0], frame, *room);
        state copy{&room->slots[0], s.meta};
        action_set(b.actions, copy);
        exited_ = false;
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
            if (s.address && f == field::nw_dst) {
                s.address = (*s.address & ~mask) | (value & mask);
            }
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
            table(r->table.value_or(id), s, r->by_connection);
        } else if (const auto* const g = std::get_if<goto_table>(&a.is)) {
            table(g->table, s);
        } else if (const auto* const c = std::get_if<check_pkt_larger>(&a.is)) {
            set(c->to.of, wide{s.p->length > c->length ? 1U : 0U} << c->to.first, c->to.mask(), s);
        } else if (const auto* const other = std::get_if<clone>(&a.is)) {
            auto room = std::make_unique<burst>();
            const frame_bytes frame = bytes_of(*s.p);
            put(room->slots[0], frame, *room);
            state copy{&room->slots[0], s.meta, s.address};
            const auto stack = stack_;
            const action_list set = set_;
            all(other->actions, id, copy);
            if (!exited_ && !in_set_) {
                action_set(set_, copy);
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
        } else if (const auto* const to = std::get_if<group>(&a.is)) {
            to_group(to->id, s);
        } else if (std::holds_alternative<clear_actions>(a.is)) {
            set_.clear();
        } else if (std::holds_alternative<exit_processing>(a.is)) {
            exited_ = true;
            return false;
        } else if (const auto* const tracked = std::get_if<ct>(&a.is)) {
            return track(*tracked, s);
        } else if (std::holds_alternative<ct_clear>(a.is)) {
            forget(s);
        }
        return true;
    }
    static void forget(state& s)
    {
        for (auto f = static_cast<unsigned>(field::ct_state);
             f <= static_cast<unsigned>(field::ct_tp_dst); ++f) {
            s.meta.set(static_cast<field>(f), 0);
        }
    }
    // False: the packet is gone, and all that would have been done to it.
    bool track(const ct& what, state& s)
    {
        conntrack::request r;
        const key k = read(s, r.at);
        const key headers = read_frame(s, r.at);
        r.p = s.p;
        r.headers = &headers;
        r.asked.commit = what.commit;
        r.asked.force = what.force;
        r.asked.alg = what.alg;
        const auto* const from = std::get_if<subfield>(&what.zone);
        r.asked.zone = from == nullptr ? std::get<std::uint16_t>(what.zone)
                                       : static_cast<std::uint16_t>(from->read(k).low);
        r.asked.translation = what.translation ? &*what.translation : nullptr;
        key set = k;
        for (const action& a : what.exec) {
            if (const auto* const f = std::get_if<set_field>(&a.is)) {
                set.set(f->of, f->value, f->mask);
                add(r.asked, f->of, f->mask);
            } else if (const auto* const m = std::get_if<move_field>(&a.is)) {
                set.set(m->to.of, m->from.read(set) << m->to.first, m->to.mask());
                add(r.asked, m->to.of, m->to.mask());
            }
        }
        r.asked.mark = static_cast<std::uint32_t>(set.number(field::ct_mark)) & r.asked.mark_mask;
        r.asked.label = set.get(field::ct_label) & r.asked.label_mask;
        r.answer.state = static_cast<std::uint32_t>(k.number(field::ct_state));
        r.answer.zone = static_cast<std::uint16_t>(k.number(field::ct_zone));
        r.answer.mark = static_cast<std::uint32_t>(k.number(field::ct_mark));
        connections_.track({&r, 1}, 1);
        if (r.dropped) {
            exited_ = true;
            return false;
        }
        if (what.table) {
            auto room = std::make_unique<burst>();
            const frame_bytes frame = bytes_of(*s.p);
            put(room->slots[0], frame, *room);
            state copy{&room->slots[0], s.meta, std::nullopt};
            const conntrack::result& known = r.answer;
            copy.meta.set(field::ct_state, known.state);
            copy.meta.set(field::ct_zone, known.zone);
            copy.meta.set(field::ct_mark, known.mark);
            copy.meta.set(field::ct_label, known.label);
            copy.meta.set(field::ct_nw_proto, known.protocol);
            copy.meta.set(field::ct_tp_src, known.source_port);
            copy.meta.set(field::ct_tp_dst, known.destination_port);
            copy.meta.set(field::ct_nw_src, known.ipv6 ? wide{} : known.source);
            copy.meta.set(field::ct_nw_dst, known.ipv6 ? wide{} : known.destination);
            copy.meta.set(field::ct_ipv6_src, known.ipv6 ? known.source : wide{});
            copy.meta.set(field::ct_ipv6_dst, known.ipv6 ? known.destination : wide{});
            const auto stack = stack_;
            const action_list later = set_;
            const bool in_set = std::exchange(in_set_, false);
            table(*what.table, copy);
            if (!exited_) {
                action_set(set_, copy);
            }
            in_set_ = in_set;
            exited_ = false;
            stack_ = stack;
            set_ = later;
        }
        forget(s);
        if (r.translated) {
            s.address = k.get(field::nw_dst);
        }
        return true;
    }
    static void add(conntrack::parameters& to, field f, wide mask)
    {
        if (f == field::ct_mark) {
            to.mark_mask |= static_cast<std::uint32_t>(mask.low);
        } else {
            to.label_mask = to.label_mask | mask;
        }
    }

    std::vector<plain_rule>& rules_;
    const group_map& groups_;
    const dataplane::snapshot& config_; // with MACs of its own
    fake_tracking& connections_;
    bool learns_;
    std::unique_ptr<burst> b_;
    dataplane::output_lists lists_;
    std::vector<wide> stack_;
    action_list set_;
    sent out_;
    bool exited_{false};
    bool in_set_{false};
};

} // namespace strait::flow
