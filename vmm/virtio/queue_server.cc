// SPDX-License-Identifier: BSD-3-Clause
// Turns of a device's thread.
#include "vmm/virtio/queue_server.hh"

#include "ports/vhost/kick.hh"

#include <utility>

namespace strait::vmm::virtio {

namespace asio = boost::asio;
using boost::system::error_code;

queue_server::queue_server(const vhost::guest_memory& memory, const std::string& name,
                           thread_begin* begin, answer a)
    : memory_{memory}, answer_{std::move(a)}, thread_{name, begin}
{}

queue_server::~queue_server()
{
    thread_.stop();
    (void)kick_.release(); // the transport's
}

void queue_server::start(std::uint64_t features, const queue_setup& setup)
{
    if (setup.enabled) {
        thread_.post([this, features, setup] { begin(features, setup); });
    }
}

void queue_server::stop(std::function<void()> done)
{
    thread_.post([this, done = std::move(done)] {
        (void)kick_.release();
        queue_.reset();
        done();
    });
}

void queue_server::begin(std::uint64_t features, const queue_setup& setup)
{
    ++period_;
    queue_.emplace(setup, features, memory_);
    error_code failed;
    kick_.assign(setup.kick, failed);
    if (failed) {
        queue_->fail("its kicks cannot be waited for");
    }
    kick_fd_ = setup.kick;
    turn(); // chains may have been there before
}

void queue_server::turn()
{
    std::uint64_t moved = 0;
    chain c;
    for (unsigned n = 0; n < turn_chains && moved < turn_bytes; ++n) {
        if (!queue_->next(c)) {
            if (queue_->ask_for_kick()) {
                wait();
                return;
            }
            queue_->decline_kicks();
            continue;
        }
        const outcome o = answer_(c);
        if (o.fault != nullptr) {
            queue_->fail(o.fault);
            continue;
        }
        moved += o.moved;
        queue_->complete(c, o.written);
    }
    turn_later();
}

// Behind what was posted meanwhile.
void queue_server::turn_later()
{
    thread_.post([this, period = period_] {
        if (queue_ && period == period_) {
            turn();
        }
    });
}

// For a kick; for ever if the queue is broken.
void queue_server::wait()
{
    if (queue_->fault() != nullptr) {
        transport_->broken(queue_->fault());
        return;
    }
    kick_.async_wait(asio::posix::descriptor_base::wait_read,
                     [this, period = period_](error_code cancelled) {
                         if (cancelled || !queue_ || period != period_) {
                             return;
                         }
                         vhost::forget_kicks(kick_fd_);
                         queue_->decline_kicks();
                         turn();
                     });
}

} // namespace strait::vmm::virtio
