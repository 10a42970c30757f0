// SPDX-License-Identifier: BSD-3-Clause
// Rules and frames by chance, of so few values that they often meet.
#pragma once

#include "tests/unit/dataplane/flow/plain_walk.hh"

#include "dataplane/flow/group.hh"
#include "dataplane/parse.hh"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <random>

namespace strait::flow {

using dataplane::be16;

class random_flows {
public:
    // `writing`: actions change headers, too. `tracking`: there are actions ct.
    random_flows(std::uint64_t seed, bool writing, bool tracking)
        : random_{seed}, writing_{writing}, tracking_{tracking}
    {}

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

    frame_bytes frame()
    {
        frame_bytes f(14);
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
        if (tracking_ && table != 0 && one_in(2)) {
            match_connection(m);
        }
        return m;
    }
    void match_connection(flow::match& m)
    {
        switch (upto(6)) {
        case 0:
            m.require(field::ct_mark, upto(3), of<std::uint64_t>({1, 2, 3}));
            break;
        case 1:
            m.require(field::ct_label, wide{upto(1), upto(1)}, of<wide>({{1, 0}, {0, 1}, {1, 1}}));
            break;
        case 2:
            m.require(field::ct_zone, upto(2));
            break;
        case 3:
            m.require(of({field::ct_nw_src, field::ct_nw_dst}), 0x0a000000 + upto(3),
                      of<std::uint64_t>({0xffffffff, 2}));
            break;
        case 4:
            m.require(of({field::ct_tp_src, field::ct_tp_dst}), upto(2));
            break;
        default:
            m.require(field::ct_state, of<std::uint64_t>({0x21, 0x22, 0x2a, 0x30, 0}),
                      of<std::uint64_t>({0x3f, 0x21, 0x22, 0x28, 0x20}));
            break;
        }
    }
    action track(table_id table)
    {
        ct out;
        if (one_in(2)) {
            out.zone = static_cast<std::uint16_t>(upto(2));
        } else {
            out.zone = subfield{of({field::reg0, field::eth_src, field::tp_src, field::nw_tos}), 0,
                                static_cast<std::uint8_t>(1 + upto(1))};
        }
        if (table < 3 && !one_in(4)) {
            out.table = static_cast<table_id>(table + 1 + upto(2U - table));
        }
        out.commit = one_in(2);
        out.force = out.commit && one_in(3);
        if (one_in(4) && writing_) {
            out.translation.emplace();
            out.translation->which = nat::side::destination;
            out.translation->first = 0x0a000000 + upto(3);
            out.translation->last = 0x0a000003;
        }
        while (one_in(3)) {
            if (one_in(2)) {
                out.exec.push_back({set_field{field::ct_mark, upto(3), of<wide>({1, 3})}});
            } else if (one_in(2)) {
                out.exec.push_back({move_field{{of({field::reg0, field::eth_src}), 0, 1},
                                               {field::ct_mark, 1, 1}}});
            } else {
                out.exec.push_back(
                    {set_field{field::ct_label, wide{1, 1}, of<wide>({{1, 0}, {1, 1}})}});
            }
        }
        return {out};
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
    // From table 3 no packet comes to a group, whose buckets may lead there.
    action leave(table_id table = 3)
    {
        if (table < 3 && one_in(8)) {
            return {group{static_cast<std::uint32_t>(upto(group_count - 1))}};
        }
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
            if (tracking_ && one_in(5)) {
                out.push_back(one_in(8) ? action{ct_clear{}} : track(table));
            } else if (kind < 4) {
                out.push_back(change(m));
            } else if (kind < 8) {
                out.push_back(leave(table));
            } else if (kind == 8 && depth < 2) {
                out.push_back({clone{actions(table, m, depth + 1)}});
            } else if (table < 3) {
                out.push_back({resubmit{std::nullopt, static_cast<table_id>(table + 1),
                                        tracking_ && one_in(4)}});
            } else if (one_in(3)) {
                out.push_back({exit_processing{}});
            }
        }
        if (depth == 0 && one_in(5)) {
            action_list later;
            for (std::uint64_t n = upto(3); n > 0; --n) {
                later.push_back(one_in(2) ? change(m) : leave(table));
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
    static constexpr std::uint32_t group_count = 4;
    // Buckets lead to later groups alone.
    group_ptr a_group(std::uint32_t id)
    {
        group_settings s{.id = id,
                         .type = of({group_type::all, group_type::select, group_type::indirect,
                                     group_type::fast_failover}),
                         .select = {},
                         .buckets = {}};
        if (one_in(2)) {
            s.select = {.by = selection::method::hash,
                        .parameter = upto(3),
                        .fields = {{of({field::tp_src, field::nw_dst, field::ipv6_src, field::reg0,
                                        field::in_port, field::eth_dst}),
                                    wide{3}}}};
        }
        const std::uint64_t count = s.type == group_type::indirect ? 1 : upto(3);
        for (std::uint32_t i = 0; i < count; ++i) {
            bucket b;
            b.id = i;
            b.weight = static_cast<std::uint16_t>(upto(3));
            if (one_in(2)) {
                b.watch_port = static_cast<port_number>(upto(port_count));
            }
            for (std::uint64_t n = upto(2); n > 0; --n) {
                b.actions.push_back(change({}));
            }
            if (one_in(5)) {
                b.actions.push_back({resubmit{std::nullopt, table_id{3}}});
            }
            if (one_in(5) && id + 1 < group_count) {
                b.actions.push_back(
                    {group{static_cast<std::uint32_t>(id + 1 + upto(group_count - id - 2))}});
            }
            if (!one_in(3)) {
                b.actions.push_back(leave());
            }
            s.buckets.push_back(std::move(b));
        }
        return group_ptr{new bucket_group{std::move(s), {}, 1, nullptr}};
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
    bool tracking_;
};

} // namespace strait::flow
