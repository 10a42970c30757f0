// SPDX-License-Identifier: BSD-3-Clause
// Sessions of the metrics' port, on Boost.Beast.
#include "control/metrics_server.hh"

#include "control/log.hh"
#include "control/socket_file.hh"
#include "ports/number.hh"
#include "ports/unix_socket.hh"

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/write.hpp>

#include <array>
#include <optional>
#include <set>
#include <utility>

#include <unistd.h>

namespace strait::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using protocol = asio::generic::stream_protocol; // TCP or a UNIX socket
using clock = std::chrono::steady_clock;

namespace {

constexpr std::string_view text_format = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view plain_text = "text/plain; charset=utf-8";

// The page, made anew when it is older than ten times what it took to make.
class page_maker {
public:
    explicit page_maker(std::function<std::string()> make) : make_{std::move(make)} {}

    [[nodiscard]] std::shared_ptr<const std::string> get()
    {
        constexpr int times = 10;
        const auto now = clock::now();
        if (page_ == nullptr || now - made_ > times * took_) {
            page_ = std::make_shared<const std::string>(make_());
            made_ = clock::now();
            took_ = made_ - now;
        }
        return page_;
    }

private:
    std::function<std::string()> make_;
    std::shared_ptr<const std::string> page_;
    clock::time_point made_{};
    clock::duration took_{};
};

class session;

// What sessions need of their server.
struct context {
    context(std::function<std::string()> make, metrics_limits l) : page{std::move(make)}, limits{l}
    {}

    page_maker page;
    metrics_limits limits;
    std::set<std::shared_ptr<session>> sessions;
    std::function<void()> one_left;
};

// One request, one answer, the end: a connection that waits for a next request would take the place
// of somebody who has one.
class session : public std::enable_shared_from_this<session> {
public:
    session(protocol::socket socket, std::shared_ptr<context> c)
        : stream_{std::move(socket)}, context_{std::move(c)}
    {
        parser_.header_limit(static_cast<std::uint32_t>(context_->limits.header));
    }

    void begin()
    {
        stream_.expires_after(context_->limits.whole_request);
        http::async_read(stream_, buffer_, parser_,
                         [self = shared_from_this()](error_code error, std::size_t /*size*/) {
                             self->received(error);
                         });
    }

    void close()
    {
        if (std::exchange(closed_, true)) {
            return;
        }
        stream_.close();
        context_->sessions.erase(shared_from_this());
        context_->one_left();
    }

private:
    void received(error_code error)
    {
        if (closed_) {
            return;
        }
        if (!error) {
            answer_request();
        } else if (error == http::error::header_limit) {
            refuse(http::status::request_header_fields_too_large,
                   "the request has more than " + std::to_string(context_->limits.header) +
                       " bytes");
        } else if (error == http::error::body_limit || error == http::error::unexpected_body) {
            refuse(http::status::payload_too_large, "a request for metrics has no body");
        } else if (error == beast::error::timeout) {
            close(); // the stream is closed by then
        } else if (error == http::error::bad_version) {
            refuse(http::status::http_version_not_supported, "this is spoken in HTTP/1.0 and 1.1");
        } else if (error.category() == make_error_code(http::error::bad_method).category() &&
                   error != http::error::end_of_stream && error != http::error::partial_message) {
            refuse(http::status::bad_request, "this is no HTTP request: " + error.message());
        } else {
            close();
        }
    }

    void answer_request()
    {
        const auto& request = parser_.get();
        const auto method = request.method();
        std::string_view target{request.target().data(), request.target().size()};
        target = target.substr(0, target.find('?'));
        if (target != "/metrics") {
            refuse(http::status::not_found, "there is nothing here: metrics are at /metrics");
        } else if (method != http::verb::get && method != http::verb::head) {
            answer_.set(http::field::allow, "GET, HEAD");
            refuse(http::status::method_not_allowed, "metrics can be read (GET, HEAD), no more");
        } else {
            page_ = context_->page.get();
            write(http::status::ok, text_format);
        }
    }

    void refuse(http::status status, const std::string& why)
    {
        page_ = std::make_shared<const std::string>(why + '\n');
        write(status, plain_text);
    }

    void write(http::status status, std::string_view type)
    {
        constexpr unsigned http_1_1 = 11;
        const bool head_only = parser_.get().method() == http::verb::head;
        answer_.version(http_1_1);
        answer_.result(status);
        answer_.set(http::field::content_type, {type.data(), type.size()});
        answer_.content_length(page_->size());
        answer_.keep_alive(false);
        if (!head_only) {
            answer_.body() = {page_->data(), page_->size()};
        }
        stream_.expires_after(context_->limits.whole_answer);
        serializer_.emplace(answer_);
        const auto then = [self = shared_from_this()](error_code error, std::size_t /*size*/) {
            self->wrote(error);
        };
        if (head_only) {
            http::async_write_header(stream_, *serializer_, then);
        } else {
            http::async_write(stream_, *serializer_, then);
        }
    }

    void wrote(error_code error)
    {
        if (closed_) {
            return;
        }
        page_.reset();
        if (error && error != http::error::end_of_stream) {
            close();
            return;
        }
        // To close a socket with something unread takes the answer back from who has not read it.
        error_code ignored;
        stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
        stream_.expires_after(context_->limits.farewell);
        wait_for_end();
    }

    void wait_for_end()
    {
        stream_.async_read_some(asio::buffer(rest_),
                                [self = shared_from_this()](error_code error, std::size_t size) {
                                    self->unread_ += size;
                                    constexpr std::size_t enough = 65536;
                                    if (error || self->unread_ > enough) {
                                        self->close();
                                    } else if (!self->closed_) {
                                        self->wait_for_end();
                                    }
                                });
    }

    beast::basic_stream<protocol> stream_;
    std::shared_ptr<context> context_;
    beast::flat_buffer buffer_;
    http::request_parser<http::empty_body> parser_;
    http::response<http::span_body<const char>> answer_;
    std::optional<http::response_serializer<http::span_body<const char>>> serializer_;
    std::shared_ptr<const std::string> page_; // what the answer's body refers to
    std::array<char, 4096> rest_{};
    std::size_t unread_{0};
    bool closed_{false};
};

} // namespace

class metrics_server::implementation : public std::enable_shared_from_this<implementation> {
public:
    implementation(asio::io_context& io, const metrics_address& at,
                   std::function<std::string()> page, metrics_limits limits)
        : acceptor_{io},
          retry_{io},
          at_{at},
          context_{std::make_shared<context>(std::move(page), limits)}
    {}

    [[nodiscard]] error_code open()
    {
        error_code error;
        if (at_.socket.empty()) {
            const asio::ip::tcp::endpoint endpoint{asio::ip::make_address(at_.host, error),
                                                   at_.port};
            if (!error) {
                acceptor_.open(endpoint.protocol(), error);
            }
            if (!error) {
                acceptor_.set_option(asio::socket_base::reuse_address{true}, error);
            }
            if (!error) {
                acceptor_.bind(endpoint, error);
            }
        } else {
            acceptor_.open(asio::local::stream_protocol{}, error);
            if (!error) {
                bind_socket_file(acceptor_, at_.socket, error);
                bound_ = !error;
            }
        }
        if (!error) {
            acceptor_.listen(asio::socket_base::max_listen_connections, error);
        }
        return error;
    }

    void begin()
    {
        context_->one_left = [this] { accept(); };
        accept();
    }

    void close()
    {
        error_code ignored;
        retry_.cancel();
        acceptor_.close(ignored);
        while (!context_->sessions.empty()) {
            const auto first = *context_->sessions.begin();
            first->close();
        }
        if (bound_) {
            (void)::unlink(at_.socket.c_str());
        }
    }

private:
    // While there is a place. Who finds none waits to be accepted.
    void accept()
    {
        if (accepting_ || !acceptor_.is_open() ||
            context_->sessions.size() >= context_->limits.clients) {
            return;
        }
        accepting_ = true;
        acceptor_.async_accept(
            [self = shared_from_this()](error_code error, protocol::socket socket) {
                self->accepting_ = false;
                self->accepted(error, std::move(socket));
            });
    }

    void accepted(error_code error, protocol::socket socket)
    {
        if (!acceptor_.is_open()) {
            return;
        }
        if (error) {
            log(log_level::warning, "metrics", "a client was not accepted: " + error.message());
            // Out of descriptors, most likely: a moment later there may be some.
            accepting_ = true;
            retry_.expires_after(std::chrono::seconds{1});
            retry_.async_wait([self = shared_from_this()](error_code cancelled) {
                self->accepting_ = false;
                if (!cancelled) {
                    self->accept();
                }
            });
            return;
        }
        const auto made = std::make_shared<session>(std::move(socket), context_);
        context_->sessions.insert(made);
        made->begin();
        accept();
    }

    asio::basic_socket_acceptor<protocol> acceptor_;
    asio::steady_timer retry_;
    metrics_address at_;
    std::shared_ptr<context> context_;
    bool bound_{false};
    bool accepting_{false};
};

ports::result<metrics_address> metrics_address::parse(std::string_view text)
{
    const auto wrong = [&](const std::string& why) {
        return ports::error{std::string{text} + why +
                            "; metrics are given at a loopback address and port, like "
                            "127.0.0.1:9476 or [::1]:9476, or at unix:PATH"};
    };
    constexpr std::string_view scheme = "unix:";
    if (text.starts_with(scheme)) {
        std::string path{text.substr(scheme.size())};
        if (path.empty() || path.size() > ports::max_socket_path) {
            return wrong(" has no path of 1 to " + std::to_string(ports::max_socket_path) +
                         " bytes");
        }
        return metrics_address{.socket = std::move(path)};
    }
    const auto colon = text.rfind(':');
    std::string_view host = text.substr(0, colon);
    const auto port = colon == std::string_view::npos
                          ? std::nullopt
                          : to_number<std::uint16_t>(text.substr(colon + 1));
    if (!port || *port == 0) {
        return wrong(" has no port from 1 to 65535");
    }
    const bool in_brackets = host.starts_with('[') && host.ends_with(']');
    if (in_brackets) {
        host = host.substr(1, host.size() - 2);
    }
    error_code error;
    const auto address = asio::ip::make_address(std::string{host}, error);
    if (error || address.is_v6() != in_brackets) {
        return wrong(" is no IP address with a port");
    }
    if (!address.is_loopback()) {
        return wrong(" can be reached from elsewhere, and who asks is neither known nor refused");
    }
    return metrics_address{.host = address.to_string(), .port = *port};
}

std::string metrics_address::to_string() const
{
    if (!socket.empty()) {
        return "unix:" + socket;
    }
    const bool brackets = host.find(':') != std::string::npos;
    return (brackets ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

metrics_server::metrics_server(std::shared_ptr<implementation> i) noexcept
    : implementation_{std::move(i)}
{}

metrics_server::~metrics_server()
{
    implementation_->close();
}

ports::result<std::unique_ptr<metrics_server>>
metrics_server::listen(asio::io_context& io, const metrics_address& at,
                       std::function<std::string()> page, metrics_limits limits)
{
    if (!at.socket.empty()) {
        if (auto way = ports::make_way_for_socket(at.socket); way.has_error()) {
            return way.error();
        }
    }
    auto i = std::make_shared<implementation>(io, at, std::move(page), limits);
    if (const auto error = i->open()) {
        return ports::error{"metrics cannot be given at " + at.to_string() + ": " +
                            error.message()};
    }
    i->begin();
    return std::unique_ptr<metrics_server>{new metrics_server{std::move(i)}};
}

} // namespace strait::control
