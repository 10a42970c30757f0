// SPDX-License-Identifier: BSD-3-Clause
// Commands about virtual machines, between a daemon and a VMM of this test's.
#include "control/vm.hh"

#include "control/vm_process.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/unix_socket.hh"
#include "vm_fixture.hh"

#include <boost/json/parse.hpp>

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace strait::control {

const char* const testing_support::fake_vmm = STRAIT_FAKE_VMM;

namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing_support::at_terminal;
using testing_support::fake_vmm;
using testing_support::vm;

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
    EXPECT_EQ(begun.at("warnings"), (json::array{"its MTU is another"}));
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
    EXPECT_EQ(daemon_->ports().at("vm1").at("queues"), 4);
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
