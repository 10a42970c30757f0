// SPDX-License-Identifier: BSD-3-Clause
// Transmit through a tap's descriptor.
#include "ports/nic/tap.hh"

#include <poll.h>
#include <sys/uio.h>

#include <linux/if_tun.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace strait::nic {

using dataplane::drop_reason;
using dataplane::packet;

void survive_tap_signals() noexcept
{
    struct sigaction now {};
    if (::sigaction(SIGIO, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) {
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGIO, &ignore, nullptr);
    }
}

tap_tx_queue::tap_tx_queue(file_descriptor tap)
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

std::size_t tap_tx_queue::send(std::span<packet* const> packets,
                               const ports::queue_context& context, bool keeps) noexcept
{
    std::uint64_t sent = 0;
    std::uint64_t bytes = 0;
    std::size_t done = packets.size();
    for (std::size_t i = 0; i < packets.size(); ++i) {
        if (write(*packets[i]) > 0) {
            ++sent;
            bytes += packets[i]->length;
            continue;
        }
        if (errno == EIO) {
            // The interface is down: so it is for the rest of the burst.
            context.counters->drop(drop_reason::receiver_not_connected, packets.subspan(i));
            break;
        }
        const bool full = errno == EAGAIN || errno == ENOBUFS;
        if (full && keeps) {
            done = i;
            break;
        }
        context.counters->drop(full ? drop_reason::receiver_full : drop_reason::transmit_error,
                               *packets[i]);
    }
    context.counters->tx_packets.add(sent);
    context.counters->tx_bytes.add(bytes);
    return done;
}

void tap_tx_queue::transmit(std::span<packet* const> packets,
                            const ports::queue_context& context) noexcept
{
    (void)send(packets, context, false);
}

std::size_t tap_tx_queue::transmit_some(std::span<packet*> packets,
                                        const ports::queue_context& context) noexcept
{
    const std::size_t done = send(packets, context, true);
    std::ranges::copy(packets.subspan(done), packets.begin());
    return packets.size() - done;
}

} // namespace strait::nic
