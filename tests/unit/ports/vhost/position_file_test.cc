// SPDX-License-Identifier: BSD-3-Clause
// Positions of packed rings: a device model that is killed at every point of its work, over random
// drivers, must be found where it stood; rings that are not the same must not be.
#include "ports/vhost/position_file.hh"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/resource.h>

namespace strait::vhost {
namespace {

using testing::HasSubstr;

// The driver's and the device's side of one packed ring.
class model_ring {
public:
    explicit model_ring(std::uint16_t size) : descriptors_(size) {}

    [[nodiscard]] std::uint16_t size() const
    {
        return static_cast<std::uint16_t>(descriptors_.size());
    }
    [[nodiscard]] packed_descriptor read(std::uint16_t index) const { return descriptors_[index]; }
    [[nodiscard]] packed_place device() const { return device_; }
    [[nodiscard]] packed_place last() const { return last_; }
    [[nodiscard]] bool anything_to_take() const { return !chains_.empty(); }

    // The driver makes a chain available if there is room.
    bool make_available(std::uint16_t length)
    {
        if (in_use_ + length > size()) {
            return false;
        }
        for (std::uint16_t i = 0; i < length; ++i) {
            auto& d = descriptors_[driver_.index];
            d = {0x1000U + driver_.index, 64, static_cast<std::uint16_t>(chains_made_ % size()),
                 static_cast<std::uint16_t>(driver_.wrap ? descriptor_flag::available
                                                         : descriptor_flag::used)};
            advance(driver_, 1);
        }
        ++chains_made_;
        chains_.push_back(length);
        in_use_ += length;
        return true;
    }

    struct work {
        packed_place next;
        packed_place last;
        std::vector<std::uint16_t> chains;
        bool batched{false};
    };
    // What a device that returns `count` chains will have done; `batched` as in-order devices do.
    [[nodiscard]] work plan(std::size_t count, bool batched) const
    {
        work w{device_, last_, {}, batched};
        for (std::size_t i = 0; i < count && i < chains_.size(); ++i) {
            if (!batched || i == 0) {
                w.last = w.next;
            }
            w.chains.push_back(chains_[i]);
            advance(w.next, chains_[i]);
        }
        return w;
    }
    // The store that makes it visible: all at once, as the first descriptor's flags do.
    void perform(const work& w)
    {
        packed_place at = device_;
        bool first = true;
        for (const auto length : w.chains) {
            if (first || !w.batched) {
                descriptors_[at.index].flags =
                    at.wrap ? descriptor_flag::available | descriptor_flag::used : 0;
            }
            first = false;
            advance(at, length);
        }
        chains_.erase(chains_.begin(),
                      chains_.begin() + static_cast<std::ptrdiff_t>(w.chains.size()));
        for (const auto length : w.chains) {
            in_use_ -= length;
        }
        device_ = w.next;
        last_ = w.last;
    }

private:
    void advance(packed_place& at, std::uint16_t by) const
    {
        const auto sum = static_cast<std::uint16_t>(at.index + by);
        if (sum >= size()) {
            at = {static_cast<std::uint16_t>(sum - size()), !at.wrap};
        } else {
            at.index = sum;
        }
    }

    std::vector<packed_descriptor> descriptors_;
    packed_place driver_;
    packed_place device_;
    packed_place last_;
    std::vector<std::uint16_t> chains_;
    std::size_t chains_made_{0};
    std::size_t in_use_{0};
};

class ring_position_test : public testing::Test {
protected:
    static ring_position::identity identity_of(const model_ring& r)
    {
        return {.memory = 11, .descriptors = 0x4000, .size = r.size()};
    }
    static auto recover(const ring_position& p, const model_ring& r)
    {
        return p.recover(identity_of(r), [&](std::uint16_t i) { return r.read(i); });
    }
};

// Parameter: the device returns a batch by its first descriptor alone.
class killed_device_test : public ring_position_test, public testing::WithParamInterface<bool> {};

// Kills before the announcement, between announcement and publication, between publication and
// confirmation, and after it, with a driver that goes on making buffers available meanwhile.
TEST_P(killed_device_test, is_found_after_a_kill_at_any_point)
{
    const bool batched = GetParam();
    std::mt19937 random{42}; // NOLINT: the same numbers each time
    const auto upto = [&](std::uint32_t n) { return static_cast<std::uint16_t>(random() % n); };
    int found = 0;
    int asked = 0;
    for (int round = 0; round < 300; ++round) {
        model_ring ring{static_cast<std::uint16_t>(8U << upto(4))};
        ring_position position;
        position.begin(identity_of(ring), {});
        bool worked = false;
        for (int step = 0; step < 400; ++step) {
            for (int n = upto(6); n > 0; --n) {
                ring.make_available(static_cast<std::uint16_t>(1 + upto(3)));
            }
            if (!ring.anything_to_take()) {
                continue;
            }
            const auto work = ring.plan(1U + upto(4), batched);
            const packed_place before = ring.device();
            const int killed_at = upto(4);
            if (killed_at > 0) {
                position.announce(work.next, work.last);
            }
            if (killed_at > 1) {
                ring.perform(work);
            }
            if (killed_at > 2) {
                position.confirm();
            }
            for (int n = upto(4); n > 0; --n) {
                ring.make_available(static_cast<std::uint16_t>(1 + upto(3)));
            }
            const auto recovered = recover(position, ring);
            const packed_place truth = killed_at > 1 ? work.next : before;
            ASSERT_EQ(ring.device(), truth);
            if (worked || killed_at > 1) {
                ++asked;
                if (recovered) {
                    ++found;
                    ASSERT_EQ(recovered->index, truth.index) << round << " " << step;
                    ASSERT_EQ(recovered->wrap, truth.wrap) << round << " " << step;
                }
            } else {
                EXPECT_FALSE(recovered) << "nothing was ever returned: the base is the VMM's";
            }
            position.begin(identity_of(ring), truth);
            if (killed_at <= 1) {
                position.announce(work.next, work.last);
                ring.perform(work);
                position.confirm();
            }
            worked = true;
        }
    }
    // A ring that looks new without being it is not believed: rare, and never wrong.
    EXPECT_GT(asked, 10'000);
    EXPECT_GT(found, asked * 98 / 100);
}

// A driver that was reset has a new ring in the old one's place, whatever the file says.
TEST_P(killed_device_test, is_not_believed_of_a_new_ring)
{
    const bool batched = GetParam();
    std::mt19937 random{7}; // NOLINT: the same numbers each time
    const auto upto = [&](std::uint32_t n) { return static_cast<std::uint16_t>(random() % n); };
    for (int round = 0; round < 2000; ++round) {
        model_ring ring{32};
        ring_position position;
        position.begin(identity_of(ring), {});
        for (int step = upto(60); step >= 0; --step) {
            while (ring.make_available(static_cast<std::uint16_t>(1 + upto(3)))) {}
            const auto work = ring.plan(1U + upto(4), batched);
            position.announce(work.next, work.last);
            ring.perform(work);
            position.confirm();
        }
        model_ring fresh{32};
        for (int n = upto(40); n > 0; --n) {
            fresh.make_available(1);
        }
        const auto recovered = recover(position, fresh);
        ASSERT_TRUE(!recovered || *recovered == packed_place{}) << recovered->index;
    }
}

INSTANTIATE_TEST_SUITE_P(devices, killed_device_test, testing::Bool(),
                         [](const auto& p) { return p.param ? "in_order" : "each_alone"; });

TEST_F(ring_position_test, belongs_to_one_ring)
{
    model_ring ring{16};
    ring_position position;
    position.begin(identity_of(ring), {});
    ring.make_available(1);
    const auto work = ring.plan(1, false);
    position.announce(work.next, work.last);
    ring.perform(work);
    position.confirm();
    ASSERT_TRUE(recover(position, ring));

    const auto read = [&](std::uint16_t i) { return ring.read(i); };
    auto other = identity_of(ring);
    other.memory = 12;
    EXPECT_FALSE(position.recover(other, read));
    other = identity_of(ring);
    other.descriptors += 0x1000;
    EXPECT_FALSE(position.recover(other, read));
    other = identity_of(ring);
    other.size = 8;
    EXPECT_FALSE(position.recover(other, read));

    position.begin(other, {3, false});
    EXPECT_FALSE(recover(position, ring));
    EXPECT_EQ(position.place(), (packed_place{3, false}));

    position.begin(identity_of(ring), work.next);
    position.forget();
    EXPECT_FALSE(recover(position, ring));
}

TEST_F(ring_position_test, reads_nothing_outside_the_ring)
{
    ring_position position;
    const ring_position::identity ring{.memory = 1, .descriptors = 2, .size = 4};
    position.begin(ring, {});
    position.announce({9, true}, {200, true});
    position.confirm();
    EXPECT_FALSE(position.recover(ring, [](std::uint16_t index) {
        EXPECT_LT(index, 4);
        return packed_descriptor{};
    }));
}

class position_file_test : public testing::Test {
protected:
    void SetUp() override
    {
        char name[] = "/tmp/strait-position-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        dir_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    std::string dir_;
};

TEST_F(position_file_test, keeps_positions_when_it_is_opened_again)
{
    const ring_position::identity ring{.memory = 1, .descriptors = 2, .size = 4};
    {
        auto file = position_file::open(dir_, "vm1").value();
        file.ring(1)->begin(ring, {});
        file.ring(1)->announce({1, true}, {0, true});
        file.ring(1)->confirm();
    }
    auto file = position_file::open(dir_, "vm1").value();
    EXPECT_EQ(file.ring(1)->place(), (packed_place{1, true}));
    EXPECT_EQ(file.ring(0)->place(), (packed_place{0, false}));
    auto other = position_file::open(dir_, "vm2").value();
    EXPECT_EQ(other.ring(1)->place(), (packed_place{0, false}));
}

TEST_F(position_file_test, makes_a_file_of_another_layout_anew)
{
    std::ofstream{dir_ + "/vm1.rings"} << "something else";
    {
        auto file = position_file::open(dir_, "vm1").value();
        file.ring(0)->begin({.memory = 1, .descriptors = 2, .size = 4}, {2, true});
    }
    std::fstream raw{dir_ + "/vm1.rings"};
    raw << "XXXXXXXX";
    raw.close();
    auto file = position_file::open(dir_, "vm1").value();
    EXPECT_EQ(file.ring(0)->place(), (packed_place{0, false}));
}

// Of two rings, as files were before ports had several queue pairs: guests stay through the
// upgrade.
TEST_F(position_file_test, goes_on_with_what_a_file_of_two_rings_kept)
{
    const std::string path = dir_ + "/vm1.rings";
    const ring_position::identity ring{.memory = 1, .descriptors = 2, .size = 4};
    {
        auto file = position_file::open(dir_, "vm1").value();
        file.ring(0)->begin(ring, {3, true});
        file.ring(1)->begin(ring, {2, false});
        file.ring(31)->begin(ring, {1, true});
    }
    std::filesystem::resize_file(path, 192);
    std::fstream raw{path};
    raw << '\x01';
    raw.close();
    for (int i = 0; i < 2; ++i) {
        auto file = position_file::open(dir_, "vm1").value();
        EXPECT_EQ(file.ring(0)->place(), (packed_place{3, true}));
        EXPECT_EQ(file.ring(1)->place(), (packed_place{2, false}));
        EXPECT_EQ(file.ring(31)->place(), (packed_place{0, false}));
    }
    EXPECT_EQ(std::filesystem::file_size(path), 64U * 33);
}

TEST_F(position_file_test, stays_in_its_folder_whatever_a_port_is_called)
{
    auto file = position_file::open(dir_, "../../etc/a b").value();
    EXPECT_NE(file.ring(0), nullptr);
    EXPECT_TRUE(std::filesystem::exists(dir_ + "/%2e%2e%2f%2e%2e%2fetc%2fa%20b.rings"));
}

TEST_F(position_file_test, that_is_cut_off_costs_what_it_kept_and_no_more)
{
    dataplane::guest_range_registration::install_handler();
    const ring_position::identity ring{.memory = 1, .descriptors = 2, .size = 4};
    auto opened = position_file::open(dir_, "vm1").value();
    position_file file;
    file = std::move(opened);
    EXPECT_FALSE(file.lost());
    file.ring(1)->begin(ring, {2, true});
    std::filesystem::resize_file(dir_ + "/vm1.rings", 0);
    file.ring(1)->begin(ring, {3, true});
    EXPECT_TRUE(file.lost());
    EXPECT_EQ(file.ring(1)->place(), (packed_place{3, true}));
    auto other = position_file::open(dir_, "vm2").value();
    EXPECT_FALSE(other.lost());
    auto again = position_file::open(dir_, "vm1").value();
    EXPECT_EQ(again.ring(1)->place(), (packed_place{0, false}));
    EXPECT_FALSE(again.lost());
}

TEST_F(position_file_test, leaves_no_file_that_there_was_no_room_for)
{
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{.rlim_cur = 100, .rlim_max = before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto failed = position_file::open(dir_, "vm1");
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, HasSubstr("File too large"));
    EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(position_file_test, says_what_is_wrong)
{
    const auto failed = position_file::open(dir_ + "/missing", "vm1");
    ASSERT_FALSE(failed);
    EXPECT_THAT(failed.error().message, HasSubstr("vm1"));
    EXPECT_THAT(failed.error().message, HasSubstr("No such file"));
}

} // namespace
} // namespace strait::vhost
