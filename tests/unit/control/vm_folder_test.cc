// SPDX-License-Identifier: BSD-3-Clause
// What a machine's folder tells, and what comes and goes in it.
#include "control/vm_folder.hh"

#include "control/vm_process.hh"
#include "vm_fixture.hh"

namespace strait::control {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::at_terminal;
using testing_support::fake_vmm;
using testing_support::vm;

// By another straitctl, whose vm stop is at its end.
TEST_F(vm, whose_folder_is_being_removed_has_one_of_its_own)
{
    const vm_folder old{run_dir_, "vm1"};
    for (int i = 0; i < 20; ++i) {
        auto lock = old.make_and_lock();
        ASSERT_TRUE(lock.has_value());
        std::thread other{[&] {
            std::this_thread::sleep_for(std::chrono::milliseconds{i});
            old.remove();
            std::this_thread::sleep_for(std::chrono::milliseconds{i % 3});
            lock.value() = {};
        }};
        const auto next = old.make_and_lock();
        other.join();
        ASSERT_TRUE(next.has_value()) << next.error().message;
        EXPECT_TRUE(old.is_locked());
        old.remove();
    }
    auto lock = old.make_and_lock();
    std::thread other{[&] {
        std::this_thread::sleep_for(50ms);
        old.remove();
        lock.value() = {};
    }};
    EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0"), "");
    other.join();
}

TEST_F(vm, that_nobody_can_ask_any_more_is_silent)
{
    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'hears nothing'");
    fs::remove(folder("vm1") + "/sock/control");
    EXPECT_EQ(done("vm list").at(0).at("state"), "starting") << "so it looks";
    fs::last_write_time(folder("vm1") + "/process", fs::file_time_type::clock::now() - 61s);
    const auto seen = done("vm list").at(0);
    EXPECT_EQ(seen.at("state"), "silent");
    EXPECT_EQ(seen.at("pid"), noted_process(vm_folder{run_dir_, "vm1"}));
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"),
                HasSubstr("; straitctl vm stop vm1 ends it"));
    {
        const auto lock = vm_folder{run_dir_, "vm1"}.lock().value();
        EXPECT_EQ(done("vm list").at(0).at("state"), "starting") << "somebody waits for it";
    }
    EXPECT_EQ(done("vm stop vm1 --force").at("ended"), "it was killed by SIGKILL");
}

TEST_F(vm, ends_as_its_process_says)
{
    fs::create_directories(folder("vm1"));
    for (const auto& [written, told] : std::initializer_list<std::pair<std::string, std::string>>{
             {"exited 0", "it switched itself off"},
             {"exited 2", "it reset itself"},
             {"exited 4", "it was ended and had not switched itself off"},
             {"exited 9", "its process ended with status 9"},
             {"exited 137", "it was killed by SIGKILL"}, // in its jail
             {"dumped SEGV", "it was killed by SIGSEGV"},
             {"exited ?", "its process ended with status ?"},
             {"", "nothing is known of its end"}}) {
        std::ofstream{folder("vm1") + "/end"} << written;
        EXPECT_EQ(done("vm list").at(0).at("ended"), json::value(told));
    }
}

TEST_F(vm, that_nothing_is_known_of_has_ended)
{
    fs::create_directories(folder("vm1"));
    EXPECT_EQ(done("vm list").at(0).at("ended"), "nothing is known of its end");
    const auto lock = vm_folder{run_dir_, "vm1"}.lock().value();
    EXPECT_EQ(done("vm list").at(0).at("state"), "starting");
    EXPECT_THAT(said("vm stop vm1"), HasSubstr("another straitctl is at work"));
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge b"), HasSubstr("another straitctl is at"));
}

TEST_F(vm, that_has_ended_stays_until_the_next_one_runs)
{
    (void)done("vm run vm1 --kernel k --bridge br0 --vlan 7");
    ::kill(noted_process(vm_folder{run_dir_, "vm1"}), SIGKILL);
    wait_for_end("vm1");
    std::ofstream{folder("vm1") + "/log", std::ios::app} << "last words\n";
    const auto is_as_it_was = [this] {
        EXPECT_EQ(done("vm show vm1").at("ended"), "it was killed by SIGKILL");
        EXPECT_EQ(content_of(folder("vm1") + "/log"), "last words\n");
        EXPECT_FALSE(fs::exists(folder("vm1") + "/last"));
        EXPECT_EQ(daemon_->ports().at("vm1").at("bridge"), "br0");
        EXPECT_EQ(daemon_->ports().at("vm1").at("vlan"), 7);
        EXPECT_EQ(daemon_->ports().at("vm1").at("socket"),
                  json::value(folder("vm1") + "/sock/net"));
    };
    for (const auto* refused : {"--command-line 'is refused'", "--cpus 2 --vcpu-pin 9=0"}) {
        (void)said(std::string{"vm run vm1 --kernel k --bridge br1 "} + refused);
        is_as_it_was();
    }
    host_.vmm = "/nonexistent/strait-vmm";
    (void)said("vm run vm1 --kernel k --bridge br1");
    is_as_it_was();
    host_.vmm = fake_vmm;
    (void)done("vm run vm1 --kernel k --bridge br1");
    EXPECT_EQ(daemon_->ports().at("vm1").at("bridge"), "br1");
    EXPECT_FALSE(fs::exists(folder("vm1") + "/last"));
}

} // namespace
} // namespace strait::control
