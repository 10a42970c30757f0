// SPDX-License-Identifier: BSD-3-Clause
// What becomes of the errors of Xen's libraries, many of which a guest can cause: a grant that is
// none, a channel that was never offered, a node that is not for us to see. The libraries'
// functions are this file's own; on Xen itself it is conformance/ that runs.
#include "ports/xen-netback/libxen.hh"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

namespace {

// What the libraries find; each test's own.
struct xen_itself {
    std::map<std::string, std::string> nodes;
    std::map<std::string, int> unreadable; // paths, and what errno is then
    std::vector<std::array<std::string, 2>> events;
    int commit_error{0};
    int map_error{0};
    int bind_error{0};
    std::uint32_t bad_reference{0}; // a piece with it ends the call
    int copy_error{0};
    std::size_t copy_calls{0};
    int open_channels{0};
    int pending{-1}; // port
    int unmasked{-1};
    std::array<std::byte, 4096> page{};
};
xen_itself* here = nullptr;

// A list of names in one allocation, as the library gives it.
char** list_of(const std::vector<std::string>& names)
{
    std::size_t size = names.size() * sizeof(char*);
    for (const auto& n : names) {
        size += n.size() + 1;
    }
    auto** const all = static_cast<char**>(std::malloc(size + 1));
    char* at = reinterpret_cast<char*>(all + names.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
        all[i] = at;
        std::memcpy(at, names[i].c_str(), names[i].size() + 1);
        at += names[i].size() + 1;
    }
    return all;
}

template <typename T>
T* a_handle()
{
    return reinterpret_cast<T*>(here);
}

bool fails(const char* path)
{
    const auto found = here->unreadable.find(path);
    errno = found != here->unreadable.end() ? found->second : 0;
    return errno != 0;
}

} // namespace

// The program's own functions come before a library's.
extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger* /*logger*/, unsigned /*flags*/)
{
    return a_handle<xengnttab_handle>();
}
int xengnttab_close(xengnttab_handle* /*h*/)
{
    return 0;
}
void* xengnttab_map_domain_grant_refs(xengnttab_handle* /*h*/, std::uint32_t /*count*/,
                                      std::uint32_t /*domain*/, std::uint32_t* /*refs*/,
                                      int /*protection*/)
{
    errno = here->map_error;
    return here->map_error != 0 ? nullptr : here->page.data();
}
int xengnttab_unmap(xengnttab_handle* /*h*/, void* /*at*/, std::uint32_t /*count*/)
{
    return 0;
}
// As the kernel does it: what came before the piece that it refuses looks done, but is not.
int xengnttab_grant_copy(xengnttab_handle* /*h*/, std::uint32_t count,
                         xengnttab_grant_copy_segment_t* all)
{
    ++here->copy_calls;
    const std::span pieces{all, count};
    for (auto& p : pieces) {
        if (p.source.foreign.ref == here->bad_reference && here->copy_error != 0) {
            errno = here->copy_error;
            return -1;
        }
        p.status = 0;
    }
    for (const auto& p : pieces) {
        std::memset(p.dest.virt, 0x5a, p.len);
    }
    return 0;
}

xenevtchn_handle* xenevtchn_open(xentoollog_logger* /*logger*/, unsigned /*flags*/)
{
    ++here->open_channels;
    // A descriptor is all that it has.
    auto* const fd = new int{::eventfd(0, EFD_CLOEXEC)};
    return reinterpret_cast<xenevtchn_handle*>(fd);
}
int xenevtchn_fd(xenevtchn_handle* h)
{
    return *reinterpret_cast<int*>(h);
}
int xenevtchn_close(xenevtchn_handle* h)
{
    --here->open_channels;
    ::close(xenevtchn_fd(h));
    delete reinterpret_cast<int*>(h);
    return 0;
}
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* /*h*/,
                                                     std::uint32_t /*domain*/,
                                                     evtchn_port_t /*remote*/)
{
    constexpr int local = 12;
    errno = here->bind_error;
    return here->bind_error != 0 ? -1 : local;
}
int xenevtchn_notify(xenevtchn_handle* /*h*/, evtchn_port_t /*port*/)
{
    return 0;
}
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* /*h*/)
{
    errno = EAGAIN;
    return std::exchange(here->pending, -1);
}
int xenevtchn_unmask(xenevtchn_handle* /*h*/, evtchn_port_t port)
{
    here->unmasked = static_cast<int>(port);
    return 0;
}

xs_handle* xs_open(unsigned long /*flags*/)
{
    return a_handle<xs_handle>();
}
void xs_close(xs_handle* /*h*/) {}
int xs_fileno(xs_handle* /*h*/)
{
    return -1;
}
void* xs_read(xs_handle* /*h*/, xs_transaction_t /*t*/, const char* path, unsigned* size)
{
    const auto found = here->nodes.find(path);
    if (fails(path) || found == here->nodes.end()) {
        errno = errno != 0 ? errno : ENOENT;
        return nullptr;
    }
    *size = static_cast<unsigned>(found->second.size());
    void* const copy = std::malloc(found->second.size() + 1);
    std::memcpy(copy, found->second.c_str(), found->second.size() + 1);
    return copy;
}
char** xs_directory(xs_handle* /*h*/, xs_transaction_t /*t*/, const char* path, unsigned* count)
{
    std::vector<std::string> names;
    const std::string below = std::string{path} + "/";
    for (const auto& [key, value] : here->nodes) {
        if (key.starts_with(below)) {
            names.push_back(key.substr(below.size()));
        }
    }
    if (fails(path) || names.empty()) {
        errno = errno != 0 ? errno : ENOENT;
        return nullptr;
    }
    *count = static_cast<unsigned>(names.size());
    return list_of(names);
}
bool xs_write(xs_handle* /*h*/, xs_transaction_t /*t*/, const char* path, const void* data,
              unsigned size)
{
    if (fails(path)) {
        return false;
    }
    here->nodes[path] = std::string(static_cast<const char*>(data), size);
    return true;
}
bool xs_rm(xs_handle* /*h*/, xs_transaction_t /*t*/, const char* path)
{
    if (fails(path) || here->nodes.erase(path) == 0) {
        errno = errno != 0 ? errno : ENOENT;
        return false;
    }
    return true;
}
xs_transaction_t xs_transaction_start(xs_handle* /*h*/)
{
    return 7;
}
bool xs_transaction_end(xs_handle* /*h*/, xs_transaction_t /*t*/, bool /*abort*/)
{
    errno = here->commit_error;
    return here->commit_error == 0;
}
bool xs_watch(xs_handle* /*h*/, const char* path, const char* /*token*/)
{
    return !fails(path);
}
bool xs_unwatch(xs_handle* /*h*/, const char* /*path*/, const char* /*token*/)
{
    return true;
}
char** xs_check_watch(xs_handle* /*h*/)
{
    if (here->events.empty()) {
        errno = EAGAIN;
        return nullptr;
    }
    const auto first = here->events.front();
    here->events.erase(here->events.begin());
    return list_of({first[0], first[1]});
}

} // extern "C"

namespace strait::xen::test {
namespace {

using dataplane::remote_copy;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr domain_id domain{5};

class libxen_test : public testing::Test {
protected:
    libxen_test() { here = &xen_; }

    xen_itself xen_;
    std::unique_ptr<hypervisor> ours_{[this] {
        here = &xen_;
        return open_libxen().value();
    }()};
    store& store_{ours_->store()};
};

TEST_F(libxen_test, a_grant_that_cannot_be_mapped_is_an_error_that_names_it)
{
    const std::array refs{grant_ref{32}, grant_ref{33}};
    EXPECT_EQ(ours_->map(domain, refs).value()->base(), xen_.page.data());
    xen_.map_error = EINVAL;
    const auto refused = ours_->map(domain, refs);
    ASSERT_TRUE(refused.has_error());
    EXPECT_EQ(refused.error().message,
              "grant 32 of domain 5 (or one with it) cannot be mapped: Invalid argument");
}

TEST_F(libxen_test, a_channel_that_cannot_be_bound_is_an_error_and_leaves_nothing_open)
{
    xen_.bind_error = EINVAL;
    const auto refused = ours_->bind(domain, event_port{4000});
    ASSERT_TRUE(refused.has_error());
    EXPECT_EQ(refused.error().message,
              "event channel 4000 of domain 5 cannot be bound: Invalid argument");
    EXPECT_EQ(xen_.open_channels, 0);
}

TEST_F(libxen_test, a_channel_is_looked_at_without_waiting)
{
    auto channel = ours_->bind(domain, event_port{1}).value();
    EXPECT_NE(::fcntl(channel->descriptor(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_FALSE(channel->take());
    EXPECT_EQ(xen_.unmasked, -1) << "nothing has notified";
    xen_.pending = 12;
    EXPECT_TRUE(channel->take());
    EXPECT_EQ(xen_.unmasked, 12) << "or it never notifies again";
    channel.reset();
    EXPECT_EQ(xen_.open_channels, 0);
}

TEST_F(libxen_test, a_piece_that_the_kernel_refuses_costs_no_other)
{
    constexpr std::uint32_t bad = 99;
    xen_.bad_reference = bad;
    for (const auto& [error, status] : {std::pair{EINVAL, remote_copy::status::bad_argument},
                                        std::pair{EFAULT, remote_copy::status::bad_page}}) {
        xen_.copy_error = error;
        xen_.copy_calls = 0;
        std::array<std::byte, 40> to{};
        std::vector<remote_copy> pieces;
        for (std::uint32_t i = 0; i < to.size(); ++i) {
            const std::uint32_t reference = i == 10 || i == 39 ? bad : i;
            pieces.push_back(remote_copy::pull(
                {.reference = reference, .offset = 0, .owner = 5, .size = 1}, &to.at(i)));
        }
        ours_->copy(pieces);
        for (std::uint32_t i = 0; i < to.size(); ++i) {
            const bool refused = i == 10 || i == 39;
            EXPECT_EQ(pieces[i].result(), refused ? status : remote_copy::status::done) << i;
            EXPECT_EQ(to.at(i), std::byte(refused ? 0 : 0x5a)) << i;
        }
        EXPECT_LE(xen_.copy_calls, 2 * 2 * 6 + 1U) << "in halves, two pieces of 40";
    }
    const auto calls = xen_.copy_calls;
    ours_->copy({});
    EXPECT_EQ(xen_.copy_calls, calls);
}

// Of its own folder a guest can say who may read it.
TEST_F(libxen_test, a_node_that_is_not_there_or_not_for_us_is_nothing)
{
    xen_.nodes["a/one"] = std::string{"\x01\x00 4", 4};
    xen_.nodes["a/two"] = "";
    EXPECT_EQ(store_.read("a/one").value(), (std::string{"\x01\x00 4", 4})) << "all of it";
    EXPECT_EQ(store_.read("a/two").value(), "");
    EXPECT_THAT(store_.list("a").value().value(), ElementsAre("one", "two"));
    EXPECT_EQ(store_.read("b").value(), std::nullopt);
    EXPECT_EQ(store_.list("b").value(), std::nullopt);
    for (const char* const path : {"a", "a/one"}) {
        xen_.unreadable[path] = EACCES;
    }
    EXPECT_EQ(store_.read("a/one").value(), std::nullopt);
    EXPECT_EQ(store_.list("a").value(), std::nullopt);
}

TEST_F(libxen_test, a_store_that_fails_is_an_error_for_people)
{
    for (const char* const path : {"a", "a/one"}) {
        xen_.unreadable[path] = EIO;
    }
    EXPECT_EQ(store_.read("a/one").error().message,
              "xenstore cannot read a/one: Input/output error");
    EXPECT_EQ(store_.list("a").error().message, "xenstore cannot list a: Input/output error");
    EXPECT_EQ(store_.write("a", "1").error().message,
              "xenstore cannot write a: Input/output error");
    EXPECT_EQ(store_.remove("a").error().message, "xenstore cannot remove a: Input/output error");
    EXPECT_EQ(store_.watch("a", "t").error().message,
              "xenstore cannot watch a: Input/output error");
    EXPECT_TRUE(store_.remove("b").has_value()) << "it was not there";
}

TEST_F(libxen_test, a_transaction_that_somebody_broke_is_not_committed)
{
    const transaction t = store_.begin().value();
    EXPECT_TRUE(store_.commit(t).value());
    xen_.commit_error = EAGAIN;
    EXPECT_FALSE(store_.commit(t).value());
    xen_.commit_error = ENOSPC;
    EXPECT_THAT(store_.commit(t).error().message, HasSubstr("No space left on device"));
}

TEST_F(libxen_test, events_end)
{
    xen_.events.push_back({"a/one", "vif5.0"});
    const auto event = store_.next_event();
    ASSERT_TRUE(event);
    EXPECT_EQ(event->path, "a/one");
    EXPECT_EQ(event->token, "vif5.0");
    EXPECT_FALSE(store_.next_event());
}

TEST_F(libxen_test, the_own_domain_is_a_number)
{
    EXPECT_EQ(ours_->own_domain(), domain_id{0}) << "where there is no such node";
    xen_.nodes["domid"] = "3";
    EXPECT_EQ(open_libxen().value()->own_domain(), domain_id{3});
    for (const char* const id : {"", "three", "3 ", "65536"}) {
        xen_.nodes["domid"] = id;
        EXPECT_THAT(open_libxen().error().message, HasSubstr("must be this domain's number")) << id;
    }
    xen_.unreadable["domid"] = EIO;
    EXPECT_THAT(open_libxen().error().message, HasSubstr("cannot be read"));
}

} // namespace
} // namespace strait::xen::test
