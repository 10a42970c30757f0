// SPDX-License-Identifier: BSD-3-Clause
// Where clients come in, and the thread that serves them.
#include "ports/xen-netback/simulated/server.hh"

#include "ports/unix_socket.hh"
#include "ports/xen-netback/simulated/connection.hh"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>

#include <cerrno>
#include <cstring>
#include <future>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::xen::simulated {

namespace asio = boost::asio;
using boost::system::error_code;

class server::implementation : public std::enable_shared_from_this<implementation> {
public:
    implementation(asio::io_context& io, server_settings s)
        : settings_{std::move(s)}, world_{io}, acceptor_{io}, retry_{io}
    {
        world_.plan = std::make_unique<fault_plan>(settings_.wrong);
        (void)world_.make(domain_id{0}, {});
    }

    result<void> open()
    {
        if (auto way = ports::make_way_for_socket(settings_.socket); way.has_error()) {
            return way.error();
        }
        file_descriptor fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
        const sockaddr_un address = ports::socket_address(settings_.socket);
        // The umask, so that the socket has its mode from the first moment.
        constexpr mode_t no_others = 0117;
        const mode_t before = ::umask(no_others);
        bound_ = fd &&
                 ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
        const int code = errno;
        ::umask(before);
        if (!bound_ || ::listen(fd.get(), SOMAXCONN) != 0) {
            return error{"the simulator cannot listen on " + settings_.socket + ": " +
                         std::strerror(bound_ ? errno : code)};
        }
        acceptor_.assign(fd.release());
        return {};
    }

    void accept()
    {
        acceptor_.async_wait(asio::posix::descriptor_base::wait_read,
                             [self = shared_from_this()](error_code error) {
                                 if (!error && self->acceptor_.is_open()) {
                                     self->ready();
                                 }
                             });
    }

    void close()
    {
        error_code ignored;
        acceptor_.close(ignored);
        retry_.cancel();
        while (world_.connections.size() != 0) {
            const auto first = world_.connections.begin()->second;
            first->close();
        }
        for (const auto& [id, d] : world_.domains) {
            d->memory.end();
        }
        if (bound_) {
            (void)::unlink(settings_.socket.c_str());
        }
    }

    [[nodiscard]] world& all() noexcept { return world_; }

private:
    void ready()
    {
        file_descriptor fd{
            ::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
        if (!fd && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
            // Out of descriptors, most likely: a moment later there may be some.
            retry_.expires_after(std::chrono::milliseconds{200});
            retry_.async_wait([self = shared_from_this()](error_code cancelled) {
                if (!cancelled) {
                    self->accept();
                }
            });
            return;
        }
        if (fd && world_.connections.size() < settings_.connections) {
            const auto id = ++world_.last_client;
            const auto c = std::make_shared<connection>(world_, std::move(fd), id);
            world_.connections.emplace(id, c);
            c->wait();
        }
        accept();
    }

    server_settings settings_;
    world world_;
    asio::posix::stream_descriptor acceptor_;
    asio::steady_timer retry_;
    bool bound_{false};
};

server::server(std::shared_ptr<implementation> i) noexcept : implementation_{std::move(i)} {}

server::~server()
{
    implementation_->close();
    // Handlers that were cancelled still refer to the connections.
    auto& io = implementation_->all().io;
    if (io.stopped()) {
        io.restart();
    }
    io.poll();
}

result<std::unique_ptr<server>> server::listen(asio::io_context& io, server_settings s)
{
    auto i = std::make_shared<implementation>(io, std::move(s));
    if (auto open = i->open(); open.has_error()) {
        return open.error();
    }
    i->accept();
    return std::unique_ptr<server>{new server{std::move(i)}};
}

void server::set_faults(const faults& f)
{
    implementation_->all().set_faults(f);
}

std::size_t server::domains() const noexcept
{
    return implementation_->all().domains.size() - 1;
}

std::size_t server::connections() const noexcept
{
    return implementation_->all().connections.size();
}

result<std::unique_ptr<server_thread>> server_thread::start(server_settings s)
{
    std::unique_ptr<server_thread> t{new server_thread};
    auto listening = server::listen(t->io_, std::move(s));
    if (listening.has_error()) {
        return listening.error();
    }
    t->server_ = std::move(listening).value();
    t->thread_ = std::thread{[io = &t->io_] {
        const auto work = asio::make_work_guard(*io);
        io->run();
    }};
    return t;
}

server_thread::~server_thread()
{
    if (thread_.joinable()) {
        io_.stop();
        thread_.join();
    }
}

void server_thread::set_faults(const faults& f)
{
    std::promise<void> done;
    asio::post(io_, [&] {
        server_->set_faults(f);
        done.set_value();
    });
    done.get_future().wait();
}

std::size_t server_thread::domains()
{
    std::promise<std::size_t> n;
    asio::post(io_, [&] { n.set_value(server_->domains()); });
    return n.get_future().get();
}

std::size_t server_thread::connections()
{
    std::promise<std::size_t> n;
    asio::post(io_, [&] { n.set_value(server_->connections()); });
    return n.get_future().get();
}

} // namespace strait::xen::simulated
