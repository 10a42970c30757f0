// SPDX-License-Identifier: BSD-3-Clause
// Xen's security advisories about network back ends and their like, each as the rule that it became
// here, and a test by its name. What the advisory was about is said where it is not in the name.
#include "tests/unit/dataplane/ip_frame.hh"
#include "tests/unit/ports/xen-netback/switch_lab.hh"
#include "tests/unit/ports/xen-netback/vif_lab.hh"

#include "ports/xen-netback/control_ring.hh"
#include "ports/xen-netback/fault.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include <pthread.h>
#include <rte_cycles.h>

namespace {

// By this thread, in what is linked into this program: the linker has calls of the functions below
// go to __wrap_ and their name. DPDK's spin locks are not among them.
thread_local std::uint64_t locks_taken = 0;

} // namespace

// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl*,readability-identifier-naming)
extern "C" {
int __real_pthread_mutex_lock(pthread_mutex_t* m);
int __real_pthread_mutex_trylock(pthread_mutex_t* m);
int __real_pthread_rwlock_rdlock(pthread_rwlock_t* l);
int __real_pthread_rwlock_wrlock(pthread_rwlock_t* l);
int __wrap_pthread_mutex_lock(pthread_mutex_t* m);
int __wrap_pthread_mutex_trylock(pthread_mutex_t* m);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t* l);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t* l);

int __wrap_pthread_mutex_lock(pthread_mutex_t* m)
{
    ++locks_taken;
    return __real_pthread_mutex_lock(m);
}
int __wrap_pthread_mutex_trylock(pthread_mutex_t* m)
{
    ++locks_taken;
    return __real_pthread_mutex_trylock(m);
}
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t* l)
{
    ++locks_taken;
    return __real_pthread_rwlock_rdlock(l);
}
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t* l)
{
    ++locks_taken;
    return __real_pthread_rwlock_wrlock(l);
}
}
// NOLINTEND(bugprone-reserved-identifier,cert-dcl*,readability-identifier-naming)

namespace strait::xen::test {
namespace {

using dataplane::drop_reason;
using ports::rx_queue;
using simulated::effect;
using simulated::operation;
using std::chrono::milliseconds;
using strait::test::ip_frame;
using testing::ElementsAre;
using testing::HasSubstr;

frame to_guest(std::size_t size, std::uint8_t seed = 1)
{
    return make_frame("00:16:3e:00:00:01", "00:16:3e:00:00:02", size, seed);
}

class advisory : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<simulated::simulated_hypervisor> hypervisor_{lab_.hypervisor()};
    wired_guest guest_{lab_, *hypervisor_};
};

// ---- the rings ----

// A frame of too many slots overran the kernel's; many tiny slots filled no head and left it short.
TEST_F(advisory, xsa_39_and_432_slots_of_a_frame_are_bounded_and_may_be_tiny)
{
    for (const std::size_t size : {18U, 60U, 100U, 127U}) {
        const frame f = to_guest(size);
        guest_.send(f, {}, std::vector<std::uint16_t>(17, 1));
        EXPECT_THAT(guest_.poll_all(), ElementsAre(f));
    }
    EXPECT_EQ(guest_.front().counts().tx_okay, 4 * 18U);
    guest_.send(to_guest(300), {}, std::vector<std::uint16_t>(netif::fatal_slots - 1, 1));
    EXPECT_TRUE(guest_.poll_all().empty());
    EXPECT_STREQ(guest_.out().fault(), fault_text::too_many_slots);
}

// Requests were checked, and then read again from the ring.
TEST_F(advisory, xsa_155_a_request_is_read_once)
{
    const frame f = to_guest(3000);
    guest_.send(f);
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    netif::tx_request r{};
    std::memcpy(&r, guest_.front().tx().slot(0), sizeof r);
    // Everything that was read is another thing now: the ring, and the frame's head.
    std::memset(guest_.front().tx().slot(0), 0xff, sizeof r);
    std::memset(guest_.front().tx_page(r.id), 0xff, dataplane::head_copy);
    ASSERT_EQ(guest_.burst().size(), 1U);
    EXPECT_EQ(strait::test::bytes_of(guest_.burst().front()), f);
    guest_.release();
    EXPECT_EQ(response_at(guest_, 0).id, r.id);
    EXPECT_EQ(response_at(guest_, 0).status, netif::status::okay);
}

// Responses had padding, with what was on the stack.
TEST_F(advisory, xsa_216_every_byte_of_a_response_is_written)
{
    const ip_frame shape{.payload = 3000};
    // What is left of the slot is the guest's own request.
    guest_.send(shape.build(true), {.checksum_blank = true, .segment_size = 1000});
    guest_.publish();
    netif::tx_request before{};
    std::memcpy(&before, guest_.front().tx().slot(0), sizeof before);
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    auto packet = &guest_.burst().front();
    dataplane::packet* const list[] = {packet};
    guest_.state().headroom = 64;
    guest_.transmit(list);
    guest_.release();
    netif::tx_request after{};
    std::memcpy(&after, guest_.front().tx().slot(0), sizeof after);
    EXPECT_EQ(std::memcmp(&before.offset, &after.offset, sizeof after - sizeof after.grant), 0);
    // First slot, segments, headroom.
    std::array<std::uint8_t, 8> extra{};
    std::memcpy(extra.data(), guest_.front().rx().slot(1), extra.size());
    EXPECT_THAT(extra, ElementsAre(1, 1, 1000 & 0xff, 1000 >> 8, netif::gso_tcp_v4, 0, 0, 0));
    std::memcpy(extra.data(), guest_.front().rx().slot(2), extra.size());
    EXPECT_THAT(extra, ElementsAre(5, 0, 64, 0, 0, 0, 0, 0));
}

// Offset and size of a control message were added without a look at overflow.
TEST_F(advisory, xsa_270_control_messages_do_not_overflow)
{
    hash_config c;
    ASSERT_TRUE(c.set_mapping_size(hash_config::max_mapping));
    const std::vector<std::uint32_t> ones(hash_config::max_mapping, 1);
    for (const std::uint32_t first :
         {1U, 127U, 128U, 129U, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ff80U, 0xffff'ffffU}) {
        EXPECT_FALSE(c.set_mapping(first, ones, 4)) << first;
    }
    EXPECT_TRUE(c.set_mapping(0, ones, 4));
    EXPECT_FALSE(c.set_mapping_size(0xffff'ffff));
    EXPECT_FALSE(c.set_key(std::vector<std::byte>(41)));
    // The ring's own messages are control_ring_test.cc's.
}

// Events of a guest, or of many, kept a CPU busy. Here an event has a worker that sleeps look at
// its rings, no more, and none that is awake do anything: a burst at a time is taken, and what a
// guest is told is bounded by the bursts it sends or takes.
TEST_F(advisory, xsa_332_and_391_events_cause_no_work_and_are_told_once_a_burst)
{
    for (int i = 0; i < 10'000; ++i) {
        guest_.front().notify();
    }
    const auto before = hypervisor_->counts();
    EXPECT_EQ(guest_.receive(), rx_queue::poll::empty);
    EXPECT_EQ(hypervisor_->counts(), before);
    // A guest that wants to hear of everything, as loudly as it can.
    auto tx_event = guest_.front().tx().field(netif::ring_field::rsp_event);
    auto rx_event = guest_.front().rx().field(netif::ring_field::rsp_event);
    for (std::uint32_t burst = 1; burst <= 20; ++burst) {
        for (int i = 0; i < 64; ++i) {
            guest_.send(to_guest(60));
        }
        guest_.publish();
        tx_event = guest_.out().position() + 1;
        rx_event = guest_.in().position() + 1;
        EXPECT_EQ(guest_.forward(guest_), 64U);
        EXPECT_LE(guest_.state().counters.notifications.read(), 2 * burst);
        (void)guest_.take();
        guest_.reap();
    }
}

// A guest that notifies the moment that it is asked to, as its worker is about to sleep.
class loud_guest final : public ports::rx_queue {
public:
    explicit loud_guest(wired_guest& g) : guest_{g} { queue_.publish(&g.rings()); }
    poll receive(dataplane::burst& b, const ports::queue_context& context) noexcept override
    {
        return queue_.receive(b, context);
    }
    void release(dataplane::burst& b, const ports::queue_context& context) noexcept override
    {
        queue_.release(b, context);
    }
    [[nodiscard]] bool can_wake() const noexcept override { return queue_.can_wake(); }
    bool list_wakers(std::vector<pollfd>& all) noexcept override { return queue_.list_wakers(all); }
    bool ask_to_wake(std::span<const pollfd> own) noexcept override
    {
        const unsigned n = sleeps;
        if (n < at.size()) {
            at[n] = rte_rdtsc();
            sleeps = n + 1;
        }
        const bool nothing = queue_.ask_to_wake(own);
        guest_.front().notify();
        return nothing;
    }

    std::atomic<unsigned> sleeps{0};
    std::array<std::uint64_t, 50> at{}; // TSC, of the first

private:
    wired_guest& guest_;
    xen::queue queue_;
};

// A worker that events woke stays awake for 100 us, in which it hears of none.
TEST_F(advisory, xsa_332_and_391_a_guest_that_notifies_without_end_seldom_wakes_its_worker)
{
    xen_switch s{lab_};
    loud_guest loud{guest_};
    auto port = std::make_shared<dataplane::port_config>();
    port->queues.push_back({&loud, nullptr, dataplane::worker_index{0}});
    auto all = std::make_unique<dataplane::snapshot>();
    all->ports.push_back(std::move(port));
    s.engine().publish(std::move(all));
    EXPECT_TRUE(eventually([&] { return loud.sleeps == loud.at.size(); }, patience));
    s.stop();
    const std::uint64_t nearly = rte_get_tsc_hz() / 10'000 / 10 * 9; // CPUs' TSCs may differ
    for (unsigned i = 1; i < loud.sleeps; ++i) {
        EXPECT_GE(loud.at[i] - loud.at[i - 1], nearly) << i;
    }
}

// Any grant operation may fail; some back ends crashed, or told of success.
TEST_F(advisory, xsa_361_362_365_367_a_grant_that_fails_is_an_error_response)
{
    wired_guest other{lab_, *hypervisor_};
    std::uint64_t delivered = 0;
    for (const effect what : {effect::fail, effect::deny}) {
        for (const auto status :
             {simulated::grant_status::general_error, simulated::grant_status::bad_reference,
              simulated::grant_status::again, simulated::grant_status::no_space}) {
            simulated::faults f;
            f.rules.push_back(
                {.on = operation::copy, .what = what, .probability = 0.3, .status = status});
            hypervisor_->set_faults(f);
            for (int round = 0; round < 20; ++round) {
                for (int i = 0; i < 10; ++i) {
                    guest_.send(to_guest(60 + static_cast<std::size_t>(i) * 600));
                }
                guest_.publish();
                while (guest_.forward(other) > 0) {}
                guest_.reap();
                delivered += other.take().size();
                ASSERT_EQ(guest_.front().tx().outstanding(), 0U);
                ASSERT_TRUE(guest_.front().violation().empty()) << guest_.front().violation();
                ASSERT_TRUE(other.front().violation().empty()) << other.front().violation();
            }
        }
    }
    EXPECT_EQ(guest_.out().fault(), nullptr);
    EXPECT_EQ(other.in().fault(), nullptr);
    EXPECT_GT(other.front().counts().rx_errors, 0U);
    EXPECT_GT(guest_.front().counts().tx_error, 0U);
    // Each frame met one end, and what was said to be delivered was.
    EXPECT_EQ(delivered, other.worker().counters.tx_packets.read());
    EXPECT_EQ(delivered + other.worker().all_drops() + guest_.worker().all_drops(), 1600U);
}

// A guest whose ring was never emptied made the back end keep what was for it.
TEST_F(advisory, xsa_392_nothing_is_kept_for_a_guest_that_takes_nothing)
{
    for (int i = 0; i < 100; ++i) {
        guest_.transmit(std::vector<frame>(64, to_guest(1500)));
    }
    EXPECT_EQ(guest_.worker().counters.tx_packets.read(), netif::ring_size);
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_full), 6400U - netif::ring_size);
    EXPECT_EQ(guest_.take().size(), netif::ring_size);
    guest_.transmit({to_guest(60)});
    EXPECT_EQ(guest_.take().size(), 1U) << "and it may take again";
}

// Whole pages were given to guests, with more in them than was meant for the guest.
TEST_F(advisory, xsa_396_403_465_a_guest_gets_the_bytes_of_its_packets_and_no_others)
{
    constexpr std::byte old{0x5c};
    for (std::uint32_t id = 0; id < 8; ++id) {
        std::memset(guest_.front().rx_page(id), static_cast<int>(old), page_size);
    }
    guest_.state().headroom = 200;
    guest_.transmit({to_guest(60), to_guest(5000)});
    const auto is_old = [&](std::uint32_t id, std::size_t from, std::size_t to) {
        const std::byte* const page = guest_.front().rx_page(id);
        return std::all_of(page + from, page + to, [](std::byte b) { return b == old; });
    };
    EXPECT_TRUE(is_old(0, 0, 200));
    EXPECT_TRUE(is_old(0, 260, page_size));
    EXPECT_TRUE(is_old(1, 0, page_size)) << "an extra info's slot has a page that nobody writes";
    EXPECT_TRUE(is_old(2, 0, 200));
    EXPECT_TRUE(is_old(4, 5000 - (page_size - 200), page_size));
    // Of a frame that fails, too: only what the frame has is written, and it is said to be bad.
    ASSERT_TRUE(guest_.domain().end(guest_.front().rx_grant(7)));
    guest_.transmit({to_guest(5000)});
    EXPECT_TRUE(is_old(5, 0, 200));
    EXPECT_EQ(guest_.take().size(), 2U);
    EXPECT_EQ(guest_.front().counts().rx_errors, 1U);
}

// NIC drivers were given frames whose headers lay in pieces.
TEST_F(advisory, xsa_423_headers_lie_in_one_piece_however_they_were_sent)
{
    const ip_frame shape{.tags = {0x8100}, .ipv6 = true, .payload = 200};
    const frame f = shape.build(true);
    guest_.send(f, {.checksum_blank = true}, std::vector<std::uint16_t>(17, 3));
    guest_.publish();
    ASSERT_EQ(guest_.receive(), rx_queue::poll::taken);
    const auto& p = guest_.burst().front();
    EXPECT_EQ(p.head_length, dataplane::head_copy);
    EXPECT_GE(p.head_length, shape.header_length());
    EXPECT_TRUE(std::equal(f.begin(), f.begin() + p.head_length,
                           reinterpret_cast<const std::uint8_t*>(p.data)));
    // And so they go on to who takes mbufs.
    strait::test::start_eal(2);
    const auto pool = strait::test::make_pool(16);
    guest_.burst().front().destinations = 1;
    rte_mbuf* const m = dataplane::own(guest_.burst().front(), pool.get());
    ASSERT_NE(m, nullptr);
    EXPECT_GE(m->data_len, shape.header_length());
    rte_pktmbuf_free(m);
    guest_.worker().pool = pool.get();
    guest_.release();
}

// The kernel freed packets with interrupts off, under a lock that freeing takes as well. No lock is
// taken by a worker here, and a drop is a number that goes up: it asks the hypervisor for nothing
// and tells nobody.
TEST_F(advisory, xsa_424_a_drop_is_only_counted)
{
    strait::test::borrowed_packet lent{to_guest(60)};
    const std::vector<dataplane::packet*> burst(64, &lent.get());
    xen::queue port;
    port.publish(&guest_.rings());
    const auto transmit = [&] {
        port.transmit(burst, guest_.worker().context());
        guest_.worker().notifications.flush();
    };
    for (int i = 0; i < 4; ++i) {
        transmit();
    }
    EXPECT_EQ(guest_.worker().all_drops(), 0U);
    const auto before = hypervisor_->counts();
    const std::uint64_t locks = locks_taken;
    for (int i = 0; i < 100; ++i) {
        transmit();
    }
    EXPECT_EQ(locks_taken, locks);
    EXPECT_EQ(hypervisor_->counts(), before);
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_full), 6400U);
    // Nor where the port has no guest.
    port.publish(nullptr);
    transmit();
    EXPECT_EQ(locks_taken, locks);
    EXPECT_EQ(guest_.worker().drops(drop_reason::receiver_not_connected), 64U);
    std::mutex any;
    const std::scoped_lock lock{any};
    EXPECT_EQ(locks_taken, locks + 1) << "they are counted";
}

// A frame all of whose slots are empty crashed the kernel's back end.
TEST_F(advisory, xsa_448_frames_of_empty_slots_are_errors)
{
    for (std::uint16_t slots = 1; slots <= netif::max_slots; ++slots) {
        for (std::uint16_t i = 0; i < slots; ++i) {
            put_request(guest_,
                        {.grant = 0xffff'ffff,
                         .offset = 0,
                         .flags = i + 1 < slots ? netif::tx_flag::more_data : std::uint16_t{0},
                         .id = i,
                         .size = 0});
        }
        guest_.publish();
        const std::uint32_t at = guest_.out().position();
        EXPECT_TRUE(guest_.poll().empty());
        for (std::uint16_t i = 0; i < slots; ++i) {
            EXPECT_EQ(response_at(guest_, at + i).id, i);
            EXPECT_EQ(response_at(guest_, at + i).status, netif::status::error);
        }
        guest_.front().tx().drop(slots);
    }
    EXPECT_EQ(guest_.out().fault(), nullptr);
    EXPECT_EQ(guest_.state().counters.source_errors.read(), 0U) << "no grant was touched";
    guest_.send(to_guest(60));
    EXPECT_THAT(guest_.poll_all(), ElementsAre(to_guest(60)));
}

// ---- the device ----

// What the back end does with its hypervisor, seen from outside.
class seen_store final : public store {
public:
    explicit seen_store(store& s) : store_{s} {}
    result<std::optional<std::string>> read(const std::string& path, transaction t) override
    {
        {
            const std::scoped_lock lock{mutex_};
            ++reads_[path];
        }
        std::this_thread::sleep_for(read_takes.load());
        if (fails) {
            return ports::error{"the store fails"};
        }
        return store_.read(path, t);
    }
    result<std::optional<std::vector<std::string>>> list(const std::string& path,
                                                         transaction t) override
    {
        return store_.list(path, t);
    }
    result<void> write(const std::string& path, std::string_view value, transaction t) override
    {
        return store_.write(path, value, t);
    }
    result<void> remove(const std::string& path, transaction t) override
    {
        return store_.remove(path, t);
    }
    result<transaction> begin() override { return store_.begin(); }
    result<bool> commit(transaction t) override { return store_.commit(t); }
    void abandon(transaction t) noexcept override { store_.abandon(t); }
    result<void> watch(const std::string& path, const std::string& token) override
    {
        return store_.watch(path, token);
    }
    void unwatch(const std::string& path, const std::string& token) noexcept override
    {
        store_.unwatch(path, token);
    }
    [[nodiscard]] int descriptor() const noexcept override { return store_.descriptor(); }
    [[nodiscard]] std::optional<watch_event> next_event() override
    {
        auto e = endless ? watch_event{.path = {}, .token = "vif1.0"} : store_.next_event();
        const std::scoped_lock lock{mutex_};
        events_ += e ? 1U : 0U;
        return e;
    }

    std::atomic<milliseconds> read_takes{milliseconds{0}};
    std::atomic<bool> fails{false};   // what is read
    std::atomic<bool> endless{false}; // there is always another event

    [[nodiscard]] unsigned reads(const std::string& path)
    {
        const std::scoped_lock lock{mutex_};
        return reads_[path];
    }
    [[nodiscard]] unsigned events()
    {
        const std::scoped_lock lock{mutex_};
        return events_;
    }

private:
    store& store_;
    std::mutex mutex_;
    std::map<std::string, unsigned> reads_;
    unsigned events_{0};
};

class seen_hypervisor final : public hypervisor {
public:
    struct record {
        std::mutex mutex;
        std::set<std::thread::id> waited; // threads that mapped, bound, or gave such things back
    };
    seen_hypervisor(std::unique_ptr<hypervisor> h, record& r)
        : hypervisor_{std::move(h)}, store_{hypervisor_->store()}, record_{r}
    {}
    [[nodiscard]] std::string_view name() const noexcept override { return "seen"; }
    [[nodiscard]] domain_id own_domain() const noexcept override
    {
        return hypervisor_->own_domain();
    }
    [[nodiscard]] result<std::unique_ptr<mapped_grants>>
    map(domain_id d, std::span<const grant_ref> pages) override
    {
        note();
        auto m = hypervisor_->map(d, pages);
        if (m.has_error()) {
            return m.error();
        }
        return std::make_unique<seen_mapping>(*this, std::move(*m));
    }
    [[nodiscard]] result<std::unique_ptr<event_channel>> bind(domain_id d, event_port p) override
    {
        note();
        auto c = hypervisor_->bind(d, p);
        if (c.has_error()) {
            return c.error();
        }
        return std::make_unique<seen_channel>(*this, std::move(*c));
    }
    [[nodiscard]] xen::store& store() noexcept override { return store_; }
    [[nodiscard]] seen_store& seen() noexcept { return store_; }
    void copy(std::span<dataplane::remote_copy> pieces) noexcept override
    {
        hypervisor_->copy(pieces);
    }

private:
    class seen_mapping final : public mapped_grants {
    public:
        seen_mapping(seen_hypervisor& h, std::unique_ptr<mapped_grants> m)
            : hypervisor_{h}, mapping_{std::move(m)}
        {}
        ~seen_mapping() override { hypervisor_.note(); }
        [[nodiscard]] void* base() const noexcept override { return mapping_->base(); }

    private:
        seen_hypervisor& hypervisor_;
        std::unique_ptr<mapped_grants> mapping_;
    };
    class seen_channel final : public event_channel {
    public:
        seen_channel(seen_hypervisor& h, std::unique_ptr<event_channel> c)
            : hypervisor_{h}, channel_{std::move(c)}
        {}
        ~seen_channel() override { hypervisor_.note(); }
        void notify() noexcept override { channel_->notify(); }
        [[nodiscard]] int descriptor() const noexcept override { return channel_->descriptor(); }
        [[nodiscard]] bool take() noexcept override { return channel_->take(); }

    private:
        seen_hypervisor& hypervisor_;
        std::unique_ptr<event_channel> channel_;
    };
    void note()
    {
        const std::scoped_lock lock{record_.mutex};
        record_.waited.insert(std::this_thread::get_id());
    }
    std::unique_ptr<hypervisor> hypervisor_;
    seen_store store_;
    record& record_;
};

class device_advisory : public testing::Test {
protected:
    lab lab_;
    std::unique_ptr<tool_stack> tools_{lab_.tools()};
    dataplane::rcu_domain rcu_;
    queue queue_;
    vif_settings settings_{.port = "vm", .mtu = 1500, .tsc_hz = tsc_hz};

    // A back end on a hypervisor as the lab makes it now; the store that sees what it is asked.
    seen_store& open_backend()
    {
        auto seen = std::make_unique<seen_hypervisor>(lab_.hypervisor(), record_);
        seen_store& store = seen->seen();
        backend_ = backend::open(std::move(seen)).value();
        return store;
    }
    seen_hypervisor::record record_;
    std::unique_ptr<backend> backend_;
};

// A guest's changes of its own folder filled the memory of who watched it.
TEST_F(device_advisory, xsa_349_changes_of_a_device_are_one_look)
{
    simulated::faults f;
    f.watch_merging = simulated::merging::none; // as a store that tells of each change
    lab_.server().set_faults(f);
    seen_store& store = open_backend();
    live_guest g{lab_, *tools_, 1};
    vif v{g.vif(), settings_, backend_->get_hypervisor(), rcu_, queue_};
    backend_->add(v);
    ASSERT_TRUE(g.connect());
    // While the back end is held up, a guest changes its folder a thousand times.
    std::promise<void> begun;
    std::promise<void> go_on;
    bool first = true;
    std::thread holder{[&] {
        backend_->listen([&](const std::vector<found_vif>&) {
            if (std::exchange(first, false)) {
                begun.set_value();
                go_on.get_future().wait();
            }
        });
    }};
    begun.get_future().wait();
    const std::string state = tool_stack::frontend_path(domain_id{1}, 0) + "/state";
    const unsigned reads = store.reads(state);
    const unsigned events = store.events();
    for (int i = 0; i < 1000; ++i) {
        EXPECT_TRUE(g.domain().store().write("device/vif/0/feature-sg", "1").has_value());
    }
    go_on.set_value();
    holder.join();
    EXPECT_TRUE(eventually([&] { return store.events() >= events + 1000; }));
    std::this_thread::sleep_for(milliseconds{50});
    // Two looks, or some more where the machine has it hear of the changes in parts.
    EXPECT_LE(store.reads(state), reads + 50);
    backend_->listen(nullptr);
    backend_->remove(v);
}

// And more than that: events that come faster than they are heard, and a guest whose every look
// takes long, as a loaded store makes it.
TEST_F(device_advisory, xsa_349_events_without_end_hold_up_no_call)
{
    seen_store& store = open_backend();
    store.endless = true;
    backend_->listen(nullptr); // wakes it
    EXPECT_TRUE(eventually([&] { return store.events() > 0; }));
    auto called = std::async(std::launch::async, [&] { backend_->listen(nullptr); });
    EXPECT_EQ(called.wait_for(patience), std::future_status::ready);
    store.endless = false;
}

TEST_F(device_advisory, xsa_349_a_device_has_its_share_of_the_thread_and_no_more)
{
    seen_store& store = open_backend();
    live_guest g{lab_, *tools_, 1};
    vif v{g.vif(), settings_, backend_->get_hypervisor(), rcu_, queue_};
    backend_->add(v);
    ASSERT_TRUE(g.connect());
    const std::string state = tool_stack::frontend_path(domain_id{1}, 0) + "/state";
    constexpr milliseconds each{10};
    store.read_takes = each;
    const unsigned reads = store.reads(state);
    const auto begin = std::chrono::steady_clock::now();
    while (store.reads(state) < reads + 5) {
        ASSERT_TRUE(g.domain().store().write("device/vif/0/feature-sg", "1").has_value());
        std::this_thread::sleep_for(milliseconds{1});
    }
    // Four looks of four nodes, each with three times as long behind it.
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 4 * 4 * 4 * each);
    store.read_takes = milliseconds{0};
    backend_->remove(v);
}

TEST_F(device_advisory, xsa_349_a_store_that_fails_is_asked_again_and_not_at_once)
{
    seen_store& store = open_backend();
    live_guest g{lab_, *tools_, 1};
    vif v{g.vif(), settings_, backend_->get_hypervisor(), rcu_, queue_};
    backend_->add(v);
    ASSERT_TRUE(g.connect());
    const std::string own = g.vif().backend_path() + "/state";
    store.fails = true;
    const unsigned reads = store.reads(own);
    ASSERT_TRUE(tools_->store()
                    .write(tool_stack::frontend_path(domain_id{1}, 0) + "/state", "6")
                    .has_value());
    const auto begin = std::chrono::steady_clock::now();
    ASSERT_TRUE(eventually([&] { return store.reads(own) >= reads + 3; }, patience));
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds{900});
    EXPECT_TRUE(v.link_up()) << "nobody knows what the guest says";
    store.fails = false;
    EXPECT_TRUE(eventually([&] { return !v.link_up(); }, patience)) << "the event came long ago";
    backend_->remove(v);
}

// Mappings were counted wrongly when one of several failed, and never given back.
TEST_F(device_advisory, xsa_371_mappings_are_given_back_on_every_path)
{
    for (const operation on : {operation::map, operation::bind}) {
        for (std::uint64_t skip = 0; skip <= 5; ++skip) {
            auto h = lab_.hypervisor();
            simulated::faults f;
            f.rules.push_back({.on = on, .what = effect::fail, .skip = skip, .count = 1});
            h->set_faults(f);
            const auto id =
                static_cast<std::uint16_t>(10 + skip + (on == operation::map ? 0U : 100U));
            live_guest g{lab_, *tools_, id, {.queues = 2, .control_ring = true}};
            vif v{g.vif(), settings_, *h, rcu_, queue_};
            ASSERT_TRUE(v.evaluate());
            ASSERT_TRUE(g.driver().start().has_value());
            ASSERT_TRUE(v.evaluate());
            v.detach();
            h->set_faults({});
            for (const auto& q : g.driver().queues()) {
                EXPECT_TRUE(q->revoke_all()) << "a page is still in use";
            }
            // The channels are free, too: who comes next can bind them.
            for (const auto& q : g.driver().queues()) {
                EXPECT_TRUE(h->bind(g.vif().domain, q->tx_port()).has_value());
            }
        }
    }
}

// A queue was freed while its interrupt still used it. Here a worker frees nothing, and the control
// side waits until no worker can be in the rings.
TEST_F(device_advisory, xsa_374_rings_outlive_the_worker_that_is_in_them)
{
    auto h = lab_.hypervisor();
    live_guest g{lab_, *tools_, 1};
    vif v{g.vif(), settings_, *h, rcu_, queue_};
    ASSERT_TRUE(v.evaluate());
    ASSERT_TRUE(g.driver().start().has_value());
    ASSERT_TRUE(v.evaluate());
    ASSERT_TRUE(g.driver().follow().has_value());
    ASSERT_TRUE(g.send(to_guest(3000)));
    const dataplane::worker_index me{0};
    rcu_.go_online(me);
    worker_side w;
    ASSERT_EQ(queue_.receive(*w.burst, w.context()), rx_queue::poll::taken);
    std::atomic<bool> gone{false};
    std::thread control{[&] {
        v.detach();
        gone = true;
    }};
    std::this_thread::sleep_for(milliseconds{50});
    EXPECT_FALSE(gone) << "a worker is in the rings";
    EXPECT_EQ(strait::test::bytes_of(w.burst->packets().front()), to_guest(3000));
    queue_.release(*w.burst, w.context());
    w.notifications.flush();
    rcu_.quiescent(me);
    // As a worker does, until the other has seen it.
    EXPECT_TRUE(eventually([&] {
        rcu_.quiescent(me);
        return gone.load();
    }));
    control.join();
    rcu_.go_offline(me);
    EXPECT_TRUE(g.driver().queue().revoke_all());
    g.driver().queue().reap();
    EXPECT_EQ(g.driver().counts().tx_okay, 1U);
}

// Unbinding waited for an event that the same CPU was to handle.
TEST_F(device_advisory, xsa_441_nothing_is_mapped_bound_or_unbound_on_a_worker)
{
    seen_hypervisor::record record;
    std::thread::id worker_id;
    {
        const auto b =
            backend::open(std::make_unique<seen_hypervisor>(lab_.hypervisor(), record)).value();
        live_guest g{lab_, *tools_, 1};
        vif v{g.vif(), settings_, b->get_hypervisor(), rcu_, queue_};
        b->add(v);
        std::jthread worker{[&](const std::stop_token& stop) {
            const dataplane::worker_index me{0};
            rcu_.go_online(me);
            worker_side w;
            while (!stop.stop_requested()) {
                w.burst->clear();
                if (queue_.receive(*w.burst, w.context()) == rx_queue::poll::taken) {
                    queue_.release(*w.burst, w.context());
                }
                w.notifications.flush();
                rcu_.quiescent(me);
                std::this_thread::yield();
            }
            rcu_.go_offline(me);
        }};
        worker_id = worker.get_id();
        for (int i = 0; i < 3; ++i) {
            ASSERT_TRUE(g.connect());
            ASSERT_TRUE(g.send(to_guest(100)));
            ASSERT_TRUE(g.driver().stop(patience).has_value());
        }
        ASSERT_TRUE(g.connect());
        g.driver().queue().tx().field(netif::ring_field::req_prod).store(9999);
        EXPECT_TRUE(eventually([&] { return !v.link_up(); })) << "the worker found it";
        b->remove(v);
    }
    EXPECT_EQ(record.waited.size(), 1U) << "one thread, the back end's";
    EXPECT_FALSE(record.waited.contains(worker_id));
    EXPECT_FALSE(record.waited.contains(std::this_thread::get_id()));
}

// No advisory, but the kernel divided by it once.
TEST_F(device_advisory, zero_queues_are_refused)
{
    vif_lab l;
    l.set(l.front_path + "/request-rx-copy", "1");
    l.set(l.front_path + "/multi-queue-num-queues", "0");
    l.set(l.front_path + "/state", "4");
    l.back();
    EXPECT_FALSE(l.up());
    EXPECT_THAT(l.detail("last_error"), HasSubstr("\"0\" queues; 1 to 16 can be had"));
}

} // namespace
} // namespace strait::xen::test
