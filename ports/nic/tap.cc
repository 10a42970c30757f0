// SPDX-License-Identifier: BSD-3-Clause
// Transmit through a tap's descriptor.
#include "ports/nic/tap.hh"

#include "ports/number.hh"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>

namespace strait::nic {

using dataplane::drop_reason;
using dataplane::packet;

descriptor& descriptor::operator=(descriptor&& other) noexcept
{
    if (this != &other) {
        if (fd_ >= 0) {
            ::close(fd_);
        }
        fd_ = other.fd_;
        other.fd_ = -1;
    }
    return *this;
}

descriptor::~descriptor()
{
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

ports::result<descriptor> find_tap(const std::string& interface)
{
    namespace fs = std::filesystem;
    std::error_code failed;
    // The kernel names the interface of an attached tap queue in its fdinfo; the driver's
    // keep-alive descriptor is detached and has no name there.
    for (const auto& entry : fs::directory_iterator{"/proc/self/fd", failed}) {
        std::error_code gone;
        if (fs::read_symlink(entry.path(), gone) != "/dev/net/tun") {
            continue;
        }
        const std::string number = entry.path().filename().string();
        std::ifstream info{"/proc/self/fdinfo/" + number};
        for (std::string line; std::getline(info, line);) {
            if (line != "iff:\t" + interface) {
                continue;
            }
            const int fd = to_number<int>(number).value_or(-1);
            if (const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0); copy >= 0) {
                return descriptor{copy};
            }
        }
    }
    return ports::error{"the tap " + interface +
                        " was opened, but no descriptor of this process leads to it"};
}

void survive_tap_signals() noexcept
{
    struct sigaction now {};
    if (::sigaction(SIGIO, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGIO, &ignore, nullptr);
    }
}

tap_tx_queue::tap_tx_queue(descriptor tap)
    : tap_{std::move(tap)}, scratch_{std::make_unique<std::byte[]>(scratch_size)}
{}

bool tap_tx_queue::is_up() const noexcept
{
    pollfd p{tap_.get(), POLLOUT, 0};
    return ::poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) != 0;
}

ssize_t tap_tx_queue::write(const packet& p) noexcept
{
    tun_pi information{};
    std::byte* frame = p.data;
    if (p.head_length < p.length) {
        if (p.length > scratch_size) {
            errno = EMSGSIZE;
            return -1;
        }
        dataplane::copy_frame(p, 0, scratch_.get(), p.length);
        frame = scratch_.get();
    }
    const iovec parts[] = {{&information, sizeof(information)}, {frame, p.length}};
    return ::writev(tap_.get(), parts, 2);
}

void tap_tx_queue::transmit(std::span<packet* const> packets,
                            const ports::queue_context& context) noexcept
{
    std::uint64_t sent = 0;
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < packets.size(); ++i) {
        if (write(*packets[i]) > 0) {
            ++sent;
            bytes += packets[i]->length;
            continue;
        }
        if (errno == EIO) {
            // The interface is down: so it is for the rest of the burst.
            context.counters->drop(drop_reason::receiver_not_connected, packets.size() - i);
            break;
        }
        context.counters->drop(errno == EAGAIN || errno == ENOBUFS ? drop_reason::receiver_full
                                                                   : drop_reason::transmit_error);
    }
    context.counters->tx_packets.add(sent);
    context.counters->tx_bytes.add(bytes);
}

} // namespace strait::nic
