// SPDX-License-Identifier: BSD-3-Clause
// A machine's console at a terminal.
#include "control/vm_console.hh"

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

} // namespace
} // namespace strait::control
