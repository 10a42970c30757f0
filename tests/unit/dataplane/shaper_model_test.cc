// SPDX-License-Identifier: BSD-3-Clause
// A shaper under random loads, beside a model that knows what the rules are and nothing of how they
// are kept: buckets in whole numbers, lists of what waits. Each frame that leaves must have been
// allowed to, and its class to go first; when nothing leaves any more, nothing may.
#include "tests/soak.hh"
#include "tests/unit/dataplane/shaped_port.hh"

#include <deque>
#include <random>

namespace strait::test {
namespace {

__extension__ using large = __int128;

// Bytes times cycles of a second, exactly.
class model_bucket {
public:
    void set(std::uint64_t kbps, std::uint64_t burst_kbit, std::uint64_t now)
    {
        rate_ = kbps * 125;
        burst_ = burst_kbit * 125;
        level_ = large{burst_} * shaper_hz;
        seen_ = now;
    }
    [[nodiscard]] bool has(std::uint64_t bytes, std::uint64_t now)
    {
        level_ = std::min(large{burst_} * shaper_hz, level_ + large{rate_} * (now - seen_));
        seen_ = now;
        return rate_ != 0 && level_ >= large{std::min(bytes, burst_)} * shaper_hz;
    }
    void take(std::uint64_t bytes) { level_ -= large{bytes} * shaper_hz; }

private:
    std::uint64_t rate_{0}; // bytes a second
    std::uint64_t burst_{0};
    large level_{0};
    std::uint64_t seen_{0};
};

struct model_class {
    std::uint32_t length{0}; // of all its frames: nothing hangs on which sender's turn it is
    unsigned priority{0};
    std::uint32_t limit{0};
    std::uint64_t max_wait{0};
    model_bucket rate;
    model_bucket ceil;
    std::map<std::uint16_t, std::deque<std::uint64_t>> waiting; // by sender
    std::size_t count{0};
};

class modelled : public shaped_port, public ::testing::WithParamInterface<unsigned> {
protected:
    struct origin {
        std::size_t of;
        std::uint16_t sender;
        std::uint64_t since;
    };

    // Rates that divide the clock's, so that neither side rounds.
    std::uint32_t some_rate()
    {
        static constexpr std::array<std::uint32_t, 7> all{8, 80, 400, 1600, 8000, 40'000, 200'000};
        return all[random_() % all.size()];
    }
    void set_up()
    {
        shaping s = plain(some_rate() * 2, 25 + random_() % 200);
        port_.set(s.kbps, s.burst_kbit, now_);
        std::uint32_t left = s.kbps;
        for (std::size_t i = 0; i < dataplane::shaper_classes; ++i) {
            if (i > 0 && random_() % 3 == 0) {
                continue;
            }
            shaper_class c;
            const std::uint32_t rate = some_rate();
            c.rate_kbps = rate <= left && random_() % 4 != 0 ? rate : 0;
            left -= c.rate_kbps;
            const std::uint32_t ceil = some_rate();
            c.ceil_kbps = ceil >= c.rate_kbps && random_() % 2 == 0 ? ceil : 0;
            c.burst_kbit = 1 + random_() % 100;
            c.priority = static_cast<std::uint8_t>(random_() % 3);
            c.limit = 1 + random_() % 60;
            c.max_wait_ms = 1 + random_() % 300;
            s.classes[i] = c;
            model_class& m = classes_[i];
            m.length = 60 + random_() % 1455;
            m.priority = c.priority;
            m.limit = c.limit;
            m.max_wait = c.max_wait_ms * ms;
            m.rate.set(c.rate_kbps, c.burst_kbit, now_);
            // Without one there is no limit but the port's.
            const bool capped = c.ceil_kbps != 0;
            m.ceil.set(capped ? c.ceil_kbps : 100'000'000, capped ? c.burst_kbit : 1'000'000, now_);
        }
        shape(s);
        queue_.seen = [this](const sent_frame& f) { on_sent(f); };
        watcher_.seen = [this](std::uint64_t n, drop_reason r) { on_dropped(n, r); };
    }

    // The classes of those that have something and credit for it whose turn it must be, and whether
    // by what is theirs.
    std::pair<std::vector<std::size_t>, bool> first_ones()
    {
        std::vector<std::size_t> best;
        std::pair<bool, unsigned> rank{false, 0};
        for (auto& [i, c] : classes_) {
            if (c.count == 0 || !c.ceil.has(c.length, now_)) {
                continue;
            }
            const std::pair own{c.rate.has(c.length, now_), c.priority};
            const bool better = best.empty() || (own.first && !rank.first) ||
                                (own.first == rank.first && own.second < rank.second);
            if (better) {
                best = {i};
                rank = own;
            } else if (own == rank) {
                best.push_back(i);
            }
        }
        return {best, rank.first};
    }

    void on_sent(const sent_frame& f)
    {
        const origin o = origins_of_.at(f.number);
        model_class& c = classes_.at(o.of);
        EXPECT_TRUE(c.ceil.has(c.length, now_)) << f.number;
        EXPECT_TRUE(port_.has(c.length, now_)) << f.number;
        bool guaranteed = c.rate.has(c.length, now_);
        if (f.number == offered_) { // at once
            EXPECT_EQ(total(), 0U);
            offered_ = none;
        } else {
            const auto [best, theirs] = first_ones();
            EXPECT_NE(std::ranges::find(best, o.of), best.end()) << f.number;
            EXPECT_EQ(guaranteed, theirs);
            remove(o, f.number);
            EXPECT_LE(now_ - o.since, c.max_wait + c.max_wait / 8 + ms);
        }
        if (guaranteed) {
            c.rate.take(c.length);
        }
        c.ceil.take(c.length);
        port_.take(c.length);
        origins_of_.erase(f.number);
    }
    void on_dropped(std::uint64_t number, drop_reason r)
    {
        const origin o = origins_of_.at(number);
        model_class& c = classes_.at(o.of);
        if (r == drop_reason::shaper_timeout) {
            EXPECT_GE(now_ - o.since, c.max_wait);
        } else {
            ASSERT_EQ(r, drop_reason::shaper_full);
            EXPECT_EQ(c.count, c.limit);
            std::size_t most = 0;
            for (const auto& [sender, list] : c.waiting) {
                most = std::max(most, list.size());
            }
            EXPECT_EQ(c.waiting[o.sender].size(), most) << "who has most makes room";
        }
        if (number == offered_) {
            offered_ = none;
        } else {
            remove(o, number);
        }
        origins_of_.erase(number);
    }
    void remove(const origin& o, std::uint64_t number)
    {
        model_class& c = classes_.at(o.of);
        auto& list = c.waiting[o.sender];
        ASSERT_FALSE(list.empty());
        EXPECT_EQ(list.front(), number) << "senders' frames stay in order";
        list.pop_front();
        --c.count;
    }
    [[nodiscard]] std::size_t total() const
    {
        std::size_t all = 0;
        for (const auto& [i, c] : classes_) {
            all += c.count;
        }
        return all;
    }

    void offer_one()
    {
        const std::size_t asked = random_() % 9;
        const std::size_t of = asked < 8 && classes_.contains(asked) ? asked : 0;
        const origin o{of, static_cast<std::uint16_t>(random_() % 4 * (random_() % 2)), now_};
        model_class& c = classes_.at(of);
        offered_ = next_number_;
        origins_of_[offered_] = o;
        offer({.number_of_class = asked, .sender = o.sender, .length = c.length});
        if (offered_ != none) {
            c.waiting[o.sender].push_back(offered_);
            ++c.count;
            EXPECT_LE(c.count, c.limit);
            offered_ = none;
        }
    }
    void look()
    {
        while (release() == 256) {}
        EXPECT_EQ(total(), waiting());
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), total());
        const std::uint64_t next = shaper_->next_release();
        EXPECT_EQ(next == dataplane::shaper::never, total() == 0);
        EXPECT_TRUE(total() == 0 || next > now_);
        EXPECT_TRUE(nothing_may_leave());
        // Nor before it says so.
        if (total() > 0) {
            const std::uint64_t moment = std::exchange(now_, next - 1);
            auto before = std::tuple{port_, classes_};
            EXPECT_TRUE(nothing_may_leave());
            std::tie(port_, classes_) = std::move(before);
            now_ = moment;
        }
    }
    bool nothing_may_leave()
    {
        const auto [best, theirs] = first_ones();
        return best.empty() || std::ranges::any_of(best, [this](std::size_t i) {
                   return !port_.has(classes_.at(i).length, now_);
               });
    }

    static constexpr std::uint64_t second_ = shaper_hz;
    static constexpr std::uint64_t none = ~std::uint64_t{0};
    std::linear_congruential_engine<std::uint32_t, 48271, 0, 2147483647> random_{GetParam()};
    model_bucket port_;
    std::map<std::size_t, model_class> classes_;
    std::map<std::uint64_t, origin> origins_of_;
    std::uint64_t offered_{none};
};

TEST_P(modelled, shaper_does_as_the_rules_say)
{
    set_up();
    for (int round = 0; round < 3'000 && !HasFailure(); ++round) {
        for (auto n = random_() % 12; n > 0; --n) {
            offer_one();
        }
        switch (random_() % 4) {
        case 0:
            now_ += random_() % (20 * ms);
            break;
        case 1:
            now_ = std::max(now_, std::min(shaper_->next_release(), now_ + second_));
            break;
        default:
            now_ += random_() % (ms / 4);
        }
        look();
    }
    EXPECT_GT(queue_.sent.size(), 0U);
    run_for(100 * second_);
    EXPECT_EQ(waiting(), 0U);
    EXPECT_TRUE(origins_of_.empty());
}

INSTANTIATE_TEST_SUITE_P(seeds, modelled, ::testing::Range(1U, short_or_soak(11U, 41U)));

} // namespace
} // namespace strait::test
