// SPDX-License-Identifier: BSD-3-Clause
// Machines whatever becomes of straitctl, of who keeps them, and of the disk.
#include "control/vm_process.hh"

#include "dataplane/file_descriptor.hh"
#include "vm_fixture.hh"
#include "vmm/file_lock.hh"

#include <cstdio>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

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
    // The guest's 256 MiB, 1/16 of that, and 256 MiB; a CPU, a device's two threads, and 32.
    EXPECT_THAT(content_of(run_dir_ + "/told"), HasSubstr("--property=MemoryMax=553648128\n"));
    EXPECT_THAT(content_of(run_dir_ + "/told"), HasSubstr("--property=TasksMax=35\n"));
    // The script is no systemd, and does not say how it ended.
    EXPECT_EQ(done("vm stop vm1").at("ended"), "nothing is known of its end");

    (void)done("vm run vm1 --kernel k --bridge br0 --command-line 'hears nothing'");
    fs::remove(folder("vm1") + "/sock/control");
    EXPECT_EQ(done("vm list").at(0).at("state"), "starting") << "systemd has it still";
    (void)done("vm stop vm1 --force");
    EXPECT_THAT(content_of(run_dir_ + "/asked"),
                HasSubstr("kill --signal=KILL strait-vm-vm1.service\n"));

    // A disk in memory takes as much of it as it has.
    const std::string disk = "/dev/shm/strait-vm-test." + std::to_string(::getpid());
    std::ofstream{disk} << "text";
    fs::resize_file(disk, std::uintmax_t{1} << 20U);
    (void)done("vm run vm2 --kernel k --bridge br0 --disk " + disk);
    EXPECT_THAT(content_of(run_dir_ + "/told"), HasSubstr("--property=MemoryMax=554696704\n"));
    EXPECT_THAT(content_of(run_dir_ + "/told"), HasSubstr("--property=TasksMax=36\n"));
    (void)done("vm stop vm2 --force");
    fs::remove(disk);
    ::setenv("PATH", before.c_str(), 1);
}

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

} // namespace
} // namespace strait::control
