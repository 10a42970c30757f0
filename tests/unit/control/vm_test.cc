// SPDX-License-Identifier: BSD-3-Clause
// Commands about virtual machines, between a daemon and a VMM of this test's.
#include "control/vm.hh"

#include "control/client.hh"
#include "control/methods.hh"
#include "control/print.hh"
#include "control/server.hh"
#include "control/vm_commands.hh"
#include "control/vm_console.hh"
#include "control/vm_folder.hh"
#include "control/vm_process.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/unix_socket.hh"
#include "vmm/file_lock.hh"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace strait::control {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto fake_vmm = STRAIT_FAKE_VMM;

// A daemon that has ports and nothing else.
class daemon {
public:
    explicit daemon(const std::string& run_dir)
    {
        rpc_.add("port.add", [this](const json::object& p) -> outcome<json::value> {
            const std::string name{std::string_view{p.at("name").as_string()}};
            if (refuse_) {
                return failure{failure_kind::not_found, "there is no bridge br0"};
            }
            const std::scoped_lock lock{mutex_};
            if (!ports_.emplace(name, p).second) {
                return failure{failure_kind::exists, "port " + name + " exists already"};
            }
            return json::value(p);
        });
        rpc_.add("port.del", [this](const json::object& p) -> outcome<json::value> {
            while (delay_) {
                std::this_thread::sleep_for(1ms);
            }
            const std::scoped_lock lock{mutex_};
            const auto name = std::string_view{p.at("name").as_string()};
            return json::value{{"removed", ports_.erase(std::string{name}) != 0}};
        });
        rpc_.add("port.show", [this](const json::object& p) -> outcome<json::value> {
            const std::scoped_lock lock{mutex_};
            const auto found = ports_.find(std::string{std::string_view{p.at("name").as_string()}});
            if (found == ports_.end()) {
                return failure{failure_kind::not_found, "there is no such port"};
            }
            json::object shown = found->second;
            if (const auto* socket = shown.if_contains("socket")) {
                shown["options"] = {{"socket", *socket}};
                shown.erase("socket");
            }
            shown["link"] = "down";
            return json::value(shown);
        });
        server_ = server::listen(io_, run_dir + "/control.sock", rpc_).value();
        thread_ = std::thread{[this] { io_.run(); }};
    }
    ~daemon()
    {
        io_.stop();
        thread_.join();
    }
    daemon(const daemon&) = delete;
    daemon& operator=(const daemon&) = delete;

    void refuse(bool yes = true) { refuse_ = yes; }
    // Whether it takes its time, until it is told otherwise, to remove a port.
    void delay(bool yes) { delay_ = yes; }
    [[nodiscard]] std::map<std::string, json::object> ports()
    {
        const std::scoped_lock lock{mutex_};
        return ports_;
    }

private:
    std::atomic<bool> refuse_{false};
    std::atomic<bool> delay_{false};
    std::mutex mutex_;
    std::map<std::string, json::object> ports_;
    asio::io_context io_;
    rpc rpc_{methods()};
    std::unique_ptr<server> server_;
    std::thread thread_;
};

class vm : public testing::Test {
protected:
    vm()
    {
        std::string pattern = testing::TempDir() + "vm_XXXXXX";
        run_dir_ = ::mkdtemp(pattern.data());
        host_ = {.run_dir = run_dir_,
                 .vmm = fake_vmm,
                 .systemd = false,
                 .start_patience = 10s,
                 .insist_patience = 2s};
        daemon_.emplace(run_dir_);
    }
    ~vm() override
    {
        for (const auto& name : vm_names(run_dir_).value()) {
            (void)said("vm stop --force " + name);
        }
        daemon_.reset();
        fs::remove_all(run_dir_);
    }

    json::value done(const std::string& line)
    {
        const auto c = cli::parse(straitctl_program(), cli::split_words(line).value()).value();
        try {
            return do_vm_command(host_, *c.method, c.parameters);
        } catch (const call_error& e) {
            throw std::runtime_error{line + ": " + e.message};
        }
    }
    // The sentence, if it is refused; what it would have printed, if not.
    std::string said(const std::string& line)
    {
        const auto c = cli::parse(straitctl_program(), cli::split_words(line).value());
        if (c.has_error()) {
            return c.error().message;
        }
        try {
            return to_text(*c->method, do_vm_command(host_, *c->method, c->parameters));
        } catch (const call_error& e) {
            return (e.reached ? "" : "no answer: ") + e.message;
        }
    }
    [[nodiscard]] std::string folder(const std::string& name) const
    {
        return run_dir_ + "/vm/" + name;
    }
    void wait_for_end(const std::string& name) const
    {
        for (int i = 0; i < 500 && !vm_folder{run_dir_, name}.end(); ++i) {
            std::this_thread::sleep_for(10ms);
        }
    }

    static std::string content_of(const std::string& path)
    {
        std::ifstream file{path};
        return {std::istreambuf_iterator<char>{file}, {}};
    }

    std::string run_dir_;
    vm_host host_;
    std::optional<daemon> daemon_;
};

TEST_F(vm, runs_on_a_port_of_its_own_until_it_is_stopped)
{
    const auto begun =
        done("vm run vm1 --kernel k --bridge br0 --vlan 7 --memory 64M --cpus 2 --disk d,serial=s");
    EXPECT_EQ(begun.at("state"), "running");
    const auto port = daemon_->ports().at("vm1");
    EXPECT_EQ(port.at("socket"), json::value(folder("vm1") + "/sock/net"));
    EXPECT_EQ(port.at("vlan"), 7);
    EXPECT_FALSE(port.contains("socket_owner") && ::geteuid() == 0);

    std::ifstream file{folder("vm1") + "/config.json"};
    const auto config = json::parse(file);
    const std::string here = fs::current_path().string();
    EXPECT_EQ(config.at("kernel"), json::value(here + "/k"));
    EXPECT_EQ(config.at("disk").at(0).at("path"), json::value(here + "/d"));
    EXPECT_EQ(config.at("net").at(0).at("socket"), json::value(folder("vm1") + "/sock/net"));
    EXPECT_FALSE(config.as_object().contains("bridge"));

    const auto listed = done("vm list");
    ASSERT_EQ(listed.as_array().size(), 1U);
    EXPECT_EQ(listed.at(0).at("info").at("cpus"), 2);
    EXPECT_EQ(listed.at(0).at("ended"), nullptr);
    const auto pid = listed.at(0).at("pid").as_int64();
    EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(pid) + "/exe"), fake_vmm);
    EXPECT_THAT(said("vm list"), testing::ContainsRegex("vm1  running +[0-9]+     2  64 MiB"));
    EXPECT_THAT(said("vm show vm1"), HasSubstr("exits     port 7\n"));

    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"),
                HasSubstr("vm1 is running; straitctl vm stop vm1 ends it"));
    EXPECT_EQ(done("vm stop vm1").at("ended"), "it switched itself off");
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());
    EXPECT_EQ(done("vm list"), json::value(json::array{}));
}

TEST_F(vm, that_does_not_start_leaves_nothing)
{
    EXPECT_EQ(said("vm run vm1 --kernel /k --bridge br0 --command-line 'is refused'"),
              "virtual machine vm1 did not start: it never ran: the kernel /k is no kernel");
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());

    host_.start_patience = 1s;
    EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0 --command-line 'never answers'"),
              "virtual machine vm1 does not answer after 1 s");
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());

    host_.vmm = "/nonexistent/strait-vmm";
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"),
                HasSubstr("strait-vmm cannot be run: No such file or directory"));
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());

    daemon_->refuse();
    EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0"), "there is no bridge br0");
    EXPECT_FALSE(fs::exists(folder("vm1")));
    daemon_.reset();
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"),
                HasSubstr("no answer: the daemon cannot be reached"));
    EXPECT_FALSE(fs::exists(folder("vm1")));
}

TEST_F(vm, whose_guest_ends_at_once_did_start)
{
    const auto begun = done("vm run vm1 --kernel k --bridge br0 --command-line 'ends at once'");
    EXPECT_EQ(begun.at("ended"), "it switched itself off");
    EXPECT_EQ(done("vm list").at(0).at("state"), "ended");
}

TEST_F(vm, that_is_interrupted_while_it_starts_leaves_nothing)
{
    std::thread user{[] {
        std::this_thread::sleep_for(300ms);
        ::kill(::getpid(), SIGINT);
    }};
    EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0 --command-line 'never answers'"),
              "interrupted: what was begun is undone");
    user.join();
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());
}

// As nohup, or a shell that runs straitctl in the background.
TEST_F(vm, is_not_interrupted_by_what_the_caller_ignores)
{
    host_.start_patience = 1s;
    for (const int ignored : {SIGHUP, SIGINT}) {
        (void)::signal(ignored, SIG_IGN);
        std::thread user{[ignored] {
            std::this_thread::sleep_for(300ms);
            ::kill(::getpid(), ignored);
        }};
        EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0 --command-line 'never answers'"),
                  "virtual machine vm1 does not answer after 1 s");
        user.join();
        (void)done("vm run vm1 --kernel k --bridge br0");
        const pid_t process = noted_process(vm_folder{run_dir_, "vm1"});
        (void)::signal(ignored, SIG_DFL);
        ::kill(process, ignored);
        wait_for_end("vm1");
        EXPECT_EQ(done("vm stop vm1").at("ended"),
                  json::value("it was killed by SIG" + std::string{::sigabbrev_np(ignored)}))
            << "the machine is not told by straitctl's caller what to hear";
    }
}

TEST_F(vm, whose_port_is_somebody_elses_is_refused_and_the_port_left)
{
    client c{daemon_in(run_dir_)};
    c.call("port.add", {{"name", "vm1"}, {"bridge", "b"}, {"type", "xen"}, {"domain", 1}});
    EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0"), "port vm1 exists already");
    EXPECT_TRUE(daemon_->ports().contains("vm1"));
    EXPECT_FALSE(fs::exists(folder("vm1")));
}

TEST_F(vm, leaves_the_port_that_has_got_its_name_alone)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    client c{daemon_in(run_dir_)};
    for (const json::object& other :
         {json::object{{"name", "vm1"}, {"type", "vhost-user"}, {"socket", "/run/other"}},
          json::object{{"name", "vm1"}, {"type", "xen"}, {"domain", 1}}}) {
        c.call("port.del", {{"name", "vm1"}});
        json::object added = other;
        added["bridge"] = "b";
        c.call("port.add", added);
        if (!fs::exists(folder("vm1"))) { // as what a killed straitctl left
            fs::create_directories(folder("vm1"));
        }
        EXPECT_EQ(done("vm list").at(0).at("name"), "vm1");
        (void)done("vm stop vm1");
        EXPECT_EQ(daemon_->ports().at("vm1"), added);

        fs::create_directories(folder("vm1"));
        EXPECT_EQ(said("vm run vm1 --kernel k --bridge br0"), "port vm1 exists already");
        EXPECT_EQ(daemon_->ports().at("vm1"), added);
    }
    c.call("port.del", {{"name", "vm1"}});
    // Another path to the same folder is no other's.
    fs::create_directory_symlink(run_dir_, run_dir_ + ".link");
    (void)done("vm run vm1 --kernel k --bridge br0");
    host_.run_dir = run_dir_ + ".link";
    (void)done("vm stop vm1");
    host_.run_dir = run_dir_;
    fs::remove(run_dir_ + ".link");
    EXPECT_THAT(daemon_->ports(), IsEmpty());
}

TEST_F(vm, that_died_is_shown_as_such_and_its_place_is_taken_by_the_next)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    client machine{vm_folder{run_dir_, "vm1"}.service(5s)};
    machine.connect();
    ASSERT_EQ(::kill(machine.peer(), SIGKILL), 0);
    wait_for_end("vm1");
    EXPECT_THAT(said("vm list"), HasSubstr("ended  "));
    EXPECT_EQ(done("vm show vm1").at("ended"), "it was killed by SIGKILL");
    EXPECT_EQ(done("vm show vm1").at("info"), nullptr);
    EXPECT_TRUE(daemon_->ports().contains("vm1")) << "until it is stopped";
    EXPECT_THAT(said("vm console vm1"), HasSubstr("vm1 has ended: it was killed"));

    EXPECT_EQ(done("vm run vm1 --kernel k --bridge br1").at("state"), "running");
    EXPECT_EQ(daemon_->ports().at("vm1").at("bridge"), "br1");
    (void)done("vm stop vm1");

    (void)done("vm run vm1 --kernel k --bridge br0 --command-line fails");
    client again{vm_folder{run_dir_, "vm1"}.service(5s)};
    EXPECT_THROW(again.call("vm.stop", {}), call_error);
    wait_for_end("vm1");
    EXPECT_EQ(done("vm stop vm1").at("ended"), "it could not go on: it is broken");
    EXPECT_THAT(daemon_->ports(), IsEmpty());
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

TEST_F(vm, that_does_not_switch_itself_off_is_ended)
{
    const std::string stubborn = " --kernel k --bridge br0 --command-line 'does not end'";
    (void)done("vm run vm1" + stubborn);
    EXPECT_EQ(done("vm stop vm1 --timeout 1").at("ended"),
              "it was ended and had not switched itself off");
    (void)done("vm run vm1" + stubborn);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(done("vm stop vm1 --force").at("ended"),
              "it was ended and had not switched itself off");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'hears nothing'");
    EXPECT_EQ(done("vm stop vm1 --force").at("ended"), "it was killed by SIGKILL");
    EXPECT_THAT(daemon_->ports(), IsEmpty());
}

TEST_F(vm, whose_port_cannot_be_removed_can_be_stopped_again)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    daemon_.reset();
    EXPECT_THAT(said("vm stop vm1"), HasSubstr("vm1 has ended, but its port is not removed: "));
    daemon_.emplace(run_dir_);
    EXPECT_EQ(done("vm stop vm1").at("ended"), "it switched itself off");
    EXPECT_FALSE(fs::exists(folder("vm1")));
}

TEST_F(vm, that_is_not_there_is_said_so)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    for (const auto* command : {"vm show", "vm stop", "vm console"}) {
        EXPECT_THAT(
            said(std::string{command} + " vm2"),
            HasSubstr("there is no virtual machine vm2 in " + run_dir_ + "; did you mean vm1?"));
    }
}

TEST_F(vm, without_a_console_socket_has_nothing_to_relay)
{
    (void)done("vm run vm1 --kernel k --bridge br0 --console none");
    EXPECT_THAT(said("vm console vm1"), HasSubstr("it was started with --console"));
}

TEST_F(vm, of_another_user_has_sockets_of_that_users_and_nothing_else)
{
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs to be root";
    }
    (void)done("vm run vm1 --kernel k --bridge br0 --user 65534:65533");
    EXPECT_EQ(daemon_->ports().at("vm1").at("socket_owner"), "65534:65533");
    struct stat status {};
    ASSERT_EQ(::stat((folder("vm1") + "/sock").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 65534U);
    EXPECT_EQ(status.st_gid, 65533U);
    EXPECT_EQ(status.st_mode & 0777U, 0750U);
    ASSERT_EQ(::stat(folder("vm1").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 0U);
}

TEST_F(vm, is_run_with_what_a_file_says)
{
    std::ofstream{run_dir_ + "/f"} << R"({"kernel": "/k", "cpus": 3, "bridge": "br7",
                                          "net": [{"queues": 4, "mtu": 9000}]})";
    (void)done("vm run vm1 --cpus 2 --config " + run_dir_ + "/f");
    EXPECT_EQ(daemon_->ports().at("vm1").at("bridge"), "br7");
    EXPECT_EQ(daemon_->ports().at("vm1").at("mtu"), 9000);
    EXPECT_EQ(done("vm show vm1").at("info").at("cpus"), 2);
    std::ifstream file{folder("vm1") + "/config.json"};
    EXPECT_EQ(json::parse(file).at("net").at(0).at("queues"), 4);
}

struct mistake {
    std::string line;
    std::string says;
};

TEST_F(vm, commands_with_mistakes_are_told_what_would_be_right)
{
    const std::string run = "vm run vm1 --kernel k --bridge b ";
    for (const auto& [line, says] : std::initializer_list<mistake>{
             {"vm", "vm needs one of run, list, show, stop, console"},
             {"vm sotp", "did you mean vm stop?"},
             {"vm run --kernel k --bridge b", "vm run: NAME is missing"},
             {"vm run vm1 --bridge b", "vm run: --kernel is missing: a bzImage"},
             {"vm run vm1 --kernel k", "vm run: --bridge is missing"},
             {run + "--net socket=/s", "--net has no socket; it takes mac, queues"},
             {run + "--net queues=17", "--net queues is 17; it must be an integer from 1 to 16"},
             {run + "--net queues=1 --net queues=2", "--net is given 2 times; at most 1 is"},
             {run + "--control /c", "vm run has no option --control"},
             {run + "--name x", "vm run has no option --name"},
             {run + "--console stdio", "--console is stdio; it must be none or file:PATH"},
             {run + "--kernle x", "did you mean --kernel?"},
             {run + "--hugepages 1G --memory 64M", "whole huge pages of 1G"},
             {run + "--cpus 2 --vcpu-pin 2=0", "--vcpu-pin has vCPU 2, but --cpus is 2"},
             {"vm stop vm1 --timeout 0", "it must be an integer from 1 to 3600"}}) {
        EXPECT_THAT(said(line), HasSubstr(says)) << line;
    }
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(said("vm run " + std::string(63, 'x') + " --kernel k --bridge b --config /nowhere"),
                HasSubstr("/nowhere cannot be read"));
}

TEST(vm_commands, have_help_and_no_place_in_a_configuration)
{
    const auto help = cli::parse(straitctl_program(), cli::split_words("help vm run").value());
    for (const auto* text : {"straitctl vm run NAME --bridge BRIDGE --kernel FILE [OPTIONS]",
                             "--vlan VLAN", "queues=N", "      PATH", "read-only=on|off"}) {
        EXPECT_THAT(help->help, HasSubstr(text));
    }
    const auto general = cli::parse(straitctl_program(), cli::split_words("help").value());
    EXPECT_THAT(general->help, HasSubstr("  vm console      The terminal of"));
    EXPECT_TRUE(cli::parse_config({.name = "straitctl", .commands = &methods()}, "vm list", "f")
                    .has_error());
}

// What systemd-run would be told, by scripts in its place and systemctl's.
TEST_F(vm, as_a_service_is_started_by_systemd_run)
{
    const auto script = [this](const std::string& name, const std::string& text) {
        std::ofstream{run_dir_ + '/' + name} << "#!/bin/bash\ncd " << run_dir_ << '\n' << text;
        fs::permissions(run_dir_ + '/' + name, fs::perms::owner_all);
    };
    script("systemd-run", R"sh(printf '%s\n' "$@" >told
while [ "$1" != -- ]; do shift; done; shift
for fd in {3..99}; do eval "exec $fd>&-"; done
"$@" >/dev/null 2>&1 </dev/null &
echo $! >pid
)sh");
    script("systemctl", R"sh(echo "$@" >>asked
case $1 in
show) grep -q '^State:[^Z]*$' "/proc/$(cat pid)/status" && echo active || echo inactive ;;
kill) kill -KILL "$(cat pid)" ;;
esac
)sh");
    const std::string before = std::getenv("PATH");
    ::setenv("PATH", (run_dir_ + ":" + before).c_str(), 1);
    host_.systemd = true;
    EXPECT_EQ(done("vm run vm1 --kernel k --bridge br0").at("state"), "running");
    EXPECT_THAT(content_of(run_dir_ + "/told"), HasSubstr("--unit=strait-vm-vm1\n"));
    EXPECT_THAT(content_of(run_dir_ + "/told"),
                HasSubstr("--\n" + std::string{fake_vmm} + "\nrun\n--config\n" + folder("vm1") +
                          "/config.json\n"));
    // The script is no systemd, and does not say how it ended.
    EXPECT_EQ(done("vm stop vm1").at("ended"), "nothing is known of its end");

    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'hears nothing'");
    fs::remove(folder("vm1") + "/sock/control");
    EXPECT_EQ(done("vm list").at(0).at("state"), "starting") << "systemd has it still";
    (void)done("vm stop vm1 --force");
    EXPECT_THAT(content_of(run_dir_ + "/asked"),
                HasSubstr("kill --signal=KILL strait-vm-vm1.service\n"));
    ::setenv("PATH", before.c_str(), 1);
}

// At a terminal: what the relay writes to it, and types.
class at_terminal {
public:
    // What it does is its exit status.
    explicit at_terminal(const std::function<int()>& work)
    {
        process_ = ::forkpty(&master_, nullptr, nullptr, nullptr);
        if (process_ == 0) {
            ::_exit(work());
        }
    }
    ~at_terminal()
    {
        ::kill(process_, SIGKILL);
        ::close(master_);
    }
    at_terminal(const at_terminal&) = delete;
    at_terminal& operator=(const at_terminal&) = delete;

    void type(std::string_view text) const
    {
        EXPECT_EQ(::write(master_, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    }
    // Whether it took all of it soon.
    [[nodiscard]] bool takes(std::string_view text) const
    {
        (void)::fcntl(master_, F_SETFL, O_NONBLOCK);
        pollfd state{.fd = master_, .events = POLLOUT, .revents = 0};
        while (!text.empty() && ::poll(&state, 1, 5000) == 1) {
            const ssize_t size = ::write(master_, text.data(), text.size());
            text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
        }
        return text.empty();
    }
    // Until it has shown this.
    [[nodiscard]] bool shows(std::string_view text)
    {
        pollfd state{.fd = master_, .events = POLLIN, .revents = 0};
        std::array<char, 1024> chunk{};
        while (shown_.find(text) == std::string::npos && ::poll(&state, 1, 5000) == 1) {
            const ssize_t size = ::read(master_, chunk.data(), chunk.size());
            if (size <= 0) {
                return false;
            }
            shown_.append(chunk.data(), static_cast<std::size_t>(size));
        }
        return shown_.find(text) != std::string::npos;
    }
    [[nodiscard]] int status() const
    {
        int status = -1;
        EXPECT_EQ(::waitpid(process_, &status, 0), process_);
        return status;
    }

private:
    int master_{-1};
    pid_t process_;
    std::string shown_;
};

class console : public vm {
protected:
    // As straitctl does it, its sentences included.
    std::function<int()> relay()
    {
        return [this] {
            const std::string refused = said("vm console vm1");
            std::fprintf(stderr, "straitctl: %s\n", refused.c_str());
            return refused.empty() ? 0 : 1;
        };
    }
    void wait_for_login(at_terminal& t)
    {
        EXPECT_TRUE(t.shows("Ctrl-] leaves"));
        EXPECT_TRUE(t.shows("login: "));
    }
};

TEST_F(console, is_left_by_a_key)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    at_terminal t{relay()};
    wait_for_login(t);
    t.type("a\x03z"); // Ctrl-C is the guest's
    EXPECT_TRUE(t.shows("a\x03z"));
    t.type("\x1d");
    EXPECT_TRUE(t.shows("straitctl: the console of virtual machine vm1 was left with Ctrl-]"));
    EXPECT_EQ(t.status(), 0);
}

TEST_F(console, is_left_by_a_key_also_where_the_guest_takes_nothing)
{
    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'takes no input'");
    at_terminal t{relay()};
    wait_for_login(t);
    const std::string line(1000, 'x');
    for (int i = 0; i < 1000; ++i) { // more than a socket holds
        ASSERT_TRUE(t.takes(line)) << "after " << i << " lines";
    }
    EXPECT_TRUE(t.shows("\a")) << "some of it is lost";
    ASSERT_TRUE(t.takes("\x1d"));
    EXPECT_TRUE(t.shows("was left with Ctrl-]"));
    EXPECT_EQ(t.status(), 0);
}

TEST_F(console, ends_with_the_machine)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    at_terminal t{relay()};
    wait_for_login(t);
    (void)done("vm stop vm1");
    EXPECT_TRUE(t.shows("virtual machine vm1 was stopped") || t.shows("it switched itself off"));
    EXPECT_EQ(t.status(), 0);

    (void)done("vm run vm1 --kernel k --bridge br0");
    at_terminal other{relay()};
    wait_for_login(other);
    ASSERT_EQ(::kill(noted_process(vm_folder{run_dir_, "vm1"}), SIGKILL), 0);
    EXPECT_TRUE(other.shows("straitctl: virtual machine vm1 has ended: it was killed by SIGKILL"));
    EXPECT_EQ(other.status(), 1 << 8);
}

TEST_F(console, is_anothers_who_comes)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    at_terminal t{relay()};
    wait_for_login(t);
    at_terminal next{relay()};
    wait_for_login(next);
    EXPECT_TRUE(t.shows("straitctl: another client took the console of virtual machine vm1"));
    EXPECT_EQ(t.status(), 1 << 8);
}

TEST_F(console, that_cannot_be_shown_is_an_error)
{
    (void)done("vm run vm1 --kernel k --bridge br0");
    at_terminal t{[this] {
        (void)::dup2(::open("/dev/full", O_WRONLY | O_CLOEXEC), STDOUT_FILENO);
        return relay()();
    }};
    EXPECT_TRUE(t.shows("cannot be written to the standard output: No space left on device"));
    EXPECT_EQ(t.status(), 1 << 8);
}

// ---- whatever becomes of straitctl ----

TEST_F(vm, of_a_straitctl_that_was_killed_is_listed_and_can_be_ended)
{
    const pid_t straitctl = ::fork();
    if (straitctl == 0) {
        (void)said("vm run vm1 --kernel k --bridge br0 --command-line 'never answers'");
        ::_exit(0);
    }
    const vm_folder machine{run_dir_, "vm1"};
    for (int i = 0; i < 500 && noted_process(machine) == 0; ++i) {
        std::this_thread::sleep_for(10ms);
    }
    const pid_t process = noted_process(machine);
    ASSERT_GT(process, 0);
    ::kill(straitctl, SIGKILL);
    ::waitpid(straitctl, nullptr, 0);
    EXPECT_EQ(done("vm list").at(0).at("state"), "starting");
    EXPECT_EQ(done("vm list").at(0).at("pid"), process);
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"), HasSubstr("vm1 is starting"));
    EXPECT_EQ(::kill(process, 0), 0);
    host_.insist_patience = 1s;
    EXPECT_EQ(done("vm stop vm1").at("ended"), "it was killed by SIGKILL");
    EXPECT_EQ(::kill(process, 0), -1);
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());
}

TEST_F(vm, is_kept_by_a_process_of_that_name_which_it_does_not_outlive)
{
    (void)done("vm run a-long-name --kernel k --bridge br0");
    const pid_t process = noted_process(vm_folder{run_dir_, "a-long-name"});
    std::ifstream stat{"/proc/" + std::to_string(process) + "/stat"};
    std::string skipped;
    pid_t keeper = 0;
    stat >> skipped >> skipped >> skipped >> keeper;
    const std::string of_keeper = "/proc/" + std::to_string(keeper);
    EXPECT_EQ(content_of(of_keeper + "/comm"), "strait-vm:a-lon\n");
    EXPECT_STREQ(content_of(of_keeper + "/cmdline").c_str(), "strait-vm:a-long-name");
    ::kill(keeper, SIGKILL);
    for (int i = 0; i < 500 && ::kill(process, 0) == 0; ++i) {
        std::this_thread::sleep_for(10ms);
    }
    EXPECT_EQ(::kill(process, 0), -1);
    EXPECT_EQ(done("vm list").at(0).at("ended"), "nothing is known of its end");
}

TEST_F(vm, whose_keeper_is_killed_before_it_begins_says_so)
{
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    const std::string children = "/proc/self/task/" + std::to_string(::getpid()) + "/children";
    const std::string expected = "the process strait-vm:vm1, which was to start " +
                                 std::string{fake_vmm} + ", was killed before it had";
    std::string told;
    for (int i = 0; i < 200 && told != expected; ++i) {
        std::atomic<bool> over{false};
        std::thread killer{[&] {
            while (!over) {
                std::ifstream all{children};
                for (pid_t child = 0; all >> child;) {
                    std::ifstream comm{"/proc/" + std::to_string(child) + "/comm"};
                    std::string name;
                    std::getline(comm, name);
                    if (name.starts_with("strait-vm:")) {
                        ::kill(child, SIGKILL);
                    }
                }
            }
        }};
        told = said("vm run vm1 --kernel k --bridge br0");
        over = true;
        killer.join();
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {}
        (void)said("vm stop vm1 --force");
    }
    EXPECT_EQ(told, expected);
    EXPECT_FALSE(fs::exists(folder("vm1")));
    EXPECT_THAT(daemon_->ports(), IsEmpty());
    (void)::prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

// A number that was noted may be another process's by now.
TEST_F(vm, that_is_killed_is_no_other_process)
{
    const pid_t bystander = ::fork();
    if (bystander == 0) {
        ::pause();
    }
    fs::create_directories(folder("vm1"));
    std::ofstream{folder("vm1") + "/process"} << bystander << " 1\n";
    const dataplane::file_descriptor keeper{
        ::open((folder("vm1") + "/process").c_str(), O_RDWR | O_CLOEXEC)};
    ASSERT_EQ(vmm::lock_file(keeper.get(), F_WRLCK), 0);
    host_.insist_patience = 1s;
    EXPECT_EQ(said("vm stop vm1 --force"),
              "virtual machine vm1 cannot be ended: its process does not go");
    EXPECT_EQ(::waitpid(bystander, nullptr, WNOHANG), 0);
    EXPECT_TRUE(fs::exists(folder("vm1")));
    ::kill(bystander, SIGKILL);
    ::waitpid(bystander, nullptr, 0);
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

TEST_F(vm, that_has_ended_keeps_its_port_if_its_removal_is_not_answered)
{
    (void)done("vm run vm1 --kernel k --bridge br0 --vlan 7");
    ::kill(noted_process(vm_folder{run_dir_, "vm1"}), SIGKILL);
    wait_for_end("vm1");
    for (const bool answers : {true, false}) {
        daemon_->delay(true);
        std::thread user{[&] {
            std::this_thread::sleep_for(200ms);
            ::kill(::getpid(), SIGINT);
            std::this_thread::sleep_for(answers ? 300ms : 2s);
            daemon_->delay(false);
        }};
        EXPECT_THAT(said("vm run vm1 --kernel k --bridge br1"),
                    AllOf(HasSubstr("no answer: interrupted before the daemon at "),
                          testing::EndsWith(
                              answers ? "is not known"
                                      : "; the port of the machine that has ended may be gone")));
        user.join();
        EXPECT_EQ(done("vm show vm1").at("ended"), "it was killed by SIGKILL");
        client{daemon_in(run_dir_)}.call("port.show", {{"name", "vm1"}}); // all is done
        EXPECT_EQ(daemon_->ports().at("vm1").at("bridge"), "br0");
        EXPECT_EQ(daemon_->ports().at("vm1").at("vlan"), 7);
    }
}

TEST_F(vm, of_another_user_may_not_be_reached)
{
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs to be root";
    }
    (void)done("vm run vm1 --kernel k --bridge br0");
    fs::permissions(run_dir_, fs::perms{0755}); // NOLINT(*-magic-numbers)
    const auto as_nobody = [this](const char* command) {
        return at_terminal{[this, command] {
            constexpr id_t nobody = 65534;
            if (::setgroups(0, nullptr) == 0 && ::setgid(nobody) == 0 && ::setuid(nobody) == 0) {
                (void)std::fprintf(stderr, "%s\n", said(command).c_str());
            }
            return 0;
        }};
    };
    EXPECT_TRUE(as_nobody("vm list").shows("vm1  permission denied"));
    EXPECT_TRUE(as_nobody("vm show vm1").shows("permission denied"));
    EXPECT_TRUE(as_nobody("vm console vm1").shows("cannot be reached: Permission denied"));
    EXPECT_TRUE(as_nobody("vm stop vm1 --force")
                    .shows("the folder " + folder("vm1") + " cannot be opened: Permission denied"))
        << "who could open it could lock it";
    EXPECT_EQ(done("vm list").at(0).at("state"), "running");
}

TEST_F(vm, on_a_full_disk_says_so)
{
    if (::geteuid() != 0) {
        GTEST_SKIP() << "needs to be root";
    }
    fs::create_directory(run_dir_ + "/vm");
    const auto with_free = [this](std::size_t pages) {
        return at_terminal{[this, pages] {
            const std::string disk = run_dir_ + "/vm";
            if (::unshare(CLONE_NEWNS) != 0 ||
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                ::mount("full", disk.c_str(), "tmpfs", 0, "size=64k") != 0) {
                return 1;
            }
            std::ofstream{disk + "/other"} << std::string(65536 - pages * 4096, 'x');
            (void)std::fprintf(stderr, "%s\n", said("vm run vm1 --kernel k --bridge br0").c_str());
            return fs::exists(folder("vm1")) ? 2 : 0;
        }};
    };
    auto none = with_free(0);
    EXPECT_TRUE(none.shows(folder("vm1") + "/config.json cannot be written: No space left on"));
    EXPECT_EQ(none.status(), 0);
    auto one = with_free(1);
    EXPECT_TRUE(one.shows(folder("vm1") + "/process cannot be written: No space left on device"));
    EXPECT_EQ(one.status(), 0);
    EXPECT_THAT(daemon_->ports(), IsEmpty());
}

TEST_F(vm, started_by_who_ignores_its_children_ends_as_any)
{
    (void)::signal(SIGCHLD, SIG_IGN);
    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'hears nothing'");
    EXPECT_EQ(done("vm stop vm1 --force").at("ended"), "it was killed by SIGKILL");
    (void)::signal(SIGCHLD, SIG_DFL);
}

TEST(client, waits_for_an_answer_and_not_for_each_byte_of_it)
{
    std::string dir = "/tmp/strait-client.XXXXXX";
    ASSERT_NE(::mkdtemp(dir.data()), nullptr);
    const std::string path = dir + "/socket";
    const dataplane::file_descriptor slow{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto address = ports::socket_address(path);
    ASSERT_EQ(::bind(slow.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(slow.get(), 1), 0);
    std::jthread server{[&slow] {
        const dataplane::file_descriptor peer{::accept(slow.get(), nullptr, nullptr)};
        while (::send(peer.get(), " ", 1, MSG_NOSIGNAL) == 1) {
            std::this_thread::sleep_for(100ms);
        }
    }};
    const auto begin = std::chrono::steady_clock::now();
    try {
        client caller{{.path = path, .name = "it", .program = "it", .advice = "", .patience = 1s}};
        caller.call("vm.info", {});
        ADD_FAILURE() << "answered";
    } catch (const call_error& e) {
        EXPECT_THAT(e.message, HasSubstr("gives no answer"));
    }
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
    fs::remove_all(dir);
}

TEST_F(vm, in_a_run_folder_that_is_not_there_is_a_mistake)
{
    const std::string right = std::exchange(host_.run_dir, run_dir_ + "/typo");
    EXPECT_THAT(said("vm list"), HasSubstr("there is no run folder " + host_.run_dir));
    EXPECT_THAT(said("vm show vm1"), HasSubstr("there is no run folder " + host_.run_dir));
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge b"),
                HasSubstr("is straitd running with --run-dir " + host_.run_dir));
    EXPECT_FALSE(fs::exists(host_.run_dir));

    host_.run_dir = "/tmp/" + std::string(100, 'x');
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge b"),
                testing::StartsWith("--run-dir is " + host_.run_dir + ", too long"));
    host_.run_dir = "/tmp/" + std::string(50, 'x');
    EXPECT_THAT(said("vm run " + std::string(36, 'n') + " --kernel k --bridge b"),
                AllOf(testing::StartsWith("NAME is nnn"), HasSubstr("has at most 35 bytes")));
    EXPECT_THAT(said("vm run " + std::string(35, 'n') + " --kernel k --bridge b"),
                HasSubstr("the daemon cannot be reached"));
    host_.run_dir = right;
}

TEST_F(vm, is_not_waited_for_when_the_daemon_is_silent_and_a_signal_comes)
{
    daemon_.reset();
    const dataplane::file_descriptor silent{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const auto address = ports::socket_address(run_dir_ + "/control.sock");
    ASSERT_EQ(::bind(silent.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(silent.get(), 8), 0);
    std::thread user{[] {
        std::this_thread::sleep_for(300ms);
        ::kill(::getpid(), SIGINT);
    }};
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT(said("vm run vm1 --kernel k --bridge br0"),
                AllOf(HasSubstr("no answer: interrupted before the daemon at "),
                      HasSubstr("its port may be left: straitctl vm stop vm1 removes it")));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);
    user.join();
    EXPECT_EQ(done("vm list").at(0).at("state"), "ended") << "until it is stopped";
    ::unlink((run_dir_ + "/control.sock").c_str());
    daemon_.emplace(run_dir_);
    (void)done("vm stop vm1");
    EXPECT_FALSE(fs::exists(folder("vm1")));
}

} // namespace
} // namespace strait::control
