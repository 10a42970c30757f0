// SPDX-License-Identifier: BSD-3-Clause
// The walk through the tables.
#include "dataplane/flow/translate.hh"

#include "dataplane/flow/ct_operation.hh"
#include "dataplane/flow/rewrite.hh"

#include <algorithm>
#include <bit>
#include <optional>
#include <utility>

namespace strait::flow {

namespace {

using dataplane::drop_reason;
using dataplane::port_index;
using dataplane::to_index;

constexpr std::uint64_t length_bits = std::uint64_t{0xffff} << place_of(field::packet_length).shift;
constexpr std::size_t length_word = place_of(field::packet_length).word;

// Whether a field is a header's, so that setting it changes the frame.
bool is_header(field f) noexcept
{
    const std::size_t word = place_of(f).word;
    return word >= place_of(field::eth_dst).word && word < place_of(field::metadata).word;
}

// Or one that is kept beside the frame, for a tunnel that it may go into.
bool is_tunnels(field f) noexcept
{
    const std::size_t word = place_of(f).word;
    return (word >= place_of(field::tun_id).word && word <= place_of(field::tun_gbp_id).word) ||
           word >= place_of(field::tun_data0).word;
}

// What is known of a connection.
void clear_connection(key& k) noexcept
{
    std::fill(k.words.begin() + place_of(field::ct_state).word,
              k.words.begin() + place_of(field::tun_id).word, 0);
}

void swap_fields(key& k, field a, field b) noexcept
{
    const wide kept = k.get(a);
    k.set(a, k.get(b));
    k.set(b, kept);
}

// The packet's addresses, ports and protocol for those of its connection's first packet.
void swap_with_connection(key& k, bool ipv6) noexcept
{
    swap_fields(k, field::nw_proto, field::ct_nw_proto);
    swap_fields(k, ipv6 ? field::ipv6_src : field::nw_src,
                ipv6 ? field::ct_ipv6_src : field::ct_nw_src);
    swap_fields(k, ipv6 ? field::ipv6_dst : field::nw_dst,
                ipv6 ? field::ct_ipv6_dst : field::ct_nw_dst);
    swap_fields(k, field::tp_src, field::ct_tp_src);
    swap_fields(k, field::tp_dst, field::ct_tp_dst);
}

// OpenFlow's action set: of each kind the last one, done in this order (OpenFlow 1.5, 5.6).
// Of those from `group` on there is but one, the first that there is (ovs-actions(7)).
enum class set_order : std::uint8_t {
    pop_vlan,
    push_vlan,
    dec_ttl,
    set,
    group,
    output,
    resubmit,
    ct_clear,
    ct
};

class walker {
public:
    // `keeps_heads`: behind ct actions, too, before the packet is changed.
    walker(const pipeline& flows, const key& packet, translation& out, observer* watching,
           bool keeps_heads) noexcept
        : flows_{flows},
          packet_{packet},
          now_{packet},
          out_{out},
          watching_{watching},
          keeps_heads_{keeps_heads}
    {}

    void run(const pass_start& begin) noexcept
    {
        out_.program_words = 0;
        out_.rule_count = 0;
        out_.tests = {};
        for (std::size_t i = 0; i + 1 < begin.stack.size(); i += 2) {
            stack_[stack_size_++] = {begin.stack[i], begin.stack[i + 1]};
        }
        for (const std::uint64_t address : begin.set) {
            action_set_[action_set_size_++] = std::bit_cast<const action*>(address);
        }
        table_ = begin.table;
        const bool found = go_through(begin.table, {});
        if (!failed_ && !exited_) {
            do_action_set();
        }
        if (!failed_) {
            out_.program_words = useful_words_; // what follows the last output changes nothing
            out_.reason = found && !missed_ ? drop_reason::flow_drop : drop_reason::flow_miss;
            out_.reason = denied_.value_or(out_.reason);
            if (tracks_ && !leaves_) {
                emit({operation_code::drop, 0, static_cast<std::uint16_t>(out_.reason), 0});
            }
            if (keeps_head_) {
                keep_head();
            }
        }
        if (failed_) {
            out_.program_words = 0;
            out_.reason = drop_reason::flow_too_complex;
        }
    }
    // Whether a sender is to be told of its packet as it came out of a ct action, and it was
    // changed since.
    [[nodiscard]] bool missed_head() const noexcept { return missed_head_; }

private:
    // Of the packet as it came into what runs at once: its first bytes.
    enum class head : std::uint8_t {
        in_front,  // kept in front of the program, if at all
        unchanged, // since the last ct action
        changed,   // since then, and not kept
        kept
    };
    void say(std::string_view sentence) noexcept
    {
        if (watching_ != nullptr) {
            watching_->says(sentence);
        }
    }
    void fail(std::string_view sentence) noexcept
    {
        failed_ = true;
        say(sentence);
    }
    [[nodiscard]] bool stopped() const noexcept { return failed_ || exited_; }

    // The answer hangs on these bits of the key as it is now.
    void depend_on(const key& bits) noexcept
    {
        depend_on_varying(bits.words[varying_word] & varying_bits);
        if ((bits.words[length_word] & length_bits) != 0) {
            const auto length = static_cast<std::uint16_t>(packet_.number(field::packet_length));
            out_.tests.shortest = length;
            out_.tests.longest = length;
        }
    }
    void depend_on_varying(std::uint64_t bits) noexcept
    {
        bits &= ~constant_;
        if (ttl_steps_ > 0 && (bits & ttl_bits) != 0) {
            bits |= ttl_bits; // a difference hangs on all of it
        }
        out_.tests.mask |= bits;
        out_.tests.value |= packet_.words[varying_word] & bits;
    }
    void depend_on(const subfield& from) noexcept
    {
        key bits;
        bits.set(from.of, ~wide{}, from.mask());
        depend_on(bits);
    }

    void emit(std::uint64_t word) noexcept
    {
        if (out_.program_words == max_program) {
            fail("this takes more operations than a packet may take; it is dropped");
            return;
        }
        out_.program[out_.program_words++] = word;
    }
    void emit(operation o) noexcept
    {
        if (head_ == head::unchanged && changes_packet(o.code)) {
            head_ = keeps_heads_ ? head::kept : head::changed;
            if (keeps_heads_) {
                emit({operation_code::keep_head, 0, 0, 0});
            }
        }
        last_operation_ = out_.program_words;
        frame_changed_ = frame_changed_ || changes_what_follows(o.code);
        emit(o.word());
    }
    [[nodiscard]] static bool changes_what_follows(operation_code code) noexcept
    {
        return changes_packet(code) || code == operation_code::meter ||
               code == operation_code::set_queue || code == operation_code::ct;
    }
    [[nodiscard]] static bool changes_packet(operation_code code) noexcept
    {
        return code == operation_code::set || code == operation_code::push_vlan ||
               code == operation_code::pop_vlan || code == operation_code::decrement_ttl ||
               code == operation_code::set_tunnel;
    }
    // What is done even if nothing leaves behind it.
    template <typename Object>
    void emit_reference(operation_code code, const Object* object) noexcept
    {
        emit(operation{code, 0, 0, 0});
        emit(reinterpret_cast<std::uint64_t>(object));
        useful_words_ = out_.program_words;
        last_operation_ = out_.program_words;
    }
    void emit_output(operation o) noexcept
    {
        emit(o);
        useful_words_ = out_.program_words;
        leaves_ = true;
    }

    void emit_set(std::size_t word, std::uint64_t value, std::uint64_t mask,
                  operation_code code = operation_code::set) noexcept
    {
        constexpr std::uint8_t most = 0xff;
        if (out_.program_words > useful_words_ && last_operation_ < out_.program_words) {
            operation last = operation::of(out_.program[last_operation_]);
            if (last.code == code && last.count < most) {
                ++last.count;
                out_.program[last_operation_] = last.word();
                emit_change(word, value, mask);
                return;
            }
        }
        emit({code, 1, 0, 0});
        emit_change(word, value, mask);
    }
    void emit_change(std::size_t word, std::uint64_t value, std::uint64_t mask) noexcept
    {
        emit(word);
        emit(value & mask);
        emit(mask);
    }

    // The bits of `mask` become those of `value`, in the key and, if it is a header's, the frame.
    void set(field f, wide value, wide mask) noexcept
    {
        if (f == field::vlan_tci) {
            set_vlan(static_cast<std::uint16_t>(value.low), static_cast<std::uint16_t>(mask.low));
            return;
        }
        write(f, value, mask);
        if (f >= field::tun_present && flows_.options) {
            keep_options_whole(f, mask, *flows_.options);
        }
    }
    // An option is there as soon as some of it is set; one that is taken out has nothing.
    void keep_options_whole(field changed, wide mask, const option_map& known) noexcept
    {
        if (is_option_data(changed)) {
            const option* const of = known.owner_of(changed);
            // Where rules made it so, all packets of the flow have it.
            const wide there = now_.get(field::tun_present) & changed_.get(field::tun_present);
            if (of != nullptr && (there & of->present_bit()).is_zero()) {
                write(field::tun_present, of->present_bit(), of->present_bit());
            }
            return;
        }
        const wide gone = mask & ~now_.get(changed);
        for (const option& o : known.all()) {
            const std::size_t words = (gone & o.present_bit()).is_zero() ? 0 : o.word_count();
            for (std::size_t i = 0; i < words; ++i) {
                write(o.field_at(i), {}, ~wide{});
            }
        }
    }
    void write(field f, wide value, wide mask) noexcept
    {
        now_.set(f, value, mask);
        if (!is_header(f)) {
            changed_.set(f, ~wide{}, mask);
        }
        if (!is_header(f) && !is_tunnels(f)) {
            return;
        }
        const auto code = is_header(f) ? operation_code::set : operation_code::set_tunnel;
        const field_place at = place_of(f);
        if (at.width > 64) {
            if (mask.high != 0) {
                emit_set(at.word, value.high, mask.high, code);
            }
            if (mask.low != 0) {
                emit_set(at.word + std::size_t{1}, value.low, mask.low, code);
            }
            return;
        }
        if (at.word == varying_word) {
            constant_ |= mask.low << at.shift;
        }
        emit_set(at.word, value.low << at.shift, mask.low << at.shift, code);
    }

    // A tag comes, goes or is changed, by whether the bit for "there is one" is set before and
    // after.
    void set_vlan(std::uint16_t value, std::uint16_t mask) noexcept
    {
        const auto before = static_cast<std::uint16_t>(now_.number(field::vlan_tci));
        const auto after = static_cast<std::uint16_t>((before & ~mask) | (value & mask));
        if ((after & vlan_present) == 0) {
            if ((before & vlan_present) != 0) {
                pop();
            }
            return;
        }
        if ((before & vlan_present) == 0) {
            constexpr std::uint16_t tpid = 0x8100;
            push(tpid, after);
            return;
        }
        now_.set(field::vlan_tci, after);
        const field_place at = place_of(field::vlan_tci);
        emit_set(at.word, std::uint64_t{value} << at.shift, std::uint64_t{mask} << at.shift);
    }
    void push(std::uint16_t tpid, std::uint16_t tci) noexcept
    {
        if ((now_.number(field::inner_vlan_tci) & vlan_present) != 0) {
            say("there is no room for a third tag");
            return;
        }
        insert_tag(now_, tci);
        emit({operation_code::push_vlan, 0, tpid, tci});
    }
    void pop() noexcept
    {
        if ((now_.number(field::vlan_tci) & vlan_present) == 0) {
            return;
        }
        remove_tag(now_);
        emit({operation_code::pop_vlan, 0, 0, 0});
    }

    // What is asked for with another key than the packet has by now.
    struct lookup {
        std::optional<port_number> in_port;
        bool by_connection{false};
    };
    // False: nothing in the table matched.
    bool go_through(table_id table, const lookup& as) noexcept
    {
        if (depth_ == max_depth) {
            fail("tables lead into one another too deeply; the packet is dropped");
            return false;
        }
        if (tables_ == max_resubmits) {
            fail("more tables than a packet may go through; it is dropped");
            return false;
        }
        ++tables_;
        const classifier* const rules = flows_.find(table);
        const rule* found = nullptr;
        key with = now_;
        if (as.by_connection) {
            swap_with_connection(with, now_.number(field::eth_type) == ipv6_type);
        }
        if (as.in_port) {
            with.set(field::in_port, *as.in_port);
        }
        // Rules are not to tell a datagram's first fragment from the others: none has ports (what
        // ovs-ofctl calls fragment handling "normal").
        if ((with.number(field::nw_frag) & frag_any) != 0) {
            with.set(field::tp_src, 0);
            with.set(field::tp_dst, 0);
        }
        if (rules != nullptr) {
            key consulted;
            found = rules->lookup(with, &consulted);
            depend_on(consulted);
        }
        if (watching_ != nullptr) {
            watching_->looked_up(table, found, with);
        }
        if (found == nullptr) {
            came_back();
            return false;
        }
        if (alternatives_ > 0) {
            emit_reference(operation_code::count_rule, found);
        } else if (out_.rule_count == max_rules) {
            fail("more rules than a packet may meet; it is dropped");
            return false;
        } else {
            out_.rules[out_.rule_count++] = found;
        }
        const std::size_t deeper = is_hidden(table) ? 0 : 1; // operators know of no others
        depth_ += deeper;
        const table_id before = std::exchange(table_, table);
        do_all(found->actions());
        table_ = before;
        depth_ -= deeper;
        came_back();
        return true;
    }
    void came_back() noexcept
    {
        if (watching_ != nullptr) {
            watching_->came_back();
        }
    }

    void do_all(const action_list& actions) noexcept
    {
        for (const action& a : actions) {
            if (stopped()) {
                return;
            }
            if (!do_one(a)) {
                return;
            }
        }
    }

    // Each returns whether the rest of its list is to be done.
    bool perform(const output& what) noexcept
    {
        output_to(what.port, what.max_length);
        return true;
    }
    bool perform(const output_field& what) noexcept
    {
        depend_on(what.port);
        const wide number = what.port.read(now_);
        if (number.high == 0 && number.low <= ports::none) {
            output_to(static_cast<port_number>(number.low));
        }
        return true;
    }
    // `max_length` 0: all of the frame.
    void output_to(port_number to, std::uint32_t max_length = 0) noexcept
    {
        const auto from = flows_.ports->index(now_.number(field::in_port));
        const auto source = static_cast<std::uint16_t>(to_index(from));
        switch (to) {
        case ports::in_port:
            if (from != dataplane::no_port) {
                emit_output(output_operation(source, max_length));
            }
            return;
        case ports::normal:
            if (from == dataplane::no_port) {
                say("NORMAL needs a port that the packet came from, and in_port is none");
                return;
            }
            emit_output({operation_code::normal, 0, source, 0});
            return;
        case ports::flood:
        case ports::all:
            emit_output({operation_code::flood, 0, source, 0});
            return;
        case ports::table:
            go_through(0, {});
            return;
        default:
            break;
        }
        if (to == now_.number(field::in_port)) {
            say("no packet leaves by the port it came from, unless by IN_PORT");
            return;
        }
        const auto port = flows_.ports->index(to);
        if (port == dataplane::no_port) {
            say(to == ports::local ? "this bridge has no LOCAL port; nothing goes there"
                                   : "there is no such port");
            return;
        }
        emit_output(output_operation(static_cast<std::uint16_t>(to_index(port)), max_length));
    }
    static operation output_operation(std::uint16_t to, std::uint32_t max_length) noexcept
    {
        constexpr std::uint32_t longest = 0xffff; // no frame is
        return max_length == 0 || max_length > longest
                   ? operation{operation_code::output, 0, 0, to}
                   : operation{operation_code::output_cut, 0,
                               static_cast<std::uint16_t>(max_length), to};
    }
    bool perform(const set_field& what) noexcept
    {
        set(what.of, what.value, what.mask);
        return true;
    }
    bool perform(const move_field& what) noexcept
    {
        depend_on(what.from);
        set(what.to.of, what.from.read(now_) << what.to.first, what.to.mask());
        return true;
    }
    bool perform(const push_vlan& what) noexcept
    {
        push(what.tpid, vlan_present);
        return true;
    }
    bool perform(const pop_vlan&) noexcept
    {
        pop();
        return true;
    }
    bool perform(const dec_ttl& what) noexcept
    {
        if (!is_ip()) {
            return true;
        }
        const auto ttl = static_cast<std::uint8_t>(now_.number(field::nw_ttl));
        if ((constant_ & ttl_bits) == ttl_bits) {
            if (ttl <= 1) {
                expire(what);
                return false;
            }
            set(field::nw_ttl, static_cast<std::uint64_t>(ttl - 1), wide::ones(8));
            return true;
        }
        if ((constant_ & ttl_bits) != 0) {
            depend_on_varying(ttl_bits); // set in part: all of it is this packet's
            out_.tests.mask |= ttl_bits;
            out_.tests.value |= packet_.words[varying_word] & ttl_bits;
        }
        if (ttl <= 1) {
            out_.tests.highest_ttl = std::min<std::uint16_t>(
                out_.tests.highest_ttl, static_cast<std::uint16_t>(ttl_steps_ + 1));
            expire(what);
            return false;
        }
        out_.tests.lowest_ttl = std::max<std::uint16_t>(out_.tests.lowest_ttl,
                                                        static_cast<std::uint16_t>(ttl_steps_ + 2));
        ++ttl_steps_;
        now_.set(field::nw_ttl, static_cast<std::uint64_t>(ttl - 1));
        emit({operation_code::decrement_ttl, 0, 0, 0});
        return true;
    }
    void expire(const dec_ttl& what) noexcept
    {
        if (!what.icmp_from.is_set()) {
            say("the TTL is used up");
            return;
        }
        if (what.icmp_from.is_v4() != (now_.number(field::eth_type) == ip_type)) {
            say("the TTL is used up; there is no address to tell the sender from");
            return;
        }
        say("the TTL is used up; the sender is to be told by ICMP");
        // What comes behind a ct action is run on its own.
        switch (head_) {
        case head::in_front:
            keeps_head_ = true;
            break;
        case head::unchanged:
            emit({operation_code::keep_head, 0, 0, 0});
            head_ = head::kept;
            break;
        case head::changed:
            missed_head_ = true;
            break;
        case head::kept:
            break;
        }
        emit({operation_code::time_exceeded, 0, 0, 0});
        emit(what.icmp_from.high);
        emit(what.icmp_from.low);
        useful_words_ = out_.program_words;
        last_operation_ = out_.program_words;
    }
    // In front of all that is done: the sender is told of its packet as it came.
    void keep_head() noexcept
    {
        emit({operation_code::keep_head, 0, 0, 0});
        if (!failed_) {
            const auto end = out_.program.begin() + static_cast<std::ptrdiff_t>(out_.program_words);
            std::rotate(out_.program.begin(), end - 1, end);
        }
    }
    bool perform(const resubmit& what) noexcept
    {
        if (what.by_connection && (!is_ip() || now_.number(field::ct_nw_proto) == 0)) {
            say("there is no connection whose addresses could be looked up");
            return true;
        }
        go_through(what.table.value_or(table_), {what.in_port, what.by_connection});
        return true;
    }
    bool perform(const goto_table& what) noexcept
    {
        const bool found = go_through(what.table, {});
        missed_ = missed_ || (!found && is_hidden(table_));
        return true;
    }
    bool perform(const deny& what) noexcept
    {
        denied_ = what.reason;
        exited_ = true;
        return false;
    }
    bool perform(const clear_actions&) noexcept
    {
        action_set_size_ = 0;
        update_actset_output();
        return true;
    }
    bool perform(const write_actions& what) noexcept
    {
        for (const action& a : what.actions) {
            if (action_set_size_ == action_set_.size()) {
                fail("more actions in the set than a packet may have; it is dropped");
                return false;
            }
            action_set_[action_set_size_++] = &a;
        }
        update_actset_output();
        return true;
    }
    bool perform(const set_queue& what) noexcept
    {
        emit({operation_code::set_queue, 0, what.queue, 0});
        return true;
    }
    bool perform(const pop_queue&) noexcept { return perform(set_queue{0}); }
    // In a copy of the packet, so that what follows has the queue that it had.
    bool perform(const enqueue& what) noexcept
    {
        in_copy([&]() noexcept {
            (void)perform(set_queue{what.queue});
            output_to(what.port);
        });
        return !failed_;
    }
    bool perform(const group& what) noexcept
    {
        const bucket_group* const g = flows_.groups.find(what.id);
        if (g == nullptr) {
            say("there is no such group");
            return false;
        }
        if (depth_ == max_depth) {
            fail("groups lead into one another too deeply; the packet is dropped");
            return false;
        }
        ++depth_;
        if (g->chooses()) {
            choose(*g);
        } else {
            emit_reference(operation_code::count_group, g);
            for (const bucket& b : g->buckets()) {
                if (failed_) {
                    break;
                }
                in_copy([&]() noexcept { do_bucket(*g, b); });
            }
        }
        --depth_;
        return !failed_;
    }
    // All ways that its packets may go; which one goes is found when it is there.
    void choose(const bucket_group& g) noexcept
    {
        const std::size_t begin = out_.program_words;
        emit({operation_code::choose, 0, 0, 0});
        emit(reinterpret_cast<std::uint64_t>(&g));
        emit(g.hash_of_metadata(now_));
        ++alternatives_;
        const std::size_t first = out_.program_words;
        for (std::size_t i = 0; i < g.buckets().size() && !failed_; ++i) {
            if (g.type() == group_type::select && g.buckets()[i].weight == 0) {
                continue;
            }
            const std::size_t at = out_.program_words;
            // Nothing that follows may hang on which way it is.
            const saved_packet before = save_packet();
            const saved_lists lists = save_lists();
            emit({operation_code::alternative, 0, static_cast<std::uint16_t>(i), 0});
            do_bucket(g, g.buckets()[i]);
            restore(before);
            restore(lists);
            if (failed_) {
                break;
            }
            out_.program_words = std::max(useful_words_, at + 1);
            out_.program[at] =
                operation{operation_code::alternative, 0, static_cast<std::uint16_t>(i),
                          static_cast<std::uint32_t>(out_.program_words - at - 1)}
                    .word();
        }
        --alternatives_;
        if (failed_) {
            return;
        }
        out_.program[begin] = operation{operation_code::choose, 0, 0,
                                        static_cast<std::uint32_t>(out_.program_words - first)}
                                  .word();
        useful_words_ = out_.program_words;
        last_operation_ = out_.program_words;
        leaves_ = true; // or what it chooses from does not: that is counted when it is done
    }
    // An action set.
    void do_bucket(const bucket_group& g, const bucket& b) noexcept
    {
        if (watching_ != nullptr) {
            watching_->begins(g, b);
        }
        std::array<const action*, 64> set;
        if (b.actions.size() > set.size()) {
            fail("more actions in a bucket than a packet may have; it is dropped");
        } else {
            const auto end = std::ranges::transform(b.actions, set.begin(), [](const action& a) {
                                 return &a;
                             }).out;
            do_in_order({set.begin(), end});
        }
        if (watching_ != nullptr) {
            watching_->ends_bucket();
        }
    }
    bool perform(const meter& what) noexcept
    {
        if (const packet_meter* const m = flows_.meters.find(what.id)) {
            emit_reference(operation_code::meter, m);
        } else {
            say("there is no such meter");
        }
        return !failed_;
    }
    bool perform(const conjunction&) noexcept { return true; } // the classifier's
    bool perform(const check_pkt_larger& what) noexcept
    {
        // Tags that came or went by now count.
        const int length = static_cast<int>(now_.number(field::packet_length));
        const int more = length - static_cast<int>(packet_.number(field::packet_length));
        const bool larger = length > what.length;
        const int limit = std::clamp(what.length - more, 0, 0xffff);
        if (larger) {
            out_.tests.shortest = std::max(out_.tests.shortest,
                                           static_cast<std::uint16_t>(std::min(limit + 1, 0xffff)));
        } else {
            out_.tests.longest = std::min(out_.tests.longest, static_cast<std::uint16_t>(limit));
        }
        set(what.to.of, wide{larger ? 1U : 0U} << what.to.first, what.to.mask());
        return true;
    }
    bool perform(const stack_push& what) noexcept
    {
        if (stack_size_ == max_stack) {
            fail("more fields pushed than a packet may have; it is dropped");
            return false;
        }
        depend_on(what.from);
        stack_[stack_size_++] = what.from.read(now_);
        return true;
    }
    bool perform(const stack_pop& what) noexcept
    {
        if (stack_size_ == 0) {
            say("nothing was pushed that could be popped");
            return true;
        }
        set(what.to.of, stack_[--stack_size_] << what.to.first, what.to.mask());
        return true;
    }
    bool perform(const exit_processing&) noexcept
    {
        exited_ = true;
        return false;
    }
    bool perform(const note&) noexcept { return true; }
    bool perform(const ct_clear&) noexcept
    {
        forget_connection();
        return true;
    }
    void forget_connection() noexcept
    {
        clear_connection(now_);
        knows_ = false;
    }
    bool perform(const ct& what) noexcept
    {
        std::uint16_t zone = 0;
        if (const auto* const from = std::get_if<subfield>(&what.zone)) {
            depend_on(*from);
            zone = static_cast<std::uint16_t>(from->read(now_).low);
        } else {
            zone = std::get<std::uint16_t>(what.zone);
        }
        key committed = now_;
        key bits;
        for (const action& a : what.exec) {
            commit_field(a, committed, bits);
        }
        emit_ct(what, zone, committed, bits);
        if (what.table) {
            say("it is tracked, and a copy goes on by what is known of its connection then");
        }
        forget_connection(); // what the copy knows
        return true;
    }
    // One of exec's. Bits of `to` that it sets are added to `bits`.
    void commit_field(const action& a, key& to, key& bits) noexcept
    {
        if (watching_ != nullptr) {
            watching_->does(a);
        }
        if (const auto* const set = std::get_if<set_field>(&a.is)) {
            to.set(set->of, set->value, set->mask);
            bits.set(set->of, ~wide{}, set->mask);
        } else if (const auto* const move = std::get_if<move_field>(&a.is)) {
            depend_on(move->from);
            to.set(move->to.of, move->from.read(to) << move->to.first, move->to.mask());
            bits.set(move->to.of, ~wide{}, move->to.mask());
        }
    }
    void emit_ct(const ct& what, std::uint16_t zone, const key& committed, const key& bits) noexcept
    {
        const auto mark_mask = bits.number(field::ct_mark);
        const wide label_mask = bits.get(field::ct_label);
        const auto flag = [](bool is, std::uint8_t f) noexcept { return is ? f : std::uint8_t{0}; };
        const auto flags = static_cast<std::uint8_t>(
            flag(what.commit, ct_flag::commits) | flag(what.force, ct_flag::forces) |
            flag(what.table.has_value(), ct_flag::goes_on) | flag(knows_, ct_flag::knows) |
            flag(what.translation.has_value(), ct_flag::translates) |
            flag(mark_mask != 0, ct_flag::marks) | flag(!label_mask.is_zero(), ct_flag::labels) |
            flag(what.of_port, ct_flag::of_port));
        const std::size_t at = out_.program_words;
        tracks_ = true;
        emit({operation_code::ct, flags, zone, 0});
        if (what.translation) {
            emit(std::bit_cast<std::uint64_t>(&*what.translation));
        }
        if (mark_mask != 0) {
            emit((committed.number(field::ct_mark) & mark_mask) | mark_mask << 32);
        }
        if (!label_mask.is_zero()) {
            const wide label = committed.get(field::ct_label) & label_mask;
            for (const std::uint64_t word :
                 {label.high, label.low, label_mask.high, label_mask.low}) {
                emit(word);
            }
        }
        if (what.table) {
            emit_frozen();
            leaves_ = true;
        }
        if (failed_) {
            return;
        }
        head_ = head::unchanged;
        useful_words_ = out_.program_words;
        const auto follow = static_cast<std::uint32_t>(useful_words_ - at - 1);
        out_.program[at] = operation{operation_code::ct, flags, zone,
                                     follow | table_and_helper(what.table.value_or(0), what.alg)}
                               .word();
    }
    // What the rules made of it that a packet has with it when it goes on.
    void emit_frozen() noexcept
    {
        frozen state{0, static_cast<std::uint8_t>(stack_size_),
                     static_cast<std::uint8_t>(action_set_size_)};
        for (std::size_t i = 0; i < key_words; ++i) {
            state.changed |= std::uint64_t{changed_.words[i] != 0} << i;
        }
        emit(state.word());
        for (std::uint64_t left = state.changed; left != 0; left &= left - 1) {
            const auto word = static_cast<std::size_t>(std::countr_zero(left));
            emit(now_.words[word] & changed_.words[word]);
            emit(changed_.words[word]);
        }
        for (std::size_t i = 0; i < stack_size_; ++i) {
            emit(stack_[i].high);
            emit(stack_[i].low);
        }
        for (const action* const a : action_set()) {
            emit(std::bit_cast<std::uint64_t>(a));
        }
    }
    bool perform(const clone& what) noexcept
    {
        const saved_lists before = save_lists();
        in_copy([&]() noexcept {
            do_all(what.actions);
            if (!stopped() && !in_action_set_) {
                do_action_set(); // the copy's
            }
        });
        restore(before);
        return !failed_;
    }

    // The packet, and what goes with it.
    struct saved_packet {
        key now;
        std::uint64_t constant;
        unsigned ttl_steps;
        key changed;
        bool knows;
        head first_bytes;
        bool frame_changed;
    };
    struct saved_lists {
        std::size_t in_set;
        std::array<const action*, 64> set;
        std::size_t on_stack;
        std::array<wide, max_stack> stack;
    };
    [[nodiscard]] saved_packet save_packet() noexcept
    {
        return {now_,
                constant_,
                ttl_steps_,
                changed_,
                knows_,
                head_,
                std::exchange(frame_changed_, false)};
    }
    [[nodiscard]] saved_lists save_lists() const noexcept
    {
        return {action_set_size_, action_set_, stack_size_, stack_};
    }
    void restore(const saved_lists& before) noexcept
    {
        action_set_size_ = before.in_set;
        action_set_ = before.set;
        stack_size_ = before.on_stack;
        stack_ = before.stack;
    }
    void restore(const saved_packet& before) noexcept
    {
        now_ = before.now;
        constant_ = before.constant;
        ttl_steps_ = before.ttl_steps;
        changed_ = before.changed;
        knows_ = before.knows;
        head_ = before.first_bytes;
        frame_changed_ = before.frame_changed;
        exited_ = false;
        last_operation_ = out_.program_words; // nothing is joined to what is in the copy
    }
    // What `act` does is done to a copy of the packet, if it is one that what follows could see.
    template <typename Act>
    void in_copy(const Act& act) noexcept
    {
        const std::size_t begin = out_.program_words;
        const std::size_t useful = useful_words_;
        emit({operation_code::clone, 0, 0, 0});
        const saved_packet before = save_packet();
        act();
        const bool changed = frame_changed_;
        restore(before);
        if (failed_) {
            return;
        }
        if (useful_words_ <= begin) { // nothing left by any port
            out_.program_words = begin;
            useful_words_ = useful;
        } else if (changed) {
            out_.program_words = useful_words_;
            out_.program[begin] = operation{operation_code::clone, 0, 0,
                                            static_cast<std::uint32_t>(useful_words_ - begin - 1)}
                                      .word();
        } else { // it left as it was
            std::copy(out_.program.begin() + static_cast<std::ptrdiff_t>(begin) + 1,
                      out_.program.begin() + static_cast<std::ptrdiff_t>(useful_words_),
                      out_.program.begin() + static_cast<std::ptrdiff_t>(begin));
            out_.program_words = --useful_words_;
        }
        last_operation_ = out_.program_words;
    }

    [[nodiscard]] static set_order order_of(const action& a) noexcept
    {
        if (std::holds_alternative<pop_vlan>(a.is)) {
            return set_order::pop_vlan;
        }
        if (std::holds_alternative<push_vlan>(a.is)) {
            return set_order::push_vlan;
        }
        if (std::holds_alternative<dec_ttl>(a.is)) {
            return set_order::dec_ttl;
        }
        if (std::holds_alternative<group>(a.is)) {
            return set_order::group;
        }
        if (std::holds_alternative<output>(a.is) || std::holds_alternative<output_field>(a.is)) {
            return set_order::output;
        }
        if (std::holds_alternative<resubmit>(a.is)) {
            return set_order::resubmit;
        }
        if (std::holds_alternative<ct_clear>(a.is)) {
            return set_order::ct_clear;
        }
        if (std::holds_alternative<ct>(a.is)) {
            return set_order::ct;
        }
        return set_order::set;
    }
    [[nodiscard]] std::span<const action* const> action_set() const noexcept
    {
        return {action_set_.data(), action_set_size_};
    }
    void update_actset_output() noexcept
    {
        std::uint64_t port = action_set_size_ == 0 ? 0 : std::uint64_t{ports::none};
        for (const action* const a : action_set()) {
            if (const auto* const out = std::get_if<output>(&a->is)) {
                port = out->port;
            }
        }
        now_.set(field::actset_output, port);
        changed_.set(field::actset_output, ~wide{});
    }
    void do_action_set() noexcept
    {
        in_action_set_ = true;
        do_in_order(action_set());
        in_action_set_ = false;
    }
    void do_in_order(std::span<const action* const> set) noexcept
    {
        const auto last = [set](set_order which) noexcept {
            const action* found = nullptr;
            for (const action* const a : set) {
                found = order_of(*a) == which ? a : found;
            }
            return found;
        };
        for (const set_order which :
             {set_order::pop_vlan, set_order::push_vlan, set_order::dec_ttl}) {
            if (const action* const a = last(which); a != nullptr && (stopped() || !do_one(*a))) {
                return;
            }
        }
        for (const action* const a : set) {
            if (order_of(*a) == set_order::set && (stopped() || !do_one(*a))) {
                return;
            }
        }
        for (const set_order which : {set_order::group, set_order::output, set_order::resubmit,
                                      set_order::ct_clear, set_order::ct}) {
            if (const action* const a = last(which); a != nullptr && !stopped()) {
                (void)do_one(*a);
                return;
            }
        }
    }
    // Whether the others are to be done.
    bool do_one(const action& a) noexcept
    {
        if (actions_ == max_actions) {
            fail("more actions than a packet may take; it is dropped");
            return false;
        }
        ++actions_;
        if (watching_ != nullptr) {
            watching_->does(a);
        }
        return std::visit([this](const auto& what) noexcept { return perform(what); }, a.is);
    }

    [[nodiscard]] bool is_ip() const noexcept
    {
        const auto type = now_.number(field::eth_type);
        return type == ip_type || type == ipv6_type;
    }

    static constexpr std::uint64_t ip_type = 0x0800;
    static constexpr std::uint64_t ipv6_type = 0x86dd;

    const pipeline& flows_;
    const key& packet_; // as it came
    key now_;
    key changed_; // bits that rules set which are no header's
    translation& out_;
    observer* watching_;
    std::uint64_t constant_{0}; // bits of varying_word that are a rule's, no more the packet's
    unsigned ttl_steps_{0};
    std::size_t last_operation_{0};
    std::size_t useful_words_{0}; // up to the last output
    bool frame_changed_{false};   // the frame, or what goes on with it, within this copy
    std::size_t alternatives_{0}; // that what is done now is within
    std::size_t depth_{0};
    std::size_t tables_{0};
    std::size_t actions_{0}; // done
    table_id table_{0};
    bool failed_{false};
    bool exited_{false};
    bool missed_{false}; // in the first table that operators know
    std::optional<drop_reason> denied_;
    bool in_action_set_{false};
    bool leaves_{false};
    bool tracks_{false};
    bool keeps_head_{false}; // in front, for a time_exceeded
    const bool keeps_heads_; // behind ct actions
    bool missed_head_{false};
    head head_{head::in_front};
    bool knows_{true}; // of its connection what it came with
    std::size_t stack_size_{0};
    std::array<wide, max_stack> stack_;
    std::size_t action_set_size_{0};
    std::array<const action*, 64> action_set_{};
};

} // namespace

namespace {

key both(const key& a, const key& b) noexcept
{
    key out;
    for (std::size_t i = 0; i < key_words; ++i) {
        out.words[i] = a.words[i] | b.words[i];
    }
    return out;
}

key_layout layout_of(key bits) noexcept
{
    key_layout out;
    bits.set(field::conj_id, 0);
    out.deepest = depth_to_match(bits);
    bits.words[varying_word] &= ~varying_bits;
    bits.set(field::packet_length, 0);
    if (!bits.get(field::tp_src).is_zero() || !bits.get(field::tp_dst).is_zero()) {
        bits.set(field::nw_frag, frag_any, frag_any); // go_through() looks at it then
    }
    bits.set(field::in_port, ~wide{}); // what is flooded, and what does not go back
    for (std::size_t i = 0; i < key_words; ++i) {
        if (bits.words[i] != 0) {
            out.words[out.count] = static_cast<std::uint8_t>(i);
            out.masks[out.count++] = bits.words[i];
        }
    }
    return out;
}

} // namespace

key_layout make_layout(const key& matched, const key& read) noexcept
{
    key bits = both(matched, read);
    // What a packet comes without.
    for (std::size_t i = place_of(field::metadata).word; i < place_of(field::tun_id).word; ++i) {
        bits.words[i] = 0;
    }
    bits.set(field::pkt_mark, 0);
    bits.set(field::actset_output, 0);
    return layout_of(bits);
}

key_layout make_later_layout(const key& matched, const key& read) noexcept
{
    const key bits = both(matched, read);
    key_layout out = layout_of(bits);
    key others = bits;
    using enum field;
    // A packet that has not been through another pass, nor a tunnel, has no metadata.
    for (const field f :
         {in_port, eth_type, nw_proto, nw_frag, ct_state, ct_zone, ct_mark, conj_id}) {
        others.set(f, 0);
    }
    for (std::size_t i = place_of(metadata).word; i <= place_of(reg15).word; ++i) {
        others.words[i] = 0;
    }
    for (std::size_t i = place_of(tun_id).word; i < key_words; ++i) {
        others.words[i] = 0;
    }
    others.words[conntrack::zone_word] &= ~conntrack::of_port_bit;
    // What is tested in entries makes no layout: those with tests are not kept in mind.
    others.words[varying_word] &= ~varying_bits;
    others.set(packet_length, 0);
    out.told_by_state = others == key{};
    for (const field f : {nw_src, nw_dst, ipv6_src, ipv6_dst, tp_src, tp_dst}) {
        others.set(f, 0);
    }
    out.told_by_connection = others == key{};
    return out;
}

void translate(const pipeline& flows, const key& packet, translation& out, observer* watching,
               const pass_start& begin) noexcept
{
    // Seldom is anything told behind a ct action: other programs keep nothing there. An observer is
    // shown the one that counts.
    walker first{flows, packet, out, nullptr, false};
    first.run(begin);
    if (watching != nullptr || first.missed_head()) {
        walker{flows, packet, out, watching, first.missed_head()}.run(begin);
    }
}

} // namespace strait::flow
