// SPDX-License-Identifier: BSD-3-Clause
// Sessions of the control socket.
#include "control/server.hh"

#include "control/log.hh"
#include "control/socket_file.hh"
#include "ports/unix_socket.hh"

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <list>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace strait::control {

namespace asio = boost::asio;
using boost::system::error_code;
using local = asio::local::stream_protocol;

namespace {

class session;

// A descriptor kept for a client that comes when guests have used up all others: who is to remove a
// port must get in.
class reserve {
public:
    reserve() noexcept { keep(); }
    ~reserve() { give(); }
    reserve(const reserve&) = delete;
    reserve& operator=(const reserve&) = delete;

    void keep() noexcept
    {
        if (fd_ < 0) {
            fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
    }
    // False if there is none to give.
    bool give() noexcept { return fd_ >= 0 && ::close(std::exchange(fd_, -1)) == 0; }

private:
    int fd_{-1};
};

// What sessions need of their server.
struct context {
    context(const rpc& h, server_limits l) : handler{h}, limits{l} {}

    const rpc& handler;
    server_limits limits;
    reserve kept;
    std::list<std::shared_ptr<session>> sessions; // the longest silent first
    client_id last_client{rpc::nobody};
};

// Reads a line, answers it, writes the answer, and only then reads on: a client has at most one
// answer (of bounded size) waiting for it.
class session : public std::enable_shared_from_this<session> {
public:
    session(local::socket socket, std::shared_ptr<context> c)
        : socket_{std::move(socket)},
          timer_{socket_.get_executor()},
          context_{std::move(c)},
          id_{++context_->last_client}
    {}

    void begin(std::list<std::shared_ptr<session>>::iterator self)
    {
        self_ = self;
        read();
    }

    // Ends a client that is owed no answer with the reason, if it can be written at once. None of
    // its requests is under way then: what it sent and was not answered is not done.
    void evict()
    {
        if (socket_.is_open() && output_.empty()) {
            const std::string why = rpc::too_many(context_->limits.clients) + '\n';
            (void)::send(socket_.native_handle(), why.data(), why.size(),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        close();
    }

    void close()
    {
        if (!socket_.is_open()) {
            return;
        }
        error_code ignored;
        timer_.cancel();
        socket_.close(ignored);
        context_->kept.keep();
        context_->handler.left(id_);
        context_->sessions.erase(self_);
    }

private:
    void read()
    {
        socket_.async_read_some(asio::buffer(chunk_),
                                [self = shared_from_this()](error_code error, std::size_t size) {
                                    self->received(error, size);
                                });
    }

    void received(error_code error, std::size_t size)
    {
        if (!socket_.is_open()) {
            return;
        }
        if (error) {
            if (error == asio::error::eof && !input_.empty()) {
                last_words(rpc::parse_error("the connection ended within a request; a request "
                                            "ends with a newline"));
            } else {
                close();
            }
            return;
        }
        // Activity: to the end of the queue for eviction.
        context_->sessions.splice(context_->sessions.end(), context_->sessions, self_);
        input_.append(chunk_.data(), size);
        next_line();
    }

    // Answers the first whole line, or waits for the rest of it.
    void next_line()
    {
        const auto end = input_.find('\n', searched_);
        if (end == std::string::npos) {
            searched_ = input_.size();
            if (input_.size() > rpc::longest_request) {
                last_words(rpc::too_long());
                return;
            }
            if (input_.empty()) {
                waiting_for_rest_ = false;
                timer_.cancel();
            } else if (!waiting_for_rest_) {
                waiting_for_rest_ = true;
                limit_time(context_->limits.whole_line, [](session& s) {
                    s.last_words(rpc::parse_error("the rest of the request did not come in time; "
                                                  "a request ends with a newline"));
                });
            }
            read();
            return;
        }
        waiting_for_rest_ = false;
        timer_.cancel();
        if (end > rpc::longest_request) {
            last_words(rpc::too_long());
            return;
        }
        const std::string_view line{input_.data(), end};
        const bool blank = line.find_first_not_of(" \t\r") == std::string_view::npos;
        output_ = blank ? std::string{} : context_->handler.answer(line, id_, &takeover_);
        input_.erase(0, end + 1);
        searched_ = 0;
        if (!blank && context_->handler.must_wait()) {
            context_->handler.when_kept(
                [self = shared_from_this()](const std::optional<std::string>& why) {
                    self->kept(why);
                });
            return;
        }
        answer();
    }

    // What the request has changed is on the disk, or cannot be brought there.
    void kept(const std::optional<std::string>& why)
    {
        if (!socket_.is_open()) {
            return;
        }
        if (why && !output_.empty()) {
            output_ = rpc::not_kept(output_, *why);
        }
        answer();
    }

    void answer()
    {
        if (output_.empty()) {
            go_on();
            return;
        }
        output_ += '\n';
        written_ = 0;
        write();
    }

    // The next line in a turn of its own, so that a client with many waits among the others.
    void go_on()
    {
        asio::post(socket_.get_executor(), [self = shared_from_this()] {
            if (self->socket_.is_open()) {
                self->next_line();
            }
        });
    }

    void write()
    {
        limit_time(context_->limits.progress, [](session& s) {
            log(log_level::warning, "control", "a client did not take its answer and was dropped");
            s.close();
        });
        socket_.async_write_some(asio::buffer(output_.data() + written_, output_.size() - written_),
                                 [self = shared_from_this()](error_code error, std::size_t size) {
                                     self->wrote(error, size);
                                 });
    }

    void wrote(error_code error, std::size_t size)
    {
        if (!socket_.is_open()) {
            return;
        }
        if (error) {
            close();
            return;
        }
        written_ += size;
        if (written_ < output_.size()) {
            write();
            return;
        }
        timer_.cancel();
        output_ = {}; // an answer can be large, and the next may be long in coming
        if (ending_) {
            close();
            return;
        }
        if (takeover_) {
            hand_over();
            return;
        }
        go_on();
    }

    // The connection is another's from here on, and no client of this server any more.
    void hand_over()
    {
        error_code error;
        const int descriptor = socket_.release(error);
        context_->kept.keep();
        context_->sessions.erase(self_);
        const auto take = std::exchange(takeover_, {});
        if (!error) {
            take(descriptor);
        }
    }

    void last_words(std::string text)
    {
        ending_ = true;
        output_ = std::move(text) + '\n';
        written_ = 0;
        write();
    }

    void limit_time(std::chrono::milliseconds limit, void (*then)(session&))
    {
        timer_.expires_after(limit);
        timer_.async_wait([self = shared_from_this(), then](error_code error) {
            if (!error && self->socket_.is_open()) {
                then(*self);
            }
        });
    }

    local::socket socket_;
    asio::steady_timer timer_;
    std::shared_ptr<context> context_;
    client_id id_;
    std::list<std::shared_ptr<session>>::iterator self_;
    std::array<char, 16384> chunk_{};
    std::string input_;
    std::size_t searched_{0}; // of input_, for a newline
    std::string output_;
    rpc::takeover takeover_; // when all of it is written
    std::size_t written_{0};
    bool waiting_for_rest_{false};
    bool ending_{false};
};

} // namespace

class server::implementation : public std::enable_shared_from_this<implementation> {
public:
    implementation(asio::io_context& io, std::string path, const rpc& handler, server_limits limits)
        : acceptor_{io},
          retry_{io},
          told_{io},
          path_{std::move(path)},
          context_{std::make_shared<context>(handler, limits)}
    {}

    error_code open()
    {
        error_code error;
        acceptor_.open(local{}, error);
        if (error) {
            return error;
        }
        bind_socket_file(acceptor_, path_, error);
        if (!error) {
            bound_ = true;
            acceptor_.listen(asio::socket_base::max_listen_connections, error);
        }
        return error;
    }

    void accept()
    {
        acceptor_.async_accept([self = shared_from_this()](error_code error, local::socket socket) {
            self->accepted(error, std::move(socket));
        });
    }

    void close()
    {
        error_code ignored;
        retry_.cancel();
        told_.cancel();
        acceptor_.close(ignored);
        while (!context_->sessions.empty()) {
            const auto first = context_->sessions.front();
            first->close();
        }
        if (bound_) {
            (void)::unlink(path_.c_str());
        }
    }

    [[nodiscard]] std::size_t clients() const noexcept { return context_->sessions.size(); }

private:
    void accepted(error_code error, local::socket socket)
    {
        if (!acceptor_.is_open()) {
            return;
        }
        if (error == asio::error::no_descriptors && context_->kept.give()) {
            accept();
            return;
        }
        if (error) {
            log(log_level::warning, "control", "a client was not accepted: " + error.message());
            // Out of descriptors, most likely: a moment later there may be some.
            retry_.expires_after(std::chrono::seconds{1});
            retry_.async_wait([self = shared_from_this()](error_code cancelled) {
                if (!cancelled) {
                    self->accept();
                }
            });
            return;
        }
        auto& sessions = context_->sessions;
        if (sessions.size() >= context_->limits.clients) {
            ++evicted_;
            if (!telling_) {
                tell_of_evictions();
            }
            const auto oldest = sessions.front();
            oldest->evict();
        }
        sessions.push_back(std::make_shared<session>(std::move(socket), context_));
        sessions.back()->begin(std::prev(sessions.end()));
        accept();
    }

    // At most once a second: clients can come faster than anybody reads.
    void tell_of_evictions()
    {
        telling_ = evicted_ != 0;
        if (!telling_) {
            return;
        }
        const auto limit = std::to_string(context_->limits.clients);
        log(log_level::warning, "control",
            "more than " + limit + " clients: " + std::to_string(evicted_) +
                (evicted_ == 1 ? " was" : " were") + " dropped, the longest silent first");
        evicted_ = 0;
        told_.expires_after(std::chrono::seconds{1});
        told_.async_wait([self = shared_from_this()](error_code cancelled) {
            if (!cancelled) {
                self->tell_of_evictions();
            }
        });
    }

    local::acceptor acceptor_;
    asio::steady_timer retry_;
    asio::steady_timer told_; // of evictions
    std::string path_;
    std::shared_ptr<context> context_;
    bool bound_{false};
    bool telling_{false};
    std::size_t evicted_{0}; // and not told of
};

server::server(std::shared_ptr<implementation> i) noexcept : implementation_{std::move(i)} {}

server::~server()
{
    implementation_->close();
}

std::size_t server::clients() const noexcept
{
    return implementation_->clients();
}

ports::result<std::unique_ptr<server>> server::listen(asio::io_context& io, std::string path,
                                                      const rpc& handler, server_limits limits)
{
    if (auto way = ports::make_way_for_socket(path); way.has_error()) {
        return way.error();
    }
    auto i = std::make_shared<implementation>(io, path, handler, limits);
    if (const auto error = i->open()) {
        return ports::error{"the control socket " + path + " cannot be made: " + error.message()};
    }
    i->accept();
    return std::unique_ptr<server>{new server{std::move(i)}};
}

} // namespace strait::control
