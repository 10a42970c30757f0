// SPDX-License-Identifier: BSD-3-Clause
// Passes behind ct actions: what goes along, what is asked at once, and where it ends. That they do
// what they should with any rules is forward_test.cc's business.
#include "dataplane/flow/passes.hh"

#include "tests/unit/dataplane/flow/flows_of_a_bridge.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace strait::flow {
namespace {

using dataplane::drop_reason;

plain_rule always(table_id table, action_list actions)
{
    return {table, 1, {}, std::move(actions)};
}
action out(port_number port)
{
    return {output{port}};
}
action track(table_id table)
{
    ct out;
    out.table = table;
    return {out};
}
action commit()
{
    ct out;
    out.commit = true;
    return {out};
}
action set(field f, wide value)
{
    return {set_field{f, value, wide::ones(width_of(f))}};
}

// UDP, of a flow of this number.
frame_bytes frame(unsigned number)
{
    frame_bytes f(60);
    const std::array<std::uint8_t, 24> start = {2, 0, 0,    0, 0, 1,  2, 0, 0, 0, 0,  2,
                                                8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17};
    std::memcpy(f.data(), start.data(), start.size());
    f[26] = f[30] = std::byte{10};
    f[29] = static_cast<std::byte>(number);
    f[33] = std::byte{9};
    f[39] = std::byte{26};
    return f;
}
std::vector<frame_bytes> frames(std::size_t count)
{
    std::vector<frame_bytes> all;
    for (unsigned i = 0; i < count; ++i) {
        all.push_back(frame(i));
    }
    return all;
}

class later_passes : public flows_of_a_bridge {
protected:
    std::uint64_t dropped(drop_reason reason) const
    {
        return counters_.drops[static_cast<std::size_t>(reason)].read();
    }
    std::uint64_t misses() const { return switcher_.entries().counters.misses.read(); }
    // What fake_tracking answers and drops has its own test; here all of them are to be seen.
    static std::size_t count(const sent& all, std::size_t port)
    {
        const auto found = all.find(port);
        return found == all.end() ? 0 : found->second.size();
    }
    void SetUp() override { connections_.drops = false; }
};

TEST_F(later_passes, of_a_burst_are_asked_for_at_once)
{
    publish({always(0, {track(1)}), always(1, {out(2)})});
    EXPECT_EQ(count(send(1, frames(burst::capacity)), 2), burst::capacity);
    EXPECT_EQ(connections_.longest, burst::capacity);
}

TEST_F(later_passes, are_found_in_the_cache_by_what_their_tables_ask_for_alone)
{
    publish({always(0, {track(1)}), always(1, {out(2)})});
    (void)send(1, frames(burst::capacity));
    EXPECT_EQ(misses(), 2U) << "one for all of each pass";
    EXPECT_EQ(count(send(1, frames(burst::capacity)), 2), burst::capacity);
    EXPECT_EQ(misses(), 2U);
}

TEST_F(later_passes, have_the_registers_that_were_set)
{
    plain_rule five{1, 2, {}, {out(3)}};
    five.match.require(field::reg3, 5);
    plain_rule second{0, 2, {}, {set(field::reg3, 5), track(1)}};
    second.match.require(field::nw_src, 0x0a000001);
    publish({always(0, {track(1)}), second, always(1, {out(2)}), five});
    const sent all = send(1, frames(4));
    EXPECT_EQ(count(all, 2), 3U);
    EXPECT_EQ(count(all, 3), 1U);
}

// Whatever packets were in their places before.
TEST_F(later_passes, have_the_options_that_were_set_and_no_others)
{
    auto known = std::make_shared<option_map>();
    ASSERT_TRUE(known->add({.option_class = 1, .type = 1, .length = 4, .index = 3}));
    const option& o = known->all().front();
    options_ = known;
    plain_rule with{1, 2, {}, {out(3)}};
    with.match.require(field::tun_present, o.present_bit(), o.present_bit());
    plain_rule first{0, 2, {}, {set(o.field_at(0), 7), track(1)}};
    first.match.require(field::nw_src, 0x0a000001);
    // The packet's own number where there is no option: 0, as is told by a register.
    plain_rule copies{
        1, 1, {}, {{move_field{{o.field_at(0), 0, 8}, {field::reg0, 0, 8}}}, {resubmit{{}, 2}}}};
    plain_rule zero{2, 2, {}, {out(2)}};
    zero.match.require(field::reg0, 0);
    publish({always(0, {track(1)}), first, with, copies, zero, always(2, {out(4)})});
    auto all = frames(4);
    for (int i = 0; i < 4; ++i) {
        const sent went = send(1, all);
        EXPECT_EQ(count(went, 2), 3U);
        EXPECT_EQ(count(went, 3), 1U);
        EXPECT_EQ(count(went, 4), 0U);
        std::rotate(all.begin(), all.begin() + 1, all.end());
    }
}

// A pass carries on what it does not look at itself.
TEST_F(later_passes, have_the_registers_that_were_set_two_passes_ago)
{
    plain_rule one{2, 2, {}, {out(3)}};
    one.match.require(field::reg3, 1);
    plain_rule second{0, 2, {}, {set(field::reg3, 1), track(1)}};
    second.match.require(field::nw_src, 0x0a000001);
    publish({always(0, {track(1)}), second, always(1, {track(2)}), always(2, {out(2)}), one});
    for (int i = 0; i < 2; ++i) {
        const sent all = send(1, frames(4));
        EXPECT_EQ(count(all, 2), 3U);
        EXPECT_EQ(count(all, 3), 1U);
    }
}

TEST_F(later_passes, have_the_stack_and_the_action_set)
{
    plain_rule one{
        1, 2, {}, {{stack_pop{{field::reg0, 0, 8}}}, {output_field{{field::reg0, 0, 8}}}}};
    one.match.require(field::nw_src, 0x0a000001);
    publish({always(0, {set(field::reg1, 3),
                        {stack_push{{field::reg1, 0, 8}}},
                        track(1),
                        {write_actions{{out(4)}}}}),
             always(1, {}), one});
    sent all = send(1, frames(2));
    EXPECT_EQ(count(all, 3), 1U);
    EXPECT_EQ(count(all, 4), 2U) << "of who was not sent on, as the set was empty then";
    publish({always(0, {{write_actions{{out(4)}}}}), always(1, {})});
    EXPECT_EQ(count(send(1, frames(2)), 4), 2U);
    plain_rule goes{0, 1, {}, {{write_actions{{out(5)}}}, {goto_table{2}}}};
    publish({goes, always(1, {}), always(2, {track(1)})});
    for (int i = 0; i < 2; ++i) {
        all = send(1, frames(2));
        EXPECT_EQ(count(all, 5), 4U) << "the set is done for who goes on, and for who does not";
    }
    const auto before = misses();
    (void)send(1, frames(2));
    EXPECT_EQ(misses(), before) << "an entry is told apart by the set, too";
}

// By port, of packets that each output sends alike: translated, and by what is known then.
TEST_F(later_passes, have_the_queue_that_was_chosen_before)
{
    using queues = std::map<std::size_t, std::vector<unsigned>>;
    const auto sent_with = [this](std::vector<plain_rule> rules) {
        publish(std::move(rules));
        queues all;
        for (int i = 0; i < 2; ++i) {
            (void)send(1, frames(1));
            EXPECT_TRUE(i == 0 || queues_ == all);
            all = queues_;
        }
        return all;
    };
    const action two{set_queue{2}};
    EXPECT_EQ(sent_with({always(0, {two, out(2), {set_queue{5}}, out(3), out(4)})}),
              (queues{{2, {2}}, {3, {5}}, {4, {5}}}));
    EXPECT_EQ(sent_with({always(0, {two, out(2), {pop_queue{}}, out(3)})}),
              (queues{{2, {2}}, {3, {0}}}));
    EXPECT_EQ(sent_with({always(0, {{enqueue{2, 4}}, out(3)})}), (queues{{2, {4}}, {3, {0}}}));
    EXPECT_EQ(sent_with({always(0, {two, {enqueue{2, 4}}, out(2)})}), (queues{{2, {4, 2}}}));
    EXPECT_EQ(sent_with({always(0, {two, {clone{{{set_queue{6}}, out(2)}}}, out(3)})}),
              (queues{{2, {6}}, {3, {2}}}));
    EXPECT_EQ(sent_with({always(0, {two, {clone{{out(2), {pop_queue{}}}}}, out(3)})}),
              (queues{{2, {2}}, {3, {2}}}));
    EXPECT_EQ(sent_with({always(0, {two, track(1)}),
                         always(1, {out(2), {set_queue{7}}, out(3), {pop_queue{}}, out(4)})}),
              (queues{{2, {2}}, {3, {7}}, {4, {0}}}));
    EXPECT_EQ(sent_with({always(0, {{enqueue{2, 4}}, track(1), two, out(3)}), always(1, {out(4)})}),
              (queues{{2, {4}}, {3, {2}}, {4, {0}}}));
}

TEST_F(later_passes, end_after_so_many)
{
    publish({always(0, {track(0)})});
    (void)send(1, frames(2));
    EXPECT_EQ(dropped(drop_reason::flow_too_complex), 2U);
    EXPECT_EQ(connections_.seen.size(), 2 * max_passes);
}

TEST_F(later_passes, end_after_so_many_of_all_copies)
{
    publish({always(0, {track(0), track(0)})}); // two times as many each time
    (void)send(1, frames(2));
    EXPECT_EQ(connections_.seen.size(), 2 * max_passes_in_all);
    EXPECT_GT(dropped(drop_reason::flow_too_complex), 0U);
    (void)send(1, frames(2));
    EXPECT_EQ(connections_.seen.size(), 4 * max_passes_in_all) << "of each packet anew";
}

TEST_F(later_passes, leave_the_packet_itself_behind_the_action)
{
    publish({always(0, {track(1), set(field::eth_dst, 0x02000000000a), out(3)}),
             always(1, {out(2), out(3)})});
    for (int i = 0; i < 2; ++i) {
        const sent all = send(1, frames(burst::capacity));
        EXPECT_EQ(count(all, 2), burst::capacity);
        ASSERT_EQ(count(all, 3), 2 * burst::capacity);
        for (const frame_bytes& f : all.at(2)) {
            EXPECT_EQ(f[5], std::byte{1});
        }
        EXPECT_EQ(std::ranges::count_if(all.at(3),
                                        [](const frame_bytes& f) { return f[5] == std::byte{10}; }),
                  static_cast<std::ptrdiff_t>(burst::capacity));
    }
}

// A list is delivered when it is full, with the packet in hand on it and on others: that goes on.
TEST_F(later_passes, go_on_with_a_packet_whose_lists_were_delivered)
{
    publish({always(0, {out(2), out(3), out(2), out(2)})});
    for (int i = 0; i < 2; ++i) {
        const sent all = send(1, frames(burst::capacity));
        EXPECT_EQ(count(all, 2), 3 * burst::capacity);
        EXPECT_EQ(count(all, 3), burst::capacity);
    }
    publish({always(0, {out(3), out(2), out(2), out(ports::flood)})});
    const sent all = send(1, frames(burst::capacity));
    EXPECT_EQ(count(all, 2), 3 * burst::capacity);
    EXPECT_EQ(count(all, 3), 2 * burst::capacity);
}

TEST_F(later_passes, of_many_copies_find_room_one_after_the_other)
{
    action_list all;
    for (int i = 0; i < 20; ++i) {
        all.push_back({clone{{track(1)}}});
    }
    publish({always(0, all), always(1, {out(2)})});
    EXPECT_EQ(count(send(1, frames(burst::capacity)), 2), 20 * burst::capacity);
}

TEST_F(later_passes, that_are_only_committed_are_counted_as_dropped)
{
    publish({always(0, {commit()})});
    (void)send(1, frames(3));
    EXPECT_EQ(dropped(drop_reason::flow_drop), 3U);
    EXPECT_EQ(connections_.seen.size(), 3U);
    publish({always(0, {commit(), out(2)})});
    EXPECT_EQ(count(send(1, frames(3)), 2), 3U);
    EXPECT_EQ(dropped(drop_reason::flow_drop), 3U);
}

TEST_F(later_passes, leave_nothing_to_be_counted_of_packets_that_left_or_go_on)
{
    publish({always(0, {track(1), commit()}), always(1, {out(2)})});
    EXPECT_EQ(count(send(1, frames(3)), 2), 3U);
    EXPECT_EQ(dropped(drop_reason::flow_drop), 0U) << "a copy went on";
    publish({always(0, {out(2), commit(), commit()})});
    EXPECT_EQ(count(send(1, frames(3)), 2), 3U);
    EXPECT_EQ(dropped(drop_reason::flow_drop), 0U) << "it had left";
    publish({always(0, {commit(), commit()})});
    EXPECT_EQ(count(send(1, frames(3)), 2), 0U);
    EXPECT_EQ(dropped(drop_reason::flow_drop), 3U);
}

TEST_F(later_passes, without_connection_tracking_have_no_valid_connection)
{
    switcher plain{std::size_t{1} << 20};
    plain_rule invalid{1, 2, {}, {out(3)}};
    invalid.match.require(field::ct_state, 0x30);
    publish({always(0, {track(1)}), always(1, {out(2)}), invalid});
    burst_->clear();
    const frame_bytes f = frame(1);
    put(burst_->slots[burst_->count++], f, *burst_);
    at_once lists{*this};
    plain.forward(
        *burst_,
        {*current_, *config_.ports[1], {&config_, 1, &worker_}, counters_, lists_, lists, nullptr});
    deliver();
    EXPECT_EQ(count(sent_, 3), 1U);
}

TEST_F(later_passes, stay_in_the_cache_when_a_change_does_not_concern_them)
{
    const auto from = [](unsigned number, port_number port) {
        plain_rule r{1, 5, {}, {out(port)}};
        r.match.require(field::eth_type, 0x0800);
        r.match.require(field::nw_src, 0x0a000000 + number);
        return r;
    };
    constexpr unsigned flows = 50;
    std::vector<plain_rule> rules = {always(0, {track(1)}), always(1, {out(2)}), from(7, 3),
                                     from(7, 3)};
    rules[3].priority = 4;
    publish(rules);
    (void)send(1, frames(flows));
    const auto first = misses();
    EXPECT_EQ(first, 1 + flows);
    rules[3] = from(11, 4);
    publish(rules);
    EXPECT_EQ(count(send(1, frames(flows)), 4), 1U);
    EXPECT_GT(misses(), first);
    EXPECT_LT(misses(), first + 5);
}

TEST(connections_in_keys, are_read_as_they_were_put)
{
    conntrack::result known;
    known.state = 0x2a;
    known.mark = 0xdeadbeef;
    known.label = {1, 2};
    known.zone = 0xffff;
    known.protocol = 17;
    known.source_port = 1000;
    known.destination_port = 53;
    known.source = 0x0a000001;
    known.destination = 0x0a000002;
    for (const bool ipv6 : {false, true}) {
        known.ipv6 = ipv6;
        key k;
        k.words.fill(~std::uint64_t{0});
        put_connection(known, k);
        EXPECT_EQ(k.number(field::ct_mark), 0xdeadbeefU);
        EXPECT_EQ(k.get(ipv6 ? field::ct_nw_src : field::ct_ipv6_src), wide{});
        const conntrack::result read = connection_of(k);
        EXPECT_EQ(read.state, known.state);
        EXPECT_EQ(read.mark, known.mark);
        EXPECT_EQ(read.label, known.label);
        EXPECT_EQ(read.zone, known.zone);
        EXPECT_EQ(read.protocol, known.protocol);
        EXPECT_EQ(read.ipv6, known.ipv6);
        EXPECT_EQ(read.source, known.source);
        EXPECT_EQ(read.destination, known.destination);
        EXPECT_EQ(read.source_port, known.source_port);
        EXPECT_EQ(read.destination_port, known.destination_port);
        EXPECT_EQ(k.number(field::tun_id), ~std::uint64_t{0}) << "nothing else";
        EXPECT_EQ(k.number(field::reg15), 0xffffffffU);
    }
}

} // namespace
} // namespace strait::flow
