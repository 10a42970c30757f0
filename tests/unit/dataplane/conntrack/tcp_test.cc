// SPDX-License-Identifier: BSD-3-Clause
// TCP as somebody between two ends sees it, segment by segment: handshakes, closing, resets,
// windows with and without scale, what is sent again, and what never fits.
#include "dataplane/conntrack/tcp.hh"

#include <gtest/gtest.h>

#include <vector>

namespace strait::conntrack::tcp {
namespace {

std::vector<std::byte> scale(unsigned shift)
{
    return {std::byte{1}, std::byte{3}, std::byte{3}, std::byte(shift)};
}
std::vector<std::byte> selective(std::uint32_t from, std::uint32_t to)
{
    std::vector<std::byte> out{std::byte{1}, std::byte{1}, std::byte{5}, std::byte{10}};
    for (const std::uint32_t edge : {from, to}) {
        for (const unsigned shift : {24U, 16U, 8U, 0U}) {
            out.push_back(std::byte(edge >> shift & 0xff));
        }
    }
    return out;
}

// Two ends, whose numbers begin at 1000 and 5000.
class conversation {
public:
    bool client(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                std::uint32_t length = 0, std::uint16_t window = 1000,
                std::vector<std::byte> options = {})
    {
        return say(false, {sequence, acknowledged, length, window, flags, false, options});
    }
    bool server(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledged = 0,
                std::uint32_t length = 0, std::uint16_t window = 1000,
                std::vector<std::byte> options = {})
    {
        return say(true, {sequence, acknowledged, length, window, flags, false, options});
    }
    void handshake(unsigned client_scale = 0, unsigned server_scale = 0)
    {
        EXPECT_TRUE(client(syn, 999, 0, 0, 1000, scale(client_scale)));
        EXPECT_TRUE(server(syn | ack, 4999, 1000, 0, 1000, scale(server_scale)));
        EXPECT_TRUE(client(ack, 1000, 5000));
        EXPECT_EQ(is(), state::established);
    }
    [[nodiscard]] state is() const { return stream_.is; }
    [[nodiscard]] verdict last() const { return last_; }

private:
    bool say(bool reply, const segment& s)
    {
        if (!begun_) {
            begun_ = may_begin(s);
            if (begun_) {
                begin(stream_, s);
            }
            return begun_;
        }
        last_ = advance(stream_, ignored_, s, reply);
        return last_ == verdict::valid;
    }
    stream stream_;
    resync ignored_;
    bool begun_{false};
    verdict last_{};
};

TEST(conntrack_tcp, a_connection_goes_through_all_its_states)
{
    conversation c;
    EXPECT_TRUE(c.client(syn, 999));
    EXPECT_EQ(c.is(), state::syn_sent);
    EXPECT_TRUE(c.server(syn | ack, 4999, 1000));
    EXPECT_EQ(c.is(), state::syn_received);
    EXPECT_TRUE(c.client(ack, 1000, 5000));
    EXPECT_EQ(c.is(), state::established);
    EXPECT_TRUE(c.client(ack, 1000, 5000, 500));
    EXPECT_TRUE(c.server(ack, 5000, 1500, 800));
    EXPECT_TRUE(c.client(ack | fin, 1500, 5800));
    EXPECT_EQ(c.is(), state::fin_wait);
    EXPECT_TRUE(c.server(ack, 5800, 1501));
    EXPECT_EQ(c.is(), state::close_wait);
    EXPECT_TRUE(c.server(ack | fin, 5800, 1501));
    EXPECT_EQ(c.is(), state::last_ack);
    EXPECT_TRUE(c.client(ack, 1501, 5801));
    EXPECT_EQ(c.is(), state::time_wait);
    EXPECT_FALSE(c.client(syn, 9000));
    EXPECT_EQ(c.last(), verdict::reopened);
}

TEST(conntrack_tcp, what_is_sent_again_changes_nothing)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(ack, 1000, 5000, 500));
    EXPECT_TRUE(c.server(ack, 5000, 1500));
    EXPECT_TRUE(c.client(ack, 1000, 5000, 500)) << "the same once more";
    EXPECT_TRUE(c.server(syn | ack, 4999, 1000)) << "late";
    EXPECT_TRUE(c.client(syn, 999)) << "very late";
    EXPECT_EQ(c.is(), state::established);
    EXPECT_TRUE(c.client(ack | fin, 1500, 5000));
    EXPECT_TRUE(c.client(ack | fin, 1500, 5000));
    EXPECT_TRUE(c.server(ack | fin, 5000, 1501));
    EXPECT_TRUE(c.server(ack | fin, 5000, 1501));
    EXPECT_EQ(c.is(), state::last_ack);
}

TEST(conntrack_tcp, data_beyond_the_window_is_invalid)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(ack, 1000, 5000, 1000));
    EXPECT_TRUE(c.client(ack, 2000, 5000, 1)) << "up to where the window ends it may begin";
    EXPECT_TRUE(c.client(ack, 2500, 5000, 100)) << "some send up to a window more than they may";
    EXPECT_TRUE(c.server(ack, 5000, 2600)) << "and it may be taken";
    EXPECT_FALSE(c.client(ack, 3600 + 1000, 5000, 1));
    EXPECT_TRUE(c.server(ack, 5000, 2600, 0, 2000));
    EXPECT_TRUE(c.client(ack, 3600 + 1000, 5000, 1)) << "the server has room for more";
}

TEST(conntrack_tcp, what_was_never_sent_cannot_be_acknowledged)
{
    conversation c;
    c.handshake();
    EXPECT_FALSE(c.server(ack, 5000, 1001));
    EXPECT_TRUE(c.client(ack, 1000, 5000, 1));
    EXPECT_TRUE(c.server(ack, 5000, 1001));
}

TEST(conntrack_tcp, windows_are_as_large_as_both_scales_make_them)
{
    conversation c;
    c.handshake(4, 7);
    EXPECT_TRUE(c.server(ack, 5000, 1000, 0, 1000)); // 128,000 bytes
    EXPECT_TRUE(c.client(ack, 1000 + 127'000, 5000, 500));
    EXPECT_FALSE(c.client(ack, 1000 + 256'001, 5000, 500));
    EXPECT_TRUE(c.client(ack, 1000, 5000, 0, 1000)); // 16,000 bytes
    EXPECT_FALSE(c.server(ack, 5000 + 32'001, 1000, 10));
    EXPECT_TRUE(c.server(ack, 5000 + 15'000, 1000, 10));
}

TEST(conntrack_tcp, one_side_that_does_not_scale_keeps_the_other_from_it)
{
    conversation c;
    EXPECT_TRUE(c.client(syn, 999, 0, 0, 1000, scale(7)));
    EXPECT_TRUE(c.server(syn | ack, 4999, 1000));
    EXPECT_TRUE(c.client(ack, 1000, 5000, 0, 1000));
    EXPECT_FALSE(c.server(ack, 5000 + 2100, 1000, 10));
    EXPECT_TRUE(c.server(ack, 5000 + 900, 1000, 10));
}

TEST(conntrack_tcp, selective_acknowledgements_may_not_lie_either)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(ack, 1000, 5000, 500));
    EXPECT_TRUE(c.server(ack, 5000, 1000, 0, 1000, selective(1200, 1500)));
    EXPECT_FALSE(c.server(ack, 5000, 1000, 0, 1000, selective(1200, 1501)));
}

TEST(conntrack_tcp, options_that_lie_about_their_length_are_passed_over)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(ack, 1000, 5000, 500));
    EXPECT_TRUE(c.server(ack, 5000, 1000, 0, 1000,
                         {std::byte{5}, std::byte{200}, std::byte{0xff}, std::byte{0xff}}));
    EXPECT_TRUE(c.server(ack, 5000, 1000, 0, 1000,
                         {std::byte{8}, std::byte{0}, std::byte{5}, std::byte{10}}));
    EXPECT_TRUE(c.server(ack, 5000, 1000, 0, 1000,
                         {std::byte{1}, std::byte{1}, std::byte{1}, std::byte{5}}));
}

TEST(conntrack_tcp, a_reset_counts_if_its_number_is_the_expected_one)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.server(ack, 5000, 1000, 100));
    EXPECT_TRUE(c.client(ack, 1000, 5100));
    EXPECT_FALSE(c.server(rst, 5099)) << "before what was acknowledged";
    EXPECT_TRUE(c.server(rst, 5300)) << "in the window: the end will ask";
    EXPECT_EQ(c.is(), state::established);
    EXPECT_TRUE(c.server(rst, 5100));
    EXPECT_EQ(c.is(), state::closed);
}

TEST(conntrack_tcp, a_syn_may_be_refused)
{
    conversation c;
    EXPECT_TRUE(c.client(syn, 999));
    EXPECT_FALSE(c.server(rst | ack, 0, 2000)) << "not this one";
    EXPECT_EQ(c.is(), state::syn_sent);
    EXPECT_TRUE(c.server(rst | ack, 0, 1000));
    EXPECT_EQ(c.is(), state::closed);
    EXPECT_FALSE(c.client(syn, 3000));
    EXPECT_EQ(c.last(), verdict::reopened);
}

TEST(conntrack_tcp, both_may_begin_at_once)
{
    conversation c;
    EXPECT_TRUE(c.client(syn, 999));
    EXPECT_TRUE(c.server(syn, 4999));
    EXPECT_EQ(c.is(), state::syn_sent_by_both);
    EXPECT_TRUE(c.client(syn | ack, 999, 5000));
    EXPECT_EQ(c.is(), state::syn_received);
    EXPECT_TRUE(c.server(syn | ack, 4999, 1000));
    EXPECT_TRUE(c.client(ack, 1000, 5000));
    EXPECT_EQ(c.is(), state::established);
}

TEST(conntrack_tcp, one_that_is_picked_up_in_the_middle_has_no_window_to_lie_in)
{
    conversation c;
    EXPECT_TRUE(c.client(ack, 123'456, 700, 100));
    EXPECT_EQ(c.is(), state::established);
    EXPECT_TRUE(c.server(ack, 700, 123'556, 1400, 60'000));
    EXPECT_TRUE(c.server(ack, 900'000, 123'556, 1400));
    EXPECT_TRUE(c.client(ack, 500'000, 800'000, 1400));
    EXPECT_TRUE(c.client(ack | fin, 123'556, 2100));
    EXPECT_EQ(c.is(), state::fin_wait);
}

TEST(conntrack_tcp, nothing_else_begins_one)
{
    for (const unsigned flags : {syn | ack | 0U, fin | ack | 0U, rst | 0U, rst | ack | 0U}) {
        EXPECT_FALSE(may_begin({.flags = static_cast<std::uint8_t>(flags)}));
    }
}

TEST(conntrack_tcp, a_syn_that_was_not_believed_is_if_it_is_answered)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(syn, 70'000)) << "the client began anew; maybe";
    EXPECT_EQ(c.is(), state::established);
    EXPECT_TRUE(c.server(syn | ack, 90'000, 70'001)) << "so it did";
    EXPECT_EQ(c.is(), state::syn_received);
    EXPECT_TRUE(c.client(ack, 70'001, 90'001));
    EXPECT_EQ(c.is(), state::established);
    EXPECT_FALSE(c.client(ack, 1000, 5000 + 200'000));
}

TEST(conntrack_tcp, an_answer_that_fits_no_syn_ends_the_doubt)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(syn, 70'000));
    EXPECT_TRUE(c.server(syn | ack, 90'000, 60'000)) << "to something else";
    EXPECT_TRUE(c.server(syn | ack, 90'000, 70'001)) << "too late";
    EXPECT_EQ(c.is(), state::established);
    EXPECT_FALSE(c.server(rst, 1)) << "resets are as they were before";
}

TEST(conntrack_tcp, numbers_go_round)
{
    conversation c;
    EXPECT_TRUE(c.client(syn, 0xffff'ff00));
    EXPECT_TRUE(c.server(syn | ack, 0xffff'fff0, 0xffff'ff01));
    EXPECT_TRUE(c.client(ack, 0xffff'ff01, 0xffff'fff1));
    EXPECT_TRUE(c.client(ack, 0xffff'ff01, 0xffff'fff1, 600));
    EXPECT_TRUE(c.server(ack, 0xffff'fff1, 0xffff'ff01 + 600, 100));
    EXPECT_FALSE(c.client(ack, 0xffff'ff01 + 600 + 2500, 0xffff'fff1));
    EXPECT_TRUE(c.client(ack, 0xffff'ff01 + 600, 0xffff'fff1 + 100, 900));
}

TEST(conntrack_tcp, a_window_that_is_shut_may_be_probed)
{
    conversation c;
    c.handshake();
    EXPECT_TRUE(c.client(ack, 1000, 5000, 1000));
    EXPECT_TRUE(c.server(ack, 5000, 2000, 0, 0));
    EXPECT_TRUE(c.client(ack, 2000, 5000, 1));
    EXPECT_FALSE(c.client(ack, 3100, 5000, 1));
}

} // namespace
} // namespace strait::conntrack::tcp
