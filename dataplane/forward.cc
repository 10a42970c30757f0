// SPDX-License-Identifier: BSD-3-Clause
// The L2 path. Staged over the burst: parse and classify; hash and prefetch the table's buckets;
// learn and look up; act. A loop of its own each, so that what it needs stays in registers.
#include "dataplane/forward.hh"

#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/multicast/snoop.hh"
#include "dataplane/parse.hh"
#include "dataplane/storm.hh"

#include <optional>

namespace strait::dataplane {

namespace {

// What the table is asked for packets with the same addresses and VLAN, one behind the other.
struct question {
    mac_table::probe source;
    mac_table::probe destination;
    mac_table::answer answer;
    mac_table::learned source_is;
};

// What the first stage leaves for the others.
struct candidate {
    packet_slot* p;
    const question* asked;
};

void set_untagged(packet& p, vlan_id vlan) noexcept
{
    p.tagged = 0;
    p.tags = 0;
    p.priority = 0;
    p.vlan = vlan;
}

[[nodiscard]] bool is_tag(std::uint16_t type) noexcept
{
    return type == ethertype_vlan || type == ethertype_qinq;
}

// Finds a tagged packet's VLAN by the port's policy. A priority tag (VLAN 0) is taken out here, so
// that from here on a tagged packet's tag tells its VLAN; a tag behind it counts as if it stood
// first.
std::optional<drop_reason> classify_tagged(packet& p, std::uint16_t type,
                                           const vlan_policy& policy) noexcept
{
    set_untagged(p, policy.native);
    if (policy.port_mode == vlan_policy::mode::customer) {
        if (p.length < ethernet_header + tag_length) {
            return drop_reason::frame_too_short;
        }
        p.tags = is_tag(load<be16>(p.data + ethernet_header + 2)) ? 2 : 1;
        return std::nullopt;
    }
    for (bool popped = false; is_tag(type); popped = true) {
        if (p.length < ethernet_header + tag_length) {
            return drop_reason::frame_too_short;
        }
        const std::uint16_t inner = load<be16>(p.data + ethernet_header + 2);
        p.tags = is_tag(inner) ? 2 : 1;
        if (type != policy.tag_type) {
            break;
        }
        constexpr std::uint16_t vid_mask = 0x0fff;
        const std::uint16_t tag = outer_tag(p.data);
        const vlan_id vid{static_cast<std::uint16_t>(tag & vid_mask)};
        p.tagged = policy.tag_mark & 3;
        p.priority = static_cast<std::uint16_t>(tag & ~vid_mask);
        if (vid != vlan_id{} || popped) {
            if (policy.port_mode == vlan_policy::mode::access) {
                return drop_reason::tagged_not_allowed;
            }
            p.vlan = vid;
            return vid != vlan_id{} && policy.carries(vid)
                       ? std::nullopt
                       : std::optional{drop_reason::vlan_not_allowed};
        }
        pop_tag(p);
        type = inner;
    }
    return policy.carries(p.vlan) ? std::nullopt : std::optional{drop_reason::untagged_not_allowed};
}

// Finds the packet's VLAN; false, and counted, if it is not switched. `untagged_allowed`: what `in`
// says of it. In line like what follows: forward() has them on its way, forward_one() too.
[[gnu::always_inline]] inline bool classify(packet& p, const ethernet& header,
                                            const port_config& in, bool untagged_allowed,
                                            const bridge_config& bridge,
                                            port_counters& counters) noexcept
{
    if (header.source.is_multicast() || header.source.is_zero()) [[unlikely]] {
        counters.drop(drop_reason::invalid_source_mac, p);
        return false;
    }
    if (is_tag(header.type)) [[unlikely]] {
        if (const auto reason = classify_tagged(p, header.type, in.vlan)) {
            counters.drop(*reason, p);
            return false;
        }
    } else {
        set_untagged(p, in.vlan.native);
        if (!untagged_allowed) {
            counters.drop(drop_reason::untagged_not_allowed, p);
            return false;
        }
    }
    if (header.destination.is_reserved_multicast() && !bridge.forward_bpdu) [[unlikely]] {
        counters.drop(drop_reason::reserved_multicast, p);
        return false;
    }
    return true;
}

// Puts the packet on the list of every port of the bridge but `in` that carries its VLAN, and that
// `in` reaches.
[[gnu::noinline]] void flood(packet& p, const port_config& in, const bridge_config& bridge,
                             const forward_context& context, port_counters& counters,
                             output_lists& out) noexcept
{
    if (in.storm && !may_flood(p, in, context, counters)) [[unlikely]] {
        return;
    }
    if (bridge.groups && multicast::snoop(p, in, bridge, context, counters, out)) {
        return;
    }
    for (const port_index member : bridge.members) {
        if (member == in.index) {
            continue;
        }
        const port_config& port = *context.config->ports[to_index(member)];
        if (port.takes(p.vlan, in)) {
            out.add(member, p);
        }
    }
    if (p.destinations == 0) {
        counters.drop(drop_reason::no_destination, p);
    }
}

// Where packets with the same addresses and VLAN go.
struct verdict {
    enum class kind : std::uint8_t { flood, flood_held, output, drop };
    kind what{kind::flood};
    port_index port{no_port};
    drop_reason reason{};
};

// `destination` is what the table says; no_port: nothing.
[[gnu::always_inline]] inline verdict judge(port_index destination, const port_config& in,
                                            vlan_id vlan, const snapshot& config) noexcept
{
    if (destination == no_port) {
        return {};
    }
    if (destination == in.index) {
        return {verdict::kind::drop, destination, drop_reason::same_port};
    }
    // The table may still know what the snapshot no longer has, until its flush.
    const port_config* const port = config.port(destination);
    if (port == nullptr || port->bridge != in.bridge || !port->vlan.carries(vlan)) [[unlikely]] {
        return {verdict::kind::drop, destination, drop_reason::no_destination};
    }
    if (in.is_apart_from(*port)) [[unlikely]] {
        return {verdict::kind::drop, destination, drop_reason::port_isolated};
    }
    return {verdict::kind::output, destination, {}};
}

// From an address that is held here: such have their share of floods. Not in
// line: no other packet pays for it.
[[gnu::cold, gnu::noinline]] void flood_held(packet& p, const port_config& in,
                                             const forward_context& context,
                                             port_counters& in_counters, output_lists& out) noexcept
{
    const bridge_config& bridge = *context.config->bridges[to_index(in.bridge)];
    if (!bridge.macs->may_flood_held(in.index, context.now)) {
        in_counters.drop(drop_reason::loop_guard, p);
        return;
    }
    flood(p, in, bridge, context, in_counters, out);
}

[[gnu::always_inline]] inline void carry_out(const verdict& v, packet& p, const port_config& in,
                                             const forward_context& context,
                                             port_counters& in_counters, output_lists& out) noexcept
{
    switch (v.what) {
    case verdict::kind::output:
        out.add(v.port, p);
        break;
    case verdict::kind::flood_held:
        flood_held(p, in, context, in_counters, out);
        break;
    case verdict::kind::flood:
        flood(p, in, *context.config->bridges[to_index(in.bridge)], context, in_counters, out);
        break;
    case verdict::kind::drop:
        in_counters.drop(v.reason, p);
        break;
    }
}

// Of a source that learning says something about, from over_limit on. Not in line either.
[[nodiscard, gnu::cold, gnu::noinline]] verdict judge_noted(mac_table::learned source,
                                                            port_index destination,
                                                            const port_config& in, vlan_id vlan,
                                                            const snapshot& config) noexcept
{
    switch (source) {
    case mac_table::learned::over_limit:
        return {verdict::kind::drop, no_port, drop_reason::mac_limit};
    case mac_table::learned::held_elsewhere:
        return {verdict::kind::drop, no_port, drop_reason::loop_guard};
    default:
        break;
    }
    verdict v = judge(destination, in, vlan, config);
    if (source == mac_table::learned::held_here && v.what == verdict::kind::flood) {
        v.what = verdict::kind::flood_held;
    }
    return v;
}

// From a port that does not pass. Where it is to learn, it learns; nothing goes on.
[[gnu::cold, gnu::noinline]] void refuse_in(packet_slot& p, const port_config& in,
                                            const forward_context& context,
                                            port_counters& in_counters) noexcept
{
    if (!in.admin_up) {
        in_counters.drop(drop_reason::ingress_disabled, p);
        return;
    }
    p.in_port = in.index;
    if (p.length < ethernet_header) {
        in_counters.drop(drop_reason::frame_too_short, p);
        return;
    }
    const bridge_config& bridge = *context.config->bridges[to_index(in.bridge)];
    if (in.tree == tree_state::learning && context.learns && !in.port_security) {
        const ethernet header = parse_ethernet(p.data);
        if (!classify(p, header, in, in.vlan.carries(in.vlan.native), bridge, in_counters)) {
            return;
        }
        if (bridge.macs->learn({header.source, p.vlan}, in.index, context.now) ==
            mac_table::learned::table_full) {
            context.worker->mac_table_full.add(1);
        }
    }
    in_counters.drop(drop_reason::ingress_blocked, p);
}

} // namespace

namespace {

// A burst's slots, or packets wherever they lie.
[[nodiscard]] packet_slot& slot_of(packet_slot& p) noexcept
{
    return p;
}
[[nodiscard]] packet_slot& slot_of(packet_slot* p) noexcept
{
    return *p;
}

// What it brings along: what was sent into a tunnel has the queue that it was sent with.
[[nodiscard]] std::uint16_t kept_note(const packet_slot& /*p*/, const port_config& /*in*/) noexcept
{
    return 0;
}
[[nodiscard]] std::uint16_t kept_note(const packet_slot* p, const port_config& in) noexcept
{
    return in.local ? p->note & packet_note::queue : 0;
}

template <typename Packet>
[[gnu::always_inline]] inline void
forward_all(std::span<Packet> packets, const port_config& in, const forward_context& context,
            port_counters& in_counters, output_lists& out) noexcept
{
    const bridge_config& bridge = *context.config->bridges[to_index(in.bridge)];
    if (!in.passes()) [[unlikely]] {
        for (Packet& p : packets) {
            refuse_in(slot_of(p), in, context, in_counters);
        }
        return;
    }

    mac_table::session macs{*bridge.macs, in.index, context.now};
    std::array<candidate, burst::capacity> candidates;
    candidate* end = candidates.data();
    std::array<question, burst::capacity> questions;
    question* next = questions.data();
    // The untagged header of the last candidate: what comes with the same is what that one is.
    bool comparable = false;
    const bool untagged_allowed = in.vlan.carries(in.vlan.native);
    std::uint64_t last_front = 0;
    std::uint64_t last_back = 0;
    for (Packet& each : packets) {
        packet_slot& p = slot_of(each);
        p.in_port = in.index;
        p.destinations = 0;
        p.note = kept_note(each, in);
        if (p.length < ethernet_header) [[unlikely]] {
            in_counters.drop(drop_reason::frame_too_short, p);
            continue;
        }
        candidate& c = *end;
        c.p = &p;
        const auto front = load<std::uint64_t>(p.data);
        const auto back = load<std::uint64_t>(p.data + ethernet_header - sizeof front);
        if (comparable && front == last_front && back == last_back) {
            set_untagged(p, in.vlan.native);
            c.asked = next - 1;
            ++end;
            continue;
        }
        const ethernet header = parse_ethernet(p.data);
        if (!classify(p, header, in, untagged_allowed, bridge, in_counters)) {
            continue;
        }
        const bool tagged = is_tag(header.type);
        // IPv4, which most frames are, says of no address whose it is. Neighbour discovery right
        // behind other IPv6 between the two goes unnoticed here: it comes again.
        const bool tells =
            header.type != ethertype_ipv4 && in.addresses && guard::may_tell_address(p);
        if (tells && context.learns) [[unlikely]] {
            guard::note_address(p, in, context.now);
        }
        const mac_table::key source{header.source, p.vlan};
        const mac_table::key destination{header.destination, p.vlan};
        if (!tagged || next == questions.data() || !next[-1].source.is(source) ||
            !next[-1].destination.is(destination)) {
            next->source = mac_table::probe{source};
            next->destination = mac_table::probe{destination};
            ++next;
        }
        c.asked = next - 1;
        comparable = !tagged && !tells;
        last_front = front;
        last_back = back;
        ++end;
    }

    const std::span<question> asked{questions.data(), next};
    for (question& q : asked) {
        macs.prepare(q.source);
        macs.prepare(q.destination);
    }
    for (question& q : asked) {
        const mac_table::learned what = macs.learn(q.source);
        if (what == mac_table::learned::table_full) {
            context.worker->mac_table_full.add(1);
        }
        q.source_is = what;
        // The table has no multicast addresses.
        q.answer = macs.lookup(q.destination);
    }

    verdict v;
    const question* last = nullptr;
    constexpr std::uint64_t none = ~std::uint64_t{0};
    std::uint64_t judged = none; // the answer and VLAN that `v` is of
    for (const candidate& c : std::span{candidates.data(), end}) {
        if (c.asked != last) {
            last = c.asked;
            if (last->source_is >= mac_table::learned::over_limit) [[unlikely]] {
                v = judge_noted(last->source_is, macs.port(last->answer), in, c.p->vlan,
                                *context.config);
                judged = none;
            } else {
                const mac_table::answer a = last->answer;
                const std::uint64_t now = macs.recent(a)
                                              ? a.identity() | std::uint64_t{c.p->vlan.value()}
                                                                   << a.identity_bits
                                              : none;
                if (now == none || now != judged) {
                    v = judge(macs.port(a), in, c.p->vlan, *context.config);
                    judged = now;
                }
            }
        }
        carry_out(v, *c.p, in, context, in_counters, out);
    }
}

} // namespace

bool may_flood(const packet& p, const port_config& in, const forward_context& context,
               port_counters& in_counters) noexcept
{
    if (!in.storm || !context.learns) {
        return true;
    }
    const auto reason = in.storm->refuse(context.index, p, context.tsc);
    if (reason) {
        in_counters.drop(*reason, p);
    }
    return !reason;
}

void forward(burst& b, const port_config& in, const forward_context& context,
             port_counters& in_counters, output_lists& out) noexcept
{
    forward_all(b.packets(), in, context, in_counters, out);
}

void forward(std::span<packet_slot* const> packets, const port_config& in,
             const forward_context& context, port_counters& in_counters, output_lists& out) noexcept
{
    forward_all(packets, in, context, in_counters, out);
}

void forward_one(packet& p, const port_config& in, const forward_context& context,
                 port_counters& in_counters, output_lists& out) noexcept
{
    const bridge_config& bridge = *context.config->bridges[to_index(in.bridge)];
    const ethernet header = parse_ethernet(p.data);
    if (!classify(p, header, in, in.vlan.carries(in.vlan.native), bridge, in_counters)) {
        return;
    }
    mac_table& macs = *bridge.macs;
    const mac_table::key source{header.source, p.vlan};
    auto what = mac_table::learned::known;
    if (context.learns) {
        what = macs.learn(source, in.index, context.now);
        if (what == mac_table::learned::table_full) {
            context.worker->mac_table_full.add(1);
        }
    } else if (macs.is_held_elsewhere(source, in.index, context.now)) {
        what = mac_table::learned::held_elsewhere;
    }
    const port_index to = macs.lookup({header.destination, p.vlan}, context.now);
    carry_out(what >= mac_table::learned::over_limit
                  ? judge_noted(what, to, in, p.vlan, *context.config)
                  : judge(to, in, p.vlan, *context.config),
              p, in, context, in_counters, out);
}

admitted admit(std::span<packet*> packets, const port_config& port, port_counters& counters,
               too_long_packets* too_long) noexcept
{
    if (!port.passes()) [[unlikely]] {
        counters.drop(port.admin_up ? drop_reason::egress_blocked : drop_reason::egress_disabled,
                      packets);
        return {0, true};
    }
    std::size_t kept = 0;
    bool wanting = false;
    for (packet* const p : packets) {
        const std::uint8_t tagged = port.vlan.sends_tagged(p->vlan);
        constexpr std::size_t type = ethernet_header - 2;
        if (tagged != p->tagged && p->tagged != as_it_is) [[unlikely]] {
            if (tagged == 0) {
                pop_tag(*p);
            } else if (p->tagged == 0) {
                push_tag(*p, static_cast<std::uint16_t>(p->vlan.value() | p->priority));
            }
            if (tagged != 0) { // by this port's kind of tags
                store(p->data + type, be16{port.vlan.tag_type});
                p->tagged = tagged & 3;
            }
        }
        if (tagged == 0 && p->tags > 0 && p->tagged != as_it_is &&
            port.vlan.port_mode != vlan_policy::mode::customer &&
            load<be16>(p->data + type) == port.vlan.tag_type) [[unlikely]] {
            // Without its own tag the sender's inner one would choose the VLAN out there.
            counters.drop(drop_reason::nested_tag, *p);
            continue;
        }
        const std::uint32_t longest = port.mtu + ethernet_header + p->tags * tag_length;
        if (p->length > longest) [[unlikely]] {
            // What is still to be cut must fit when it is.
            const offload_intent& todo = p->offload;
            const bool fits = todo.segment_size != 0 &&
                              std::uint32_t{todo.header_length} + todo.segment_size <= longest;
            if (!fits && !port.tunnel) { // which has less room than that, and tells senders
                counters.drop(drop_reason::mtu_exceeded, *p);
                if (too_long != nullptr) {
                    too_long->packets[too_long->count++] = p;
                }
                continue;
            }
        }
        wanting |= !p->offload.empty();
        wanting |= p->remote != nullptr;
        packets[kept++] = p;
    }
    return {kept, !wanting};
}

} // namespace strait::dataplane
