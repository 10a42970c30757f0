// SPDX-License-Identifier: BSD-3-Clause
// Writing actions (flow_action_text.hh).
#include "control/flow_action_text.hh"
#include "control/flow_fields.hh"
#include "control/flow_nat_text.hh"
#include "control/flow_options.hh"
#include "control/ip_text.hh"

#include <bit>
#include <span>
#include <variant>

namespace strait::control {

using flow::field;
using flow::subfield;
using flow::wide;

namespace {

class action_printer {
public:
    action_printer(std::string& out, const flow::match& m, const port_names* ports)
        : out_{out}, match_{m}, ports_{ports}
    {}

    void print(const flow::action_list& actions)
    {
        if (actions.empty()) {
            out_ += "drop";
            return;
        }
        print_inner(actions);
    }

    void operator()(const flow::output& a)
    {
        const bool is_reserved = a.port > last_port_number;
        if (a.max_length != 0) {
            out_ += "output(port=";
            append_port(out_, a.port, is_reserved ? nullptr : ports_);
            print_number(",max_len=", a.max_length);
            out_ += ')';
            return;
        }
        out_ += is_reserved ? "" : "output:";
        append_port(out_, a.port, is_reserved ? nullptr : ports_);
    }
    void operator()(const flow::output_field& a)
    {
        out_ += "output:";
        append_subfield(out_, a.port, match_, ports_);
    }
    void operator()(const flow::set_field& a)
    {
        if (print_as_modification(a)) {
            return;
        }
        const auto run = run_of(a.mask);
        if (run && run->bits <= 64) {
            print_load(a, *run);
            return;
        }
        print_set_field(a);
    }
    void operator()(const flow::move_field& a)
    {
        out_ += "move:";
        append_subfield(out_, a.from, match_, ports_);
        out_ += "->";
        append_subfield(out_, a.to, match_, ports_);
    }
    void operator()(const flow::push_vlan& a)
    {
        out_ += "push_vlan:";
        append_hexadecimal(out_, wide{a.tpid});
    }
    void operator()(const flow::pop_vlan& /*a*/) { out_ += "strip_vlan"; }
    void operator()(const flow::dec_ttl& a)
    {
        out_ += "dec_ttl";
        if (a.icmp_from.is_set()) {
            out_ += "(icmp=" + to_text(a.icmp_from) + ')';
        }
    }
    void operator()(const flow::resubmit& a)
    {
        if (!a.table && !a.by_connection) {
            out_ += "resubmit:";
            append_port(out_, a.in_port.value_or(flow::ports::in_port), ports_);
            return;
        }
        out_ += "resubmit(";
        if (a.in_port) {
            append_port(out_, *a.in_port, ports_);
        }
        out_ += ',';
        if (a.table) {
            append_decimal(out_, *a.table);
        }
        out_ += a.by_connection ? ",ct)" : ")";
    }
    void operator()(const flow::goto_table& a) { print_number("goto_table:", a.table); }
    void operator()(const flow::clear_actions& /*a*/) { out_ += "clear_actions"; }
    void operator()(const flow::set_queue& a) { print_number("set_queue:", a.queue); }
    void operator()(const flow::pop_queue& /*a*/) { out_ += "pop_queue"; }
    void operator()(const flow::enqueue& a)
    {
        out_ += "enqueue:";
        append_port(out_, a.port, a.port > last_port_number ? nullptr : ports_);
        print_number(":", a.queue);
    }
    void operator()(const flow::group& a) { print_number("group:", a.id); }
    void operator()(const flow::meter& a) { print_number("meter:", a.id); }
    void operator()(const flow::conjunction& a)
    {
        print_number("conjunction(", a.id);
        print_number(",", a.dimension + std::uint64_t{1});
        print_number("/", a.dimensions);
        out_ += ')';
    }
    void operator()(const flow::check_pkt_larger& a)
    {
        print_number("check_pkt_larger(", a.length);
        out_ += ")->";
        append_subfield(out_, a.to, match_, ports_);
    }
    void operator()(const flow::stack_push& a)
    {
        out_ += "push:";
        append_subfield(out_, a.from, match_, ports_);
    }
    void operator()(const flow::stack_pop& a)
    {
        out_ += "pop:";
        append_subfield(out_, a.to, match_, ports_);
    }
    void operator()(const flow::exit_processing& /*a*/) { out_ += "exit"; }
    void operator()(const flow::note& a)
    {
        out_ += "note:";
        const char* between = "";
        for (const auto byte : a.bytes) {
            out_ += between;
            append_padded(out_, byte, 2);
            between = ".";
        }
    }
    void operator()(const flow::ct_clear& /*a*/) { out_ += "ct_clear"; }
    void operator()(const flow::deny& a)
    {
        out_ += "drop, as ";
        out_ += dataplane::to_string(a.reason);
    }
    void operator()(const flow::clone& a)
    {
        out_ += "clone(";
        print(a.actions);
        out_ += ')';
    }
    void operator()(const flow::write_actions& a)
    {
        out_ += "write_actions(";
        print(a.actions);
        out_ += ')';
    }
    void operator()(const flow::ct& a);

private:
    void print_inner(const flow::action_list& actions);
    void print_number(std::string_view before, std::uint64_t number)
    {
        out_ += before;
        append_decimal(out_, number);
    }
    bool print_as_modification(const flow::set_field& a);
    bool print_tag(const flow::set_field& a);
    void print_load(const flow::set_field& a, const bit_run& run);
    void print_set_field(const flow::set_field& a);
    std::size_t print_option(std::span<const flow::action> actions);

    std::string& out_;
    const flow::match& match_;
    const port_names* ports_;
};

bool is_instruction(const flow::action& a)
{
    return std::holds_alternative<flow::goto_table>(a.is) ||
           std::holds_alternative<flow::clear_actions>(a.is) ||
           std::holds_alternative<flow::write_actions>(a.is);
}

// The one that must be said as an instruction, write_metadata, as it stands among these.
std::size_t metadata_instruction(const flow::action_list& actions)
{
    constexpr std::size_t none = ~std::size_t{0};
    std::size_t end = actions.size();
    if (end > 0 && std::holds_alternative<flow::goto_table>(actions[end - 1].is)) {
        --end;
    }
    bool among_instructions = end < actions.size();
    for (std::size_t i = 0; i + 1 < end; ++i) {
        among_instructions = among_instructions || is_instruction(actions[i]);
    }
    if (end == 0 || !among_instructions) {
        return none;
    }
    const auto* last = std::get_if<flow::set_field>(&actions[end - 1].is);
    return last != nullptr && last->of == field::metadata ? end - 1 : none;
}

void action_printer::print_inner(const flow::action_list& actions)
{
    const std::size_t metadata = metadata_instruction(actions);
    for (std::size_t i = 0; i < actions.size(); ++i) {
        if (i != 0) {
            out_ += ',';
        }
        if (i == metadata) {
            const auto& a = std::get<flow::set_field>(actions[i].is);
            out_ += "write_metadata:";
            append_value(out_, value_form::hexadecimal, 64, {a.value, a.mask}, nullptr);
        } else if (const std::size_t parts = print_option(std::span{actions}.subspan(i));
                   parts > 0) {
            i += parts - 1;
        } else {
            std::visit(*this, actions[i].is);
        }
    }
}

// An option that is set or taken out, by how many actions: one for each of its words.
std::size_t action_printer::print_option(std::span<const flow::action> actions)
{
    const option_names* const known = ports_ != nullptr ? ports_->options() : nullptr;
    const auto* a = std::get_if<flow::set_field>(&actions.front().is);
    if (known == nullptr || a == nullptr) {
        return 0;
    }
    if (a->of == field::tun_present) {
        for (const flow::option& o : known->map().all()) {
            if (o.present_bit() == a->mask) {
                out_ += "delete_field:";
                out_ += known->at(o.index)->name;
            }
        }
        return 1;
    }
    const flow::option* const o =
        flow::is_option_data(a->of) ? known->map().owner_of(a->of) : nullptr;
    if (o == nullptr) {
        return 0;
    }
    option_value to;
    std::size_t taken = 0;
    for (std::size_t word = 0; word < o->word_count() && taken < actions.size(); ++word) {
        a = std::get_if<flow::set_field>(&actions[taken].is);
        if (a != nullptr && a->of == o->field_at(word)) {
            to.value[word] = a->value.low;
            to.mask[word] = a->mask.low;
            ++taken;
        }
    }
    out_ += "set_field:";
    append_option_value(out_, *o, to);
    out_ += "->";
    out_ += known->at(o->index)->name;
    return taken;
}

// mod_dl_src and its like.
bool action_printer::print_as_modification(const flow::set_field& a)
{
    constexpr std::uint64_t dscp = 0xfc;
    if (a.of == field::vlan_tci) {
        return print_tag(a);
    }
    if (a.of == field::nw_tos && a.mask == wide{dscp}) {
        print_number("mod_nw_tos:", a.value.low);
        return true;
    }
    if (a.mask != wide::ones(flow::width_of(a.of))) {
        return false;
    }
    switch (a.of) {
    case field::eth_src:
    case field::eth_dst:
        out_ += a.of == field::eth_src ? "mod_dl_src:" : "mod_dl_dst:";
        append_ethernet_address(out_, a.value.low);
        return true;
    case field::nw_src:
    case field::nw_dst:
        if (contradicts(prerequisite::ipv4, match_)) {
            return false;
        }
        out_ += a.of == field::nw_src ? "mod_nw_src:" : "mod_nw_dst:";
        append_ipv4_address(out_, static_cast<std::uint32_t>(a.value.low));
        return true;
    case field::tp_src:
    case field::tp_dst:
        if (contradicts(prerequisite::ports, match_)) {
            return false;
        }
        print_number(a.of == field::tp_src ? "mod_tp_src:" : "mod_tp_dst:", a.value.low);
        return true;
    case field::tun_id:
        out_ += a.value.low > 0xffff'ffff ? "set_tunnel64:" : "set_tunnel:";
        append_hexadecimal(out_, a.value);
        return true;
    default:
        return false;
    }
}

bool action_printer::print_tag(const flow::set_field& a)
{
    constexpr std::uint64_t identifier = flow::vlan_present | 0xfff;
    constexpr std::uint64_t priority = flow::vlan_present | 0xe000;
    if ((a.value.low & flow::vlan_present) == 0 ||
        (a.mask.low != identifier && a.mask.low != priority)) {
        return false;
    }
    if (a.mask.low == identifier) {
        print_number("mod_vlan_vid:", a.value.low & 0xfff);
    } else {
        print_number("mod_vlan_pcp:", a.value.low >> 13);
    }
    return true;
}

void action_printer::print_load(const flow::set_field& a, const bit_run& run)
{
    const subfield s{a.of, static_cast<std::uint8_t>(run.first),
                     static_cast<std::uint8_t>(run.bits)};
    out_ += "load:";
    append_hexadecimal(out_, a.value >> run.first);
    out_ += "->";
    append_subfield(out_, s, match_, ports_, true);
}

void action_printer::print_set_field(const flow::set_field& a)
{
    const flow_field& f = field_for(subfield::whole(a.of), match_);
    out_ += "set_field:";
    append_value(out_, f.form, f.width, {f.to_text(a.value), f.to_text(a.mask)}, ports_);
    out_ += "->";
    out_ += f.name;
}

void action_printer::operator()(const flow::ct& a)
{
    out_ += "ct(";
    const std::size_t begin = out_.size();
    const auto put = [this, begin](std::string_view word) {
        if (out_.size() > begin) {
            out_ += ',';
        }
        out_ += word;
    };
    if (a.commit) {
        put("commit");
    }
    if (a.force) {
        put("force");
    }
    if (a.table) {
        put("table=");
        append_decimal(out_, *a.table);
    }
    if (const auto* zone = std::get_if<std::uint16_t>(&a.zone)) {
        if (*zone != 0) {
            put("zone=");
            append_decimal(out_, *zone);
        }
    } else {
        put("zone=");
        append_subfield(out_, std::get<subfield>(a.zone), match_, ports_);
    }
    if (a.translation) {
        put("");
        append_nat(out_, *a.translation);
    }
    if (!a.exec.empty()) {
        put("exec(");
        print_inner(a.exec);
        out_ += ')';
    }
    if (a.alg != flow::ct::helper::none) {
        put(a.alg == flow::ct::helper::ftp ? "alg=ftp" : "alg=tftp");
    }
    out_ += ')';
}

} // namespace

void append_actions(std::string& out, const flow::action_list& actions, const flow::match& m,
                    const port_names* ports)
{
    action_printer{out, m, ports}.print(actions);
}

} // namespace strait::control
