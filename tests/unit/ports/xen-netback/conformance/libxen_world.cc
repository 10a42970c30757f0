// SPDX-License-Identifier: BSD-3-Clause
// Xen itself, in domain 0, which is the other domain as well: it grants pages to itself through
// /dev/xen/gntalloc, and binds channels to itself. And what is libxen's alone.
#include "world.hh"

#include "ports/xen-netback/libxen.hh"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}

namespace strait::xen::conformance {
namespace {

[[noreturn]] void give_up(const std::string& what)
{
    throw std::runtime_error{what + ": " + std::strerror(errno)};
}

std::unique_ptr<hypervisor> open()
{
    auto h = open_libxen();
    if (h.has_error()) {
        throw std::runtime_error{h.error().message};
    }
    return std::move(h).value();
}

// The offering end; of libxen's own there are only binding ones.
class offered_end final : public event_channel {
public:
    explicit offered_end(domain_id to) : handle_{xenevtchn_open(nullptr, 0)}
    {
        if (handle_ == nullptr) {
            give_up("/dev/xen/evtchn");
        }
        port_ = xenevtchn_bind_unbound_port(handle_, static_cast<std::uint16_t>(to));
        if (port_ < 0 || ::fcntl(descriptor(), F_SETFL, O_RDWR | O_NONBLOCK) != 0) {
            give_up("a channel cannot be offered");
        }
    }
    offered_end(const offered_end&) = delete;
    offered_end& operator=(const offered_end&) = delete;
    ~offered_end() override { xenevtchn_close(handle_); }

    [[nodiscard]] event_port port() const { return event_port{static_cast<std::uint32_t>(port_)}; }
    void notify() noexcept override
    {
        (void)xenevtchn_notify(handle_, static_cast<evtchn_port_t>(port_));
    }
    [[nodiscard]] int descriptor() const noexcept override { return xenevtchn_fd(handle_); }
    [[nodiscard]] bool take() noexcept override
    {
        const auto port = xenevtchn_pending(handle_);
        return port >= 0 && xenevtchn_unmask(handle_, static_cast<evtchn_port_t>(port)) == 0;
    }

private:
    xenevtchn_handle* handle_;
    int port_{-1};
};

class domain_0 final : public peer {
public:
    domain_0()
        : other_{open()}, shares_{xengntshr_open(nullptr, 0)}, grants_{xengnttab_open(nullptr, 0)}
    {
        if (shares_ == nullptr || grants_ == nullptr) {
            give_up("/dev/xen/gntalloc or gntdev");
        }
    }
    domain_0(const domain_0&) = delete;
    domain_0& operator=(const domain_0&) = delete;
    ~domain_0() override
    {
        (void)other_->store().remove(folder());
        xengnttab_close(grants_);
        xengntshr_close(shares_);
    }

    [[nodiscard]] domain_id domain() const override { return other_->own_domain(); }
    [[nodiscard]] page grant(domain_id to, bool only_read) override
    {
        std::uint32_t reference = 0;
        void* const memory = xengntshr_share_pages(shares_, static_cast<std::uint16_t>(to), 1,
                                                   &reference, only_read ? 0 : 1);
        if (memory == nullptr) {
            give_up("a page cannot be granted");
        }
        shared_.push_back(memory);
        return {static_cast<std::byte*>(memory), grant_ref{reference}};
    }
    [[nodiscard]] bool revoke(const page& p) override
    {
        if (std::erase(shared_, p.memory) != 0 && xengntshr_unshare(shares_, p.memory, 1) != 0) {
            give_up("a page cannot be taken back");
        }
        // The kernel ends the grant when it next can: whether it has is seen by using it.
        xengnttab_grant_copy_segment_t piece{};
        std::byte to{};
        piece.source.foreign.ref = static_cast<std::uint32_t>(p.reference);
        piece.source.foreign.domid = static_cast<std::uint16_t>(domain());
        piece.dest.virt = &to;
        piece.len = 1;
        piece.flags = GNTCOPY_source_gref;
        return xengnttab_grant_copy(grants_, 1, &piece) == 0 && piece.status != GNTST_okay;
    }
    [[nodiscard]] offer offer_channel(domain_id to) override
    {
        auto end = std::make_unique<offered_end>(to);
        const event_port port = end->port();
        return {port, std::move(end)};
    }
    [[nodiscard]] xen::store& store() override { return other_->store(); }
    [[nodiscard]] std::string folder() const override { return "/strait-conformance-peer"; }

private:
    std::unique_ptr<hypervisor> other_;
    xengntshr_handle* shares_;
    xengnttab_handle* grants_;
    std::vector<void*> shared_;
};

class real_world final : public world {
public:
    [[nodiscard]] hypervisor& ours() override { return *hypervisor_; }
    [[nodiscard]] peer& theirs() override { return peer_; }

private:
    std::unique_ptr<hypervisor> hypervisor_{open()};
    domain_0 peer_;
};

} // namespace

std::unique_ptr<world> make_world()
{
    return std::make_unique<real_world>();
}

namespace {

using dataplane::remote_copy;

// The kernel ends a call at the first piece that it refuses, with up to 15 queued before it that it
// has marked as done.
TEST(libxen_alone, copies_the_rest_of_a_batch_when_memory_of_ours_has_gone)
{
    const auto w = make_world();
    const auto page = w->theirs().grant(w->ours().own_domain(), false);
    std::memset(page.memory, 0x5a, page_size);
    void* const nowhere = ::mmap(nullptr, page_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(nowhere, MAP_FAILED);
    std::array<std::byte, 40> to{};
    std::vector<remote_copy> pieces;
    for (std::size_t i = 0; i < to.size(); ++i) {
        void* const at = i == 10 || i == 29 ? nowhere : &to.at(i);
        pieces.push_back(remote_copy::pull({static_cast<std::uint32_t>(page.reference), 0,
                                            static_cast<std::uint16_t>(w->theirs().domain()), 1},
                                           at));
    }
    w->ours().copy(pieces);
    for (std::size_t i = 0; i < to.size(); ++i) {
        const bool bad = i == 10 || i == 29;
        EXPECT_EQ(pieces[i].result(),
                  bad ? remote_copy::status::bad_page : remote_copy::status::done)
            << i;
        EXPECT_EQ(to.at(i), std::byte(bad ? 0 : 0x5a)) << i;
    }
    ::munmap(nowhere, page_size);
    EXPECT_TRUE(w->theirs().revoke(page));
}

TEST(libxen_alone, leaves_nothing_open)
{
    const auto w = make_world();
    const auto page = w->theirs().grant(w->ours().own_domain(), false);
    const auto offered = w->theirs().offer_channel(w->ours().own_domain());
    const auto open_files = [] {
        return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"},
                             std::filesystem::directory_iterator{});
    };
    const auto before = open_files();
    constexpr int rounds = 300;
    for (int i = 0; i < rounds; ++i) {
        const auto mapped = w->ours().map(w->theirs().domain(), {&page.reference, 1});
        ASSERT_TRUE(mapped.has_value()) << i << ": " << mapped.error().message;
        const auto channel = w->ours().bind(w->theirs().domain(), offered.port);
        ASSERT_TRUE(channel.has_value()) << i << ": " << channel.error().message;
        ASSERT_TRUE(w->ours().bind(w->theirs().domain(), offered.port).has_error());
    }
    EXPECT_EQ(open_files(), before);
}

} // namespace
} // namespace strait::xen::conformance
