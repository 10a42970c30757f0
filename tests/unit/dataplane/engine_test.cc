// SPDX-License-Identifier: BSD-3-Clause
// Workers and publication, over queues that are the test's own: order through hand-overs, changes
// under load, what happens to packets whose port goes, and no mbuf lost in any of it.
#include "tests/soak.hh"
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/dataplane/remote_guest.hh"
#include "tests/unit/sanitizers.hh"

#include "dataplane/guard/seen_addresses.hh"
#include "dataplane/offload.hh"
#include "dataplane/policer.hh"
#include "dataplane/worker.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include <rte_cycles.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace strait::test {
namespace {

using dataplane::drop_reason;
using dataplane::engine;
using dataplane::port_config;
using dataplane::port_index;
using dataplane::snapshot;
using dataplane::worker_index;
using namespace std::chrono_literals;

constexpr unsigned worker_lcores = 3;

std::string mac(unsigned n)
{
    std::array<char, 18> text{};
    std::snprintf(text.data(), text.size(), "02:00:00:00:%02x:%02x", (n >> 8) & 0xff, n & 0xff);
    return text.data();
}

// One worker at a time is at a queue.
class alone {
public:
    explicit alone(std::atomic<bool>& taken) : taken_{taken}
    {
        EXPECT_FALSE(taken_.exchange(true)) << "two workers at one queue";
    }
    ~alone() { taken_ = false; }
    alone(const alone&) = delete;
    alone& operator=(const alone&) = delete;

private:
    std::atomic<bool>& taken_;
};

// What a guest leaves undone in a frame, and where its payload lies.
struct left_undone {
    bool checksum{false};
    dataplane::segmentation kind{dataplane::segmentation::none};
    std::uint16_t size{0};
    bool remote{false};
    bool taken_back{false};
    bool looked_at{false};
};

// Gives what the test put in: as mbufs, or as a guest's packets lie when `borrowed` is set.
class fed_queue final : public ports::rx_queue {
public:
    fed_queue(rte_mempool* pool, bool borrowed) : pool_{pool}, borrowed_{borrowed} {}
    ~fed_queue() override
    {
        if (waker_ >= 0) {
            ::close(waker_);
        }
    }
    fed_queue(const fed_queue&) = delete;
    fed_queue& operator=(const fed_queue&) = delete;

    // From now on it can wake its worker.
    void get_waker() { waker_ = ::eventfd(0, EFD_NONBLOCK); }
    [[nodiscard]] bool can_wake() const noexcept override { return waker_ >= 0; }
    // Its worker may look a moment later.
    void let_wait() { waits_ = true; }
    [[nodiscard]] bool may_wait() const noexcept override { return waits_; }
    bool list_wakers(std::vector<pollfd>& all) noexcept override
    {
        const std::lock_guard lock{mutex_};
        all.push_back({.fd = waker_, .events = POLLIN, .revents = 0});
        return frames_.empty();
    }
    bool ask_to_wake(std::span<const pollfd> own) noexcept override
    {
        const std::lock_guard lock{mutex_};
        if (own.front().revents != 0) {
            std::uint64_t count = 0;
            (void)!::read(waker_, &count, sizeof count);
        }
        asked_ = true;
        return frames_.empty();
    }

    void feed(frame f, left_undone todo = {})
    {
        const std::lock_guard lock{mutex_};
        frames_.push_back(std::move(f));
        todo_.push_back(todo);
        if (std::exchange(asked_, false)) {
            constexpr std::uint64_t one = 1;
            (void)!::write(waker_, &one, sizeof one);
        }
    }
    // Frames whose sender was to be told that its grants could not be read.
    [[nodiscard]] unsigned unreadable() const
    {
        const std::lock_guard lock{mutex_};
        return unreadable_;
    }
    [[nodiscard]] std::size_t left() const
    {
        const std::lock_guard lock{mutex_};
        return frames_.size();
    }

    poll receive(dataplane::burst& b, const ports::queue_context& context) noexcept override
    {
        const alone one{in_use_};
        const std::lock_guard lock{mutex_};
        while (!frames_.empty() && b.count < 32) {
            dataplane::packet_slot& p = b.slots[b.count];
            const left_undone todo = todo_.front();
            if (todo.remote) {
                remote_.push_back(std::make_unique<remote_packet>(guest_, frames_.front(), 1000));
                if (todo.taken_back) {
                    guest_.take_back(remote_.back()->reference(0));
                }
                if (todo.looked_at) {
                    dataplane::lengthen_head(remote_.back()->get(), b);
                }
                static_cast<dataplane::packet&>(p) = remote_.back()->get();
            } else if (borrowed_) {
                lent_.push_back(std::make_unique<borrowed_packet>(frames_.front(), 2));
                static_cast<dataplane::packet&>(p) = lent_.back()->get();
            } else if (!dataplane::from_mbuf(p, to_mbuf(frames_.front(), pool_), b)) {
                std::abort();
            }
            if (dataplane::infer_offload(p, todo.checksum, todo.kind, todo.size) !=
                dataplane::offload_fault::none) {
                std::abort();
            }
            context.counters->rx_packets.add(1);
            frames_.pop_front();
            todo_.pop_front();
            ++b.count;
        }
        return b.count > 0 ? poll::taken : poll::empty;
    }
    void release(dataplane::burst& b, const ports::queue_context& /*context*/) noexcept override
    {
        for (dataplane::packet_slot& p : b.packets()) {
            rte_pktmbuf_free(p.mbuf);
            p.mbuf = nullptr;
        }
        const std::lock_guard lock{mutex_};
        lent_.clear();
        for (const auto& p : remote_) {
            unreadable_ += p->payload().unreadable ? 1U : 0U;
        }
        remote_.clear();
    }

private:
    rte_mempool* pool_;
    bool borrowed_;
    int waker_{-1};
    bool waits_{false};
    std::atomic<bool> in_use_{false};
    mutable std::mutex mutex_;
    bool asked_{false};
    std::deque<frame> frames_;
    std::deque<left_undone> todo_;
    std::vector<std::unique_ptr<borrowed_packet>> lent_;
    std::vector<std::unique_ptr<remote_packet>> remote_;
    remote_guest guest_;
    unsigned unreadable_{0};
};

// Keeps what it is given; takes mbufs as a NIC does if `owns`. Can be made to block its worker.
class kept_queue final : public ports::tx_queue {
public:
    explicit kept_queue(bool owns) : owns_{owns} {}

    [[nodiscard]] std::vector<frame> frames() const
    {
        const std::lock_guard lock{mutex_};
        return frames_;
    }
    [[nodiscard]] std::size_t count() const
    {
        const std::lock_guard lock{mutex_};
        return frames_.size();
    }
    // Frames that came with something left to do, or whose payload was remote.
    [[nodiscard]] std::size_t unfinished() const { return unfinished_; }
    [[nodiscard]] std::size_t remote() const { return remote_; }
    void take(dataplane::offloads taken, bool takes_remote)
    {
        taken_ = taken;
        takes_remote_ = takes_remote;
    }
    [[nodiscard]] dataplane::offloads takes() const noexcept override { return taken_; }
    [[nodiscard]] bool takes_remote() const noexcept override { return takes_remote_; }

    void set_open(bool open) { open_ = open; }
    [[nodiscard]] bool open() const noexcept override { return open_; }

    void block() { blocked_ = true; }
    void unblock() { blocked_ = false; }
    [[nodiscard]] bool is_blocking() const { return blocking_; }

    void transmit(std::span<dataplane::packet* const> packets,
                  const ports::queue_context& context) noexcept override
    {
        const alone one{in_use_};
        while (blocked_) {
            blocking_ = true;
            std::this_thread::sleep_for(1ms);
        }
        blocking_ = false;
        const std::lock_guard lock{mutex_};
        EXPECT_LE(packets.size(), dataplane::burst::capacity);
        EXPECT_FALSE(packets.empty());
        for (dataplane::packet* const p : packets) {
            unfinished_ += p->offload.empty() ? 0U : 1U;
            remote_ += p->remote == nullptr ? 0U : 1U;
            if (!owns_) {
                frames_.push_back(bytes_of(*p));
            } else if (rte_mbuf* const m = dataplane::own(*p, context.pool)) {
                frames_.push_back(from_mbuf_chain(m));
                rte_pktmbuf_free(m);
            } else {
                context.counters->drop(drop_reason::no_memory);
                continue;
            }
            context.counters->tx_packets.add(1);
        }
    }

private:
    bool owns_;
    std::atomic<bool> open_{true};
    std::atomic<bool> blocked_{false};
    std::atomic<bool> blocking_{false};
    std::atomic<dataplane::offloads> taken_{dataplane::offloads::none};
    std::atomic<bool> takes_remote_{false};
    std::atomic<std::size_t> unfinished_{0};
    std::atomic<std::size_t> remote_{0};
    std::atomic<bool> in_use_{false};
    mutable std::mutex mutex_;
    std::vector<frame> frames_;
};

// Says that it has something, or not, and counts how often it is asked.
class asked_queue final : public ports::rx_queue {
public:
    asked_queue(bool busy, bool sender_waits) : gives{busy}, sender_waits_{sender_waits} {}
    poll receive(dataplane::burst& /*b*/, const ports::queue_context& /*c*/) noexcept override
    {
        asked.fetch_add(1);
        return gives ? poll::taken : poll::empty;
    }
    void release(dataplane::burst& /*b*/, const ports::queue_context& /*c*/) noexcept override {}
    [[nodiscard]] bool sender_waits() const noexcept override { return sender_waits_; }

    std::atomic<bool> gives;
    std::atomic<unsigned> asked{0};

private:
    const bool sender_waits_;
};

struct test_port {
    std::unique_ptr<fed_queue> in;
    std::unique_ptr<kept_queue> out;
    std::shared_ptr<port_config> config;
};

class workers : public ::testing::Test {
protected:
    static void SetUpTestSuite() { start_eal(worker_lcores, 128); }
    void SetUp() override
    {
        pool_ = make_pool(8192);
        bridge_.macs = std::make_shared<dataplane::mac_table>(1024);
    }
    void TearDown() override
    {
        engine_.reset();
        ports_.clear();
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U) << "mbufs leaked";
    }

    void start(unsigned count, bool busy_poll = false,
               std::chrono::microseconds nap_tolerance = std::chrono::seconds{10})
    {
        std::vector<unsigned> lcores;
        for (unsigned i = 1; i <= count; ++i) {
            lcores.push_back(i);
        }
        engine_ =
            std::make_unique<engine>(dataplane::engine_settings{.lcores = lcores,
                                                                .share_cpus = true,
                                                                .busy_poll = busy_poll,
                                                                .nap_tolerance = nap_tolerance,
                                                                .flow_cache_bytes = 1 << 20,
                                                                .connections = 4096,
                                                                .pool = pool_.get()});
    }
    test_port make(std::uint16_t index, std::uint16_t worker, bool borrowed = true)
    {
        test_port p{std::make_unique<fed_queue>(pool_.get(), borrowed),
                    std::make_unique<kept_queue>(!borrowed), std::make_shared<port_config>()};
        p.config->index = port_index{index};
        p.config->incarnation = ++incarnation_;
        p.config->mtu = 9000;
        p.config->queues.push_back({p.in.get(), p.out.get(), worker_index{worker}});
        return p;
    }
    void add(std::uint16_t worker, bool borrowed = true)
    {
        ports_.push_back(make(static_cast<std::uint16_t>(ports_.size()), worker, borrowed));
    }
    // What the engine is to see now: `ports_`, and `extra` if there is one.
    void publish(const std::vector<const test_port*>& extra = {}, bool moved = false)
    {
        auto next = std::make_unique<snapshot>();
        auto bridge = std::make_shared<dataplane::bridge_config>(bridge_);
        const auto put = [&](const test_port& p) {
            const std::size_t i = dataplane::to_index(p.config->index);
            next->ports.resize(std::max(next->ports.size(), i + 1));
            next->ports[i] = p.config;
            bridge->members.push_back(p.config->index);
        };
        for (const test_port& p : ports_) {
            put(p);
        }
        for (const test_port* p : extra) {
            put(*p);
        }
        next->bridges.push_back(bridge);
        if (moved) {
            engine_->publish_moved(std::move(next));
        } else {
            engine_->publish(std::move(next));
        }
    }
    void move(std::size_t port, unsigned worker)
    {
        auto config = std::make_shared<port_config>(*ports_[port].config);
        config->queues.front().worker = worker_index{static_cast<std::uint16_t>(worker)};
        ports_[port].config = std::move(config);
    }

    template <typename Condition>
    static bool wait(Condition&& condition, std::chrono::seconds patience = 20s)
    {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end) {
                return false;
            }
            std::this_thread::sleep_for(1ms);
        }
        return true;
    }
    std::uint64_t drops(std::uint16_t port, drop_reason reason) const
    {
        std::uint64_t n = 0;
        for (std::size_t w = 0; w < engine_->worker_count(); ++w) {
            n += engine_->counters(worker_index{static_cast<std::uint16_t>(w)}, port_index{port})
                     .drops[static_cast<std::size_t>(reason)]
                     .read();
        }
        return n;
    }
    const dataplane::worker_counters& counters(std::uint16_t worker) const
    {
        return engine_->counters(worker_index{worker});
    }
    void add_waking(std::uint16_t worker)
    {
        add(worker);
        ports_.back().in->get_waker();
    }
    void add_waiting(std::uint16_t worker)
    {
        add(worker);
        ports_.back().in->let_wait();
    }
    // For nearly all of 20 ms.
    bool asleep(std::uint16_t worker) const
    {
        const std::uint64_t begin = rte_rdtsc();
        const std::uint64_t before = counters(worker).asleep.read([=] { return begin; });
        std::this_thread::sleep_for(20ms);
        const std::uint64_t end = rte_rdtsc();
        return counters(worker).asleep.read([=] { return end; }) - before > (end - begin) / 10 * 9;
    }
    void expect_no_sleep()
    {
        learn(1, 1);
        ports_[0].in->feed(make_frame(mac(1), mac(2), 60));
        ASSERT_TRUE(wait([&] { return ports_[1].out->count() == 1; })); // it sees these ports
        const std::uint64_t before = counters(0).asleep.read(rte_rdtsc);
        const std::uint64_t polls = counters(0).iterations.read();
        std::this_thread::sleep_for(100ms);
        EXPECT_TRUE(wait([&] { return counters(0).iterations.read() > polls + 1000; }));
        EXPECT_EQ(counters(0).asleep.read(rte_rdtsc), before);
    }
    // Feeds port 0 with frames for port 1, which come when its worker is awake, about to sleep and
    // asleep; nothing else happens that could wake anybody.
    void feed_one_by_one()
    {
        learn(1, 1);
        std::minstd_rand random{1};
        const std::size_t count = fewer_if<std::size_t>(thread_sanitizer, 3000, 600);
        for (std::size_t i = 1; i <= count; ++i) {
            ports_[0].in->feed(make_frame(mac(1), mac(2), 60));
            const auto begin = std::chrono::steady_clock::now();
            while (ports_[1].out->count() < i) {
                ASSERT_LT(std::chrono::steady_clock::now(), begin + 10s) << i;
                std::this_thread::yield();
            }
            const auto end =
                std::chrono::steady_clock::now() + std::chrono::microseconds{random() % 300};
            while (std::chrono::steady_clock::now() < end) {
                std::this_thread::yield();
            }
        }
    }
    void learn(unsigned n, std::uint16_t port)
    {
        bridge_.macs->learn({dataplane::mac_address{mac_value(mac(n))}, dataplane::vlan_id{}},
                            port_index{port}, 0);
    }

    pool_ptr pool_;
    dataplane::bridge_config bridge_;
    std::vector<test_port> ports_;
    std::unique_ptr<engine> engine_;
    std::uint32_t incarnation_{0};
};

TEST_F(workers, one_worker_passes_frames_and_counts_them)
{
    start(1);
    add(0);
    add(0, false);
    publish();
    std::vector<frame> sent;
    for (unsigned i = 0; i < 500; ++i) {
        sent.push_back(make_frame(mac(2), mac(1), 60 + i * 2, static_cast<std::uint8_t>(i)));
        ports_[0].in->feed(sent.back());
    }
    ASSERT_TRUE(wait([&] { return ports_[1].out->count() == sent.size(); }));
    EXPECT_EQ(ports_[1].out->frames(), sent);
    ports_[1].in->feed(make_frame(mac(1), mac(2), 3000));
    ASSERT_TRUE(wait([&] { return ports_[0].out->count() == 1; }));
    EXPECT_EQ(ports_[0].out->frames().front(), make_frame(mac(1), mac(2), 3000));
    EXPECT_EQ(counters(0).rx_packets.read(), 501U);
    EXPECT_EQ(counters(0).tx_packets.read(), 501U);
    EXPECT_EQ(counters(0).handed_over.read(), 0U);
    EXPECT_GT(counters(0).busy_cycles.read(), 0U);
    EXPECT_GT(counters(0).idle_cycles.read(), 0U);
}

TEST_F(workers, tell_senders_what_is_too_long_for_the_receivers_port)
{
    start(2);
    add(0);
    add(1);
    add(0);
    ports_[1].config->mtu = 1400;
    publish();
    const auto packet_of = [](std::size_t size, bool ipv6) {
        ip_frame f{.ipv6 = ipv6};
        f.payload = size - f.header_length();
        frame out = f.build(false);
        if (!ipv6) {
            out[f.network() + 12] = out[f.network() + 16] = 10; // hosts' addresses
        }
        return out;
    };
    // Flooded: nobody knows that this was the way, and nobody may teach the table so.
    ports_[0].in->feed(packet_of(1415, false));
    ports_[0].in->feed(packet_of(1414, false));
    ASSERT_TRUE(wait([&] { return ports_[1].out->count() == 1 && ports_[2].out->count() == 2; }));
    EXPECT_EQ(drops(1, drop_reason::mtu_exceeded), 1U);
    EXPECT_EQ(ports_[0].out->count(), 0U);
    const frame word = make_frame(mac(1), mac(2), 60);
    ports_[1].in->feed(word);
    ASSERT_TRUE(wait([&] { return ports_[0].out->count() == 1; }));
    std::size_t told = 0;
    for (const bool ipv6 : {false, true}) {
        ports_[0].in->feed(packet_of(1414, ipv6));
        ports_[0].in->feed(packet_of(1415, ipv6));
        ++told;
        ASSERT_TRUE(wait([&] { return ports_[0].out->count() == 1 + told; })) << ipv6;
        const frame said = ports_[0].out->frames().back();
        EXPECT_TRUE(std::equal(word.begin(), word.begin() + 12, said.begin())) << "the MACs";
        const std::size_t icmp = 14 + (ipv6 ? 40 : 20);
        EXPECT_EQ(get16(said, icmp), ipv6 ? 0x0200U : 0x0304U);
        EXPECT_EQ(get32(said, icmp + 4), 1400U);
    }
    ASSERT_TRUE(wait([&] { return ports_[1].out->count() == 3; }));
    EXPECT_EQ(ports_[2].out->count(), 2U);
    EXPECT_EQ(drops(1, drop_reason::mtu_exceeded), 3U);
    // The receiver's guest has not sent what the switch says.
    EXPECT_EQ(engine_->counters(worker_index{0}, port_index{1}).rx_packets.read(), 0U);
    // All of a burst may be too long; there are so many answers, and no more.
    constexpr std::size_t many = 1000;
    const auto begin = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < many; ++i) {
        ports_[0].in->feed(packet_of(1415, false));
    }
    ASSERT_TRUE(wait([&] { return drops(1, drop_reason::mtu_exceeded) == 3 + many; }));
    ports_[1].in->feed(word); // behind the last answer
    ASSERT_TRUE(wait([&] { return ports_[0].out->frames().back() == word; }));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const std::size_t answers = ports_[0].out->count() - told - 2;
    EXPECT_GE(answers, endpoint::error_limit::at_once - told);
    constexpr double a_second = 1.1 * endpoint::error_limit::a_second;
    EXPECT_LE(static_cast<double>(answers),
              endpoint::error_limit::at_once + 1 + a_second * took.count());
}

TEST_F(workers, sleep_when_nothing_comes_and_wake_for_what_does)
{
    start(1);
    add_waking(0);
    add_waking(0);
    publish();
    EXPECT_TRUE(wait([&] { return asleep(0); }));
    feed_one_by_one();
    EXPECT_TRUE(wait([&] { return asleep(0); }));
    const std::size_t before = ports_[1].out->count();
    ports_[0].in->feed(make_frame(mac(1), mac(2), 60));
    EXPECT_TRUE(wait([&] { return ports_[1].out->count() == before + 1; }));
    EXPECT_GT(counters(0).asleep.read(rte_rdtsc), 0U);
}

TEST_F(workers, that_sleep_are_woken_by_what_others_hand_over)
{
    start(2);
    add_waking(0);
    add_waking(1);
    publish();
    feed_one_by_one();
    EXPECT_TRUE(wait([&] { return asleep(0) && asleep(1); }));
}

TEST_F(workers, that_sleep_see_what_is_published_and_are_not_waited_for)
{
    start(2);
    EXPECT_TRUE(wait([&] { return asleep(0) && asleep(1); })) << "without ports";
    learn(1, 1);
    for (std::size_t i = 1; i <= 200; ++i) {
        ports_.clear();
        add_waking(0);
        add_waking(1);
        publish();
        ports_[0].in->feed(make_frame(mac(1), mac(2), 60));
        ASSERT_TRUE(wait([&] { return ports_[1].out->count() == 1; }, 10s)) << i;
        const std::vector<test_port> old = std::move(ports_);
        ports_.clear();
        publish();
    }
}

// What is handed over by the old plan, by which the other worker never sleeps, while that one goes
// to sleep by the new plan.
TEST_F(workers, that_begin_to_sleep_overlook_nothing_handed_over_meanwhile)
{
    start(2);
    add_waking(0);
    add_waking(1);
    const test_port awake = make(2, 1);
    learn(1, 1);
    std::size_t sent = 0;
    for (int i = 0; i < 500; ++i) {
        publish({&awake});
        std::jthread sender{[&] {
            for (int n = 0; n < 20; ++n, ++sent) {
                ports_[0].in->feed(make_frame(mac(1), mac(2), 60));
            }
        }};
        publish();
        sender.join();
        ASSERT_TRUE(wait([&] { return ports_[1].out->count() == sent; }, 10s)) << i;
    }
}

TEST_F(workers, poll_on_when_one_of_their_queues_cannot_wake_them)
{
    start(1);
    add_waking(0);
    add(0);
    publish();
    expect_no_sleep();
    EXPECT_EQ(counters(0).naps.read(), 0U);
}

TEST_F(workers, nap_when_one_that_cannot_wake_them_may_wait)
{
    start(1);
    add_waiting(0);
    add_waking(0);
    publish();
    EXPECT_TRUE(wait([&] { return counters(0).naps.read() > 100; }));
    feed_one_by_one();
    const std::uint64_t before = counters(0).naps.read();
    EXPECT_TRUE(wait([&] { return counters(0).naps.read() > before + 100; }));
    EXPECT_EQ(counters(0).late_naps.read(), 0U);
    EXPECT_GT(counters(0).asleep.read(rte_rdtsc), 0U);
}

TEST_F(workers, that_nap_are_woken_by_who_can)
{
    start(1);
    add_waking(0);
    add_waiting(0);
    publish();
    EXPECT_TRUE(wait([&] { return counters(0).naps.read() > 100; }));
    feed_one_by_one();
}

TEST_F(workers, poll_on_for_a_second_when_a_timer_was_late)
{
    start(1, false, std::chrono::microseconds{0});
    add_waking(0);
    add_waiting(0);
    publish();
    EXPECT_TRUE(wait([&] { return counters(0).late_naps.read() == 1; }));
    expect_no_sleep();
    EXPECT_TRUE(wait([&] { return counters(0).late_naps.read() == 2; })) << "then it tries again";
}

TEST_F(workers, poll_on_when_they_are_not_to_sleep)
{
    start(1, true);
    add_waking(0);
    add_waking(0);
    publish();
    expect_no_sleep();
}

TEST_F(workers, a_quiet_guest_is_looked_at_seldom_while_another_is_busy_and_a_device_always)
{
    start(1);
    asked_queue busy{true, true};
    asked_queue quiet{false, true};
    asked_queue device{false, false};
    add(0);
    const auto queues = {&busy, &quiet, &device};
    for (asked_queue* const q : queues) {
        ports_[0].config->queues.push_back({q, nullptr, worker_index{0}});
    }
    publish();
    ASSERT_TRUE(wait([&] { return busy.asked > 1'000; }));
    std::this_thread::sleep_for(10ms);
    const auto asked_meanwhile = [&] {
        std::vector<unsigned> all;
        for (asked_queue* const q : queues) {
            q->asked = 0;
        }
        std::this_thread::sleep_for(50ms);
        for (const asked_queue* const q : queues) {
            all.push_back(q->asked);
        }
        return all;
    };
    auto asked = asked_meanwhile();
    EXPECT_GT(asked[1], 0U);
    EXPECT_LT(asked[1] * 8, asked[0]);
    EXPECT_GT(asked[2], asked[0] / 2);
    busy.gives = false;
    std::this_thread::sleep_for(10ms);
    asked = asked_meanwhile();
    EXPECT_GT(asked[1], asked[2] / 2) << "there is nothing else to do";
    engine_.reset();
}

TEST_F(workers, hand_over_keeps_order_and_bytes)
{
    for (const bool borrowed : {true, false}) {
        start(2);
        ports_.clear();
        add(0, borrowed);
        add(1, borrowed);
        publish();
        learn(2, 1);
        std::vector<frame> sent;
        for (unsigned i = 0; i < 2000; ++i) {
            sent.push_back(make_frame(mac(2), mac(1), 60 + i % 3000, static_cast<std::uint8_t>(i)));
        }
        for (std::size_t i = 0; i < sent.size(); ++i) {
            ASSERT_TRUE(wait([&] { return i - ports_[1].out->count() < 500; })) << "lost some";
            ports_[0].in->feed(sent[i]);
        }
        ASSERT_TRUE(wait([&] { return ports_[1].out->count() == sent.size(); }));
        EXPECT_EQ(ports_[1].out->frames(), sent);
        EXPECT_EQ(counters(0).handed_over.read(), sent.size());
        // Counted after the queue has taken them.
        EXPECT_TRUE(wait([&] { return counters(1).tx_packets.read() == sent.size(); }));
        engine_.reset();
        EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
        bridge_.macs->flush_all();
    }
}

TEST_F(workers, a_flood_reaches_ports_of_every_worker_with_the_tag_each_wants)
{
    start(3);
    for (std::uint16_t i = 0; i < 6; ++i) {
        add(i % 3, i % 2 == 0);
        if (i >= 3) {
            ports_.back().config->vlan = dataplane::vlan_policy{};
            ports_.back().config->vlan.allowed.set(10);
        } else {
            ports_.back().config->vlan = dataplane::vlan_policy::access(dataplane::vlan_id{10});
        }
    }
    publish();
    const frame f = make_frame("ff:ff:ff:ff:ff:ff", mac(1), 700, 3);
    for (unsigned i = 0; i < 50; ++i) {
        ports_[0].in->feed(f);
    }
    for (std::uint16_t i = 1; i < 6; ++i) {
        ASSERT_TRUE(wait([&] { return ports_[i].out->count() == 50; })) << i;
        for (const frame& got : ports_[i].out->frames()) {
            ASSERT_EQ(got, i < 3 ? f : with_tag(f, 10)) << i;
        }
    }
    EXPECT_EQ(ports_[0].out->count(), 0U);
}

TEST_F(workers, what_their_queue_of_a_port_cannot_send_now_goes_by_its_first)
{
    start(2);
    add_waking(0);
    add_waking(1);
    kept_queue second{false};
    ports_[0].config->queues.push_back({nullptr, &second, worker_index{1}});
    ports_[0].config->egress = std::make_shared<dataplane::policer>(
        dataplane::port_rate{.packets = 1, .burst_packets = 100}, rte_get_tsc_hz(), 2, rte_rdtsc());
    publish();
    learn(1, 0);
    const auto send = [this](unsigned count, const kept_queue& by) {
        const std::size_t before = by.count();
        for (unsigned i = 0; i < count; ++i) {
            ports_[1].in->feed(make_frame(mac(1), mac(2), 60));
        }
        EXPECT_TRUE(wait([&] { return by.count() == before + count; }));
    };
    send(1, second);
    EXPECT_EQ(counters(1).handed_over.read(), 0U);
    second.set_open(false);
    send(60, *ports_[0].out);
    EXPECT_EQ(counters(1).handed_over.read(), 60U);
    EXPECT_EQ(drops(0, drop_reason::egress_policed), 0U) << "each was charged once";
    second.set_open(true);
    send(1, second);

    ports_[0].out->set_open(false);
    ports_[0].config = std::make_shared<port_config>(*ports_[0].config);
    ports_[0].config->egress = nullptr;
    publish();
    second.set_open(false);
    send(1, *ports_[0].out); // the first one is not asked
}

TEST_F(workers, a_full_hand_over_ring_is_counted_and_bounded)
{
    start(2);
    add(0);
    add(1);
    publish();
    learn(2, 1);
    ports_[1].out->block();
    constexpr std::size_t sent = 4000;
    for (unsigned i = 0; i < sent; ++i) {
        ports_[0].in->feed(make_frame(mac(2), mac(1), 60));
    }
    ASSERT_TRUE(wait([&] { return ports_[0].in->left() == 0; })) << "the sender's worker waits";
    ASSERT_TRUE(wait([&] { return drops(1, drop_reason::handover_full) > 0; }));
    // A ring full of them and a burst that is held up behind it, once the last one was dropped.
    EXPECT_TRUE(wait([&] { return rte_mempool_in_use_count(pool_.get()) <= 1024U + 64U; }));
    ports_[1].out->unblock();
    ASSERT_TRUE(wait(
        [&] { return ports_[1].out->count() + drops(1, drop_reason::handover_full) == sent; }));
    EXPECT_GE(ports_[1].out->count(), 1000U);
}

TEST_F(workers, frames_on_their_way_to_a_port_that_goes_are_counted)
{
    start(2);
    add(0);
    add(1); // blocks worker 1
    publish();
    auto gone = make(2, 1);
    publish({&gone});
    learn(2, 1);
    learn(3, 2);
    ports_[1].out->block();
    ports_[0].in->feed(make_frame(mac(2), mac(1), 60));
    ASSERT_TRUE(wait([&] { return ports_[1].out->is_blocking(); }));
    for (unsigned i = 0; i < 300; ++i) {
        ports_[0].in->feed(make_frame(mac(3), mac(1), 60));
    }
    ASSERT_TRUE(wait([&] { return counters(0).handed_over.read() == 301; }));
    // Another port takes the index at once; it must not get its predecessor's frames.
    auto next = make(2, 1);
    std::atomic<bool> published{false};
    std::thread control{[&] {
        publish({&next});
        published = true;
    }};
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(published) << "a worker may still use the old port";
    ports_[1].out->unblock();
    control.join();
    ASSERT_TRUE(wait([&] { return drops(2, drop_reason::port_removed) == 300; }))
        << drops(2, drop_reason::port_removed);
    EXPECT_EQ(next.out->count(), 0U);
    EXPECT_EQ(gone.out->count(), 0U);
    publish();
}

TEST_F(workers, ports_come_and_go_under_load_and_others_lose_nothing)
{
    start(worker_lcores);
    for (std::uint16_t i = 0; i < 4; ++i) {
        add(static_cast<std::uint16_t>(i % worker_lcores), i % 2 == 0);
    }
    publish();
    for (unsigned i = 0; i < 4; ++i) {
        learn(i, static_cast<std::uint16_t>(i));
    }
    // Ports 0 to 3 send to the next one, each frame with its number; a window keeps hand-over rings
    // from filling, so that nothing may be lost.
    constexpr unsigned total = 6000;
    std::atomic<bool> done{false};
    std::thread traffic{[&] {
        for (unsigned n = 0; n < total; ++n) {
            for (unsigned i = 0; i < 4; ++i) {
                frame f = make_frame(mac((i + 1) % 4), mac(i), 64 + n % 200);
                std::memcpy(f.data() + 16, &n, sizeof n);
                // What others send there too only opens the window further.
                while (n > ports_[(i + 1) % 4].out->count() + 300) {
                    std::this_thread::yield();
                }
                ports_[i].in->feed(std::move(f));
            }
        }
        done = true;
    }};
    unsigned changes = 0;
    while (!done || changes < 50) {
        auto visitor = make(4, static_cast<std::uint16_t>(changes % worker_lcores));
        publish({&visitor});
        if (changes < 100) { // few enough not to open the window beyond a hand-over ring
            visitor.in->feed(make_frame(mac(1), mac(77), 200));
            learn(77, 4);
            ports_[0].in->feed(make_frame(mac(77), mac(0), 60)); // may or may not find it
        }
        if (changes % 3 == 0) {
            std::this_thread::sleep_for(1ms);
        }
        publish();
        bridge_.macs->remove_port(port_index{4});
        ++changes;
        // The visitor's queues are destroyed here: a worker that still used them would be caught.
    }
    traffic.join();
    for (unsigned i = 0; i < 4; ++i) {
        std::vector<unsigned> numbers;
        ASSERT_TRUE(wait([&] {
            numbers.clear();
            for (const frame& f : ports_[i].out->frames()) {
                if (std::memcmp(f.data() + 6, make_frame(mac(0), mac((i + 3) % 4), 14).data() + 6,
                                6) == 0 &&
                    f.size() >= 64) {
                    unsigned n = 0;
                    std::memcpy(&n, f.data() + 16, sizeof n);
                    numbers.push_back(n);
                }
            }
            return numbers.size() >= total;
        })) << "port "
            << i << " got " << numbers.size();
        std::vector<unsigned> expected(total);
        for (unsigned n = 0; n < total; ++n) {
            expected[n] = n;
        }
        EXPECT_EQ(numbers, expected) << "port " << i << ": lost, twice or out of order";
    }
}

// Four ports send round and round while all of their queues change their workers all the time, and
// while workers sleep in between.
TEST_F(workers, queues_change_their_workers_and_nothing_is_lost_or_overtakes)
{
    constexpr std::size_t count = 4;
    start(worker_lcores);
    for (std::uint16_t i = 0; i < count; ++i) {
        add(static_cast<std::uint16_t>(i % worker_lcores), i % 2 == 0);
        ports_.back().in->get_waker();
    }
    publish();
    for (unsigned i = 0; i < count; ++i) {
        learn(i, static_cast<std::uint16_t>(i));
    }
    constexpr std::uint32_t total = 20'000;
    std::atomic<bool> done{false};
    std::thread traffic{[&] {
        std::minstd_rand random{1};
        for (std::uint32_t n = 0; n < total; ++n) {
            for (unsigned i = 0; i < count; ++i) {
                frame f = make_frame(mac((i + 1) % count), mac(i), 64 + n % 200);
                std::memcpy(f.data() + 16, &n, sizeof n);
                // Less than a hand-over ring has room for, of those that two senders share, too.
                while (n > ports_[(i + 1) % count].out->count() + 300) {
                    std::this_thread::yield();
                }
                ports_[i].in->feed(std::move(f));
            }
            if (random() % 500 == 0) {
                std::this_thread::sleep_for(1ms);
            }
        }
        done = true;
    }};
    std::minstd_rand random{2};
    unsigned changes = 0;
    while (!done || changes < 100) {
        for (std::size_t i = 0; i < count; ++i) {
            move(i, static_cast<unsigned>(random() % worker_lcores));
        }
        publish({}, true);
        ++changes;
        if (changes % 4 == 0) {
            std::this_thread::sleep_for(500us);
        }
    }
    traffic.join();
    for (unsigned i = 0; i < count; ++i) {
        ASSERT_TRUE(wait([&] { return ports_[i].out->count() == total; }))
            << "port " << i << " got " << ports_[i].out->count();
        const std::vector<frame> got = ports_[i].out->frames();
        for (std::uint32_t n = 0; n < total; ++n) {
            std::uint32_t number = 0;
            std::memcpy(&number, got[n].data() + 16, sizeof number);
            ASSERT_EQ(number, n) << "port " << i;
        }
    }
}

TEST_F(workers, an_address_that_moves_between_workers_is_followed)
{
    start(2);
    add(0);
    add(1);
    add(0);
    publish();
    for (unsigned round = 0; round < 40; ++round) {
        const std::uint16_t at = round % 2 == 0 ? 1 : 2;
        ports_[at].in->feed(make_frame("ff:ff:ff:ff:ff:ff", mac(9), 60));
        ASSERT_TRUE(wait([&] {
            return bridge_.macs->lookup(
                       {dataplane::mac_address{mac_value(mac(9))}, dataplane::vlan_id{}},
                       engine_->now()) == port_index{at};
        }));
        const std::size_t before = ports_[at].out->count();
        const std::size_t other = ports_[3 - at].out->count();
        const frame f = make_frame(mac(9), mac(1), 100, static_cast<std::uint8_t>(round));
        ports_[0].in->feed(f);
        ASSERT_TRUE(wait([&] {
            const auto got = ports_[at].out->frames();
            return got.size() > before && got.back() == f;
        })) << round;
        EXPECT_LE(ports_[3 - at].out->count(), other + 1) << "its own broadcast at most";
    }
}

// Frames of several kinds in turn from one guest to another, whose queue takes all, some or none of
// what they leave undone: on one worker, and with a hand-over between two.
TEST_F(workers, what_a_queue_does_not_take_is_done_for_it_in_order)
{
    using dataplane::offloads;
    constexpr offloads checksums = offloads::checksum_ipv4 | offloads::checksum_ipv6;
    constexpr offloads all = checksums | offloads::segmentation_ipv4 | offloads::segmentation_ipv6;
    constexpr std::uint16_t size = 1000;
    const unsigned rounds = fewer_if(thread_sanitizer, short_or_soak(15U, 60U), 4U);
    start(2);
    // ThreadSanitizer has something to look at where there is a hand-over.
    const auto first = fewer_if<std::uint16_t>(thread_sanitizer, 0, 1);
    for (std::uint16_t receiver = first; receiver < 2; ++receiver) {
        for (const offloads taken : {offloads::none, checksums, all}) {
            for (const unsigned way : {0U, 1U, 2U, 3U}) { // bit 0: remote; bit 1: taken so
                const bool remote = (way & 1) != 0;
                add(0);
                add(receiver, way != 2);
                ports_[1].out->take(taken, (way & 2) != 0);
                publish();
                learn(2, 1);
                std::vector<frame> expected; // an empty one stands for a segment
                std::size_t received = 0;
                for (unsigned i = 0; i < rounds; ++i) {
                    const auto seed = static_cast<std::uint8_t>(i);
                    const ip_frame udp{.protocol = 17, .payload = 900 + i, .seed = seed};
                    const ip_frame v4{.payload = 5000 + i * 100, .seed = seed};
                    const ip_frame v6{.ipv6 = true, .payload = 3000 + i * 900, .seed = seed};
                    const frame plain = make_frame(mac(2), mac(1), 200 + i, seed);
                    ASSERT_TRUE(wait([&] { return received <= ports_[1].out->count() + 300; }));
                    ports_[0].in->feed(plain, {.remote = remote});
                    ports_[0].in->feed(v4.build(true), {.checksum = true,
                                                        .kind = dataplane::segmentation::tcp_ipv4,
                                                        .size = size,
                                                        .remote = remote});
                    ports_[0].in->feed(udp.build(true), {.checksum = true, .remote = remote});
                    ports_[0].in->feed(v6.build(false), {.kind = dataplane::segmentation::tcp_ipv6,
                                                         .size = size,
                                                         .remote = remote});
                    expected.push_back(plain);
                    received += 2;
                    const auto add_cut = [&](const ip_frame& shape) {
                        if (taken == all) {
                            expected.push_back(shape.build(true));
                            ++received;
                            return;
                        }
                        for (std::size_t at = 0; at < shape.payload; at += size) {
                            expected.emplace_back();
                            ++received;
                        }
                    };
                    add_cut(v4);
                    expected.push_back(udp.build(taken != offloads::none));
                    add_cut(v6);
                }
                ASSERT_TRUE(wait([&] { return ports_[1].out->count() >= expected.size(); }))
                    << ports_[1].out->count() << " of " << expected.size();
                const std::vector<frame> got = ports_[1].out->frames();
                ASSERT_EQ(got.size(), expected.size());
                for (std::size_t i = 0; i < got.size(); ++i) {
                    if (!expected[i].empty()) {
                        ASSERT_EQ(got[i], expected[i]) << i;
                        continue;
                    }
                    ASSERT_LE(got[i].size(), 14 + 60 + 12 + size);
                    const ip_frame shape{.ipv6 = get16(got[i], 12) == 0x86dd};
                    ASSERT_EQ(shape.correct(got[i]), taken == offloads::none) << i;
                    const std::uint32_t from =
                        get32(got[i], shape.transport() + 4) - shape.sequence;
                    if (from != 0) {
                        ASSERT_EQ(from % size, 0U);
                        ASSERT_EQ(get32(got[i - 1], shape.transport() + 4) + size,
                                  get32(got[i], shape.transport() + 4));
                    }
                }
                const bool stays_remote = way == 3 && receiver == 0;
                EXPECT_EQ(ports_[1].out->unfinished() > 0, taken != offloads::none);
                EXPECT_EQ(ports_[1].out->remote() > 0, stays_remote);
                {
                    const std::vector<test_port> gone = std::exchange(ports_, {});
                    publish(); // no worker has them any more
                }
                EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
                bridge_.macs->flush_all();
            }
        }
    }
}

TEST_F(workers, a_flood_of_remote_payload_and_of_intents_is_right_for_each_receiver)
{
    using dataplane::offloads;
    start(2);
    for (std::uint16_t i = 0; i < 5; ++i) {
        add(i % 2, i != 3);
    }
    ports_[1].out->take(offloads::checksum_ipv4 | offloads::segmentation_ipv4, true);
    ports_[2].out->take(offloads::checksum_ipv4, true);
    ports_[4].out->take(offloads::checksum_ipv4 | offloads::segmentation_ipv4, false);
    publish();
    const ip_frame shape{.payload = 7000};
    frame f = shape.build(true);
    std::fill_n(f.begin(), 6, std::uint8_t{0xff});
    const left_undone todo{
        .checksum = true, .kind = dataplane::segmentation::tcp_ipv4, .size = 1400, .remote = true};
    for (unsigned i = 0; i < 20; ++i) {
        ports_[0].in->feed(f, todo);
    }
    for (std::uint16_t i = 1; i < 5; ++i) {
        const bool whole = i == 1 || i == 4;
        const std::size_t count = whole ? 20 : 100;
        ASSERT_TRUE(wait([&] { return ports_[i].out->count() == count; })) << i;
        for (const frame& got : ports_[i].out->frames()) {
            if (whole) {
                ASSERT_EQ(got, f);
            } else {
                ASSERT_EQ(shape.correct(got), i == 3) << i;
            }
        }
    }
}

TEST_F(workers, datagrams_go_whole_to_who_takes_them_and_are_cut_for_others)
{
    using dataplane::offloads;
    constexpr offloads checksums = offloads::checksum_ipv4 | offloads::checksum_ipv6;
    constexpr offloads of_tcp =
        checksums | offloads::segmentation_ipv4 | offloads::segmentation_ipv6;
    for (const bool ipv6 : {false, true}) {
        for (const bool remote : {false, true}) {
            start(2);
            ports_.clear();
            for (std::uint16_t i = 0; i < 5; ++i) {
                add(i % 2);
            }
            ports_[1].out->take(checksums | offloads::udp_segmentation_ipv4 |
                                    offloads::udp_segmentation_ipv6,
                                true);
            ports_[2].out->take(of_tcp, false);
            ports_[4].out->take(checksums | (ipv6 ? offloads::udp_segmentation_ipv4
                                                  : offloads::udp_segmentation_ipv6),
                                false);
            publish();
            const ip_frame shape{.tags = {0x8100}, .ipv6 = ipv6, .protocol = 17, .payload = 6500};
            frame f = shape.build(true);
            std::fill_n(f.begin(), 6, std::uint8_t{0xff});
            constexpr std::size_t rounds = 20;
            for (std::size_t i = 0; i < rounds; ++i) {
                ports_[0].in->feed(f, {.checksum = true,
                                       .kind = dataplane::segmentation::udp,
                                       .size = 1400,
                                       .remote = remote});
            }
            for (std::uint16_t i = 1; i < 5; ++i) {
                const std::size_t count = i == 1 ? rounds : 5 * rounds;
                ASSERT_TRUE(wait([&] { return ports_[i].out->count() == count; })) << i;
                const std::vector<frame> got = ports_[i].out->frames();
                for (std::size_t n = 0; n < got.size(); ++n) {
                    if (i == 1) {
                        ASSERT_EQ(got[n], f);
                        continue;
                    }
                    frame one = got[n];
                    ASSERT_EQ(get16(one, shape.transport() + 4), one.size() - shape.transport());
                    ASSERT_EQ(one.size() - shape.header_length(), n % 5 == 4 ? 900U : 1400U);
                    if (i != 3) { // who takes checksums is left them
                        put16(one, shape.field(),
                              0xffff ^ plain_sum(one, shape.transport(), one.size()));
                    }
                    ASSERT_TRUE(shape.correct(one)) << i;
                }
            }
            engine_.reset();
            EXPECT_EQ(rte_mempool_in_use_count(pool_.get()), 0U);
            bridge_.macs->flush_all();
        }
    }
}

TEST_F(workers, grants_taken_back_are_counted_once_and_told_to_the_sender)
{
    start(2);
    add(0);
    add(0);
    add(1);
    publish();
    const frame good = make_frame("ff:ff:ff:ff:ff:ff", mac(1), 2000);
    for (unsigned i = 0; i < 10; ++i) {
        const bool looked_at = i % 2 == 0; // behind its head, before it went anywhere
        ports_[0].in->feed(good, {.remote = true, .looked_at = looked_at});
        ports_[0].in->feed(good, {.remote = true, .taken_back = true, .looked_at = looked_at});
    }
    ASSERT_TRUE(wait([&] { return ports_[0].in->unreadable() == 10; }));
    ASSERT_TRUE(wait([&] { return ports_[2].out->count() == 10; }));
    EXPECT_EQ(ports_[1].out->count(), 10U);
    EXPECT_EQ(drops(0, drop_reason::grant_error), 10U);
    for (std::uint16_t i = 1; i < 3; ++i) {
        EXPECT_EQ(drops(i, drop_reason::grant_error) + drops(i, drop_reason::no_memory), 0U);
    }
}

TEST_F(workers, a_port_without_a_transmit_queue_is_not_connected)
{
    start(2);
    add(0);
    add(1);
    ports_[1].config->queues.front().tx = nullptr;
    publish();
    ports_[0].in->feed(make_frame(mac(2), mac(1), 60));
    EXPECT_TRUE(wait([&] { return drops(1, drop_reason::receiver_not_connected) == 1; }));
}

// A port of two queues, each another worker's, whose guest changes its address all the time.
TEST_F(workers, note_addresses_of_one_port_together_while_control_reads_them)
{
    start(2);
    add(0);
    add(1);
    const auto addresses = std::make_shared<guard::seen_addresses>();
    ports_[0].config->addresses = addresses;
    const test_port more = make(0, 1);
    const std::shared_ptr<void> before_it{nullptr, [this](void*) { engine_.reset(); }};
    ports_[0].config->queues.push_back({more.in.get(), more.out.get(), worker_index{1}});
    publish();
    constexpr std::size_t many = 2000;
    const auto says = [](std::size_t n) {
        frame f = make_frame("ff:ff:ff:ff:ff:ff", mac(static_cast<unsigned>(n)), 60, 0, 0x0806);
        put32(f, 14, 0x0001'0800);
        put32(f, 18, 0x0604'0001);
        std::copy_n(f.begin() + 6, 6, f.begin() + 22);
        put32(f, 28, static_cast<std::uint32_t>(0x0a00'0000 + n));
        return f;
    };
    std::size_t sent = 0;
    for (std::size_t n = 1; n <= many; ++n) {
        // No more than the other port's worker has room for.
        ASSERT_TRUE(wait([&] { return sent - ports_[1].out->count() < 500; }));
        (n % 2 == 0 ? *ports_[0].in : *more.in).feed(says(n));
        ++sent;
        for (const auto& e : addresses->list(engine_->now())) {
            ASSERT_EQ(e.mac.value(), mac_value(mac(e.address.v4() & 0xffff))) << "not another's";
        }
    }
    ASSERT_TRUE(wait([&] { return ports_[1].out->count() == sent; }));
    EXPECT_EQ(addresses->list(engine_->now()).size(), guard::seen_addresses::capacity);
    // Nobody else is at the list by now, and what is said is noted before it goes on.
    ports_[0].in->feed(says(1));
    ASSERT_TRUE(wait([&] { return ports_[1].out->count() == sent + 1; }));
    EXPECT_EQ(addresses->list(engine_->now()).front().address,
              endpoint::ip_address::v4(0x0a00'0001));
}

TEST_F(workers, impossible_settings_are_refused_with_a_sentence)
{
    const auto refusal = [](dataplane::engine_settings s) -> std::string {
        try {
            const engine e{std::move(s)};
        } catch (const std::runtime_error& error) {
            return error.what();
        }
        return "accepted";
    };
    EXPECT_THAT(refusal({.lcores = {}, .pool = pool_.get()}),
                ::testing::HasSubstr("1 to 64 workers, not 0"));
    EXPECT_THAT(refusal({.lcores = {1}, .pool = nullptr}), ::testing::HasSubstr("packet pool"));
    EXPECT_THAT(refusal({.lcores = {1, 99}, .pool = pool_.get()}),
                ::testing::HasSubstr("worker 1 did not start on lcore 99"));
    // The one that had started was stopped: its lcore is free.
    start(1);
    EXPECT_EQ(engine_->worker_count(), 1U);
    EXPECT_EQ(engine_->lcore(worker_index{0}), 1U);
    EXPECT_EQ(engine_->current().ports.size(), 0U);
}

} // namespace
} // namespace strait::test
