// SPDX-License-Identifier: BSD-3-Clause
// How a list of actions is read, word by word (flow_action_text.hh is what others use).
#pragma once

#include "dataplane/flow/action.hh"

#include "control/flow_fields.hh"
#include "control/flow_ports.hh"
#include "control/flow_words.hh"

#include <cstdint>
#include <string>
#include <string_view>

namespace strait::control {

class action_reader {
public:
    // Where a list stands.
    enum class place : std::uint8_t { flow, clone, action_set, connection };

    action_reader(const flow::match& m, flow::table_id table, const port_names& ports)
        : state_{m}, table_{table}, ports_{&ports}
    {}

    // Of a group's bucket.
    explicit action_reader(const port_names& ports)
        : table_{flow::all_tables}, ports_{&ports}, place_{place::action_set}, any_packets_{true}
    {}

    action_reader(const action_reader&) = delete;
    action_reader& operator=(const action_reader&) = delete;

    [[nodiscard]] flow_result<flow::action_list> read(std::string_view text);

    // Instructions stand in the order of their ranks, each once, and in flows themselves alone.
    enum class rank : std::uint8_t { meter, action, clear, write, metadata, next_table };
    using handler = flow_result<void> (action_reader::*)(const flow_word& word);
    struct named_handler {
        std::string_view name;
        handler read;
        rank order{rank::action};
    };

private:
    flow_result<void> take(const flow_word& word);
    flow_result<void> check_order(const flow_word& word, rank r);
    flow_result<void> check_new(const flow_word& word, std::size_t before) const;
    flow_result<void> check_list(std::string_view text) const;
    [[nodiscard]] flow_result<flow::action_list> read_inner(place where, const flow_word& word);

    // Output.
    flow_result<void> take_output(const flow_word& word);
    flow_result<void> take_port(const flow_word& word);
    flow_result<void> take_drop(const flow_word& word);
    flow_result<void> take_group(const flow_word& word);
    flow_result<void> output_to(std::string_view word);
    flow_result<void> output_cut_to(std::string_view word, std::uint32_t max_length);
    static flow_result<std::uint32_t> parse_max_length(const flow_word& word);

    // Fields (flow_action_fields.cc).
    flow_result<void> take_set_field(const flow_word& word);
    flow_result<void> set_option(const flow_field& f, const flow_word& word,
                                 std::string_view value);
    flow_result<void> take_delete_field(const flow_word& word);
    flow_result<void> take_load(const flow_word& word);
    flow_result<void> take_move(const flow_word& word);
    flow_result<void> take_push(const flow_word& word);
    flow_result<void> take_pop(const flow_word& word);
    flow_result<void> take_mod_dl_src(const flow_word& word);
    flow_result<void> take_mod_dl_dst(const flow_word& word);
    flow_result<void> take_mod_nw_src(const flow_word& word);
    flow_result<void> take_mod_nw_dst(const flow_word& word);
    flow_result<void> take_mod_nw_tos(const flow_word& word);
    flow_result<void> take_mod_nw_ecn(const flow_word& word);
    flow_result<void> take_mod_nw_ttl(const flow_word& word);
    flow_result<void> take_mod_tp_src(const flow_word& word);
    flow_result<void> take_mod_tp_dst(const flow_word& word);
    flow_result<void> take_mod_vlan_vid(const flow_word& word);
    flow_result<void> take_mod_vlan_pcp(const flow_word& word);
    flow_result<void> take_set_tunnel(const flow_word& word);
    flow_result<void> take_set_tunnel64(const flow_word& word);
    flow_result<void> take_check_pkt_larger(const flow_word& word);
    flow_result<void> take_write_metadata(const flow_word& word);
    // `bits` of a field that is all of what is set and is called `what`.
    flow_result<void> modify(const flow_word& word, std::string_view what, flow::subfield to,
                             std::uint64_t maximum, prerequisite may_not_contradict);
    flow_result<void> modify_address(const flow_word& word, flow::field to, value_form form,
                                     prerequisite may_not_contradict);
    // Whether the packets have what a field needs; nothing, or a fault of the word `at`, which
    // calls it `name`.
    flow_result<void> check_needs(std::string_view name, prerequisite p, std::string_view at) const;
    // Whether an action may read or set a field.
    flow_result<void> check_readable(const flow_field& f, std::string_view at) const;
    flow_result<void> check_writable(const flow_field& f, std::string_view at) const;
    flow_result<flow::subfield> readable(std::string_view text) const;
    flow_result<flow::subfield> writable(std::string_view text) const;
    void set(flow::field of, flow::wide value, flow::wide mask);

    // Tags, TTL.
    flow_result<void> take_push_vlan(const flow_word& word);
    flow_result<void> take_pop_vlan(const flow_word& word);
    flow_result<void> take_dec_ttl(const flow_word& word);
    [[nodiscard]] flow_result<endpoint::ip_address> parse_icmp_source(const flow_word& word) const;

    // Tables and control flow.
    flow_result<void> take_resubmit(const flow_word& word);
    flow_result<void> take_goto_table(const flow_word& word);
    flow_result<void> take_clear_actions(const flow_word& word);
    flow_result<void> take_write_actions(const flow_word& word);
    flow_result<void> take_clone(const flow_word& word);
    flow_result<void> take_meter(const flow_word& word);
    flow_result<void> take_conjunction(const flow_word& word);
    flow_result<void> take_exit(const flow_word& word);
    flow_result<void> take_note(const flow_word& word);

    // Queues (flow_action_queue.cc).
    flow_result<void> take_set_queue(const flow_word& word);
    flow_result<void> take_pop_queue(const flow_word& word);
    flow_result<void> take_enqueue(const flow_word& word);

    // Connections (flow_action_ct.cc).
    flow_result<void> take_ct(const flow_word& word);
    flow_result<void> take_ct_clear(const flow_word& word);
    flow_result<void> take_ct_argument(const flow_word& word, flow::ct& out);
    flow_result<void> take_ct_helper(const flow_word& word, flow::ct& out);
    flow_result<void> check_ct(const flow_word& word, const flow::ct& out) const;

    static flow_result<void> without_value(const flow_word& word);

    template <typename Action>
    flow_result<void> put(Action&& a)
    {
        out_.push_back(flow::action{std::forward<Action>(a)});
        return {};
    }

    friend const std::vector<named_handler>& action_handlers();

    flow::match state_; // of the packets, at this point of the list
    flow::table_id table_;
    const port_names* ports_;
    place place_{place::flow};
    unsigned depth_{1};
    bool any_packets_{false}; // there is no match that says what they are
    rank last_{rank::meter};
    std::string_view last_word_;
    unsigned count_{0}; // words so far
    unsigned own_total_{0};
    unsigned* total_{&own_total_}; // of the whole flow
    bool dropped_{false};
    flow::action_list out_;
};

[[nodiscard]] const std::vector<action_reader::named_handler>& action_handlers();
[[nodiscard]] flow_result<flow::table_id> parse_table(std::string_view text);

} // namespace strait::control
