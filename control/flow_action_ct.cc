// SPDX-License-Identifier: BSD-3-Clause
// Reading the actions of connection tracking (flow_action_text.hh), and their translations of
// addresses.
#include "control/flow_action_reader.hh"
#include "control/flow_nat_text.hh"

#include <variant>

namespace strait::control {

using flow::field;

flow_result<void> action_reader::take_ct(const flow_word& word)
{
    if (const auto ip = check_needs("ct", prerequisite::ip, word.all); ip.has_error()) {
        return ip.error();
    }
    if (word.mark != '(' && word.mark != 0) {
        return flow_fault{word.all, "ct must be like ct(commit,zone=1)"};
    }
    flow::ct out;
    flow_words arguments{word.value};
    for (;;) {
        const auto argument = arguments.next();
        if (argument.has_error()) {
            return argument.error();
        }
        if (!*argument) {
            break;
        }
        if (const auto done = take_ct_argument(**argument, out); done.has_error()) {
            return done.error();
        }
    }
    if (const auto fits = check_ct(word, out); fits.has_error()) {
        return fits.error();
    }
    return put(std::move(out));
}

flow_result<void> action_reader::take_ct_argument(const flow_word& word, flow::ct& out)
{
    if (word.key == "commit" || word.key == "force") {
        (word.key == "commit" ? out.commit : out.force) = true;
        return without_value(word);
    }
    if (word.key == "zone") {
        constexpr std::uint64_t last_zone = 0xffff;
        if (const auto number = parse_integer(word.value)) {
            if (number->high != 0 || number->low > last_zone) {
                return flow_fault{word.value, "zones are numbers from 0 to 65535"};
            }
            out.zone = static_cast<std::uint16_t>(number->low);
            return {};
        }
        const auto from = readable(word.value);
        if (from.has_error()) {
            return from.error();
        }
        if (from->bits != 16) {
            return flow_fault{word.value, "a zone is taken from 16 bits, like reg0[0..15], not " +
                                              std::to_string(from->bits)};
        }
        out.zone = *from;
        return {};
    }
    if (word.key == "table") {
        const auto table = parse_table(word.value);
        if (table.has_error()) {
            return table.error();
        }
        if (*table == flow::all_tables) {
            return flow_fault{word.value, "ct goes on in a table from 0 to 254"};
        }
        out.table = *table;
        return {};
    }
    if (word.key == "alg") {
        return take_ct_helper(word, out);
    }
    if (word.key == "nat") {
        if (out.translation) {
            return flow_fault{word.all, "nat may be there once"};
        }
        const auto nat = parse_nat(word);
        if (nat.has_error()) {
            return nat.error();
        }
        out.translation = *nat;
        return {};
    }
    if (word.key == "exec") {
        auto inner = read_inner(place::connection, word);
        if (inner.has_error()) {
            return inner.error();
        }
        for (const auto& a : *inner) {
            if (!std::holds_alternative<flow::set_field>(a.is) &&
                !std::holds_alternative<flow::move_field>(a.is)) {
                return flow_fault{word.value, "exec sets ct_mark and ct_label, by set_field, load "
                                              "or move, and does nothing else"};
            }
        }
        out.exec = std::move(*inner);
        return {};
    }
    return flow_fault{word.key,
                      "ct has no " + shown(word.key) +
                          suggestion(word.key,
                                     {"commit", "force", "zone", "table", "alg", "nat", "exec"},
                                     "; it has commit, force, zone, table, alg, nat and "
                                     "exec")};
}

flow_result<void> action_reader::take_ct_helper(const flow_word& word, flow::ct& out)
{
    const bool is_ftp = word.value == "ftp";
    if (!is_ftp && word.value != "tftp") {
        return flow_fault{word.value,
                          "there is no helper " + shown(word.value) + "; alg must be ftp or tftp"};
    }
    const prerequisite needs = is_ftp ? prerequisite::tcp : prerequisite::udp;
    if (const auto there = check_needs(word.all, needs, word.all); there.has_error()) {
        return there.error();
    }
    out.alg = is_ftp ? flow::ct::helper::ftp : flow::ct::helper::tftp;
    return {};
}

flow_result<void> action_reader::check_ct(const flow_word& word, const flow::ct& out) const
{
    constexpr std::uint64_t invalid = 0x10;
    if (out.commit && (state_.value.number(field::ct_state) & invalid) != 0) {
        return flow_fault{word.all,
                          "what the match says is invalid (ct_state=+inv) is not committed"};
    }
    if (!out.commit && out.force) {
        return flow_fault{word.all, "force is for ct(commit,...) alone"};
    }
    if (!out.commit && !out.exec.empty()) {
        return flow_fault{word.all, "exec is for ct(commit,...) alone"};
    }
    if (!out.translation || out.translation->which == flow::nat::side::restore) {
        return {};
    }
    if (!out.commit) {
        return flow_fault{word.all, "nat with src or dst is for ct(commit,...) alone"};
    }
    const bool has_address = !out.translation->last.is_zero();
    const prerequisite needs = out.translation->ipv6 ? prerequisite::ipv6 : prerequisite::ipv4;
    return has_address ? check_needs("an address of this kind", needs, word.all)
                       : flow_result<void>{};
}

flow_result<void> action_reader::take_ct_clear(const flow_word& word)
{
    if (const auto alone = without_value(word); alone.has_error()) {
        return alone.error();
    }
    return put(flow::ct_clear{});
}

} // namespace strait::control
