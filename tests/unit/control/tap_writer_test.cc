// SPDX-License-Identifier: BSD-3-Clause
// The thread behind a capture: what it writes, and how it ends when its client goes, sleeps, or has
// enough.
#include "control/tap_writer.hh"

#include "eal_environment.hh"
#include "pcapng_blocks.hh"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <rte_cycles.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::control {
namespace {

using namespace std::chrono_literals;
using dataplane::tap_event;
using testing::HasSubstr;
using testing_support::number_at;
using testing_support::pcapng_block;
using testing_support::read_pcapng;

constexpr dataplane::port_index first_port{2};

class tap_writing : public testing::Test {
protected:
    tap_writing()
    {
        (void)testing_support::shared_engine(); // the TSC's frequency is EAL's to know
        int pair[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        to_ = dataplane::file_descriptor{pair[0]};
        client_ = dataplane::file_descriptor{pair[1]};
        frame_.fill(std::byte{0x5a});
        auto port = std::make_shared<dataplane::port_config>();
        port->index = first_port;
        port->incarnation = 8;
        port->name = "vm1";
        config_.ports.resize(3);
        config_.ports[2] = port;
    }
    void start(tap_writer::settings s)
    {
        writer_ = std::make_unique<tap_writer>(
            outlet_, std::move(s), [this] { ++asked_; }, [this] { ++ended_; });
        writer_->ports_change(config_);
        writer_->start(std::move(to_));
    }
    bool put(std::uint32_t size = 100, tap_event event = tap_event::received,
             std::size_t worker = 0)
    {
        dataplane::packet p{};
        p.data = frame_.data();
        p.length = size;
        p.head_length = static_cast<std::uint16_t>(size);
        const bool there =
            outlet_->rings[worker]->put(p,
                                        {.tsc = rte_rdtsc(),
                                         .incarnation = 8,
                                         .event = event,
                                         .reason = dataplane::drop_reason::receiver_full},
                                        first_port, outlet_->snaplen);
        (there ? outlet_->by_worker[worker].packets : outlet_->by_worker[worker].drops).add(1);
        return there;
    }
    // Until the other side's end.
    std::string read_all()
    {
        std::string out;
        std::array<char, 65536> chunk{};
        for (ssize_t n = 0; (n = ::read(client_.get(), chunk.data(), chunk.size())) > 0;) {
            out.append(chunk.data(), static_cast<std::size_t>(n));
        }
        return out;
    }
    static bool becomes(const std::atomic<int>& value, int wanted)
    {
        for (int i = 0; i < 5000 && value != wanted; ++i) {
            std::this_thread::sleep_for(1ms);
        }
        return value == wanted;
    }

    std::shared_ptr<dataplane::tap_outlet> outlet_{make_ring_outlet(2)};
    dataplane::snapshot config_;
    dataplane::file_descriptor to_;
    dataplane::file_descriptor client_;
    std::array<std::byte, 2048> frame_{};
    std::atomic<int> asked_{0};
    std::atomic<int> ended_{0};
    std::unique_ptr<tap_writer> writer_; // ends before what it refers to
};

TEST_F(tap_writing, writes_packets_of_all_workers_in_order_with_direction_and_reason)
{
    start({});
    EXPECT_TRUE(put(100));
    EXPECT_TRUE(put(101, tap_event::sent, 1));
    EXPECT_TRUE(put(102, tap_event::dropped));
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(asked_, 0);
    writer_->finish();
    const auto blocks = read_pcapng(read_all());
    ASSERT_EQ(blocks.size(), 6U);
    EXPECT_EQ(blocks[1].options.at(2), "vm1");
    std::uint64_t last = 0;
    for (std::size_t i = 2; i < 5; ++i) {
        EXPECT_EQ(blocks[i].word(4), 98 + i);
        const std::uint64_t time = std::uint64_t{blocks[i].word(1)} << 32 | blocks[i].word(2);
        EXPECT_GT(time, last);
        last = time;
        const auto wall = std::chrono::system_clock::now().time_since_epoch() / 1ns;
        EXPECT_LT(std::abs(static_cast<std::int64_t>(time) - wall), 5'000'000'000);
    }
    EXPECT_EQ(number_at<std::uint32_t>(blocks[2].options.at(2), 0), 1U);
    EXPECT_EQ(number_at<std::uint32_t>(blocks[3].options.at(2), 0), 2U);
    EXPECT_FALSE(blocks[3].options.contains(1));
    EXPECT_THAT(blocks[4].options.at(1), HasSubstr("receiver_full"));
    EXPECT_EQ(number_at<std::uint64_t>(blocks[5].options.at(4), 0), 3U);
    EXPECT_TRUE(becomes(ended_, 1));
    EXPECT_EQ(writer_->result().packets, 3U);
    EXPECT_EQ(writer_->result().why, "");
}

TEST_F(tap_writing, writes_lines)
{
    start({.format = tap_writer::format::lines});
    frame_[12] = std::byte{0x88};
    frame_[13] = std::byte{0xb5};
    EXPECT_TRUE(put(60));
    EXPECT_TRUE(put(61, tap_event::dropped));
    writer_->finish();
    const std::string text = read_all();
    EXPECT_THAT(text, testing::ContainsRegex("^[0-9:.]{18} in  vm1: .*0x88b5.*, 60 bytes\n"));
    EXPECT_THAT(text, HasSubstr(" drop vm1 (receiver_full): "));
}

TEST_F(tap_writing, ends_after_as_many_packets_as_were_asked_for)
{
    start({.count = 2});
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(put());
    }
    EXPECT_TRUE(becomes(asked_, 1));
    writer_->finish();
    EXPECT_EQ(read_pcapng(read_all()).size(), 5U);
    EXPECT_EQ(writer_->result().packets, 2U);
    EXPECT_EQ(asked_, 1);
}

TEST_F(tap_writing, ends_wholly_when_its_client_shuts_down_its_side)
{
    start({});
    EXPECT_TRUE(put());
    ::shutdown(client_.get(), SHUT_WR);
    EXPECT_TRUE(becomes(asked_, 1));
    EXPECT_TRUE(put()); // until it is finished
    writer_->finish();
    EXPECT_EQ(read_pcapng(read_all()).back().kind, 5U);
    EXPECT_EQ(writer_->result().packets, 2U);
}

TEST_F(tap_writing, ends_when_its_client_is_gone)
{
    start({});
    client_ = {};
    EXPECT_TRUE(becomes(asked_, 1));
    while (put()) {
        std::this_thread::sleep_for(1us);
        if (outlet_->by_worker[0].packets.read() > 2'000) {
            break; // it goes on taking what comes, until it is finished
        }
    }
    writer_->finish();
    EXPECT_TRUE(becomes(ended_, 1));
    EXPECT_EQ(writer_->result().why, "");
}

TEST_F(tap_writing, gives_up_a_client_that_takes_nothing_and_counts_what_was_lost)
{
    start({.patience = 200ms});
    for (int i = 0; i < 20'000; ++i) {
        (void)put(2000);
    }
    EXPECT_EQ(asked_, 0);
    EXPECT_TRUE(becomes(asked_, 1));
    EXPECT_THAT(writer_->result().why, HasSubstr("nothing of it was taken"));
    EXPECT_GT(writer_->result().lost, 1000U);
    writer_->finish();
    EXPECT_TRUE(becomes(ended_, 1));
}

TEST_F(tap_writing, a_slow_client_has_whole_packets_and_the_number_of_those_lost)
{
    start({});
    for (int i = 0; i < 20'000; ++i) {
        (void)put(2000);
    }
    const std::uint64_t lost = outlet_->by_worker[0].drops.read();
    EXPECT_GT(lost, 1000U);
    writer_->finish();
    const auto blocks = read_pcapng(read_all());
    EXPECT_EQ(blocks.size(), 3 + 20'000 - lost);
    EXPECT_EQ(number_at<std::uint64_t>(blocks.back().options.at(4), 0), 20'000U);
    EXPECT_EQ(number_at<std::uint64_t>(blocks.back().options.at(5), 0), lost);
}

TEST_F(tap_writing, who_has_no_time_does_not_wait_for_a_client_that_sleeps)
{
    start({});
    for (int i = 0; i < 2'000; ++i) {
        (void)put(2000);
    }
    std::this_thread::sleep_for(50ms);
    const auto begin = std::chrono::steady_clock::now();
    writer_->abandon();
    EXPECT_TRUE(becomes(ended_, 1));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
}

TEST_F(tap_writing, ends_with_its_port)
{
    start({.only_port = "vm1"});
    std::this_thread::sleep_for(30ms);
    EXPECT_EQ(asked_, 0);
    config_.ports.clear();
    writer_->ports_change(config_);
    EXPECT_TRUE(becomes(asked_, 1));
    EXPECT_EQ(writer_->result().why, "port vm1 was removed");
    writer_->finish();
    EXPECT_TRUE(becomes(ended_, 1));
}

TEST_F(tap_writing, says_why_a_file_cannot_be_written)
{
    to_ = dataplane::file_descriptor{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
    start({});
    EXPECT_TRUE(becomes(asked_, 1));
    EXPECT_THAT(writer_->result().why, HasSubstr("cannot be written: "));
    writer_->finish();
    EXPECT_TRUE(becomes(ended_, 1));
}

} // namespace
} // namespace strait::control
