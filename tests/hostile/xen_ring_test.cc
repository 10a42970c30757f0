// SPDX-License-Identifier: BSD-3-Clause
// A Xen guest that writes anything into its rings, at any time, while two neighbours talk to each
// other and to it. Whatever it does: no byte outside of what was granted, bounded work, a reason
// when its rings are given up, and neighbours that lose nothing of their own and are blamed for
// nothing.
#include "tests/hostile/random_source.hh"
#include "tests/soak.hh"
#include "tests/unit/ports/xen-netback/ring_lab.hh"

#include "dataplane/parse.hh"
#include "ports/xen-netback/fault.hh"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <set>
#include <thread>

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using ports::rx_queue;
using simulated::netfront_queue;
using std::chrono::steady_clock;
using strait::test::random_source;
using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

template <typename T, std::size_t N>
T one_of(random_source& random, const T (&all)[N])
{
    return all[random() % N];
}

// A guest without a driver: rings, and pages that are granted in every way there is.
class attacker {
public:
    attacker(lab& l, hypervisor& h, random_source& random)
        : random_{random},
          guest_{l, h, {.pages = page_count}},
          pages_{guest_.domain().allocate(page_count).value()}
    {
        for (unsigned i = 0; i < grant_count; ++i) {
            grants_.push_back(guest_.domain().reserve().value());
        }
        std::memset(pages_, canary, page_count * page_size);
        change_grants(true);
    }

    [[nodiscard]] wired_guest& wired() { return guest_; }

    // Some of its rings, its pages and its grants change.
    void act()
    {
        switch (random_() % 10) {
        case 0:
            any_index(guest_.front().tx());
            break;
        case 1:
            any_index(guest_.front().rx());
            break;
        case 2:
            change_grants(false);
            break;
        case 3:
            scribble();
            break;
        default:
            break;
        }
        fill_tx();
        fill_rx();
    }
    // What can be done between two steps of the switch's.
    void act_amid_a_burst()
    {
        switch (random_() % 4) {
        case 0:
            change_grants(false);
            break;
        case 1:
            for (const grant_ref r : grants_) {
                (void)guest_.domain().end(r);
            }
            break;
        case 2:
            scribble();
            break;
        default:
            break;
        }
    }
    // A new driver, with new rings.
    void start_anew()
    {
        for (auto* const ring : {guest_.front().tx().slot(0), guest_.front().rx().slot(0)}) {
            std::memset(ring - netif::slots_offset, 0, page_size);
        }
        for (const auto f : {netif::ring_field::req_event, netif::ring_field::rsp_event}) {
            guest_.front().tx().field(f).store(1);
            guest_.front().rx().field(f).store(1);
        }
        put_ = {};
        guest_.restart();
    }

    // Pages that nobody may write are as they were.
    [[nodiscard]] AssertionResult pages_untouched() const
    {
        for (unsigned page = 0; page < protected_pages; ++page) {
            const std::byte* const at = pages_ + page * page_size;
            for (std::size_t i = 0; i < page_size; ++i) {
                if (at[i] != std::byte{canary}) {
                    return AssertionFailure() << "byte " << i << " of page " << page
                                              << " was written, which was granted for reading or "
                                                 "not at all";
                }
            }
        }
        return AssertionSuccess();
    }

private:
    static constexpr unsigned page_count = 64;
    static constexpr unsigned protected_pages = 32; // the first: never granted for writing
    static constexpr unsigned grant_count = 40;
    static constexpr int canary = 0x3c;

    std::uint32_t any_number()
    {
        const std::uint32_t special[] = {0,     1,      2,      13,     14,       59,         60,
                                         127,   128,    129,    4095,   4096,     4097,       65534,
                                         65535, 0x8000, 0x7fff, 0xffff, 0x1'0000, 0xffff'ffff};
        return random_() % 3 == 0 ? static_cast<std::uint32_t>(random_())
                                  : one_of(random_, special);
    }
    std::uint32_t any_grant()
    {
        switch (random_() % 12) {
        case 0:
            return any_number();
        case 1: // of its own rings
            return static_cast<std::uint32_t>(guest_.front().tx_ring_ref());
        default:
            return static_cast<std::uint32_t>(grants_[random_() % grants_.size()]);
        }
    }
    template <typename Ring>
    void any_index(Ring& ring)
    {
        const netif::ring_field fields[] = {
            netif::ring_field::req_prod, netif::ring_field::req_event, netif::ring_field::rsp_prod,
            netif::ring_field::rsp_event};
        auto f = ring.field(one_of(random_, fields));
        switch (random_() % 4) {
        case 0:
            f.store(any_number());
            break;
        case 1:
            f.store(f.load() + netif::ring_size + random_() % 3 - 1);
            break;
        case 2:
            f.store(f.load() - 1);
            break;
        default:
            f.store(f.load() + 1);
            break;
        }
    }
    void change_grants(bool all)
    {
        for (const grant_ref r : grants_) {
            if (!all && random_() % 4 != 0) {
                continue;
            }
            if (random_() % 6 == 0) {
                (void)guest_.domain().end(r);
                continue;
            }
            const bool write = random_() % 2 == 0;
            const unsigned page = write
                                      ? protected_pages + random_() % (page_count - protected_pages)
                                      : random_() % page_count;
            const domain_id to{static_cast<std::uint16_t>(random_() % 10 == 0 ? 99 : 0)};
            guest_.domain().regrant(r, to, pages_ + page * page_size, !write);
        }
    }
    void scribble()
    {
        std::byte* const page =
            pages_ + (protected_pages + random_() % (page_count - protected_pages)) * page_size;
        for (int i = 0; i < 32; ++i) {
            page[random_() % page_size] = static_cast<std::byte>(random_());
        }
    }
    // A frame's requests, more or less as they should be.
    void fill_tx()
    {
        auto& ring = guest_.front().tx();
        const unsigned frames = random_() % 40;
        const std::uint32_t done = ring.field(netif::ring_field::rsp_prod).load();
        for (unsigned i = 0; i < frames; ++i) {
            // Over what the switch has not taken yet, now and then.
            if (put_.tx - done > netif::ring_size - 24 && random_() % 256 != 0) {
                break;
            }
            const bool good = random_() % 8 != 0;
            const unsigned usual[] = {1, 1, 1, 1, 1, 1, 2, 3, 17, 18, 19};
            const unsigned unusual[] = {0, 20, 21, 255, 256};
            // Its slots but the first hold 65,536 bytes, one more than a frame can have.
            const bool wraps = random_() % 64 == 0;
            const unsigned slots = wraps                 ? 17
                                   : random_() % 64 == 0 ? one_of(random_, unusual)
                                                         : one_of(random_, usual);
            const auto size =
                static_cast<std::uint16_t>(good ? 14 + random_() % 4000 : any_number());
            auto flags = static_cast<std::uint16_t>(slots > 1 ? netif::tx_flag::more_data : 0);
            if (random_() % 5 == 0) {
                flags |= netif::tx_flag::checksum_blank;
            }
            const bool extras = random_() % 8 == 0;
            if (extras) {
                flags |= netif::tx_flag::extra_info;
            }
            put(ring,
                netif::tx_request{.grant = any_grant(),
                                  .offset = static_cast<std::uint16_t>(good ? 0 : any_number()),
                                  .flags = good ? flags : static_cast<std::uint16_t>(random_()),
                                  .id = static_cast<std::uint16_t>(random_()),
                                  .size = size});
            if (extras) {
                const unsigned chain = random_() % 50 == 0 ? 256 : random_() % 3;
                for (unsigned e = 0; e <= chain; ++e) {
                    netif::extra_info info{.type = static_cast<std::uint8_t>(
                                               random_() % 20 == 0 ? random_() : 1 + random_() % 5),
                                           .flags = e < chain ? netif::extra_more : std::uint8_t{0},
                                           .body = {}};
                    for (auto& b : info.body) {
                        b = static_cast<std::uint8_t>(random_() % 4 == 0 ? random_()
                                                                         : 1 + random_() % 2);
                    }
                    put(ring, info);
                }
            }
            for (unsigned s = 1; s < slots; ++s) {
                put(ring,
                    netif::tx_request{.grant = any_grant(),
                                      .offset = static_cast<std::uint16_t>(wraps  ? 0
                                                                           : good ? random_() % 3000
                                                                                  : any_number()),
                                      .flags = static_cast<std::uint16_t>(
                                          s + 1 < slots ? netif::tx_flag::more_data : 0),
                                      .id = static_cast<std::uint16_t>(random_()),
                                      .size = static_cast<std::uint16_t>(wraps  ? page_size
                                                                         : good ? random_() % 200
                                                                                : any_number())});
            }
        }
        // Published to the last, mostly, and not beyond the ring.
        auto producer = ring.field(netif::ring_field::req_prod);
        if (put_.tx - done > netif::ring_size || random_() % 50 == 0) {
            put_.tx = done + random_() % netif::ring_size;
        }
        producer.store(put_.tx, std::memory_order_release);
    }
    void fill_rx()
    {
        auto& ring = guest_.front().rx();
        const std::uint32_t done = ring.field(netif::ring_field::rsp_prod).load();
        if (put_.rx - done > netif::ring_size) {
            put_.rx = done;
        }
        while (put_.rx - done < netif::ring_size && random_() % 40 != 0) {
            const netif::rx_request r{
                .id = static_cast<std::uint16_t>(random_()), .padding = 0, .grant = any_grant()};
            std::memcpy(ring.slot(put_.rx++), &r, sizeof r);
        }
        ring.field(netif::ring_field::req_prod).store(put_.rx, std::memory_order_release);
    }
    template <typename T>
    void put(simulated::tx_front_ring& ring, const T& value)
    {
        std::memcpy(ring.slot(put_.tx++), &value, sizeof value);
    }

    random_source& random_;
    wired_guest guest_;
    std::byte* pages_;
    std::vector<grant_ref> grants_;
    struct {
        std::uint32_t tx;
        std::uint32_t rx;
    } put_{};
};

// A guest that means well, and knows what it must get.
class neighbour {
public:
    neighbour(lab& l, hypervisor& h, std::string mac) : guest_{l, h}, mac_{std::move(mac)} {}
    [[nodiscard]] wired_guest& wired() { return guest_; }

    void send_to(neighbour& other, random_source& random)
    {
        guest_.reap();
        const std::size_t count = 1 + random() % 8;
        for (std::size_t i = 0; i < count; ++i) {
            const frame f = make_frame(other.mac_, mac_, 60 + random() % 5000,
                                       static_cast<std::uint8_t>(random()));
            if (!guest_.front().send({.bytes = as_bytes(f)})) {
                return;
            }
            ++sent_;
            other.expected_.push_back(f);
        }
        guest_.publish();
    }
    // What the attacker sent it is any frame, also one that it got itself.
    void take_anything() { (void)guest_.take_frames(); }
    // What has come is the next of what the other sent.
    AssertionResult take_expected()
    {
        for (const frame& f : guest_.take_frames()) {
            if (expected_.empty() || expected_.front() != f) {
                return AssertionFailure() << mac_ << " got a frame that is not the next";
            }
            expected_.pop_front();
        }
        return AssertionSuccess();
    }
    [[nodiscard]] std::size_t missing() const { return expected_.size(); }
    AssertionResult blameless()
    {
        guest_.reap();
        if (!guest_.front().violation().empty()) {
            return AssertionFailure() << mac_ << ": " << guest_.front().violation();
        }
        const auto& c = guest_.state().counters;
        if (c.source_errors.read() + c.target_errors.read() > 0 ||
            guest_.out().fault() != nullptr || guest_.in().fault() != nullptr) {
            return AssertionFailure() << mac_ << " is blamed for what another did";
        }
        if (guest_.front().counts().tx_error > 0) {
            return AssertionFailure() << mac_ << " was told that its frames are wrong";
        }
        return AssertionSuccess();
    }
    [[nodiscard]] std::uint64_t sent() const { return sent_; }

private:
    wired_guest guest_;
    std::string mac_;
    std::deque<frame> expected_;
    std::uint64_t sent_{0};
};

class hostile_xen_ring : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};

    // Work of one call is bounded whatever the rings say. For each frame that fails, two bytes are
    // tried.
    template <typename Call>
    void bounded(Call&& call, const char* what)
    {
        const auto before = hypervisor_->counts();
        call();
        const auto after = hypervisor_->counts();
        EXPECT_LE(after.pieces - before.pieces, 2U * 512 + 2 * 64) << what;
        EXPECT_LE(after.calls - before.calls, 4U) << what;
        EXPECT_LE(after.notifications - before.notifications, 3U) << what;
    }
    void run(unsigned seed, steady_clock::duration time, bool flips);
    std::set<std::string> reasons_;
    bool receive_ring_given_up_{false};
    std::uint64_t rounds_{0};
    std::uint64_t taken_{0};
};

void hostile_xen_ring::run(unsigned seed, steady_clock::duration time, bool flips)
{
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_source random{seed};
    attacker bad{lab_, *hypervisor_, random};
    neighbour a{lab_, *hypervisor_, "00:16:3e:00:00:0a"};
    neighbour b{lab_, *hypervisor_, "00:16:3e:00:00:0b"};
    // One more CPU of the guest's, that changes its rings while they are read.
    std::jthread flipper;
    if (flips) {
        flipper =
            std::jthread{[seed, tx = bad.wired().front().tx().slot(0),
                          rx = bad.wired().front().rx().slot(0)](const std::stop_token& stop) {
                random_source own{seed + 1};
                while (!stop.stop_requested()) {
                    std::byte* const page = own() % 2 == 0 ? tx : rx;
                    auto* const word = reinterpret_cast<std::uint32_t*>(page) + own() % 700;
                    std::atomic_ref<std::uint32_t>{*word}.store(static_cast<std::uint32_t>(own()),
                                                                std::memory_order_relaxed);
                    if (own() % 64 == 0) {
                        std::this_thread::yield();
                    }
                }
            }};
    }
    const auto until = steady_clock::now() + time;
    while (steady_clock::now() < until && !testing::Test::HasFailure()) {
        ++rounds_;
        bad.act();
        a.send_to(b, random);
        b.send_to(a, random);

        // Every port in turn, as a worker polls them; the attacker's frames go to anybody.
        wired_guest& w = bad.wired();
        rx_queue::poll got = rx_queue::poll::empty;
        const std::uint32_t position = w.out().position();
        bounded([&] { got = w.receive(); }, "a poll of the attacker");
        if (got == rx_queue::poll::taken) {
            ASSERT_LE(w.burst().size(), dataplane::burst::capacity);
            std::vector<dataplane::packet*> list;
            for (auto& p : w.burst()) {
                ASSERT_GE(p.length, dataplane::ethernet_header);
                std::size_t sum = p.head_length;
                if (p.remote != nullptr) {
                    for (const auto& s : p.remote->spans) {
                        ASSERT_LE(s.offset + s.size, page_size);
                        sum += s.size;
                    }
                }
                ASSERT_EQ(sum, p.length);
                p.destinations = 1;
                list.push_back(&p);
            }
            taken_ += list.size();
            bad.act_amid_a_burst();
            wired_guest& to = random() % 3 == 0 ? w : random() % 2 == 0 ? a.wired() : b.wired();
            bounded([&] { to.transmit(list); }, "frames of the attacker");
            // It may fill their rings, as anybody may; they are emptied before it matters.
            a.take_anything();
            b.take_anything();
            bounded([&] { w.release(); }, "their release");
            ASSERT_LE(w.out().position() - position, netif::ring_size);
        }
        for (neighbour* const from : {&a, &b}) {
            wired_guest& to = (from == &a ? b : a).wired();
            // To whom they are sent, and to the attacker, whose ring is none of their concern.
            if (from->wired().receive() != rx_queue::poll::taken) {
                continue;
            }
            std::vector<dataplane::packet*> list;
            for (auto& p : from->wired().burst()) {
                p.destinations = 1;
                list.push_back(&p);
            }
            to.transmit(list);
            bad.act_amid_a_burst();
            bounded([&] { w.transmit(list); }, "frames to the attacker");
            from->wired().release();
        }
        ASSERT_TRUE(a.take_expected());
        ASSERT_TRUE(b.take_expected());
        ASSERT_EQ(a.missing() + b.missing(), 0U) << "frames between neighbours were lost";
        ASSERT_TRUE(a.blameless());
        ASSERT_TRUE(b.blameless());
        if (rounds_ % 64 == 0) {
            ASSERT_TRUE(bad.pages_untouched());
        }
        receive_ring_given_up_ = receive_ring_given_up_ || w.in().fault() != nullptr;
        for (const char* const why : {w.out().fault(), w.in().fault()}) {
            if (why != nullptr) {
                reasons_.insert(why);
                bad.start_anew();
                break;
            }
        }
    }
    EXPECT_TRUE(bad.pages_untouched());
    EXPECT_GT(a.sent() + b.sent(), 0U);
}

TEST_F(hostile_xen_ring, random_rings_and_grants_harm_nobody)
{
    const auto each = strait::test::short_or_soak<steady_clock::duration>(
        std::chrono::milliseconds{400}, std::chrono::seconds{30});
    // It finds its way into all of these, on a slow machine later.
    const std::array ways{
        fault_text::index,      fault_text::missing_extra,  fault_text::missing_slot,
        fault_text::extra_type, fault_text::too_many_slots, fault_text::crosses_page,
        fault_text::gso};
    const auto found_all = [&] {
        return receive_ring_given_up_ &&
               std::ranges::all_of(ways, [&](const char* w) { return reasons_.contains(w); });
    };
    for (unsigned seed = 1; (seed <= 8 || !found_all()) && seed <= 64 && !HasFailure(); ++seed) {
        run(seed, each, false);
    }
    for (const char* const why : ways) {
        EXPECT_TRUE(reasons_.contains(why)) << why;
    }
    EXPECT_TRUE(receive_ring_given_up_);
    EXPECT_GT(taken_ * 5, rounds_) << "most of what it wrote was nonsense from the start";
    std::printf("%llu rounds, %llu frames of its own\n", static_cast<unsigned long long>(rounds_),
                static_cast<unsigned long long>(taken_));
}

TEST_F(hostile_xen_ring, rings_that_change_while_they_are_read_harm_nobody)
{
    const auto each = strait::test::short_or_soak<steady_clock::duration>(
        std::chrono::milliseconds{700}, std::chrono::seconds{30});
    for (unsigned seed = 100; seed <= 103 && !HasFailure(); ++seed) {
        run(seed, each, true);
    }
    EXPECT_FALSE(reasons_.empty());
}

} // namespace
} // namespace strait::xen::test
