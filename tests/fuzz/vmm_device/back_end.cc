// SPDX-License-Identifier: BSD-3-Clause
// The messages of a front end, checked.
#include "tests/fuzz/vmm_device/back_end.hh"

#include "ports/unix_socket.hh"
#include "ports/vhost/protocol.hh"
#include "tests/fuzz/check.hh"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>

namespace strait::fuzz {

using dataplane::file_descriptor;
using vhost::request;

namespace {

constexpr std::uint32_t version = 1;
constexpr std::uint32_t is_answer = 4;
constexpr std::uint64_t protocol = 1ULL << vhost::protocol_feature::multiqueue;

struct header {
    std::uint32_t what;
    std::uint32_t flags;
    std::uint32_t size;
};

struct message {
    header head{};
    std::vector<std::byte> payload{};
    std::vector<file_descriptor> files{};

    template <typename T>
    [[nodiscard]] T as() const
    {
        T value{};
        check(payload.size() == sizeof value);
        std::memcpy(&value, payload.data(), sizeof value);
        return value;
    }
};

// False: it hung up.
bool receive(int socket, message& m)
{
    constexpr std::size_t most_files = 8;
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(most_files * sizeof(int))> control{};
    iovec part{&m.head, sizeof m.head};
    msghdr whole{};
    whole.msg_iov = &part;
    whole.msg_iovlen = 1;
    whole.msg_control = control.data();
    whole.msg_controllen = control.size();
    if (::recvmsg(socket, &whole, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof m.head) {
        return false;
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&whole); c != nullptr; c = CMSG_NXTHDR(&whole, c)) {
        for (std::size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            m.files.emplace_back(fd);
        }
    }
    m.payload.resize(m.head.size);
    return m.head.size == 0 || ::recv(socket, m.payload.data(), m.head.size, MSG_WAITALL) ==
                                   static_cast<ssize_t>(m.head.size);
}

} // namespace

void back_end::come(const std::string& path, std::uint64_t features, std::uint64_t pairs)
{
    leave();
    const sockaddr_un address = ports::socket_address(path);
    socket_ = file_descriptor{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    check(::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
          0);
    features_ = features;
    pairs_ = pairs;
}

void back_end::leave() noexcept
{
    socket_ = {};
    kicked_ = {};
    sizes_ = {};
}

bool back_end::has_rings() const noexcept
{
    return std::ranges::find(kicked_, true) != kicked_.end();
}

std::uint32_t back_end::ring(std::uint32_t index)
{
    check(index < most_rings);
    return index;
}

template <typename T>
void back_end::answer(std::uint32_t what, const T& value) const
{
    const struct [[gnu::packed]] {
        header head;
        T value;
    } whole{{what, version | is_answer, sizeof value}, value};
    (void)::send(socket_.get(), &whole, sizeof whole, MSG_NOSIGNAL);
}

void back_end::serve()
{
    message m;
    if (!receive(socket_.get(), m)) {
        leave();
        return;
    }
    switch (static_cast<request>(m.head.what)) {
    case request::get_features:
        answer(m.head.what, features_);
        break;
    case request::get_protocol_features:
        answer(m.head.what, protocol);
        break;
    case request::get_queue_num:
        answer(m.head.what, pairs_);
        break;
    case request::set_features:
        check((m.as<std::uint64_t>() & ~features_) == 0);
        break;
    case request::set_mem_table: {
        const auto table = m.as<vhost::memory_table>();
        check(table.count == ram_.regions().size() && m.files.size() == table.count);
        for (std::uint32_t i = 0; i < table.count; ++i) {
            check(table.regions[i].user_address == ram_.regions()[i].mapped_at);
        }
        break;
    }
    case request::set_vring_num: {
        const auto s = m.as<vhost::vring_state>();
        sizes_[ring(s.index)] = s.value;
        break;
    }
    case request::set_vring_addr: {
        const auto a = m.as<vhost::vring_address>();
        check(sizes_[ring(a.index)] != 0);
        const vmm::memory::region& r = ram_.regions().front();
        for (const std::uint64_t at : {a.descriptors, a.used, a.available}) {
            check(at >= r.mapped_at && at - r.mapped_at < r.bytes);
        }
        break;
    }
    case request::set_vring_kick:
        check(m.files.size() == 1);
        kicked_[ring(static_cast<std::uint32_t>(m.as<std::uint64_t>()))] = true;
        break;
    case request::set_vring_call:
        check(m.files.size() == 1);
        (void)ring(static_cast<std::uint32_t>(m.as<std::uint64_t>()));
        break;
    case request::set_vring_base:
    case request::set_vring_enable:
        (void)ring(m.as<vhost::vring_state>().index);
        break;
    case request::get_vring_base: {
        const auto s = m.as<vhost::vring_state>();
        kicked_[ring(s.index)] = false;
        answer(m.head.what, s);
        break;
    }
    default:
        break;
    }
}

} // namespace strait::fuzz
