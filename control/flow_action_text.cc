// SPDX-License-Identifier: BSD-3-Clause
// Reading actions: output, tags, tables and control flow. Fields are in flow_action_fields.cc,
// connections in flow_action_ct.cc, queues in flow_action_queue.cc.
#include "control/flow_action_text.hh"

#include "control/flow_action_reader.hh"
#include "control/ip_text.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

namespace strait::control {

using flow::action_list;
using flow::field;
using flow::wide;

namespace {

constexpr std::string_view no_mpls = "MPLS is not spoken here";
constexpr std::string_view no_controller = "there is no OpenFlow controller";
constexpr std::string_view no_learning = "no packet adds rules; NORMAL learns addresses";
constexpr std::string_view no_hashing = "a group of type select chooses ports";

using action_map = std::unordered_map<std::string_view, const action_reader::named_handler*>;

const action_map& handlers_by_name()
{
    static const action_map map = [] {
        action_map out;
        for (const auto& h : action_handlers()) {
            out.emplace(h.name, &h);
        }
        return out;
    }();
    return map;
}

std::string_view why_not(std::string_view name)
{
    for (const auto& u : unsupported_actions()) {
        if (u.name == name) {
            return u.why;
        }
    }
    return {};
}

bool is_conjunction(const flow::action& a)
{
    return std::holds_alternative<flow::conjunction>(a.is);
}

// What may be in an action set.
bool may_be_written(const flow::action& a)
{
    return std::visit(
        [](const auto& of) {
            using type = std::decay_t<decltype(of)>;
            if constexpr (std::is_same_v<type, flow::output>) {
                return of.max_length == 0;
            }
            return std::is_same_v<type, flow::group> || std::is_same_v<type, flow::resubmit> ||
                   std::is_same_v<type, flow::ct> || std::is_same_v<type, flow::ct_clear> ||
                   std::is_same_v<type, flow::set_field> ||
                   std::is_same_v<type, flow::move_field> ||
                   std::is_same_v<type, flow::push_vlan> || std::is_same_v<type, flow::pop_vlan> ||
                   std::is_same_v<type, flow::dec_ttl> || std::is_same_v<type, flow::set_queue>;
        },
        a.is);
}

} // namespace

const std::vector<unsupported_action>& unsupported_actions()
{
    static const std::vector<unsupported_action> list{
        {"controller", no_controller},
        {"bundle", no_hashing},
        {"bundle_load", no_hashing},
        {"multipath", no_hashing},
        {"learn", no_learning},
        {"fin_timeout", "rules expire by idle_timeout and hard_timeout"},
        {"sample", "nothing takes samples"},
        {"push_mpls", no_mpls},
        {"pop_mpls", no_mpls},
        {"set_mpls_label", no_mpls},
        {"set_mpls_tc", no_mpls},
        {"set_mpls_ttl", no_mpls},
        {"dec_mpls_ttl", no_mpls},
        {"dec_nsh_ttl", "the network service header is not spoken here"},
        {"encap", "packets always have an Ethernet header"},
        {"decap", "packets always have an Ethernet header"},
    };
    return list;
}

std::vector<std::string> action_words()
{
    std::vector<std::string> out;
    for (const auto& h : action_handlers()) {
        out.emplace_back(h.name);
    }
    return out;
}

const std::vector<action_reader::named_handler>& action_handlers()
{
    using r = action_reader;
    static const std::vector<action_reader::named_handler> list{
        {"output", &r::take_output},
        {"drop", &r::take_drop},
        {"group", &r::take_group},
        {"set_field", &r::take_set_field},
        {"load", &r::take_load},
        {"move", &r::take_move},
        {"push", &r::take_push},
        {"pop", &r::take_pop},
        {"mod_dl_src", &r::take_mod_dl_src},
        {"mod_dl_dst", &r::take_mod_dl_dst},
        {"mod_nw_src", &r::take_mod_nw_src},
        {"mod_nw_dst", &r::take_mod_nw_dst},
        {"mod_nw_tos", &r::take_mod_nw_tos},
        {"mod_nw_ecn", &r::take_mod_nw_ecn},
        {"mod_nw_ttl", &r::take_mod_nw_ttl},
        {"mod_tp_src", &r::take_mod_tp_src},
        {"mod_tp_dst", &r::take_mod_tp_dst},
        {"mod_vlan_vid", &r::take_mod_vlan_vid},
        {"mod_vlan_pcp", &r::take_mod_vlan_pcp},
        {"set_vlan_vid", &r::take_mod_vlan_vid},
        {"set_vlan_pcp", &r::take_mod_vlan_pcp},
        {"set_tunnel", &r::take_set_tunnel},
        {"set_tunnel64", &r::take_set_tunnel64},
        {"check_pkt_larger", &r::take_check_pkt_larger},
        {"write_metadata", &r::take_write_metadata, r::rank::metadata},
        {"push_vlan", &r::take_push_vlan},
        {"pop_vlan", &r::take_pop_vlan},
        {"strip_vlan", &r::take_pop_vlan},
        {"dec_ttl", &r::take_dec_ttl},
        {"set_queue", &r::take_set_queue},
        {"pop_queue", &r::take_pop_queue},
        {"enqueue", &r::take_enqueue},
        {"resubmit", &r::take_resubmit},
        {"goto_table", &r::take_goto_table, r::rank::next_table},
        {"clear_actions", &r::take_clear_actions, r::rank::clear},
        {"write_actions", &r::take_write_actions, r::rank::write},
        {"clone", &r::take_clone},
        {"meter", &r::take_meter, r::rank::meter},
        {"conjunction", &r::take_conjunction},
        {"exit", &r::take_exit},
        {"delete_field", &r::take_delete_field},
        {"note", &r::take_note},
        {"ct", &r::take_ct},
        {"ct_clear", &r::take_ct_clear},
    };
    return list;
}

flow_result<flow::table_id> parse_table(std::string_view text)
{
    unsigned table = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), table);
    if (code != std::errc{} || end != text.data() + text.size() || table > flow::all_tables) {
        return flow_fault{text, shown(text) + " is no table; it must be a number from 0 to 254"};
    }
    return static_cast<flow::table_id>(table);
}

flow_result<action_list> parse_actions(std::string_view text, const flow::match& m,
                                       flow::table_id table, const port_names& ports)
{
    return action_reader{m, table, ports}.read(text);
}

flow_result<action_list> parse_bucket_actions(std::string_view text, const port_names& ports)
{
    return action_reader{ports}.read(text);
}

flow_result<action_list> action_reader::read(std::string_view text)
{
    flow_words words{text};
    for (;;) {
        const auto word = words.next();
        if (word.has_error()) {
            return word.error();
        }
        if (!*word) {
            break;
        }
        if (const auto done = take(**word); done.has_error()) {
            return done.error();
        }
    }
    if (const auto fits = check_list(text); fits.has_error()) {
        return fits.error();
    }
    return std::move(out_);
}

flow_result<void> action_reader::take(const flow_word& word)
{
    if (dropped_ || (word.key == "drop" && count_ > 0)) {
        return flow_fault{word.all, "drop stands alone; there may be no other action"};
    }
    const auto& handlers = handlers_by_name();
    const auto found = handlers.find(word.key);
    const named_handler by_port{word.key, &action_reader::take_port};
    const named_handler& h = found == handlers.end() ? by_port : *found->second;
    if (const auto ordered = check_order(word, h.order); ordered.has_error()) {
        return ordered.error();
    }
    if (!word.target.empty() && h.read != &action_reader::take_check_pkt_larger) {
        return flow_fault{word.target, shown(word.key) + " has nothing behind an arrow"};
    }
    const std::size_t before = out_.size();
    ++count_;
    if (++*total_ > most_actions) {
        return flow_fault{word.all, "a flow has " + std::to_string(most_actions) +
                                        " actions at the most, and this is one more"};
    }
    if (const auto done = (this->*h.read)(word); done.has_error()) {
        return done.error();
    }
    return check_new(word, before);
}

// Whether what was added, from `before` on, may be where this list is.
flow_result<void> action_reader::check_new(const flow_word& word, std::size_t before) const
{
    if (place_ == place::flow) {
        return {};
    }
    for (std::size_t i = before; i < out_.size(); ++i) {
        if (is_conjunction(out_[i])) {
            return flow_fault{word.all, "conjunction stands in a flow itself, not within another "
                                        "action"};
        }
        if (place_ == place::action_set && !may_be_written(out_[i])) {
            return flow_fault{word.all, std::string{word.key} + " cannot be in an action set"};
        }
    }
    return {};
}

flow_result<void> action_reader::check_order(const flow_word& word, rank r)
{
    if (place_ != place::flow && r != rank::action) {
        return flow_fault{word.all, std::string{word.key} +
                                        " stands in a flow itself, not within another action"};
    }
    if (r < last_) {
        return flow_fault{word.all, shown(word.all) + " must stand before " + shown(last_word_)};
    }
    if (r == last_ && r != rank::action && !last_word_.empty()) {
        return flow_fault{word.all, std::string{word.key} + " may be there once"};
    }
    last_ = r;
    last_word_ = word.all;
    return {};
}

flow_result<void> action_reader::check_list(std::string_view text) const
{
    if (std::ranges::none_of(out_, is_conjunction)) {
        return {};
    }
    for (const auto& a : out_) {
        if (!is_conjunction(a) && !std::holds_alternative<flow::note>(a.is)) {
            return flow_fault{text, "beside conjunction there may be notes and nothing else; what "
                                    "is to be done stands in the flow with conj_id"};
        }
    }
    return {};
}

flow_result<action_list> action_reader::read_inner(place where, const flow_word& word)
{
    if (depth_ == deepest_actions) {
        return flow_fault{word.all, "actions are within actions more than " +
                                        std::to_string(deepest_actions) + " times"};
    }
    action_reader inner{state_, table_, *ports_};
    inner.place_ = where;
    inner.depth_ = depth_ + 1;
    inner.total_ = total_;
    inner.any_packets_ = any_packets_;
    return inner.read(word.value);
}

flow_result<void> action_reader::without_value(const flow_word& word)
{
    if (!word.value.empty()) {
        return flow_fault{word.value, std::string{word.key} + " takes nothing behind it"};
    }
    return {};
}

flow_result<void> action_reader::take_drop(const flow_word& word)
{
    dropped_ = true;
    return without_value(word);
}

// output:1, output:name, output:reg0[0..15], output(port=1), output(port=1,max_len=100).
flow_result<void> action_reader::take_output(const flow_word& word)
{
    if (word.mark != '(') {
        return output_to(word.value);
    }
    flow_words arguments{word.value};
    std::string_view port;
    std::optional<std::uint32_t> max_length;
    for (;;) {
        const auto argument = arguments.next();
        if (argument.has_error()) {
            return argument.error();
        }
        if (!*argument) {
            break;
        }
        const flow_word& a = **argument;
        if (a.key == "max_len" && !max_length) {
            const auto length = parse_max_length(a);
            if (length.has_error()) {
                return length.error();
            }
            max_length = *length;
            continue;
        }
        const bool bare = a.mark == 0 || a.mark == '['; // the port alone, or a field
        if ((!bare && a.key != "port") || !port.empty()) {
            return flow_fault{a.all, "output takes port=PORT and max_len=BYTES in parentheses, "
                                     "each once"};
        }
        port = bare ? a.all : a.value;
    }
    if (!max_length) {
        return output_to(port.empty() ? word.value : port);
    }
    if (port.empty()) {
        return flow_fault{word.all, "output needs a port beside max_len: "
                                    "output(port=1,max_len=100)"};
    }
    return output_cut_to(port, *max_length);
}

flow_result<std::uint32_t> action_reader::parse_max_length(const flow_word& word)
{
    constexpr std::uint64_t shortest = 14; // an Ethernet header
    const auto length = parse_number(word.value, 0xffff'ffff, "max_len");
    if (length.has_error()) {
        return length.error();
    }
    if (*length < shortest) {
        return flow_fault{word.value, "max_len must be 14 at least, an Ethernet header"};
    }
    return static_cast<std::uint32_t>(*length);
}

flow_result<void> action_reader::output_cut_to(std::string_view word, std::uint32_t max_length)
{
    const auto port = parse_port(word, *ports_);
    if (port.has_error()) {
        return port.error();
    }
    if (*port > last_port_number && *port != flow::ports::in_port && *port != flow::ports::local) {
        return flow_fault{word, shown(word) + " takes whole packets; max_len is for a port's "
                                              "number, its name, IN_PORT or LOCAL"};
    }
    return put(flow::output{*port, max_length});
}

flow_result<void> action_reader::output_to(std::string_view word)
{
    const std::string_view name = word.substr(0, word.find('['));
    if (!reserved_port(word) && !ports_->number_of(word) && find_field(name) != nullptr) {
        const auto from = readable(word);
        if (from.has_error()) {
            return from.error();
        }
        return put(flow::output_field{*from});
    }
    const auto port = parse_port(word, *ports_);
    if (port.has_error()) {
        return port.error();
    }
    if (*port == flow::ports::controller) {
        return flow_fault{word, "controller is not supported: " + std::string{no_controller}};
    }
    if (*port == flow::ports::none) {
        return flow_fault{word, shown(word) + " is no port that a packet can go to"};
    }
    return put(flow::output{*port});
}

// A port alone: 1, LOCAL, a name; or a word that is nothing.
flow_result<void> action_reader::take_port(const flow_word& word)
{
    const auto reserved = reserved_port(word.key);
    if (reserved && *reserved != flow::ports::controller) {
        if (const auto alone = without_value(word); alone.has_error()) {
            return alone.error();
        }
        return output_to(word.key);
    }
    const std::string_view why = reserved ? no_controller : why_not(word.key);
    if (!why.empty()) {
        return flow_fault{word.key,
                          std::string{word.key} + " is not supported: " + std::string{why}};
    }
    const bool quoted = word.key.starts_with('"');
    if (word.mark == 0 &&
        (quoted || parse_integer(word.key) || ports_->number_of(word.key).has_value())) {
        return output_to(word.key);
    }
    auto known = action_words();
    for (auto& name : ports_->names()) {
        known.push_back(std::move(name));
    }
    return flow_fault{word.key, shown(word.key) + " is no action" +
                                    suggestion(word.key, known, " and no port of the bridge")};
}

flow_result<void> action_reader::take_group(const flow_word& word)
{
    constexpr std::uint64_t last_group = 0xffff'ff00;
    const auto id = parse_number(word.value, last_group, "group");
    if (id.has_error()) {
        return id.error();
    }
    return put(flow::group{static_cast<std::uint32_t>(*id)});
}

flow_result<void> action_reader::take_push_vlan(const flow_word& word)
{
    constexpr std::uint64_t customer = 0x8100;
    constexpr std::uint64_t service = 0x88a8;
    const auto type = parse_integer(word.value);
    if (!type || (*type != wide{customer} && *type != wide{service})) {
        return flow_fault{word.value,
                          "push_vlan pushes a tag of 0x8100 or 0x88a8, not " + shown(word.value)};
    }
    state_.require(field::vlan_tci, wide{flow::vlan_present}, wide{flow::vlan_present});
    return put(flow::push_vlan{static_cast<std::uint16_t>(type->low)});
}

flow_result<void> action_reader::take_pop_vlan(const flow_word& word)
{
    const wide all = wide::ones(16);
    state_.value.set(field::vlan_tci, wide{}, all);
    state_.mask.set(field::vlan_tci, wide{}, all);
    if (const auto alone = without_value(word); alone.has_error()) {
        return alone.error();
    }
    return put(flow::pop_vlan{});
}

flow_result<void> action_reader::take_dec_ttl(const flow_word& word)
{
    if (contradicts(prerequisite::ip, state_)) {
        return flow_fault{word.all,
                          "dec_ttl needs in the match " + std::string{describe(prerequisite::ip)}};
    }
    flow::dec_ttl out;
    if (!trimmed(word.value).empty()) {
        const auto from = parse_icmp_source(word);
        if (from.has_error()) {
            return from.error();
        }
        out.icmp_from = *from;
    }
    return put(out);
}

// dec_ttl(icmp=10.0.0.1): an address of the packets' own kind.
flow_result<endpoint::ip_address> action_reader::parse_icmp_source(const flow_word& word) const
{
    flow_words arguments{word.value};
    const auto argument = arguments.next();
    if (argument.has_error()) {
        return argument.error();
    }
    if (!*argument || (*argument)->key != "icmp") {
        return flow_fault{word.value, "dec_ttl names no controllers: there are none"};
    }
    const auto from = parse_address((*argument)->value);
    if (!from || !from->is_unicast() || !trimmed(arguments.rest()).empty()) {
        return flow_fault{word.value, "icmp needs one address that packets may come from, like "
                                      "dec_ttl(icmp=10.0.0.1)"};
    }
    const auto fits =
        check_needs(word.all, from->is_v4() ? prerequisite::ipv4 : prerequisite::ipv6, word.all);
    if (fits.has_error()) {
        return fits.error();
    }
    return *from;
}

// resubmit:port, resubmit([port],[table][,ct]).
flow_result<void> action_reader::take_resubmit(const flow_word& word)
{
    flow::resubmit out;
    const std::size_t comma = word.mark == '(' ? word.value.find(',') : std::string_view::npos;
    const std::string_view port = trimmed(word.value.substr(0, comma));
    if (!port.empty()) {
        const auto number = parse_port(port, *ports_);
        if (number.has_error()) {
            return number.error();
        }
        if (*number != flow::ports::in_port) {
            out.in_port = *number;
        }
    }
    if (comma != std::string_view::npos) {
        std::string_view table = word.value.substr(comma + 1);
        if (const std::size_t more = table.find(','); more != std::string_view::npos) {
            if (trimmed(table.substr(more + 1)) != "ct") {
                return flow_fault{table.substr(more + 1),
                                  "resubmit takes a port, a table and ct, and nothing more"};
            }
            if (const auto known = check_needs("ct", prerequisite::tracked, word.all);
                known.has_error()) {
                return known.error();
            }
            out.by_connection = true;
            table = table.substr(0, more);
        }
        table = trimmed(table);
        if (!table.empty()) {
            const auto number = parse_table(table);
            if (number.has_error()) {
                return number.error();
            }
            if (*number != flow::all_tables) {
                out.table = *number;
            }
        }
    }
    if (!out.in_port && !out.table) {
        return flow_fault{word.all, "resubmit needs a port, a table or both: resubmit(,1)"};
    }
    return put(out);
}

flow_result<void> action_reader::take_goto_table(const flow_word& word)
{
    const auto table = parse_table(word.value);
    if (table.has_error()) {
        return table.error();
    }
    if (*table == flow::all_tables) {
        return flow_fault{word.value, "goto_table goes to a table from 1 to 254"};
    }
    if (table_ != flow::all_tables && *table <= table_) {
        return flow_fault{word.value, "goto_table goes to later tables alone, and table " +
                                          std::to_string(*table) + " does not come after table " +
                                          std::to_string(table_) + "; resubmit goes to any"};
    }
    return put(flow::goto_table{*table});
}

flow_result<void> action_reader::take_clear_actions(const flow_word& word)
{
    if (const auto alone = without_value(word); alone.has_error()) {
        return alone.error();
    }
    return put(flow::clear_actions{});
}

flow_result<void> action_reader::take_write_actions(const flow_word& word)
{
    auto inner = read_inner(place::action_set, word);
    if (inner.has_error()) {
        return inner.error();
    }
    if (inner->empty()) {
        return {};
    }
    return put(flow::write_actions{std::move(*inner)});
}

flow_result<void> action_reader::take_clone(const flow_word& word)
{
    auto inner = read_inner(place::clone, word);
    if (inner.has_error()) {
        return inner.error();
    }
    return put(flow::clone{std::move(*inner)});
}

flow_result<void> action_reader::take_meter(const flow_word& word)
{
    constexpr std::uint64_t last_meter = 0xffff'0000;
    const auto id = parse_number(word.value, last_meter, "meter");
    if (id.has_error()) {
        return id.error();
    }
    if (*id == 0) {
        return flow_fault{word.value, "meters are counted from 1"};
    }
    return put(flow::meter{static_cast<std::uint32_t>(*id)});
}

// conjunction(id,k/n)
flow_result<void> action_reader::take_conjunction(const flow_word& word)
{
    const auto wrong = [&word] {
        return flow_fault{word.all, "conjunction must be like conjunction(ID,1/2): the first of "
                                    "two dimensions"};
    };
    const std::size_t comma = word.value.find(',');
    const std::size_t slash = word.value.find('/');
    if (word.mark != '(' || comma == std::string_view::npos || slash == std::string_view::npos ||
        slash < comma) {
        return wrong();
    }
    const auto id = parse_number(trimmed(word.value.substr(0, comma)), 0xffff'ffff, "conjunction");
    const auto dimension = parse_integer(trimmed(word.value.substr(comma + 1, slash - comma - 1)));
    const auto dimensions = parse_integer(trimmed(word.value.substr(slash + 1)));
    if (id.has_error()) {
        return id.error();
    }
    if (!dimension || !dimensions || (dimension->high | dimensions->high) != 0) {
        return wrong();
    }
    constexpr std::uint64_t most = 64;
    if (dimensions->low < 2 || dimensions->low > most) {
        return flow_fault{word.value, "a conjunction has from 2 to 64 dimensions"};
    }
    if (dimension->low < 1 || dimension->low > dimensions->low) {
        return flow_fault{word.value, "dimensions are counted from 1 to their number, " +
                                          std::to_string(dimensions->low)};
    }
    return put(flow::conjunction{static_cast<std::uint32_t>(*id),
                                 static_cast<std::uint8_t>(dimension->low - 1),
                                 static_cast<std::uint8_t>(dimensions->low)});
}

flow_result<void> action_reader::take_exit(const flow_word& word)
{
    if (const auto alone = without_value(word); alone.has_error()) {
        return alone.error();
    }
    return put(flow::exit_processing{});
}

flow_result<void> action_reader::take_note(const flow_word& word)
{
    flow::note out;
    std::string_view rest = word.value;
    while (!rest.empty()) {
        if (rest.front() == '.') {
            rest.remove_prefix(1);
            continue;
        }
        std::uint8_t byte = 0;
        const auto [end, code] = std::from_chars(
            rest.data(), rest.data() + std::min<std::size_t>(2, rest.size()), byte, 16);
        if (code != std::errc{} || end != rest.data() + 2) {
            return flow_fault{rest, "a note has bytes of two hexadecimal digits, like note:0a.1b"};
        }
        out.bytes.push_back(byte);
        rest.remove_prefix(2);
    }
    // As long as OpenFlow has them.
    do {
        if (out.bytes.size() % 8 != 6) {
            out.bytes.push_back(0);
        }
    } while (out.bytes.size() % 8 != 6);
    return put(std::move(out));
}

} // namespace strait::control
