// SPDX-License-Identifier: BSD-3-Clause
// The thread that looks after all vifs: what it hears, how soon, and that no guest has more than
// its share of it.
#include "ports/xen-netback/backend.hh"

#include "tests/unit/ports/xen-netback/switch_lab.hh"

#include <gmock/gmock.h>

#include <atomic>
#include <ctime>
#include <mutex>
#include <thread>

namespace strait::xen::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::ElementsAre;
using testing::IsEmpty;

class backend_test : public testing::Test {
protected:
    // A vif that the back end looks after, and what a port has for it.
    struct device {
        device(backend& b, dataplane::rcu_domain& rcu, vif_id id)
            : back{b},
              served{id, {.port = "vm", .mtu = 1500, .tsc_hz = tsc_hz}, b.get_hypervisor(), rcu, q}
        {
            back.add(served);
        }
        ~device() { end(); }
        device(const device&) = delete;
        device& operator=(const device&) = delete;
        void end()
        {
            if (!ended) {
                back.remove(served);
            }
            ended = true;
        }
        backend& back;
        queue q;
        vif served;
        bool ended{false};
    };

    std::unique_ptr<backend> open() { return backend::open(lab_.hypervisor()).value(); }
    [[nodiscard]] std::string state_of(std::uint16_t id)
    {
        const auto value =
            tools_->store().read(tool_stack::backend_path(domain_id{id}, 0) + "/state");
        return value.has_value() ? value->value_or("(none)") : "(error)";
    }
    testing::AssertionResult reaches(std::uint16_t id, const std::string& state)
    {
        return eventually([&] { return state_of(id) == state; }, patience)
                   ? testing::AssertionSuccess()
                   : testing::AssertionFailure() << "it is " << state_of(id);
    }

    lab lab_;
    std::unique_ptr<tool_stack> tools_{lab_.tools()};
    dataplane::rcu_domain rcu_;
};

TEST_F(backend_test, serves_a_device_that_is_there)
{
    live_guest g{lab_, *tools_, 1};
    const auto b = open();
    const device d{*b, rcu_, g.vif()};
    EXPECT_TRUE(g.connect());
    EXPECT_TRUE(d.served.link_up());
}

TEST_F(backend_test, serves_a_device_that_comes_later)
{
    const auto b = open();
    const device d{*b, rcu_, {domain_id{1}, 0}};
    EXPECT_FALSE(d.served.link_up());
    live_guest g{lab_, *tools_, 1};
    EXPECT_TRUE(g.connect());
}

TEST_F(backend_test, serves_many_devices_at_once)
{
    const auto b = open();
    std::vector<std::unique_ptr<live_guest>> guests;
    std::vector<std::unique_ptr<device>> devices;
    constexpr std::uint16_t count = 20;
    for (std::uint16_t i = 1; i <= count; ++i) {
        devices.push_back(std::make_unique<device>(*b, rcu_, vif_id{domain_id{i}, 0}));
        guests.push_back(std::make_unique<live_guest>(lab_, *tools_, i));
        ASSERT_TRUE(guests.back()->driver().start().has_value());
    }
    for (const auto& g : guests) {
        EXPECT_TRUE(g->connect());
    }
    for (const auto& d : devices) {
        EXPECT_TRUE(d->served.link_up());
    }
}

TEST_F(backend_test, hears_of_everything_that_happens)
{
    const auto b = open();
    device d{*b, rcu_, {domain_id{1}, 0}};
    live_guest g{lab_, *tools_, 1};
    ASSERT_TRUE(g.connect());
    // Unbound, and bound again.
    for (int i = 0; i < 3; ++i) {
        const auto stopped = g.driver().stop(patience);
        ASSERT_TRUE(stopped.has_value()) << stopped.error().message;
        EXPECT_EQ(state_of(1), "6");
        ASSERT_TRUE(g.connect());
    }
    // Detached, and attached again.
    ASSERT_TRUE(tools_->detach_vif(domain_id{1}, 0).has_value());
    ASSERT_TRUE(reaches(1, "5"));
    ASSERT_TRUE(g.driver().stop(patience).has_value());
    ASSERT_TRUE(reaches(1, "6"));
    ASSERT_TRUE(tools_->forget_vif(domain_id{1}, 0).has_value());
    ASSERT_TRUE(tools_->add_vif(domain_id{1}, 0, g.mac()).has_value());
    ASSERT_TRUE(reaches(1, "2"));
    ASSERT_TRUE(g.connect());
    // Destroyed.
    g.kill();
    ASSERT_TRUE(tools_->destroy_domain(domain_id{1}).has_value());
    EXPECT_TRUE(reaches(1, "6"));
    EXPECT_FALSE(d.served.link_up());
}

TEST_F(backend_test, hears_late_and_merged_events_as_well)
{
    for (const auto merging : {simulated::merging::same, simulated::merging::token}) {
        simulated::faults f;
        f.watch_delay = milliseconds{30};
        f.watch_merging = merging;
        lab_.server().set_faults(f);
        const auto b = open();
        const auto id = static_cast<std::uint16_t>(merging == simulated::merging::same ? 1 : 2);
        device d{*b, rcu_, {domain_id{id}, 0}};
        live_guest g{lab_, *tools_, id};
        for (int i = 0; i < 3; ++i) {
            ASSERT_TRUE(g.connect());
            ASSERT_TRUE(g.driver().stop(patience).has_value());
        }
        g.kill();
        ASSERT_TRUE(tools_->destroy_domain(domain_id{id}).has_value());
        EXPECT_TRUE(reaches(id, "6"));
    }
}

TEST_F(backend_test, ends_a_connection_whose_ring_is_broken)
{
    const auto b = open();
    device d{*b, rcu_, {domain_id{1}, 0}};
    live_guest g{lab_, *tools_, 1};
    ASSERT_TRUE(g.connect());
    g.driver().queue().tx().field(netif::ring_field::req_prod).store(9999);
    worker_side w;
    (void)d.q.receive(*w.burst, w.context());
    EXPECT_TRUE(reaches(1, "5"));
    EXPECT_FALSE(d.served.link_up());
}

TEST_F(backend_test, answers_control_rings)
{
    const auto b = open();
    device d{*b, rcu_, {domain_id{1}, 0}};
    live_guest g{lab_, *tools_, 1, {.queues = 4, .control_ring = true}};
    ASSERT_TRUE(g.connect());
    const std::vector<std::uint8_t> key(40, 0x5a);
    const std::vector<std::uint32_t> table{0, 1, 2, 3, 3, 2, 1, 0};
    const auto begin = steady_clock::now();
    const auto done = g.driver().use_toeplitz(key, netif::hash_type::all, table, patience);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    EXPECT_LT(steady_clock::now() - begin, milliseconds{1000}) << "not by looking now and then";
    EXPECT_NE(detail_of(d.served.details(), "features").find("toeplitz"), std::string::npos);
    EXPECT_TRUE(g.driver().control(netif::control_type{99}, {}, patience).has_value());
}

TEST_F(backend_test, no_guest_has_more_than_its_share)
{
    const auto b = open();
    device noisy{*b, rcu_, {domain_id{1}, 0}};
    device other{*b, rcu_, {domain_id{2}, 0}};
    live_guest g{lab_, *tools_, 1, {.queues = 2, .control_ring = true}};
    live_guest quiet{lab_, *tools_, 2};
    ASSERT_TRUE(g.connect());
    // One that changes its folder all the time, and asks its control ring for more than is served.
    std::atomic<bool> stop{false};
    std::thread storm{[&] {
        auto own = lab_.guest(domain_id{1});
        for (unsigned n = 0; !stop; ++n) {
            (void)own->store().write("device/vif/0/feature-sg", std::to_string(n & 1U));
        }
    }};
    const auto begin = steady_clock::now();
    for (int i = 0; i < 5; ++i) {
        EXPECT_TRUE(quiet.connect());
        EXPECT_TRUE(quiet.driver().stop(patience).has_value());
    }
    const auto took = steady_clock::now() - begin;
    stop = true;
    storm.join();
    EXPECT_LT(took, milliseconds{5000});
    EXPECT_TRUE(noisy.served.link_up());
}

TEST_F(backend_test, leaves_states_as_they_are_when_it_ends)
{
    live_guest g{lab_, *tools_, 1};
    {
        const auto b = open();
        const device d{*b, rcu_, g.vif()};
        ASSERT_TRUE(g.connect());
    }
    EXPECT_EQ(state_of(1), "4");
    const auto b = open();
    const device d{*b, rcu_, g.vif()};
    EXPECT_TRUE(eventually([&] { return d.served.link_up(); }, patience));
    EXPECT_EQ(detail_of(d.served.details(), "taken_over"), "yes");
}

TEST_F(backend_test, closes_a_device_that_is_retired)
{
    const auto b = open();
    live_guest g{lab_, *tools_, 1};
    device d{*b, rcu_, g.vif()};
    ASSERT_TRUE(g.connect());
    d.end();
    EXPECT_EQ(state_of(1), "4");
    b->retire(d.served);
    EXPECT_EQ(state_of(1), "6");
    EXPECT_TRUE(g.driver().stop(patience).has_value());
}

TEST_F(backend_test, survives_the_end_of_the_store)
{
    const auto b = open();
    live_guest g{lab_, *tools_, 1};
    device d{*b, rcu_, g.vif()};
    ASSERT_TRUE(g.connect());
    lab_.end_server();
    std::this_thread::sleep_for(milliseconds{300});
    timespec before{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    std::this_thread::sleep_for(milliseconds{1000});
    timespec after{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const auto ms =
        (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1'000'000;
    EXPECT_LT(ms, 200) << "it asks again and again";
    EXPECT_TRUE(d.served.link_up());
}

// ---- which there are ----

class listening : public backend_test {
protected:
    void listen(backend& b)
    {
        b.listen([this](const std::vector<found_vif>& all) {
            const std::scoped_lock lock{mutex_};
            found_ = all;
            ++calls_;
        });
    }
    [[nodiscard]] std::vector<found_vif> found()
    {
        const std::scoped_lock lock{mutex_};
        return found_;
    }
    [[nodiscard]] int calls()
    {
        const std::scoped_lock lock{mutex_};
        return calls_;
    }

private:
    std::mutex mutex_;
    std::vector<found_vif> found_;
    int calls_{0};
};

TEST_F(listening, tells_of_every_vif)
{
    const auto b = open();
    listen(*b);
    EXPECT_GE(calls(), 1) << "at once, even if there is none";
    EXPECT_THAT(found(), IsEmpty());
    live_guest first{lab_, *tools_, 1, {}, {.bridge = "br0.20"}};
    live_guest second{lab_, *tools_, 2, {}, {.bridge = "br1"}};
    const found_vif one{first.vif(), "br0.20", first.mac(), "vif-bridge", 0};
    const found_vif two{second.vif(), "br1", second.mac(), "vif-bridge", 0};
    EXPECT_TRUE(eventually([&] { return found() == std::vector{one, two}; }));
    ASSERT_TRUE(tools_->forget_vif(domain_id{1}, 0).has_value());
    EXPECT_TRUE(eventually([&] { return found() == std::vector{two}; }));
    // A state that changes is no news.
    const int before = calls();
    ASSERT_TRUE(tools_->store()
                    .write(tool_stack::backend_path(domain_id{2}, 0) + "/state", "2")
                    .has_value());
    ASSERT_TRUE(tools_->add_vif(domain_id{1}, 3, "00:16:3e:00:00:33").has_value());
    EXPECT_TRUE(eventually([&] { return found().size() == 2; }));
    EXPECT_EQ(calls(), before + 1);
    EXPECT_EQ(found().front().id, (vif_id{domain_id{1}, 3}));
}

TEST_F(listening, ends_when_it_is_told_to)
{
    const auto b = open();
    listen(*b);
    b->listen(nullptr);
    const int before = calls();
    live_guest g{lab_, *tools_, 1};
    std::this_thread::sleep_for(milliseconds{100});
    EXPECT_EQ(calls(), before);
}

TEST_F(listening, folders_that_are_no_vifs_are_passed_over)
{
    const auto b = open();
    for (const char* const path :
         {"backend/vif/x/0/state", "backend/vif/1/x/state", "backend/vif/99999/0/state",
          "backend/vif/1", "backend/vif/2/0/mac"}) {
        ASSERT_TRUE(tools_->store().write(path, "1").has_value());
    }
    listen(*b);
    live_guest g{lab_, *tools_, 5};
    EXPECT_TRUE(eventually([&] {
        const auto all = found();
        return !all.empty() && all.back().id == g.vif();
    }));
    EXPECT_EQ(found().size(), 1U);
}

TEST_F(listening, an_mtu_that_is_no_number_is_none)
{
    live_guest g{lab_, *tools_, 1};
    const std::string mtu = tool_stack::backend_path(domain_id{1}, 0) + "/mtu";
    const auto b = open();
    for (const auto& [text, number] : {std::pair{"9000", 9000U}, std::pair{"9000x", 0U},
                                       std::pair{"1500", 1500U}, std::pair{"4294967296", 0U}}) {
        ASSERT_TRUE(tools_->store().write(mtu, text).has_value());
        listen(*b);
        EXPECT_TRUE(eventually([&, wanted = number] {
            return !found().empty() && found().front().mtu == wanted;
        })) << text;
    }
}

class unserved : public listening {
protected:
    // A device of the tool stack's, as it stands.
    void make(std::uint16_t id, const std::string& script, const std::string& state,
              const std::string& online)
    {
        const domain_id d{id};
        ASSERT_TRUE(tools_->create_domain(d, "guest").has_value());
        ASSERT_TRUE(tools_
                        ->add_vif(d, 0, "00:16:3e:00:00:01",
                                  {.script = "/etc/xen/scripts/" + script, .bridge = "br0"})
                        .has_value());
        const std::string folder = tool_stack::backend_path(d, 0);
        ASSERT_TRUE(tools_->store().write(folder + "/online", online).has_value());
        ASSERT_TRUE(tools_->store().write(folder + "/state", state).has_value());
    }
    // All that there is has been looked at once more.
    void look(backend& b)
    {
        b.listen(nullptr);
        listen(b);
        make(99, "vif-bridge", "1", "1");
        ASSERT_TRUE(eventually([&] {
            const auto all = found();
            return !all.empty() && all.back().id.domain == domain_id{99};
        }));
    }
};

TEST_F(unserved, only_what_is_ours_and_taken_away_is_closed)
{
    make(1, own_script, "5", "0");
    make(2, "vif-bridge", "5", "0");
    make(3, own_script, "4", "0");
    make(4, own_script, "5", "1");
    make(5, own_script, "5", "0");
    // One that has not closed its side, so that this one is not closed, either.
    ASSERT_TRUE(tools_->store()
                    .write(tool_stack::frontend_path(domain_id{5}, 0) + "/state", "4")
                    .has_value());
    const auto b = open();
    const device d{*b, rcu_, {domain_id{5}, 0}};
    look(*b);
    EXPECT_EQ(state_of(1), "6");
    EXPECT_EQ(state_of(2), "5") << "another back end's";
    EXPECT_EQ(state_of(3), "4") << "it is not closing";
    EXPECT_EQ(state_of(4), "5") << "it is not taken away";
    EXPECT_EQ(state_of(5), "5") << "it has a port";
}

TEST_F(unserved, only_what_is_new_and_nobodys_is_declined)
{
    make(1, own_script, "1", "1");
    make(2, own_script, "4", "1");
    make(3, own_script, "1", "1");
    const auto b = open();
    // No state of the frontend's yet: the device is only being made.
    ASSERT_TRUE(
        tools_->store().remove(tool_stack::frontend_path(domain_id{3}, 0) + "/state").has_value());
    const device d{*b, rcu_, {domain_id{3}, 0}};
    for (std::uint16_t id = 1; id <= 4; ++id) {
        b->decline({domain_id{id}, 0});
    }
    EXPECT_EQ(state_of(1), "2");
    EXPECT_EQ(state_of(2), "4");
    EXPECT_EQ(state_of(3), "1");
    EXPECT_EQ(state_of(4), "(none)");
}

} // namespace
} // namespace strait::xen::test
